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
        How often each class, or each number of three digits, was predicted.
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
    for each in SUFFIXES:
        if output.rstrip("/").endswith(each):
            return each
    raise UserError(f"output: received {output!r}, allowed is a name in {', '.join(SUFFIXES)}")


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
    location, is_local = output.rstrip("/"), "://" not in output
    try:
        location = str(Path(output).resolve()) if is_local else location
        kinds = {each: _kind(each) for each in (location, location + REJECTED)}
    except (OSError, RuntimeError, ValueError) as error:  # A link to itself is a RuntimeError.
        raise UserError(f"output: received {output!r}, which cannot be reached: {error}") from error
    if is_local and not Path(location).parent.is_dir():
        raise UserError(f"output: received {output!r}, there is no folder {Path(location).parent}")
    for each, kind in kinds.items():
        both_there = is_local and kind != FileType.NotFound and Path(source).exists()
        if each == source or (both_there and Path(each).samefile(source)):
            raise UserError(f"output: {each} is the input, allowed is another name")
        if kind == FileType.Directory and not is_folder:
            raise UserError(f"output: {each} is a folder, allowed is the name of a file")
        _check_free(each, overwrite)
    return location


def _check_free(location, overwrite):
    if not overwrite and _kind(location) != FileType.NotFound:
        raise UserError(f"output: {location} is there already; overwrite=true replaces it")


def _kind(location):
    files, path = tables.filesystem(location)
    return files.get_file_info(path).type


@contextlib.contextmanager
def whole(location, rejected, overwrite):
    """Give hidden names beside those of an output and its rejected rows, to be written there.

    In the end both get their names; of what is not there in the end, an earlier one goes, too. If
    the block fails, nothing appears and nothing goes.
    """
    parts = {_hide(name): name for name in (location, rejected)}
    try:
        yield [*parts]
        with uninterrupted():
            for name in parts.values():  # It may be taken meanwhile.
                _check_free(name, overwrite)
            for part, name in parts.items():
                _publish(part, name)
    finally:
        for part in parts:
            remove(part)


def _hide(location):
    """Return a hidden name beside another one, that no other process on any machine has."""
    name = PurePath(location).name
    return f"{location.removesuffix(name)}.{name}.{uuid.uuid4().hex}.partial"


def _publish(part, location):
    (files, path), made, before = tables.filesystem(location), _kind(part), _hide(location)
    if made != FileType.File and _kind(location) != FileType.NotFound:
        files.move(path, tables.filesystem(before)[1])  # A file replaces another one by itself.
    if made != FileType.NotFound:
        files.move(tables.filesystem(part)[1], path)
    remove(before)


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
    for name, n in collections.Counter([*table.schema.names]).items():
        if name in model.outputs:
            table.refuse(f"column {name!r} is in {data} already, and would be added")
        if n > 1 and format == ".parquet":
            table.refuse(f"column {name!r} stands {n} times in {data}; only CSV can hold that")
    if format != ".parquet" and not table.form:
        _check_csv(table, [pa.nulls(1, field.type) for field in table.schema])
    return table


def _check_csv(table, columns):
    """Refuse a table that has a column of which Arrow cannot make CSV."""
    for field, column in zip(table.schema, columns, strict=False):
        try:
            write_csv(pa.table({"": column}), pa.BufferOutputStream())
        except pa.ArrowException as error:
            table.refuse(
                f"column {field.name!r} of {table.data} has {field.type} that CSV cannot hold "
                f"({error}); an output in .parquet can"
            )


def score_file(table, model, location, rejected, overwrite, *, name=None, is_shown=False):
    """Score a file into another one, and write its invalid rows to a third; or none of the two.

    Parameters
    ----------
    table : wine.tables.Table
        As `open_table` has opened it.
    model : extras.models.Model
        What predicts.
    location, rejected : str
        Absolute paths or URLs of the two new files.
    overwrite : bool
        Whether files that are there by now may be replaced.
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
        If the file cannot be read to its end, or the two cannot be written.
    """
    place, counts, form = [] if name is None else [name], Counts(), table.form or tables.Form()
    header = ["file", "row", "reason", *table.schema.names][not place :]
    try:
        with whole(location, rejected, overwrite) as (part, rejects):
            batches = table.batches()
            if is_shown:
                batches = progress(batches, 100, "scored", lambda batch: batch.percent)
            with (
                _writer(part, suffix(location), table, model) as write,
                _open(rejects) as file,
                joblib.parallel_config("threading", n_jobs=-1 if is_shown else 1),
            ):
                reject = _csv_writer(file, form.delimiter)
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
                remove(rejects)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"output: {location} cannot be written: {reason}") from error
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
    numbers = np.setdiff1d(numbers, [number for number, _, _ in batch.invalid])
    invalid, cells = [*batch.invalid], batch.cells.filter(pa.array(~finite)).columns
    rows = zip(*(column.to_pylist() for column in cells), strict=True)
    for number, received, row in zip(numbers[~finite], value[~finite], rows, strict=True):
        reason = f"prediction: received {received}, allowed is a finite number"
        invalid.append((int(number), reason, ["" if cell is None else str(cell) for cell in row]))
    batch = tables.Batch(
        batch.cells.filter(pa.array(finite)), batch.X[finite], sorted(invalid), batch.percent
    )
    return batch, {name: each[finite] for name, each in predictions.items()}


def _count(X, model, predictions):
    """Count some rows that were scored."""
    # One histogram cannot show the probabilities of several classes.
    shown = predictions["prediction" if len(model.outputs) > 2 else model.outputs[-1]]
    if shown.dtype.kind == "f":  # Three digits are enough for a histogram.
        unit = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(shown), 1e-300))) - 2)
        shown = np.round(shown / unit) * unit
    values, counts = (each.tolist() for each in np.unique(shown, return_counts=True))
    counts = collections.Counter(dict(zip(values, counts, strict=True)))
    return Counts(len(X), 0, counts, drift.count(X, model.deciles) if model.deciles else 0)


@contextlib.contextmanager
def _writer(location, format, table, model):
    """Give a function that writes the valid rows of a batch and their predictions."""
    is_parquet, fields, measured = format == ".parquet", [*table.schema], {}
    for column, position in zip(table.columns, table.positions, strict=True):
        # A text that is a number becomes one where the format tells the two apart.
        if is_parquet and not column.is_text and tables.is_text(fields[position].type):
            fields[position] = fields[position].with_type(pa.float64())
            measured[position] = column.name
    kinds = [pa.array(getattr(model.estimator, "classes_", [0.0])).type]
    kinds += [pa.float64()] * (len(model.outputs) - 1)
    fields += map(pa.field, model.outputs, kinds)
    schema, form = pa.schema(fields, table.schema.metadata), table.form or tables.Form()
    files, path = tables.filesystem(location)
    if is_parquet:
        opened = ParquetWriter(path, schema, filesystem=files)
    else:
        opened = _open(location, "gzip" if format == ".csv.gz" else None)
    with opened as file:
        if not is_parquet:
            _csv_writer(file, form.delimiter)(schema.names)

        def write(batch, predictions):
            columns = [*batch.cells.columns, *map(pa.array, predictions.values(), kinds)]
            for position, name in measured.items():
                columns[position] = pa.array(batch.X[name], pa.float64(), from_pandas=True)
            rows = pa.RecordBatch.from_arrays(columns, schema=schema)
            try:
                file.write_batch(rows) if is_parquet else file.write(_csv_lines(rows, form))
            except pa.ArrowInvalid:  # Some bytes are no text.
                _check_csv(table, columns)
                raise

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
