"""The columns of a table that nobody has declared yet: what they hold, and what gives them away."""

import re

from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

import pandas as pd

from wine import tables

FEW, LEAK = 20, 0.999
# What pandas takes for empty where a server reads CSV, and a usual sign.
WORD = r"NA|N/A|n/a|-?NaN|-?nan|null|NULL|None|<NA>|#N/A|#NA|\?"
DATE = r"\d{4}[-/.]\d\d?([-/.]\d\d?)?([T ].*)?|\d\d?[-/.]\d\d?[-/.](\d{4}|\d\d)( .*)?|"
DATE += r"(?i:([a-z]+,? )?(\d+[ -])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[^\d]*\d.*)"
AMOUNT = r"[^\w\s]?\s?\d[\d.,\s]*\D*"  # $1,200 or 12% or 3.5 kg or <0.1
UNREADABLE = "date|time|duration|list|struct|map|binary"  # types of Parquet
ID = r"(?i:(.*[\W_])?(ids?|nbr|nr|key|uuid|index|rownames?|unnamed)([\W_\d].*)?)|.*[a-z]I[Dd]"
CODE = r"(?i:(.*[\W_])?(zip_?(code)?|postal|icd\w*|sku|fips|code)([\W_\d].*)?)|.*Code"
TIME = r"(?i)(.*[\W_])?(date|datetime|time|timestamp|year|month|week|day|hour|epoch)"
ACTOR = r"(?i)(subject|patient|person|user|customer|client|participant|player|student|employee|"
ACTOR += r"driver|household|animal|machine|device|engine|sensor|wafer|batch|lot|vehicle)"
ACTOR += r"[\W_]*(ids?|nbr|nr|no|num|number|name|code)?"


def read(data):
    """Return a table as texts, and the names of the columns that have none."""
    table = tables.Table(data, "data", [])
    kinds, form = {f.name: str(f.type) for f in table.schema}, table.form
    odd = {
        n for n, k in kinds.items() if re.match(UNREADABLE, k) or table.schema.names.count(n) > 1
    }
    read = tables.Table(
        data, "data", [tables.Column(n, True, ("",)) for n in kinds if n not in odd]
    )
    table = read.read()
    if form and form.delimiter != ",":
        table = table.replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)  # decimal commas
    return table, {name: ("unreadable", kinds[name], set(), 0) for name in odd}


def look(column):
    """Return of what kind a column is, why, its texts for a missing value, how many others."""
    counts = column.value_counts()
    texts, n_rows = pd.Series(counts.index, dtype="str"), counts.to_numpy()
    is_word, is_number = texts.str.fullmatch(WORD), texts.str.fullmatch(tables.NUMBER)
    odd = texts[~is_word & ~is_number]
    is_mostly_numbers = n_rows[is_number].sum() > 0.9 * n_rows[~is_word].sum()
    # A few words among many numbers, such as - or unknown, stand for a missing number.
    if is_mostly_numbers and len(odd) <= 5 and not odd.str.contains(r"\d").any():
        is_word = ~is_number
    missing = {*texts[is_word], *([""] if column.isna().any() else [])}
    values, n_known = texts[~is_word], n_rows[~is_word].sum()
    why = f"{len(values)} different values in {n_known} rows, {', '.join(values[:2])[:40]}..."
    return _find_kind(column, values, n_known, is_number[~is_word]), why, missing, len(values)


