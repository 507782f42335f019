"""Rows: what a number in a table is, and why a row is invalid."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from wine.delimited import count_lines, split_cells

# scikit-learn's trees compute with 32 bits, whose largest number is 3.4e38; a scaler may divide by
# a small number before that. A float64 holds each whole number below 2**53.
MAX_NUMBER, MAX_INTEGER = 1e30, 2**53 - 1
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
MAX_RECEIVED = 200  # characters of a cell or a row that a message repeats


class Column(NamedTuple):
    """A column that is needed.

    Attributes
    ----------
    name : str
        Its name.
    is_text : bool
        Whether it holds texts; otherwise, it holds numbers.
    missing : tuple of str
        The texts that stand for a value that nobody knows; if there is one, a null does so, too.
    """

    name: str
    is_text: bool = False
    missing: tuple = ()

    @property
    def allowed(self):
        """What is allowed in a cell."""
        allowed = "is a text" if self.is_text else "is a finite number"
        return " or ".join([allowed, *map(repr, self.missing)])


class InvalidRow(NamedTuple):
    """A row that has not all the measurements that are needed.

    Attributes
    ----------
    number : int
        Its number in the file, from 1.
    column : str or None
        The first column in which something else stands; None if the number of cells is wrong.
    received : str
        The cell, or the row.
    allowed : str
        What is allowed in its place.
    n_lines : int
        The lines of the file that the row takes: a quoted cell may hold line ends.
    cells : list of str
        The row's cells, at most as many as there are columns. Those that lack are not filled up: of
        few rows below a header of many names, they would fill the memory.
    """

    number: int
    column: str | None
    received: str
    allowed: str
    n_lines: int
    cells: list

    @property
    def fault(self):
        """What is wrong, without the place."""
        received = self.received
        if len(received) > MAX_RECEIVED:
            received = f"{received[:MAX_RECEIVED]}..."
        n_lines = count_lines(self.received)
        more = f"; a quote holds {n_lines} lines of the file together" if n_lines > 1 else ""
        return f"received '{received}', allowed {self.allowed}{more}"

    @property
    def reason(self):
        """Why the row is invalid."""
        return f"column '{self.column}': {self.fault}" if self.column else self.fault


class Batch(NamedTuple):
    """Some rows of a table.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n_rows,)
        The numbers of the valid rows in the file, from 1.
    cells : pyarrow.RecordBatch, n_rows rows
        The cells of the valid rows: all texts if the file is CSV.
    X : DataFrame, shape (n_rows, n_columns)
        The columns that are needed, under the names that are needed: float64 or texts, NaN where a
        value is missing.
    invalid : list of InvalidRow
        The other rows.
    percent : int
        How much of the file these rows are.
    """

    numbers: np.ndarray
    cells: pa.RecordBatch
    X: pd.DataFrame
    invalid: list
    percent: int


def check(numbers, cells, malformed, percent, *, columns, positions, form, n_columns):
    """Separate the valid rows of a batch from the others.

    Parameters
    ----------
    numbers, cells, malformed, percent
        As `wine.delimited.DelimitedFile.batches` yields them.
    columns : list of Column
        The columns that are needed.
    positions : sequence of int
        Where these are in `cells`.
    form : wine.delimited.Form or None
        The form of a CSV file; None for a Parquet file.
    n_columns : int
        The number of columns in the file.

    Returns
    -------
    Batch
    """
    invalid = [
        InvalidRow(
            *(number, None, text, f"are {n_columns} cells", count_lines(text)),
            split_cells(text, form.delimiter)[:n_columns],
        )
        for number, text in malformed
    ]
    X, valid = {}, np.empty((len(columns), len(cells)), dtype=bool).T
    for n, (column, position) in enumerate(zip(columns, positions, strict=True)):
        X[column.name], valid[:, n] = _convert(cells.column(position), column, form)

    def explain(row, texts):
        first = int(np.argmin(valid[row]))
        column, value = columns[first], X[columns[first].name][row]
        allowed = column.allowed
        if not column.is_text and np.isfinite(value):
            limit = _limit(cells.column(positions[first]).type)
            allowed += f" from -{limit} to {limit}".replace("e+", "e")
        return column.name, texts[positions[first]], allowed

    batch = Batch(numbers, cells, pd.DataFrame(X), invalid, percent)
    return reject(batch, valid.all(axis=1), explain, is_csv=form is not None)


def _convert(cells, column, form):
    """Return the values of a column as an ndarray or a Series, and which of them are allowed."""
    if column.is_text:
        cells = to_texts(cells, null=None)
    if is_text(cells.type):
        cells = pc.utf8_trim(pc.cast(cells, pa.string()), " \t")
    missing = _find_missing(cells, column, form) if column.missing else np.zeros(len(cells), bool)
    if column.is_text:
        is_empty = np.array(pc.equal(pc.fill_null(cells, ""), ""))
        return pc.if_else(pa.array(missing), None, cells).to_pandas(), missing | ~is_empty
    numbers = np.array(_to_floats(cells, form.decimal if form else "."))
    numbers = np.where(missing, np.nan, numbers) if missing.any() else numbers
    return numbers, missing | (np.abs(numbers) <= _limit(cells.type))


def _find_missing(cells, column, form):
    """Return which cells stand for a missing value."""
    if is_text(cells.type):
        missing = pc.is_in(cells, pa.array(column.missing, pa.string()))
        return np.array(pc.or_(missing, pc.is_null(cells)))
    # Of the numbers that Arrow has read from text, only what it has taken for a null is missing.
    return np.array(pc.is_null(cells, nan_is_null=form is None))


def _limit(kind):
    return MAX_INTEGER if pa.types.is_integer(kind) else MAX_NUMBER


def reject(batch, is_valid, explain, is_csv):
    """Move rows of a batch to those that are invalid.

    Parameters
    ----------
    batch : Batch
        The batch.
    is_valid : ndarray of bool, shape (n_rows,)
        False for the rows that are moved.
    explain : callable
        Takes such a row's position and its cells as texts, and returns its column, and what was
        received and is allowed there, as `InvalidRow` has them.
    is_csv : bool
        Whether the line ends in a cell are those of the file.

    Returns
    -------
    Batch
    """
    if is_valid.all():
        return Batch(*batch[:3], sorted(batch.invalid), batch.percent)
    invalid, rows = list(batch.invalid), np.flatnonzero(~is_valid)
    columns = [to_texts(column).to_pylist() for column in batch.cells.take(rows)]
    for row, texts in zip(rows, zip(*columns, strict=True), strict=True):
        n_lines = 1 + sum(count_lines(text) - 1 for text in texts) if is_csv else 1
        number = int(batch.numbers[row])
        invalid.append(InvalidRow(number, *explain(row, texts), n_lines, list(texts)))
    cells, numbers = batch.cells.filter(pa.array(is_valid)), batch.numbers[is_valid]
    return Batch(numbers, cells, batch.X[is_valid], sorted(invalid), batch.percent)


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _to_floats(cells, decimal):
    """Return a column as numbers, NaN where a cell is none; texts have no blanks around them."""
    if not is_text(cells.type):
        return pc.fill_null(pc.cast(cells, pa.float64(), safe=False), np.nan)
    if decimal == ",":
        cells = pc.if_else(pc.match_substring(cells, "."), None, cells)
        cells = pc.replace_substring(cells, ",", ".")
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:  # Some text is not a number.
        is_number = pc.match_substring_regex(cells, NUMBER)
        numbers = pc.cast(pc.if_else(is_number, cells, None), pa.float64())
    return pc.fill_null(numbers, np.nan)


def to_texts(column, null=""):
    """Return a column as texts, as a CSV file shows it.

    Parameters
    ----------
    column : pyarrow.Array
        Of any type.
    null : str or None
        What stands for a null.

    Returns
    -------
    pyarrow.StringArray
    """
    try:
        column = pc.cast(column, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # Lists and the like have no text.
        column = pa.array([None if cell is None else str(cell) for cell in column.to_pylist()])
        column = pc.cast(column, pa.string())
    return column if null is None else pc.fill_null(column, null)
