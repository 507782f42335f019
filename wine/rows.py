"""Rows: what a number in a table is, and why a row is invalid."""

from typing import NamedTuple

import numpy as np
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
    limit : float
        The largest absolute value that is allowed.
    whole : bool
        Whether only whole numbers are allowed.
    """

    name: str
    limit: float = MAX_NUMBER
    whole: bool = False


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
        The row's cells, as many as there are columns.
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
    X : ndarray of float64, shape (n_rows, n_columns)
        Their measurements, in the order of the columns that are needed.
    invalid : list of InvalidRow
        The other rows.
    percent : int
        How much of the file these rows are.
    """

    numbers: np.ndarray
    cells: pa.RecordBatch
    X: np.ndarray
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
            split_cells(text, form.delimiter, n_columns),
        )
        for number, text in malformed
    ]
    chosen = [cells.column(position) for position in positions]
    X = np.empty((len(columns), len(cells))).T  # Its columns are contiguous.
    for position, column in enumerate(chosen):
        X[:, position] = _to_floats(column, form.decimal if form else ".")
    limits = [
        MAX_INTEGER if pa.types.is_integer(cell.type) else column.limit
        for cell, column in zip(chosen, columns, strict=True)
    ]
    valid = are_valid(X, columns, limits)

    def explain(row, texts):
        first = int(np.argmin(valid[row]))
        allowed = "is a whole number" if columns[first].whole else "is a finite number"
        if limits[first] < abs(X[row, first]) < np.inf:
            allowed += f" from -{limits[first]} to {limits[first]}".replace("e+", "e")
        return columns[first].name, texts[positions[first]], allowed

    batch = Batch(numbers, cells, X, invalid, percent)
    return reject(batch, valid.all(axis=1), explain, is_csv=form is not None)


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


def are_valid(X, columns, limits):
    """Tell which numbers are allowed; NaN is not.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_columns)
        The numbers.
    columns : list of Column
        What is allowed in each column.
    limits : list of float
        The largest absolute values that are allowed.

    Returns
    -------
    ndarray of bool, shape (n_rows, n_columns)
    """
    valid = np.abs(X) <= limits
    for position, column in enumerate(columns):
        if column.whole:
            valid[:, position] &= X[:, position] % 1 == 0
    return valid


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _to_floats(cells, decimal):
    """Return the numbers of a column as an ndarray, NaN where a cell is none."""
    if not is_text(cells.type):
        return pc.fill_null(pc.cast(cells, pa.float64(), safe=False), np.nan)
    cells = pc.utf8_trim(pc.cast(cells, pa.string()), " \t")
    if decimal == ",":
        cells = pc.if_else(pc.match_substring(cells, "."), None, cells)
        cells = pc.replace_substring(cells, ",", ".")
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:  # Some text is not a number.
        is_number = pc.match_substring_regex(cells, NUMBER)
        numbers = pc.cast(pc.if_else(is_number, cells, None), pa.float64())
    return pc.fill_null(numbers, np.nan)


def to_texts(column):
    """Return a column as texts, as a CSV file shows it.

    Parameters
    ----------
    column : pyarrow.Array
        Of any type.

    Returns
    -------
    pyarrow.StringArray
        Without nulls.
    """
    try:
        column = pc.cast(column, pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):  # Lists and the like have no text.
        column = pa.array([None if cell is None else str(cell) for cell in column.to_pylist()])
        column = pc.cast(column, pa.string())
    return pc.fill_null(column, "")