def _find_kind(column, values, n_known, is_number):
    """Return of which kind a column is that has these different values."""
    n, repeats, is_numbers = len(values), len(values) < 0.95 * n_known, is_number.all()
    named = {p: re.fullmatch(p, column.name) is not None for p in (ID, CODE, TIME, ACTOR)}
    numbers = pd.to_numeric(column, errors="coerce").dropna()
    rises = is_numbers and numbers.is_monotonic_increasing
    is_whole = values.str.fullmatch(r"[+-]?\d+").all()
    is_code = is_whole and (named[ID] or named[CODE]) or values.str.fullmatch(r"0\d+").any()
    is_amount = (is_number | values.str.fullmatch(AMOUNT)).mean() > 0.95
    n_signs = values.str.replace(r"[\d.,\s-]", "", regex=True).nunique()
    is_group = named[ACTOR] and n >= 5 or named[ID] and n > 30
    kinds = {
        "constant": n < 2,
        "date": not is_numbers and values.str.fullmatch(DATE).mean() > 0.95,
        "group": is_group and repeats and (is_whole or not is_numbers),
        "time": named[TIME] and rises and n > FEW,
        "identifier": is_whole and not repeats and (named[ID] or rises and numbers.max() < 10 * n),
        "number": is_numbers and not is_code,
        "amount with signs": not is_numbers and n > FEW and is_amount and n_signs <= 4,
        "identifier, name or free text": n > 0.5 * n_known or values.str.count(" ").mean() > 8,
    }
    return next((kind for kind, holds in kinds.items() if holds), "code" if is_numbers else "text")


def find_leaks(X, y, has_labels):
    """Yield what gives the target away, among features that are numbers."""
    half = len(X) // 2
    if half > FEW and has_labels:
        baseline = 1 - y[half:].value_counts(normalize=True).max()
        for name in X:
            tree = DecisionTreeClassifier(random_state=42).fit(X[[name]][:half], y[:half])
            if 1 - tree.score(X[[name]][half:], y[half:]) < (1 - LEAK) * baseline:
                yield f"{name!r} alone"
    elif half > FEW and X.shape[1]:
        alone = X.columns[X.corrwith(y, method="spearman") ** 2 > LEAK]
        yield from (f"{name!r} alone" for name in alone)
        line = LinearRegression().fit(X[:half], y[:half])
        if not len(alone) and X.shape[1] < half / 2 and line.score(X[half:], y[half:]) > LEAK:
            parts = abs(line.coef_ * X.std()) / y.std()
            yield f"a sum of {', '.join(parts[parts > 0.01].nlargest(5).index)}"


def find_splits(looks, notes):
    """Return the columns by which to split, GROUP and TIME, or ""."""
    groups = sorted((looks[n][3], n) for n in looks if looks[n][0] == "group")
    groups.sort(key=lambda g: re.fullmatch(ACTOR, g[1]) is not None)  # before a shop_id
    times = [n for n in looks if looks[n][0] in ("date", "time") and looks[n][3] > FEW]
    times = [n for n in times if not (looks[n][2] or re.search("(?i)birth|dob", n))]
    group, time = (groups or [("", "")])[-1][1], (times or [""])[0]
    if group:
        notes.append(f"GROUP = {group!r}: all rows of one stay on one side of the split")
    if time:
        instead = " instead of GROUP would make" if group else " makes"
        notes.append(f"TIME = {time!r}{instead} the last quarter by it the test set")
    return group, "" if group else time


def judge(X, y, has_labels, texts):
    """Yield what a person has to decide of the features and the target."""
    counts, known = y.value_counts(), y.dropna().index
    if has_labels and counts.min() < 0.1 * len(known):
        yield f"{counts.idxmin()!r} is rare: {counts.min()} of {len(known)} rows"
    if has_labels and (words := [each for each in counts.index if re.fullmatch(WORD, each)]):
        yield f"the label {words[0]!r} stands for a missing value elsewhere: give it another name"
    if not has_labels and len(counts) <= 10 and (counts.index % 1 == 0).all():
        yield f"the target has {len(counts)} whole numbers: if they are classes, see CATEGORIES"
    if (n_repeated := X.duplicated().sum()) > 0.01 * len(X):
        yield f"{n_repeated} rows repeat another: see IDENTICAL_ROWS_ARE_COPIES"
    sample = X.loc[known].sample(min(5000, len(known)), random_state=42)
    codes = {name: pd.factorize(sample[name])[0] for name in texts if has_labels}
    numbers = sample.drop(columns=texts)
    numbers = numbers.fillna(numbers.median()).fillna(0).assign(**codes)
    for leak in find_leaks(numbers, y[sample.index], has_labels):
        yield f"{leak} gives the target: take out of FEATURES what is known only after it"
