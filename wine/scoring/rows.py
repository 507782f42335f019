"""Rows of a table: what a measurement is, and why a row is rejected, for both engines."""

import csv
import io
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wine import UserError
from wine.dataset import MAX_FEATURE

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
MAX_INTEGER = 2**53 - 1  # float64 holds each whole number up to this one.
LONGEST_CELL = 200  # characters of a cell that a reason repeats
OUT_OF_RANGE = "<value out of range"  # Arrow's text for a date that has no text

csv.field_size_limit(sys.maxsize)  # A quote that is never closed makes a cell of what follows it.


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def check_columns(schema, model, data):
    """Refuse a table that the model cannot score.

    Parameters
    ----------
    schema : pyarrow.Schema
        The table's columns.
    model : wine.scoring.model.Model
        Knows its columns.
    data : str
        The table's name, as the user typed it.

    Raises
    ------
    UserError
        If a column is missing, is there more than once, has an output's name, or has a type that
        cannot hold measurements.
    """
    names = schema.names
    if len(names) == 1 and ";" in names[0]:
        raise UserError(f"input: {data} is separated by ';', allowed is ','; received {names[0]}")
    for name in dict.fromkeys([*model.columns, *names]):
        if names.count(name) != 1:
            wrong = "is missing" if name not in names else "stands there more than once"
            raise UserError(
                f"input: column {name!r} {wrong} in {data}; received {', '.join(names)}; "
                f"needed are {', '.join(model.columns)}"
            )
    for name in model.outputs:
        if name in names:
            raise UserError(f"input: column {name!r} is in {data} already, and would be added")
    for name in model.columns:
        kind = schema.field(name).type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not (is_number or pa.types.is_decimal(kind) or pa.types.is_null(kind) or is_text(kind)):
            raise UserError(
                f"input: column {name!r} has the type {kind} in {data}, "
                "allowed are numbers, or texts of numbers"
            )


def validate(batch, columns):
    """Take a model's measurements out of a batch, and say which rows have none.

    Parameters
    ----------
    batch : pyarrow.RecordBatch, n rows
        The batch.
    columns : list of str
        The measurements; `check_columns` allows their types.

    Returns
    -------
    X : ndarray of float64, shape (n, n_columns)
        The measurements.
    reasons : dict
        For each invalid row its position in the batch and the reason.
    """
    X, limits = np.empty((len(batch), len(columns))), []
    for position, name in enumerate(columns):
        cells = batch.column(name)
        limits.append(MAX_FEATURE)
        if is_text(cells.type):
            cells = pc.utf8_trim(pc.cast(cells, pa.string()), " \t")
            try:
                numbers = pc.cast(cells, pa.float64())
            except pa.ArrowInvalid:  # Some text is not a number.
                is_number = pc.match_substring_regex(cells, NUMBER)
                numbers = pc.cast(pc.if_else(is_number, cells, None), pa.float64())
        else:
            numbers = pc.cast(cells, pa.float64(), safe=False)
            if pa.types.is_integer(cells.type):
                limits[-1] = MAX_INTEGER
        X[:, position] = pc.fill_null(numbers, np.nan)
    is_valid = np.abs(X) <= limits  # NaN is not.
    reasons = {}
    for row in np.flatnonzero(~is_valid.all(axis=1)):
        position = np.argmin(is_valid[row])
        (cell,) = texts(batch.column(columns[position]).slice(row, 1)).to_pylist()
        allowed = "a finite number"
        if np.isfinite(X[row, position]):
            allowed += f" from -{limits[position]:g} to {limits[position]:g}"
        reasons[int(row)] = _reason(f"column '{columns[position]}': ", cell, allowed)
    return X, reasons


def malformed(text, n_columns):
    """Return why a row with too few or too many cells is rejected.

    Parameters
    ----------
    text : str
        The row as it stands in the file.
    n_columns : int
        The number of the table's columns.

    Returns
    -------
    str
    """
    return _reason("", text, f"{n_columns} cells")


def _reason(column, received, allowed):
    received, lines = received or "", len((received or "").splitlines())
    if len(received) > LONGEST_CELL:
        received = f"{received[:LONGEST_CELL]}..."
    reason = f"{column}received '{received}', allowed is {allowed}"
    if allowed.endswith("cells"):
        reason = reason.replace("allowed is", "allowed are")
    if lines > 1:
        reason += f"; a quote holds {lines} lines of the file together"
    return reason


def lines_of(reason):
    """Return how many lines of the file a rejected row takes, by its reason."""
    _, found, end = reason.rpartition("; a quote holds ")
    return int(end.split()[0]) if found else 1


def split_cells(text, n_columns):
    """Return as many cells of a row's text as there are columns."""
    cells = next(csv.reader(io.StringIO(text, newline="")), [])
    return (cells + [""] * n_columns)[:n_columns]


def texts(column):
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


def csv_line(cells):
    """Return a line of CSV, in which each cell with a comma, a quote or a line end is quoted."""
    quoted = (
        '"' + cell.replace('"', '""') + '"' if any(char in cell for char in ',"\r\n') else cell
        for cell in map(str, cells)
    )
    return ",".join(quoted) + "\n"
