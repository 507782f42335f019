"""The columns of a table that nobody has declared yet: what they hold, and what gives them away."""

import collections
import re

from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

import pandas as pd

from wine import tables

FEW, LEAK, AMOUNTS = 20, 0.999, "amount with signs"
# What pandas takes for empty where a server reads CSV, and a usual sign.
WORD = r"NA|N/A|n/a|-?NaN|-?nan|null|NULL|None|<NA>|#N/A|#NA|\?"
DATE = r"\d{4}[-/.]\d\d?([-/.]\d\d?)?([T ].*)?|\d\d?[-/.]\d\d?[-/.](\d{4}|\d\d)( .*)?|"
DATE += r"(?i:([a-z]+,? )?(\d+[ -])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[^\d]*\d.*)"
AMOUNT = r"[^\w\s]?\s?\d[\d.,\s]*\D*"  # $1,200 or 12% or 3.5 kg or <0.1
UNREADABLE = "date|time|duration|list|struct|map|binary"  # types of Parquet
ID = r"(?i:(.*[\W_])?(ids?|nbr|nr|key|uuid|index|rownames?|unnamed)([\W_\d].*)?)|.*[a-z]I[Dd]"
TIME = r"(?i)(.*[\W_])?(date|datetime|time|timestamp|year|month|week|day|hour|epoch)"
ACTOR = r"(?i)(subject|patient|person|user|customer|client|player|student|employee|household|"
ACTOR += r"machine|device|sensor|wafer|batch|lot|vehicle)[\W_]*(ids?|nr|no|number|name|code)?"

# What a column holds: of what kind it is, why, whether its values are numbers, how many different
# ones there are, and the texts that stand for a missing one.
Look = collections.namedtuple("Look", "kind why is_number n_values missing")


def read(data, target):
    """Return a table as texts, the target's name in it, and the `Look` of what cannot be read."""
    opened = tables.Table(data, "target", [tables.Column(target, True)])
    schema, (target,) = opened.schema, opened.names
    kinds = {field.name: str(field.type) for field in schema}
    odd = {n for n in kinds if re.search(UNREADABLE, kinds[n]) or schema.names.count(n) > 1}
    columns = [tables.Column(name, True, ("",)) for name in kinds if name not in odd]
    source = tables.Table(data, "data", columns)
    table = source.read()
    if source.form and source.form.delimiter != ",":
        table = table.replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)  # decimal commas
    return table, target, {name: Look("unreadable", kinds[name], False, 0, set()) for name in odd}


def look(column):
    """Return the `Look` of a column of texts."""
    counts = column.value_counts()
    are_words, are_numbers = (counts.index.str.fullmatch(p) for p in (WORD, tables.NUMBER))
    odd = counts[~are_words & ~are_numbers]
    # A few words among many numbers, such as - or unknown, stand for a missing number.
    is_mostly_numbers = counts[are_numbers].sum() > 9 * odd.sum()
    if is_mostly_numbers and len(odd) <= 5 and not odd.index.str.contains(r"\d").any():
        are_words = ~are_numbers
    missing = {*counts.index[are_words], *([""] if column.isna().any() else [])}
    values, is_number = pd.Series(counts.index[~are_words]), bool(are_numbers[~are_words].all())
    n, n_rows = len(values), counts[~are_words].sum()
    named = {p: re.fullmatch(p, column.name) is not None for p in (ID, TIME, ACTOR)}
    numbers = pd.to_numeric(column, errors="coerce").dropna()
    rises, repeats = is_number and numbers.is_monotonic_increasing, n < 0.95 * n_rows
    is_whole, is_amount = (values.str.fullmatch(p).mean() > 0.95 for p in (r"[+-]?\d+", AMOUNT))
    n_signs = values.str.replace(r"[\d.,\s-]", "", regex=True).nunique()
    is_group = named[ACTOR] and n >= 5 or named[ID] and n > 30
    kinds = {
        "constant": n < 2,
        "date": not is_number and values.str.fullmatch(DATE).mean() > 0.95,
        "group": is_group and repeats and (is_whole or not is_number),
        "time": named[TIME] and rises and n > FEW,
        "identifier": is_whole and not repeats and (named[ID] or rises and numbers.max() < 10 * n),
        "code": is_number and values.str.fullmatch(r"0\d+").any(),
        "number": is_number,
        AMOUNTS: n > FEW and is_amount and n_signs <= 4,
        "identifier, name or free text": n > 0.5 * n_rows or values.str.count(" ").mean() > 8,
        "text": True,
    }
    kind = next(kind for kind, holds in kinds.items() if holds)
    why = f"{n} different values in {n_rows} rows, {', '.join(values[:2])[:40]}..."
    return Look(kind, why, is_number, n, missing)


def find_splits(looks):
    """Return the columns by which to split, GROUP and TIME, or "" where there is none."""
    groups = [name for name in looks if looks[name].kind == "group"]
    group = max(groups, key=lambda name: looks[name].n_values, default="")
    times = [n for n in looks if looks[n].kind in ("date", "time") and looks[n].n_values > FEW]
    times = [n for n in times if not (looks[n].missing or re.search("(?i)birth|dob", n))]
    return group, times[0] if times and not group else ""


def find_leaks(X, y):
    """Yield what gives a target of numbers or texts away, among features that are numbers."""
    half = len(X) // 2
    if half <= FEW or y.nunique() < 2:
        return
    if y.dtype == "str":
        baseline = 1 - y[half:].value_counts(normalize=True).max()
        for name in X:
            tree = DecisionTreeClassifier(random_state=42).fit(X[[name]][:half], y[:half])
            if 1 - tree.score(X[[name]][half:], y[half:]) < (1 - LEAK) * baseline:
                yield f"{name!r} alone"
        return
    alone = X.columns[X.corrwith(y, method="spearman") ** 2 > LEAK]
    yield from (f"{name!r} alone" for name in alone)
    line = LinearRegression().fit(X[:half], y[:half])
    if alone.empty and X.shape[1] < half / 2 and line.score(X[half:], y[half:]) > LEAK:
        parts = abs(line.coef_ * X.std()) / y.std()
        yield f"a sum of {', '.join(parts[parts > 0.01].nlargest(5).index)}"


def judge(X, y, texts):
    """Yield what a person has to decide of the features and of the target."""
    counts, known = y.value_counts(), y.dropna().index
    if y.dtype == "str" and counts.min() < 0.1 * len(known):
        yield f"{counts.idxmin()!r} is rare: {counts.min()} of {len(known)} rows"
    if y.dtype != "str" and len(counts) <= 10 and (counts.index % 1 == 0).all():
        yield f"the target has {len(counts)} whole numbers: if they are classes, see CATEGORIES"
    if (n_repeated := X.duplicated().sum()) > 0.01 * len(X):
        yield f"{n_repeated} rows repeat another: see IDENTICAL_ROWS_ARE_COPIES"
    sample = X.loc[known].sample(min(5000, len(known)), random_state=42)
    numbers = sample.assign(**{name: pd.factorize(sample[name])[0] for name in texts})
    for leak in find_leaks(numbers.fillna(numbers.median()).fillna(0), y[sample.index]):
        yield f"{leak} gives the target: take out of FEATURES what is known only after it"
