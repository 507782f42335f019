"""Declare another table: propose what wine/dataset.py has to know about it, or write it there.

python -m extras.declare bikes.csv rentals
python -m extras.declare bikes.csv rentals --write --copy
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import filecmp
import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from extras import columns, copies
from extras.process import progress
from wine import UserError, cli, dataset, tables

BLOCK = r"(?ms)^NOUN = .*?(?=^HAS_LABELS = )"


def propose(data, target):
    """Return the declarations, what they leave out and why, the notes, and the features."""
    table, looks = columns.read(data)
    if target not in table:
        raise UserError(f"target: received {target!r}, allowed are {', '.join(table)}"[:300])
    names = progress(table, table.shape[1], "columns") if table.size > 2e6 else table
    looks |= {name: columns.look(table[name]) for name in names}
    kind, why, unknown, n = looks.pop(target)
    y = table[target].mask(table[target].isin(unknown))
    is_number = y.dropna().str.fullmatch(tables.NUMBER).all()
    if not is_number:  # None may be a label.
        y, unknown, n = table[target], unknown & {""}, table[target].nunique()
    has_labels = n == 2 or not is_number
    if n < 2 or has_labels and (kind in ("date", "amount with signs") or n > dataset.MAX_LABELS):
        allowed = f"allowed are numbers, or from 2 to {dataset.MAX_LABELS} texts"
        raise UserError(f"target: received {target!r}, which holds {kind} ({why}), {allowed}")
    notes, features = [], [name for name in looks if looks[name][0] in ("number", "code", "text")]
    group, time = columns.find_splits(looks, notes)
    if not features:
        raise UserError(f"data: {data} has no column but {target!r} that can be a feature")
    texts = [name for name in features if looks[name][0] == "text"]
    missing = unknown | {each for n in (*features, group, time) if n for each in looks[n][2]}
    X = table[features].mask(table[features].isin(missing))
    X = X.assign(**{n: pd.to_numeric(X[n]).astype(float) for n in features if n not in texts})
    y = y if has_labels else pd.to_numeric(y)
    for word in sorted(missing):
        of = [name for name in features if word in looks[name][2]]
        notes.append(f"found: {word!r} is a missing value, in {', '.join(of[:9]) or target}")
    # As texts, MLflow refuses them in CSV, where it reads numbers.
    if codes := [name for name in features if looks[name][0] == "code"]:
        notes.append(f"found: codes that are numbers, and taken as such: {', '.join(codes[:9])}")
    notes += columns.judge(X, y, has_labels, texts)
    # Where few different rows are possible, some are the same by chance.
    n_possible = X.nunique().astype(float).prod()
    are_copies = n_possible > 100 * len(X) or X.duplicated().mean() < 0.01
    declarations = {"NOUN": "row", "DATA": data, "FEATURES": features, "TARGET": target}
    declarations |= {"TARGET_SCALE": "", "CATEGORIES": [*texts, *[target] * has_labels]}
    declarations |= {"MISSING": sorted(missing), "IDENTICAL_ROWS_ARE_COPIES": bool(are_copies)}
    left_out = {n: each for n, each in looks.items() if n not in (*features, group, time)}
    return declarations | {"GROUP": group, "TIME": time}, left_out, notes, X


def block(declarations, left_out):
    """Return the lines for wine/dataset.py, with the comments that stand there today."""
    source, lines = Path(dataset.__file__).read_text(encoding="utf-8"), []
    for name, value in declarations.items():
        text = str(value) if isinstance(value, bool) else json.dumps(value, ensure_ascii=False)
        comment = re.search(rf"^{name} = .*?(  # .*)$", source, re.M)
        comment = comment[1].replace(dataset.NOUN, declarations["NOUN"]) if comment else ""
        lines.append(f"{name} = {text}{comment}")
        if value and isinstance(value, list) and (len(lines[-1]) > 100 or name == "FEATURES"):
            values = "".join(f"    {json.dumps(each, ensure_ascii=False)},\n" for each in value)
            lines[-1] = f"{name} = [{comment}\n{values}]"
        if name == "FEATURES":
            lines += [f"# left out: {n!r}, {kind}"[:100] for n, (kind, *_) in left_out.items()]
    return "\n".join(lines) + "\n\n"


def write(path, text, keep):
    """Write a file of the project, and keep what it replaces under a name that is printed."""
    if text == path.read_text(encoding="utf-8"):
        return
    if keep:
        paths = (path.with_name(f"{path.name}.{n}.bak") for n in itertools.count(1))
        kept = path.rename(next(each for each in paths if not each.exists()))
        print(f"{path.name} is written; what stood there is in {kept.name}", file=sys.stderr)
    path.write_text(text, encoding="utf-8", newline="\n")


def place(data):
    """Return the name of a table in the project, to which a file from outside is copied."""
    source = Path(tables.locate(data))
    if "://" in data or source.is_relative_to(tables.PROJECT):
        return data if "://" in data else source.relative_to(tables.PROJECT).as_posix()
    target = tables.PROJECT / source.name
    if target.exists() and not filecmp.cmp(source, target, shallow=False):
        raise UserError(f"table: another {target.name} stands beside MLproject; rename one")
    print(f"{source} is copied to {shutil.copy(source, target)}", file=sys.stderr)
    return target.name


def write_declarations(data, lines, X, keep):
    """Put the declarations into wine/dataset.py, MLproject and predict.csv."""
    source, menu = Path(dataset.__file__), tables.PROJECT / "MLproject"
    text, n_blocks = re.subn(BLOCK, lambda _: lines, source.read_text(encoding="utf-8"))
    if not n_blocks:
        raise UserError("wine/dataset.py: no lines from `NOUN = ` to `HAS_LABELS = `")
    write(source, text, keep)
    default = f"default: {json.dumps(data, ensure_ascii=False)}}}"
    pattern = r"(?m)(?<=\bdata: \{type: string, )default: .*\}$"
    text = re.sub(pattern, lambda _: default, menu.read_text(encoding="utf-8"))
    write(menu, text, keep)
    rows = X.sample(min(20, len(X)), random_state=42).sort_index()
    write(tables.PROJECT / "predict.csv", rows.to_csv(index=False, lineterminator="\n"), keep)


def main():
    """Read the arguments; print the declarations, and write them if so asked."""
    parser, flags = cli.Parser(__doc__), {"--write", "--copy"} & {*sys.argv}
    parser.require("table", str, "path or URL of a CSV or Parquet file")
    parser.require("target", str, "name of the column to predict")
    table, target = parser.read([each for each in sys.argv[1:] if each not in flags]).values()
    if "--copy" in flags:
        copies.check()
    declarations, left_out, notes, X = propose(table, target)
    declarations["DATA"] = place(table) if flags else table
    entry_point = "classifier" if target in declarations["CATEGORIES"] else "boosting"
    print(lines := block(declarations, left_out), end="", flush=True)
    for name, (kind, why, *_) in left_out.items():
        print(f"left out: {name!r}, {kind}: {why}", file=sys.stderr)
    for note in notes:
        print(note if note.startswith("found") else f"decide: {note}", file=sys.stderr)
    if flags:
        write_declarations(declarations["DATA"], lines, X, "--copy" not in flags)
    if "--copy" in flags:
        copies.make(declarations["DATA"], lines, entry_point)
    print(f"mlflow run . -e {entry_point} --env-manager local", file=sys.stderr)


if __name__ == "__main__":
    process.run(main)
