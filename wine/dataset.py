"""The dataset: its columns, how a table is read and checked, and how it is split."""

import sys
from typing import NamedTuple

from sklearn.model_selection import train_test_split

import numpy as np
import pandas as pd

from wine import UserError, rows, tables

# A copy of the project for another table changes these five; see docs/make-it-yours.rst.
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


class Split(NamedTuple):
    """A table split for training and testing.

    Attributes
    ----------
    X_train, X_test : DataFrame of float64, shapes (n_train, n_features), (n_test, n_features)
        The features as they were measured.
    y_train, y_test : Series of int64, shapes (n_train,) and (n_test,)
        What is to be predicted.
    unseen : ndarray of bool, shape (n_test,)
        True for each test row of which the training rows hold no identical copy.
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
    target_counts: pd.Series
    test_size: float
    random_state: int

    def get_params(self):
        """Return the parameters of the split, named so that no estimator has the same."""
        return {"test_size": self.test_size, "split_random_state": self.random_state}


def count(n, kind=""):
    """Return a number of rows in words.

    Parameters
    ----------
    n : int
        The number.
    kind : str, optional
        What kind of rows they are.

    Returns
    -------
    str

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
        Path or URL of a CSV or Parquet file, compressed or not.

    Returns
    -------
    DataFrame, shape (n_rows, n_features + 1)
        `FEATURES` in their order as float64, then `TARGET` as int64.

    Raises
    ------
    UserError
        If the table is not found, is neither CSV nor Parquet, lacks a column or has it twice, or
        has a cell that is not a finite number (for the target: a whole number), or is too large.

    Examples
    --------
    >>> load(DATA)[["alcohol", "quality"]].head(2)
       alcohol  quality
    0      8.8        6
    1      9.5        6
    """
    target = rows.Column(TARGET, rows.MAX_INTEGER, whole=True)
    table = tables.Table(data, "data", [*map(rows.Column, FEATURES), target])
    values = table.read()
    if form := table.describe():
        print(f"data: {data} is read as: {form}", file=sys.stderr)
    return pd.DataFrame(values, columns=[*FEATURES, TARGET]).astype({TARGET: "int64"})


def split(table, y=None, *, test_size=0.25, random_state=40):
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
    >>> parts = split(load(DATA))
    >>> parts.X_train.shape, parts.X_test.shape, int(parts.unseen.sum())
    ((3673, 11), (1225, 11), 886)
    """
    y = table[TARGET] if y is None else y
    if min(len(table) * test_size, len(table) * (1 - test_size)) <= 1:
        raise UserError(
            f"data: received {count(len(table))}, allowed are {int(1 / test_size) + 1} or more, "
            f"as {test_size:.0%} of them are kept for the test"
        )
    X_train, X_test, y_train, y_test = train_test_split(
        table[FEATURES], y, test_size=test_size, random_state=random_state
    )
    for kind, values in (("training", y_train), ("test", y_test)):
        if values.nunique() == 1:
            raise UserError(
                f"data: received {count(len(values), kind)} with {y.name} {values.iloc[0]} only, "
                "allowed are at least two different values"
            )
    seen = pd.MultiIndex.from_frame(X_train.assign(**{y.name: y_train}))
    unseen = ~pd.MultiIndex.from_frame(X_test.assign(**{y.name: y_test})).isin(seen)
    target_counts = table[TARGET].value_counts().sort_index()
    return Split(X_train, X_test, y_train, y_test, unseen, target_counts, test_size, random_state)
