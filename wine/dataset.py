"""The dataset: its columns, how a table is read and checked, and how it is split."""

import os
import socket
import textwrap
from pathlib import Path
from typing import NamedTuple

from sklearn.model_selection import train_test_split

import numpy as np
import pandas as pd

from wine import UserError

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

# scikit-learn's trees compute with 32 bits, whose largest number is 3.4e38; a scaler may divide by
# a small number before that. A float64 holds each whole number below 2**53.
MAX_FEATURE, MAX_TARGET = 1e30, 2**53 - 1
DOWNLOAD_TIMEOUT = 60  # seconds without a byte, after which pandas by itself would wait for ever

PROJECT = Path(__file__).resolve().parent.parent


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


def locate(data):
    """Return where a table is: a URL as it is, a path as an absolute one.

    A relative path is looked for in the working directory, then beside the scripts, so that the
    project's own table is found from any folder.

    Parameters
    ----------
    data : str
        Path or URL.

    Returns
    -------
    str
    """
    if "://" in data:
        return data
    # os.path.exists is False for a name that is too long, while Path.exists may raise an error.
    return str(Path(data).resolve() if os.path.exists(data) else PROJECT / data)


def load(data):
    """Read and check a table.

    Parameters
    ----------
    data : str
        Path or URL of a CSV file (commas, one header line), compressed or not.

    Returns
    -------
    DataFrame, shape (n_rows, n_features + 1)
        `FEATURES` in their order as float64, then `TARGET` as int64.

    Raises
    ------
    UserError
        If the table is not found, is not a CSV file, lacks a column or has it twice, or has a cell
        that is not a finite number (for the target: a whole number), or is too large.

    Examples
    --------
    >>> load(DATA)[["alcohol", "quality"]].head(2)
       alcohol  quality
    0      8.8        6
    1      9.5        6
    """
    where = locate(data)
    if "://" not in where and not os.path.isfile(where):
        raise UserError(
            f"data: received {data!r}, no such file in {Path.cwd()} or {PROJECT}; "
            "allowed is the path or the URL of a CSV file"
        )
    before = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        # The header is read as a row like any other, as pandas would rename a repeated column.
        cells = pd.read_csv(where, header=None, dtype=str, na_filter=False)
    except Exception as error:  # File systems, web servers and the parser raise errors of any kind.
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        raise UserError(f"data: {data} cannot be read as a CSV file: {reason}") from error
    finally:
        socket.setdefaulttimeout(before)

    columns = [*FEATURES, TARGET]
    header = list(cells.iloc[0])
    received = textwrap.shorten(", ".join(header), 300)
    if len(header) == 1 and ";" in header[0]:
        raise UserError(f"data: {data} is separated by ';', allowed is ','; received {received}")
    for column in columns:
        if header.count(column) != 1:
            reason = "is missing" if column not in header else "stands there more than once"
            raise UserError(
                f"data: column {column!r} {reason} in {data}; received {received}; "
                f"needed are {', '.join(columns)}"
            )

    cells = cells.iloc[1:].set_axis(header, axis="columns")[columns]
    table = cells.apply(pd.to_numeric, errors="coerce").astype("float64")
    values = table.to_numpy()
    too_large = np.abs(values) > [*[MAX_FEATURE] * len(FEATURES), MAX_TARGET]
    invalid = ~np.isfinite(values) | too_large
    invalid[:, -1] |= values[:, -1] % 1 != 0
    if invalid.any():
        row, column = np.argwhere(invalid)[0]
        allowed = "a whole number" if columns[column] == TARGET else "a finite number"
        if too_large[row, column] and np.isfinite(values[row, column]):
            limit = MAX_TARGET if columns[column] == TARGET else "1e30"
            allowed += f" from -{limit} to {limit}"
        raise UserError(
            f"data: column {columns[column]!r}, row {row + 1} of {data}: "
            f"received {cells.iat[row, column]!r}, allowed is {allowed}"
        )
    return table.reset_index(drop=True).astype({TARGET: "int64"})


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
