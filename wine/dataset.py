"""The dataset: its columns, and how a table is read, prepared and split."""

import sys
from typing import NamedTuple

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import numpy as np
import pandas as pd

from wine import UserError, tables

# A copy of the project for another table changes these; see docs/make-it-yours.rst.
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

HAS_LABELS = TARGET in CATEGORIES  # The classifier predicts these texts.
MAX_CATEGORIES = 100  # A column with more different texts is a name, an ID or free text.


class Split(NamedTuple):
    """A table split for training and testing.

    Attributes
    ----------
    X_train, X_test : DataFrame, shapes (n_train, n_features) and (n_test, n_features)
        The features as they were measured: float64, or texts.
    y_train, y_test : Series, shapes (n_train,) and (n_test,)
        What is to be predicted: numbers, or texts.
    unseen : ndarray of bool, shape (n_test,)
        True for each test row of which neither the training rows nor the test rows before it hold
        an identical copy.
    train_hashes : ndarray of uint64, shape (n_train,)
        A hash of each training row, as `hash_rows` returns it.
    target_counts : Series of int64, indexed by the target's values
        How many rows of the whole table have each value, from the lowest value up.
    test_size : float
        Share of the test rows.
    random_state : int
        Seed of the shuffle.
    """

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: pd.Series
    y_test: pd.Series
    unseen: np.ndarray
    train_hashes: np.ndarray
    target_counts: pd.Series
    test_size: float
    random_state: int

    def get_params(self):
        """Return the parameters of the split, named so that no estimator has the same."""
        return {"test_size": self.test_size, "split_random_state": self.random_state}


def count(n, kind=""):
    """Return a number of rows in words.

    Examples
    --------
    >>> count(1), count(20, "test")
    ('1 wine', '20 test wines')
    """
    return f"{n} {kind} {NOUN}{'' if n == 1 else 's'}".replace("  ", " ")


def load(data):
    """Read and check a table.

    Parameters
    ----------
    data : str
        Path or URL of a CSV or Parquet file.

    Returns
    -------
    DataFrame, shape (n_rows, n_features + 1)
        `FEATURES` in their order as float64, or as texts where they are in `CATEGORIES`; then
        `TARGET`, as int64 if all its values are whole numbers. Rows without a target are left out.

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
    names = [*FEATURES, TARGET]
    if unknown := [name for name in CATEGORIES if name not in names]:
        raise UserError(
            f"CATEGORIES: received {unknown[0]!r}, allowed are names in FEATURES, and TARGET"
        )
    if TARGET in FEATURES:
        raise UserError(f"TARGET: received {TARGET!r}, which is among FEATURES; it is one or other")
    columns = [tables.Column(name, name in CATEGORIES, tuple(MISSING)) for name in names]
    source = tables.Table(data, "data", columns)
    table = source.read()
    if form := source.describe():
        print(f"data: {data} is read as: {form}", file=sys.stderr)
    for name in CATEGORIES:
        if (n_texts := table[name].nunique()) > MAX_CATEGORIES:
            raise UserError(
                f"data: column {name!r} of {data} has {n_texts} different texts, allowed are up to "
                f"{MAX_CATEGORIES}: a name, an ID or free text cannot be a category"
            )
    if n_missing := table[TARGET].isna().sum():
        table = table.dropna(subset=TARGET, ignore_index=True)
        print(f"data: {count(n_missing)} without {TARGET} left out of {data}", file=sys.stderr)
    target = table[TARGET]
    if not HAS_LABELS and (target % 1 == 0).all() and target.abs().max() <= tables.MAX_INTEGER:
        table[TARGET] = target.astype("int64")
    return table


def pipeline(*steps):
    """Make the estimator of a script, with the preparation of the columns that need one.

    Texts become a column of zeros and ones for each category, and a missing value one more; a text
    that training has not seen is all zeros. A missing number becomes the median of the column.

    Parameters
    ----------
    *steps : scikit-learn transformers, and an estimator as the last one
        They take numbers.

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
    # A missing text is NaN in a table, and null in a request to a server.
    known = [
        SimpleImputer(missing_values=missing, strategy="constant", fill_value="missing")
        for missing in (np.nan, None)
    ]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    numbers = [name for name in FEATURES if name not in texts]
    prepare = ColumnTransformer(
        [
            ("numbers", imputer if MISSING else "passthrough", numbers),
            ("texts", make_pipeline(*known, encoder), texts),
        ],
        verbose_feature_names_out=False,
    )
    return make_pipeline(prepare, *steps)


