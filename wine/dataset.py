"""The dataset: its columns, and how a table is read, prepared and split."""

import collections
import io
import sys

from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit, KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, TargetEncoder

import numpy as np
import pandas as pd

from wine import UserError, tables

# A copy of the project for another table changes these, by hand or by extras/declare.py.
NOUN = "wine"  # what one row of the table is, in the singular
DATA = "wine-quality.csv"
FEATURES = [
    "fixed acidity",
    "volatile acidity",
    "citric acid",
    "residual sugar",
    "chlorides",
    "free sulfur dioxide",
    "total sulfur dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
]
TARGET = "quality"
TARGET_SCALE = "from 0 to 10"  # the unit of the target, for the axes of the plots
CATEGORIES = []  # those of these columns that hold texts
MISSING = []  # the texts that stand for a value that nobody knows: "" is an empty cell
IDENTICAL_ROWS_ARE_COPIES = True  # of one wine, or else different wines that measure the same
GROUP = ""  # a column, such as a patient: its rows are on one side of the split, and in one fold
TIME = ""  # a column of dates or numbers: the last rows are the test set, and folds go forward

HAS_LABELS = TARGET in CATEGORIES  # The classifier predicts these texts.
MAX_LABELS = 100
MAX_ONE_HOT = 40  # A column of more texts becomes one number: their mean target.


# A table split for training and testing. X_train, X_test: DataFrames of the features as they were
# measured, float64 or texts, shapes (n_train, n_features) and (n_test, n_features). y_train,
# y_test: Series of what is to be predicted, numbers or texts. groups: a Series with the group of
# each row of the table, as `hash_groups` returns it. unseen: an ndarray of bool, True for each test
# row that `find_unseen` finds beside the training rows. params: a dict of the split's parameters,
# named so that no estimator has the same.
Split = collections.namedtuple("Split", "X_train X_test y_train y_test groups unseen params")


def count(n, kind=""):
    """Return a number of rows in words, for instance 1 wine or 20 test wines."""
    return f"{n} {kind} {NOUN}{'' if n == 1 else 's'}".replace("  ", " ")


def load(data):
    """Read and check a table, which is at a path or a URL.

    Returns
    -------
    DataFrame, shape (n_rows, n_features + 1)
        `FEATURES` in their order as float64, or as texts where they are in `CATEGORIES`: as a
        category if there are more than `MAX_ONE_HOT`. Then `TARGET`, as int64 if all its values are
        whole numbers, and `GROUP` and `TIME`, by which the rows are sorted. Rows without a target
        are left out.

    Raises
    ------
    UserError
        If the table cannot be read, lacks a column or has it twice, has a cell that is not what its
        column holds, or a column of too many different texts.

    Examples
    --------
    >>> load(DATA)[["alcohol", "quality"]].head(2)
       alcohol  quality
    0      8.8        6
    1      9.5        6
    """
    names = [*FEATURES, TARGET, *filter(None, (GROUP, TIME))]
    if unknown := [name for name in CATEGORIES if name not in names]:
        raise UserError(f"CATEGORIES: received {unknown[0]!r}, allowed are FEATURES and TARGET")
    if twice := [name for name, n in collections.Counter(names).items() if n > 1]:
        raise UserError(f"FEATURES, TARGET, GROUP, TIME: received {twice[0]!r} twice")
    if GROUP and TIME:
        raise UserError("GROUP, TIME: received both, allowed is one of them")
    texts = {*CATEGORIES, GROUP, TIME}
    columns = [tables.Column(name, name in texts, tuple(MISSING)) for name in names]
    source = tables.Table(data, "data", columns)
    table = source.read()
    if form := source.describe():
        print(f"data: {data} is read as: {form}", file=sys.stderr)
    for name in CATEGORIES:
        _check_texts(table, name, data)
    if TIME:
        table[TIME] = _to_times(table[TIME], data)
        table = table.sort_values(TIME, kind="stable", ignore_index=True)
    if n_missing := table[TARGET].isna().sum():
        table = table.dropna(subset=TARGET, ignore_index=True)
        print(f"data: {count(n_missing)} without {TARGET} left out of {data}", file=sys.stderr)
    target = table[TARGET]
    if not HAS_LABELS and (target % 1 == 0).all() and target.abs().max() <= tables.MAX_INTEGER:
        table[TARGET] = target.astype("int64")
    return table


