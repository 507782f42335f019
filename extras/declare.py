"""Declare another table: propose what wine/dataset.py has to know about it, or write it there.

python -m extras.declare bikes.csv rentals
python -m extras.declare bikes.csv rentals --write --copy
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import json
import re
import sys
import time
from pathlib import Path

import pandas as pd

from extras import columns, copies
from extras.process import progress
from wine import UserError, cli, dataset, tables

BLOCK = r"(?ms)^NOUN = .*?(?=^HAS_LABELS = )"


def propose(data, target):
    """Return the declarations, what they leave out, lines that explain them, and the features."""
    table, target, looks = columns.read(data, target)
    names = progress(table, table.shape[1], "columns") if table.size > 2e6 else table
    looks |= {name: columns.look(table[name]) for name in names}
    own = looks.pop(target)
    has_labels = own.n_values == 2 or not own.is_number
    are_no_labels = own.n_values > dataset.MAX_LABELS or own.kind in ("date", columns.AMOUNTS)
    if table[target].nunique() < 2 or has_labels and are_no_labels:
        allowed = f"allowed are numbers, or from 2 to {dataset.MAX_LABELS} texts"
        raise UserError(f"target: received {target!r}, {own.kind}, {own.why}, {allowed}")
    unknown = own.missing if own.is_number else own.missing & {""}  # None may be a label.
    group, time_column = columns.find_splits(looks)
    features = [name for name in looks if looks[name].kind in ("number", "code", "text")]
    if not features:
        raise UserError(f"data: {data} has no column but {target!r} that can be a feature")
    texts = [name for name in features if looks[name].kind == "text"]
    used = [*features, *filter(None, (group, time_column))]
    left_out = {name: each for name, each in looks.items() if name not in used}
    missing = unknown.union(*(looks[name].missing for name in used))
    known = table.mask(table.isin(missing))
    numbers = {n: pd.to_numeric(known[n]).astype(float) for n in features if n not in texts}
    X, y = known[features].assign(**numbers), known[target]
    y = y if has_labels else pd.to_numeric(y)

    said = [f"left out: {name!r}, {each.kind}: {each.why}" for name, each in left_out.items()]
    if group:
        said.append(f"decide: GROUP = {group!r}: all rows of one stay on one side of the split")
    if time_column:
        said.append(f"decide: TIME = {time_column!r} makes the last quarter by it the test set")
    for word in sorted(missing):
        of = [name for name in features if word in looks[name].missing]
        said.append(f"found: {word!r} is a missing value, in {', '.join(of[:9]) or target}")
    if lost := missing.intersection(table[target]) - unknown:
        rename = "is a missing value elsewhere: give the label another name"
        said.append(f"decide: {min(lost)!r} in {target} {rename}")
    # As texts, MLflow refuses them in CSV, where it reads numbers.
    if codes := [name for name in features if looks[name].kind == "code"]:
        said.append(f"found: codes that are numbers, and taken as such: {', '.join(codes[:9])}")
    said += [f"decide: {each}" for each in columns.judge(X, y, texts)]
    # Where few different rows are possible, some are the same by chance.
    n_possible = X.nunique().astype(float).prod()
    are_copies = n_possible > 100 * len(X) or X.duplicated().mean() < 0.01
    declarations = {"NOUN": "row", "DATA": data, "FEATURES": features, "TARGET": target}
    declarations |= {"TARGET_SCALE": "", "CATEGORIES": [*texts, *[target] * has_labels]}
    declarations |= {"MISSING": sorted(missing), "IDENTICAL_ROWS_ARE_COPIES": bool(are_copies)}
    return declarations | {"GROUP": group, "TIME": time_column}, left_out, said, X


def block(declarations, left_out):
    """Return the lines for wine/dataset.py, with the comments that stand there today."""
    source, lines = Path(dataset.__file__).read_text(encoding="utf-8"), []
    for name, value in declarations.items():
        text = str(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
        comment = "".join(re.findall(rf"(?m)^{name} = .*?(  # .*)$", source))
        comment = comment.replace(dataset.NOUN, declarations["NOUN"])
        lines.append(f"{name} = {text}{comment}")
        if value and isinstance(value, list) and (len(lines[-1]) > 100 or name == "FEATURES"):
            values = "".join(f"    {json.dumps(each, ensure_ascii=False)},\n" for each in value)
            lines[-1] = f"{name} = [{comment}\n{values}]"
        if name == "FEATURES":
            lines += [f"# left out: {n!r}, {each.kind}"[:100] for n, each in left_out.items()]
    return "\n".join(lines) + "\n\n"


def write(path, text, keep):
    """Write a file of the project, and keep what it replaces under a name that is printed."""
    if keep and text != path.read_text(encoding="utf-8"):
        kept = path.rename(path.with_name(time.strftime(f"{path.name}.%Y%m%d-%H%M%S.bak")))
        print(f"{path.name} is written; what stood there is in {kept.name}", file=sys.stderr)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_declarations(declarations, lines, X, keep):
    """Put the declarations into wine/dataset.py, MLproject and predict.csv."""
    source, menu = Path(dataset.__file__), tables.PROJECT / "MLproject"
    text, n_blocks = re.subn(BLOCK, lambda _: lines, source.read_text(encoding="utf-8"))
    if not n_blocks:
        raise UserError("wine/dataset.py: no lines from `NOUN = ` to `HAS_LABELS = `")
    write(source, text, keep)
    default = json.dumps(declarations["DATA"], ensure_ascii=False)
    pattern = r"(?<=\bdata: \{type: string, default: ).*(?=\})"
    write(menu, re.sub(pattern, lambda _: default, menu.read_text(encoding="utf-8")), keep)
    rows = X.sample(min(20, len(X)), random_state=42).sort_index()
    write(tables.PROJECT / "predict.csv", rows.to_csv(index=False, lineterminator="\n"), keep)


def main():
    """Read the arguments; print the declarations, and write them if so asked."""
    parser, flags = cli.Parser(__doc__), {"--write", "--copy"} & {*sys.argv}
    parser.require("table", str, "path or URL of a CSV or Parquet file")
    parser.require("target", str, "name of the column to predict")
    data, target = parser.read([each for each in sys.argv[1:] if each not in flags]).values()
    declarations, left_out, said, X = propose(data, target)
    has_labels = declarations["TARGET"] in declarations["CATEGORIES"]
    entry_point = "classifier" if has_labels else "boosting"
    lines = block(declarations, left_out)
    if "--copy" in flags:
        copies.make(declarations["DATA"], lines, entry_point)
    if flags:
        write_declarations(declarations, lines, X, "--copy" not in flags)
    print(lines, end="", flush=True)
    print(*said, f"mlflow run . -e {entry_point} --env-manager local", sep="\n", file=sys.stderr)


if __name__ == "__main__":
    process.run(main)
