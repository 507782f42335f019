"""Scoring: a model's predictions are added to a table of any size; all rows appear, or none."""

import collections
import contextlib
import csv
import operator
import types
import uuid
from pathlib import Path, PurePath
from typing import NamedTuple

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import WriteOptions, write_csv
from pyarrow.fs import FileType
from pyarrow.parquet import ParquetWriter

from extras import drift
from extras.models import predict
from extras.process import progress, uninterrupted
from wine import UserError, tables

SUFFIXES = (".csv", ".csv.gz", ".parquet")
REJECTED = ".rejected.csv"  # behind the name of the output


class Counts(NamedTuple):
    """What a scoring has come to; those of several files are added, in any order.

    Attributes
    ----------
    scored, rejected : int
        Rows.
    predictions : collections.Counter
        How often each class, or each number of four digits, was predicted.
    drift : ndarray or int
        The sum of what `extras.drift.count` has returned; 0 for a model without deciles.
    """

    scored: int = 0
    rejected: int = 0
    predictions: collections.Counter = collections.Counter()
    drift: np.ndarray | int = 0

    def __add__(self, other):
        """Return the counts of both."""
        return Counts(*map(operator.add, self, other))


def suffix(output):
    """Return which format the name of an output says, one of `SUFFIXES`."""
    found = [each for each in SUFFIXES if output.rstrip("/").endswith(each)]
    if not found:
        raise UserError(f"output: received {output!r}, allowed is a name in {', '.join(SUFFIXES)}")
    return found[0]


def resolve(output, source, overwrite, *, is_folder=False):
    """Return the absolute path or the URL of an output, or refuse one that cannot be made.

    Parameters
    ----------
    output : str
        Its path or URL. The rejected rows go to the same one with `REJECTED` behind it.
    source : str
        The absolute path or the URL of the input, which is never replaced.
    overwrite : bool
        Whether the two may be there already.
    is_folder : bool
        Whether they are folders of files.

    Returns
    -------
    str
    """
    suffix(output)
    try:
        location = output.rstrip("/") if "://" in output else str(Path(output).resolve())
        for each in (location, location + REJECTED):
            both_there = Path(each).exists() and Path(source).exists()  # Neither is a URL.
            if each == source or (both_there and Path(each).samefile(source)):
                raise UserError(f"output: {each} is the input, allowed is another name")
            if _kind(each) == FileType.Directory and not is_folder:
                raise UserError(f"output: {each} is a folder, allowed is the name of a file")
            _check_free(each, overwrite)
    except (OSError, RuntimeError, ValueError) as error:  # A link to itself is a RuntimeError.
        raise UserError(f"output: received {output!r}, which cannot be reached: {error}") from error
    if "://" not in output and not (folder := Path(location).parent).is_dir():
        raise UserError(f"output: received {output!r}, there is no folder {folder}")
    return location


def _check_free(location, overwrite):
    if not overwrite and _kind(location) != FileType.NotFound:
        raise UserError(f"output: {location} is there already; overwrite=true replaces it")


def _kind(location):
    files, path = tables.filesystem(location)
    return files.get_file_info(path).type


@contextlib.contextmanager
def whole(location, overwrite):
    """Give hidden names beside those of an output and its rejected rows, to be written there.

    In the end both get their names; of what is not there in the end, an earlier one goes, too. If
    the block fails, nothing appears and nothing goes.
    """
    names = location, location + REJECTED
    parts = [_hide(name) for name in names]
    try:
        yield parts
        with uninterrupted():
            for name in names:  # It may be taken meanwhile.
                _check_free(name, overwrite)
            for part, name in zip(parts, names, strict=True):
                if (made := _kind(part)) != FileType.File:  # A file replaces another one by itself.
                    remove(name)
                if made != FileType.NotFound:
                    files, path = tables.filesystem(part)
                    files.move(path, tables.filesystem(name)[1])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"output: {location} cannot be written: {reason}") from error
    finally:
        for part in parts:
            remove(part)