def classes(table, threshold, name):
    """Return the classes that a classifier predicts.

    Parameters
    ----------
    table : DataFrame, shape (n_rows, n_features + 1)
        The table as `load` returns it.
    threshold : float
        The value of `TARGET` from which on a row is in the class 1, otherwise in the class 0.
    name : str
        The name of the class 1.

    Returns
    -------
    Series, shape (n_rows,)
        The classes as int64; or `TARGET` as it is, if it is in `CATEGORIES`.

    Examples
    --------
    >>> classes(pd.DataFrame({TARGET: [5, 7, 9]}), 7, "good").to_list()
    [0, 1, 1]
    """
    if HAS_LABELS:
        return table[TARGET]
    return (table[TARGET] >= threshold).astype("int64").rename(name)


def hash_rows(X):
    """Hash rows, so that those with the same values have the same hash.

    Parameters
    ----------
    X : DataFrame, shape (n_rows, n_features)
        The rows.

    Returns
    -------
    Series of uint64, shape (n_rows,)
        With the index of `X`. If `IDENTICAL_ROWS_ARE_COPIES` is False, the second of the rows with
        the same values has another hash than the first, and so on: a table to which rows were
        added keeps its hashes.

    Examples
    --------
    >>> hash_rows(pd.DataFrame({"alcohol": [9.5, 12.0, 9.5]})).duplicated().to_list()
    [False, False, True]
    """
    hashes = pd.util.hash_pandas_object(X, index=False)
    if IDENTICAL_ROWS_ARE_COPIES:
        return hashes
    repeats = hashes.groupby(hashes).cumcount()
    return pd.util.hash_pandas_object(pd.DataFrame({"row": hashes, "repeat": repeats}), index=False)


def split_table(table, y=None, *, test_size=0.25, random_state=40):
    """Split a table for training and testing.

    Parameters
    ----------
    table : DataFrame, shape (n_rows, n_features + 1)
        The table as `load` returns it.
    y : Series, shape (n_rows,), optional
        What is to be predicted. By default, it is the table's target.
    test_size : float, optional
        Share of the test rows, between 0 and 1. The default is that of MLflow's own tutorials on
        this table.
    random_state : int, optional
        Seed of the shuffle; the default is that of MLflow's tutorials, too.

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
        raise UserError(
            f"data: the column {TARGET!r} is in CATEGORIES, whose texts only a classifier predicts"
        )
    y = table[TARGET] if y is None else y
    if min(len(table) * test_size, len(table) * (1 - test_size)) <= 1:
        raise UserError(
            f"data: received {count(len(table))}, allowed are {int(1 / test_size) + 1} or more, "
            f"as {test_size:.0%} of them are kept for the test"
        )
    X = table[FEATURES]
    X_train, X_test, y_train, y_test, train_hashes, test_hashes = train_test_split(
        X, y, hash_rows(X), test_size=test_size, random_state=random_state
    )
    for kind, values in (("training", y_train), ("test", y_test)):
        if values.nunique() == 1:
            raise UserError(
                f"data: received {count(len(values), kind)} with {y.name} {values.iloc[0]} only, "
                "allowed are at least two different values"
            )
    unseen = ~(test_hashes.isin(train_hashes) | test_hashes.duplicated()).to_numpy()
    target_counts = table[TARGET].value_counts().sort_index()
    return Split(
        *(X_train, X_test, y_train, y_test, unseen, train_hashes.to_numpy()),
        *(target_counts, test_size, random_state),
    )