def _check_texts(table, name, data):
    """Refuse a column of too many texts, and make one of many a category."""
    texts = table[name].dropna().drop_duplicates()
    most = MAX_LABELS if name == TARGET else max(MAX_LABELS, len(table) // 2)
    if len(texts) > most:
        received = f"column {name!r} of {data} has {len(texts)} different texts"
        hint = "a name, an ID or free text cannot be a category"
        raise UserError(f"data: {received}, allowed are up to {most}: {hint}")
    if name == TARGET:
        return
    # pandas takes words such as NA and None for missing values, and MLflow reads CSV by pandas.
    read = pd.read_csv(io.StringIO(texts.to_csv(index=False)), dtype=str).iloc[:, 0]
    if len(words := texts[read.isna().to_numpy()]):
        reads = "which MLflow reads as an empty cell of a CSV file; the model refuses it there"
        print(f"data: column {name!r} has the text {words.iloc[0]!r}, {reads}", file=sys.stderr)
    if len(texts) > MAX_ONE_HOT:
        table[name] = table[name].astype("category")


def _to_times(texts, data):
    """Return texts as numbers or as dates."""
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.notna().all():
        return numbers
    forms = ("ISO8601", "%d/%m/%Y", "%m/%d/%Y")
    read = [pd.to_datetime(texts, errors="coerce", format=form, utc=True) for form in forms]
    # Where no day is after the twelfth, both orders of day and month fit.
    fitting = [dates for dates in read if dates.notna().all()]
    if len(fitting) != 1:
        received = f"column {TIME!r} of {data}: received {texts[read[0].isna()].iloc[0]!r}"
        dates = "2026-11-28, or 28/11/2026 if it is plain which is the month"
        raise UserError(f"data: {received}, allowed are numbers, or dates such as {dates}")
    return fitting[0]


def pipeline(*steps, takes_missing=False):
    """Make the estimator of a script, with the preparation of the columns that need one.

    Texts become a column of zeros and ones for each of them, and a text that training has not seen
    is all zeros; where there are more than `MAX_ONE_HOT`, each becomes its mean target. Of what is
    declared in `MISSING`, a missing text is one more text, and a missing number becomes the median
    of its column. Otherwise, the estimator refuses a missing value.

    Parameters
    ----------
    *steps : scikit-learn transformers, and an estimator as the last one
        They take numbers.
    takes_missing : bool, optional
        Whether they take missing numbers, too, which then stay as they are.

    Returns
    -------
    scikit-learn estimator
        The only step itself, or a Pipeline. It takes a DataFrame with the columns `FEATURES`.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> pipeline(Ridge())
    Ridge()
    """
    texts = [name for name in FEATURES if name in CATEGORIES]
    if not texts and not MISSING:
        return make_pipeline(*steps) if len(steps) > 1 else steps[0]
    # A missing text is NaN in a table, and null in a request to a server. No text is "", so that
    # this imputer replaces nothing, and refuses NaN.
    impute = [
        SimpleImputer(missing_values=missing, strategy="constant", fill_value="missing")
        for missing in ((np.nan, None) if MISSING else ("",))
    ]
    few = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    kind = "auto" if is_classifier(steps[-1]) else "continuous"
    many = TargetEncoder(target_type=kind, cv=KFold(5, shuffle=True, random_state=42))
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    imputer = "passthrough" if takes_missing or not MISSING else median
    numbers = [name for name in FEATURES if name not in texts]
    prepare = ColumnTransformer(
        [
            ("numbers", imputer, numbers),
            ("few", make_pipeline(*impute, few), make_column_selector(dtype_include=["str"])),
            ("many", make_pipeline(*impute, many), make_column_selector(dtype_include="category")),
        ],
        verbose_feature_names_out=False,
    )
    return make_pipeline(prepare, *steps)


def classes(table, threshold, name):
    """Return the classes that a classifier predicts, as int64: 1 from a value of `TARGET` on.

    The Series has the name of the class 1, and its `attrs` hold what 1 means. If `TARGET` is in
    `CATEGORIES`, it is returned as it is.

    Examples
    --------
    >>> classes(pd.DataFrame({TARGET: [5, 7, 9]}), 7, "good").to_list()
    [0, 1, 1]
    """
    if HAS_LABELS:
        return table[TARGET]
    y = (table[TARGET] >= threshold).astype("int64").rename(name)
    y.attrs["meaning"] = f"{TARGET} {threshold} or more"
    return y


def hash_groups(table):
    """Return a hash of each row, as uint64, which is the same for the rows of a group.

    Without a `GROUP`, the rows with the same features are a group. If `IDENTICAL_ROWS_ARE_COPIES`
    is False, the second of these has another hash than the first, and so on: a table to which rows
    were added keeps its hashes.

    Examples
    --------
    >>> hash_groups(load(DATA).head(100)).duplicated().sum()
    np.int64(15)
    """
    hashes = pd.util.hash_pandas_object(table[[GROUP] if GROUP else FEATURES], index=False)
    if GROUP or IDENTICAL_ROWS_ARE_COPIES:
        return hashes
    repeats = hashes.groupby(hashes).cumcount()
    return pd.util.hash_pandas_object(pd.DataFrame({"row": hashes, "repeat": repeats}), index=False)


def find_unseen(groups, seen):
    """Tell which rows are in none of the groups seen; of identical rows, only the first one is."""
    return (~groups.isin(seen) & (bool(GROUP) | ~groups.duplicated())).to_numpy()


def split_table(table, y=None, *, test_size=0.25, random_state=40):
    """Split a table, as `load` returns it, for training and testing.

    Parameters
    ----------
    table : DataFrame, shape (n_rows, n_features + 1)
    y : Series, shape (n_rows,), optional
        What is to be predicted. By default, it is the table's target.
    test_size, random_state : float and int, optional
        Share of the test rows, and seed of the shuffle. The defaults are those of MLflow's own
        tutorials on this table. With `GROUP`, whole groups are shuffled; with `TIME`, the last rows
        are for the test.

    Returns
    -------
    Split

    Raises
    ------
    UserError
        If fewer than two rows would be left on either side, or no two different values of `y`.

    Examples
    --------
    >>> split = split_table(load(DATA))
    >>> split.X_train.shape, split.X_test.shape, int(split.unseen.sum())
    ((3673, 11), (1225, 11), 845)
    """
    if y is None and HAS_LABELS:
        only = "whose texts only a classifier predicts"
        raise UserError(f"data: the column {TARGET!r} is in CATEGORIES, {only}")
    y = table[TARGET] if y is None else y
    if min(len(table) * test_size, len(table) * (1 - test_size)) <= 1:
        allowed = f"{int(1 / test_size) + 1} or more, as {test_size:.0%} are kept for the test"
        raise UserError(f"data: received {count(len(table))}, allowed are {allowed}")
    X, groups, positions = table[FEATURES], hash_groups(table), np.arange(len(table))
    options = {"test_size": test_size, "random_state": random_state}
    if GROUP:
        train, test = next(GroupShuffleSplit(1, **options).split(positions, groups=groups))
    else:
        train, test = train_test_split(positions, shuffle=not TIME, **options)
    if HAS_LABELS and not (known := y.iloc[test].isin(y.iloc[train]).to_numpy()).all():
        why = f"whose {TARGET} no training row has, for instance {y.iloc[test[~known][0]]!r}"
        print(f"data: {count((~known).sum(), 'test')} left out, {why}", file=sys.stderr)
        test = test[known]
    y_train, y_test, meaning = y.iloc[train], y.iloc[test], y.attrs.get("meaning")
    hint = f"; 1 is {meaning} by TARGET_THRESHOLD, and labels are for CATEGORIES" if meaning else ""
    for kind, values in (("training", y_train), ("test", y_test)):
        if values.nunique() < 2:
            only = f"{count(len(values), kind)}, all with the same {y.name}"
            raise UserError(
                f"data: received {only}, allowed are at least two different values{hint}"
            )
    unseen = find_unseen(groups.iloc[test], groups.iloc[train])
    params = {"test_size": test_size, "split_random_state": random_state}
    params |= {"split_by": GROUP or TIME} if GROUP or TIME else {}
    return Split(X.iloc[train], X.iloc[test], y_train, y_test, groups, unseen, params)