def _hide(location):
    """Return a hidden name beside another one, that no other process on any machine has."""
    name = PurePath(location).name
    return f"{location.removesuffix(name)}.{name}.{uuid.uuid4().hex}.partial"


def remove(location):
    """Remove a file or a folder that may be there."""
    (files, path), kind = tables.filesystem(location), _kind(location)
    if kind == FileType.Directory:
        files.delete_dir(path)
    elif kind != FileType.NotFound:
        files.delete_file(path)


def open_table(data, model, format):
    """Open the table at a path or a URL, that a model is to score.

    Parameters
    ----------
    data : str
        Path or URL of a file.
    model : extras.models.Model
        Knows the columns that are needed.
    format : str
        The format of the output, one of `SUFFIXES`.

    Returns
    -------
    wine.tables.Table

    Raises
    ------
    UserError
        If it cannot be read, lacks a column of the model's, has one of an output's name, or has one
        that the output cannot hold.
    """
    columns = [tables.Column(name, name in model.texts, model.missing) for name in model.columns]
    table = tables.Table(data, "input", columns)
    for name, n in collections.Counter(table.schema.names).items():
        if name in model.outputs:
            table.refuse(f"column {name!r} is in {data} already, and would be added")
        if n > 1 and format == ".parquet":
            table.refuse(f"column {name!r} stands {n} times in {data}; only CSV can hold that")
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        # Bytes may be no text.
        if format != ".parquet" and (pa.types.is_nested(kind) or "binary" in str(kind)):
            held = "that CSV cannot hold; an output in .parquet can"
            table.refuse(f"column {name!r} of {data} has {kind} {held}")
    return table


def score_file(table, model, scored, rejected, format, *, name=None, is_shown=False):
    """Score a file into another one, and write its invalid rows to a third, if there are any.

    Parameters
    ----------
    table : wine.tables.Table
        As `open_table` has opened it.
    model : extras.models.Model
        What predicts.
    scored, rejected : str
        Absolute paths or URLs of the two new files.
    format : str
        That of the first, one of `SUFFIXES`.
    name : str, optional
        The file's name in the rejected rows, where the table is a folder of files.
    is_shown : bool, optional
        Whether to show the progress. Then all cores predict; a task of Spark has one.

    Returns
    -------
    Counts

    Raises
    ------
    UserError
        If the file cannot be read to its end.
    """
    place, counts, batches = [] if name is None else [name], Counts(), table.batches()
    header = ["file", "row", "reason", *table.schema.names][not place :]
    if is_shown:
        batches = progress(batches, 100, "scored", lambda batch: batch.percent)
    with (
        _writer(scored, format, table, model) as write,
        _open(rejected) as file,
        joblib.parallel_config("threading", n_jobs=-1 if is_shown else 1),
    ):
        reject = _csv_writer(file, (table.form or tables.Form()).delimiter)
        reject(header)
        for batch in batches:
            if len(batch.X):
                first = counts.scored + counts.rejected + 1
                batch, predictions = _reject_infinite(batch, predict(model, batch.X), first)
                write(batch, predictions)
                counts += _count(batch.X, model, predictions)
            for number, reason, cells in batch.invalid:
                row = [*place, number, reason, *cells]
                reject(row + [""] * (len(header) - len(row)))
            counts += Counts(rejected=len(batch.invalid))
    if not counts.rejected:
        remove(rejected)
    return counts


def _reject_infinite(batch, predictions, first):
    """Move the rows whose predictions are not finite to the invalid ones of a batch.

    The rows of a batch, with its invalid ones, are those from the number `first` on.
    """
    value = sum(each for each in predictions.values() if each.dtype.kind == "f")
    finite = np.isfinite(value)
    if finite.all():
        return batch, predictions
    numbers = np.arange(first, first + len(batch.X) + len(batch.invalid))
    numbers = np.setdiff1d(numbers, [number for number, *_ in batch.invalid])
    for row in np.flatnonzero(~finite):
        reason = f"prediction: received {value[row]}, allowed is a finite number"
        cells = [column[row].as_py() for column in batch.cells.columns]
        batch.invalid.append((int(numbers[row]), reason, cells))
    cells, invalid = batch.cells.filter(pa.array(finite)), sorted(batch.invalid)
    batch = batch._replace(cells=cells, X=batch.X[finite], invalid=invalid)
    return batch, {name: each[finite] for name, each in predictions.items()}


