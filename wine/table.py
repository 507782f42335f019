"""The table of wines: its columns, how it is read and checked, and how it is split."""

import textwrap
from pathlib import Path
from typing import NamedTuple

from sklearn.model_selection import train_test_split

import numpy as np
import pandas as pd

from wine import Refusal

MEASUREMENTS = [
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
QUALITY = "quality"
PROJECT = Path(__file__).resolve().parent.parent


class Split(NamedTuple):
    """Wines to train on and wines to judge by.

    Attributes
    ----------
    X_train, X_test : DataFrame of float64, shapes (n_train, 11) and (n_test, 11)
        The raw measurements.
    y_train, y_test : Series of int64, shapes (n_train,) and (n_test,)
        What is to be predicted.
    unseen : ndarray of bool, shape (n_test,)
        True for the test wines of which the training wines hold no identical copy.
    grades : Series of int64, indexed by quality
        How many wines of each quality the whole table holds, from the lowest quality up.
    test_size, random_state : float, int
        How the wines were split.
    """

    X_train: pd.DataFrame
    X_test: pd.DataFrame
    y_train: pd.Series
    y_test: pd.Series
    unseen: np.ndarray
    grades: pd.Series
    test_size: float
    random_state: int


def locate(data):
    """Return where a table is: a URL or an absolute path as it is, else an absolute path.

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
    if "://" in data or Path(data).exists():
        return data if "://" in data else str(Path(data).resolve())
    return str(PROJECT / data)


def read(data):
    """Read and check a table of wines.

    Parameters
    ----------
    data : str
        Path or URL of a CSV file (commas, one header line), compressed or not.

    Returns
    -------
    DataFrame, shape (n_wines, 12)
        The measurements as float64, in the order of `MEASUREMENTS`, then `quality` as int64.

    Raises
    ------
    Refusal
        If the table is not there, is not one, lacks a column or has it twice, or has a cell that
        is not a finite number (for `quality`: a whole number).
    """
    where = locate(data)
    if "://" not in where and not Path(where).is_file():
        raise Refusal(
            f"data: received {data!r}, no such file in {Path.cwd()} or {PROJECT}; "
            "allowed is the path or the URL of a CSV file"
        )
    try:  # the header is read as a row like any other: pandas would rename a column given twice
        cells = pd.read_csv(where, header=None, dtype=str, na_filter=False)
    except Exception as error:  # whatever a file system, a web server or the parser may raise
        reason = textwrap.shorten(str(error) or type(error).__name__, 200)
        raise Refusal(f"data: {data} cannot be read as a CSV file: {reason}") from error

    header = list(cells.iloc[0])
    shown = textwrap.shorten(", ".join(header), 300)
    if len(header) == 1 and ";" in header[0]:
        raise Refusal(f"data: {data} is separated by ';', allowed is ','; received {shown}")
    for column in [*MEASUREMENTS, QUALITY]:
        if header.count(column) != 1:
            wrong = "is missing" if column not in header else "stands there more than once"
            raise Refusal(
                f"data: column {column!r} {wrong} in {data}; received {shown}; "
                f"needed are {', '.join([*MEASUREMENTS, QUALITY])}"
            )

    cells = cells.iloc[1:].set_axis(header, axis="columns")[[*MEASUREMENTS, QUALITY]]
    wines = cells.apply(pd.to_numeric, errors="coerce").astype("float64")
    wrong = ~np.isfinite(wines.to_numpy())
    wrong[:, -1] |= wines[QUALITY].to_numpy() % 1 != 0
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        allowed = "a finite number" if column < len(MEASUREMENTS) else "a whole number"
        raise Refusal(
            f"data: column {wines.columns[column]!r}, row {row + 1} of {data}: "
            f"received {cells.iat[row, column]!r}, allowed is {allowed}"
        )
    return wines.reset_index(drop=True).astype({QUALITY: "int64"})


def split(wines, y, *, test_size, random_state):
    """Split wines into those to train on and those to judge by.

    Parameters
    ----------
    wines : DataFrame, shape (n_wines, 12)
        As `read` returns them.
    y : Series, shape (n_wines,)
        What is to be predicted.
    test_size : float
        Share of the test wines, between 0 and 1.
    random_state : int
        Seed of the shuffle.

    Returns
    -------
    Split

    Raises
    ------
    Refusal
        If fewer than two wines would be left on either side, or no two different values of `y`.
    """
    if min(len(wines) * test_size, len(wines) * (1 - test_size)) <= 1:
        raise Refusal(
            f"data: received {len(wines)} wines, allowed are {int(1 / test_size) + 1} or more, "
            f"as {test_size:.0%} of them are kept for the test"
        )
    X_train, X_test, y_train, y_test = train_test_split(
        wines[MEASUREMENTS], y, test_size=test_size, random_state=random_state
    )
    for part, values in (("training", y_train), ("test", y_test)):
        if values.nunique() == 1:
            raise Refusal(
                f"data: received {len(values)} {part} wines with {y.name} {values.iloc[0]} only, "
                "allowed are at least two different values"
            )
    seen = pd.MultiIndex.from_frame(X_train.assign(**{y.name: y_train}))
    unseen = ~pd.MultiIndex.from_frame(X_test.assign(**{y.name: y_test})).isin(seen)
    grades = wines[QUALITY].value_counts().sort_index()
    return Split(X_train, X_test, y_train, y_test, unseen, grades, test_size, random_state)