def _count(X, model, predictions):
    """Count some rows that were scored."""
    # One histogram cannot show the probabilities of several classes.
    shown = predictions["prediction" if len(model.outputs) > 2 else model.outputs[-1]]
    if shown.dtype.kind == "f":  # Four digits are enough for a histogram.
        unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(shown), 1e-300))) - 3)
        shown = np.round(shown / unit) * unit
    values, counts = (each.tolist() for each in np.unique(shown, return_counts=True))
    counts = collections.Counter(dict(zip(values, counts, strict=True)))
    return Counts(len(X), 0, counts, drift.count(X, model.deciles) if model.deciles else 0)


@contextlib.contextmanager
def _writer(location, format, table, model):
    """Give a function that writes the valid rows of a batch and their predictions."""
    is_parquet, form = format == ".parquet", table.form or tables.Form()
    fields, numbers = [*table.schema], {}
    for column, position in zip(table.columns, table.positions, strict=True):
        # A text that is a number becomes one where the format tells the two apart.
        if is_parquet and not column.is_text and tables.is_text(fields[position].type):
            fields[position] = fields[position].with_type(pa.float64())
            numbers[position] = column.name
    kinds = [pa.array(getattr(model.estimator, "classes_", [0.0])).type]
    kinds += [pa.float64()] * (len(model.outputs) - 1)
    schema = pa.schema([*fields, *map(pa.field, model.outputs, kinds)], table.schema.metadata)
    if is_parquet:
        files, path = tables.filesystem(location)
        opened = ParquetWriter(path, schema, filesystem=files)
    else:
        opened = _open(location, "gzip" if format == ".csv.gz" else None)
    with opened as file:
        if not is_parquet:
            _csv_writer(file, form.delimiter)(schema.names)

        def write(batch, predictions):
            columns = [*batch.cells.columns, *map(pa.array, predictions.values(), kinds)]
            for position, name in numbers.items():
                columns[position] = pa.array(batch.X[name], pa.float64(), from_pandas=True)
            rows = pa.RecordBatch.from_arrays(columns, schema=schema)
            file.write_batch(rows) if is_parquet else file.write(_csv_lines(rows, form))

        yield write


def _open(location, compression=None):
    files, path = tables.filesystem(location)
    return files.open_output_stream(path, compression=compression)


def _csv_writer(file, delimiter):
    """Return a function that writes a row of CSV; Python quotes a CR only if it ends lines."""
    lines = types.SimpleNamespace(write=lambda line: file.write(f"{line[:-2]}\n".encode()))
    return csv.writer(lines, delimiter=delimiter, lineterminator="\r\n").writerow


def _csv_lines(rows, form):
    """Return rows as lines of CSV; either all their texts are quoted, or none."""
    if form.decimal == ",":  # All but the predictions is text.
        for n, column in enumerate(rows.columns):
            if pa.types.is_floating(column.type):
                texts = pc.replace_substring(pc.cast(column, pa.string()), ".", ",")
                rows = rows.set_column(n, rows.schema.names[n], texts)
    lines, options = pa.BufferOutputStream(), {"delimiter": form.delimiter, "include_header": False}
    try:
        write_csv(rows, lines, WriteOptions(quoting_style="none", **options))
    except pa.ArrowInvalid:  # Some text has a delimiter, a quote or a line end in it.
        lines = pa.BufferOutputStream()
        write_csv(rows, lines, WriteOptions(quoting_style="needed", **options))
    return lines.getvalue()
