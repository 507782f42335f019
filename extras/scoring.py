"""Scoring: a model's predictions are added to a table of any size; all rows appear, or none."""

import contextlib
import csv
import shutil
import types
import uuid
from collections import Counter, namedtuple
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import WriteOptions, write_csv
from pyarrow.parquet import ParquetWriter

from extras import drift
from extras.models import predict
from extras.process import progress, uninterrupted
from wine import UserError, tables

SUFFIXES = (".csv", ".csv.gz", ".parquet")
REJECTED = ".rejected.csv"  # behind the name of the output


_Counts = namedtuple("Counts", "scored rejected predictions drift", defaults=(0, 0, Counter(), 0))


class Counts(_Counts):
    """What a scoring has come to; those of several files are added, in any order.

    Attributes
    ----------
    scored, rejected : int
        Rows.
    predictions : collections.Counter
        How often each class, or each number of four digits, was predicted.
    drift : ndarray or int
        The sum of what `extras.drift.count` has returned; 0 where no row was scored.
    """

    def __add__(self, other):
        """Return the counts of both."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


def resolve(output, source, overwrite):
    """Return the absolute path of an output, or refuse one that cannot be made.

    Parameters
    ----------
    output : str
        Its path. The rejected rows go to the same one with `REJECTED` behind it.
    source : str
        The absolute path or the URL of the input, which is never replaced.
    overwrite : bool
        Whether the two may be there already.

    Returns
    -------
    pathlib.Path
    """
    path = Path(output).resolve()
    if "://" in output or not path.name.endswith(SUFFIXES):
        raise UserError(f"output: received {output!r}, allowed is a path to {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UserError(f"output: received {output!r}, there is no folder {path.parent}")
    place = Path(source.removeprefix("file://")).resolve()
    if any(place.is_relative_to(each) for each in _both(path)):
        raise UserError(f"output: {source} is the input, or in {path}; allowed is another name")
    _check_free(path, overwrite)
    return path


def _check_free(path, overwrite):
    for each in _both(path):
        if each.exists() and not overwrite:
            raise UserError(f"output: {each} is there already; overwrite=true replaces it")


def _both(path):
    """Return the path of an output, and that of its rejected rows."""
    return path, path.with_name(path.name + REJECTED)


def _replace(path, hidden):
    """Move what is there into the hidden folder, and what was made there to its names."""
    olds = {name: hidden / f"old {name.name}" for name in _both(path) if name.exists()}
    try:
        for name, old in olds.items():
            name.replace(old)
        for made, name in zip(_both(hidden / path.name), _both(path), strict=True):
            if made.exists():
                made.replace(name)
    except OSError:  # Windows keeps a file where it is that another program has open.
        for name, old in olds.items():
            if old.exists():
                old.replace(name)
        raise


@contextlib.contextmanager
def whole(path, overwrite):
    """Give paths in a hidden folder, to which an output and its rejected rows are to be written.

    In the end both get their names, and what was there before goes. If the block fails, nothing
    appears and nothing goes.
    """
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        hidden.mkdir()
        yield _both(hidden / path.name)
        with uninterrupted():
            _check_free(path, overwrite)  # Another scoring may have made it meanwhile.
            _replace(path, hidden)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"output: {path} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def open_table(data, model, output):
    """Open the table at a path or a URL, that a model is to score into an output of that name.

    Parameters
    ----------
    data : str
        Path or URL of a file.
    model : extras.models.Model
        Knows the columns that are needed.
    output : pathlib.Path
        Its ending is its format.

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
    table, is_parquet = tables.Table(data, "input", columns), output.suffix == ".parquet"
    counts = Counter(table.schema.names)
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if name in model.outputs:
            table.refuse(f"column {name!r} is in {data} already, and would be added")
        if is_parquet and counts[name] > 1:
            table.refuse(f"column {name!r} is in {data} more than once; only CSV can hold that")
        # Bytes may be no text.
        if not is_parquet and (pa.types.is_nested(kind) or "binary" in str(kind)):
            table.refuse(f"column {name!r} of {data} has {kind}; an output in .parquet can hold it")
    return table


def score_file(table, model, scored, rejected, name=None):
    """Score a file into another one, and write its invalid rows to a third, if there are any.

    Parameters
    ----------
    table : wine.tables.Table
        As `open_table` has opened it.
    model : extras.models.Model
        What predicts.
    scored, rejected : pathlib.Path
        Of the two new files. The ending of the first is its format.
    name : str, optional
        The file's name in the rejected rows of a folder. Spark scores these, and each of its tasks
        has one core; otherwise all cores predict, and the progress is shown.

    Returns
    -------
    Counts

    Raises
    ------
    UserError
        If the file cannot be read to its end.
    """
    counts, batches, place = Counts(), table.batches(), {"file": name} if name else {}
    header = [*place, "row", "reason", *table.schema.names]
    if not name:
        batches = progress(batches, 100, "scored", lambda batch: batch.percent)
    with (
        _writer(scored, table, model) as write,
        pa.output_stream(rejected) as file,
        joblib.parallel_config("threading", n_jobs=1 if name else -1),
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
                row = [*place.values(), number, reason, *cells]
                reject(row + [""] * (len(header) - len(row)))
            counts += Counts(rejected=len(batch.invalid))
    if not counts.rejected:
        rejected.unlink()
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
    return Counts(len(X), 0, Counter(shown.tolist()), drift.count(X, model.deciles))


@contextlib.contextmanager
def _writer(path, table, model):
    """Give a function that writes the valid rows of a batch and their predictions."""
    is_parquet, form = path.suffix == ".parquet", table.form or tables.Form()
    fields, numbers = [*table.schema], {}
    for column, position in zip(table.columns, table.positions, strict=True):
        # A text that is a number becomes one where the format tells the two apart.
        if is_parquet and not column.is_text and tables.is_text(fields[position].type):
            fields[position] = fields[position].with_type(pa.float64())
            numbers[position] = column.name
    kinds = [pa.array(getattr(model.estimator, "classes_", [0.0])).type]
    kinds += [pa.float64()] * (len(model.outputs) - 1)
    schema = pa.schema([*fields, *map(pa.field, model.outputs, kinds)], table.schema.metadata)

    def rows(batch, predictions):
        columns = [*batch.cells.columns, *map(pa.array, predictions.values(), kinds)]
        for position, name in numbers.items():
            columns[position] = pa.array(batch.X[name], pa.float64(), from_pandas=True)
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    if is_parquet:
        with ParquetWriter(path, schema) as file:
            yield lambda *scored: file.write_batch(rows(*scored))
    else:
        with pa.output_stream(path) as file:  # It compresses where the name ends with .gz.
            _csv_writer(file, form.delimiter)(schema.names)
            yield lambda *scored: _write_csv(rows(*scored), file, form)


def _csv_writer(file, delimiter):
    """Return a function that writes a row of CSV, in lines that end with LF.

    Python's writer quotes a CR inside a cell only where its own lines end with one.
    """
    lines = types.SimpleNamespace(write=lambda line: file.write(f"{line[:-2]}\n".encode()))
    return csv.writer(lines, delimiter=delimiter, lineterminator="\r\n").writerow


def _write_csv(rows, file, form):
    """Write rows as lines of CSV; either all their texts are quoted, or none."""
    if form.decimal == ",":  # All but the predictions is text.
        for n, column in enumerate(rows.columns):
            if pa.types.is_floating(column.type):
                texts = pc.replace_substring(pc.cast(column, pa.string()), ".", ",")
                rows = rows.set_column(n, rows.schema.names[n], texts)
    lines, options = pa.BufferOutputStream(), {"delimiter": form.delimiter, "include_header": False}
    try:
        write_csv(rows, lines, WriteOptions(quoting_style="none", **options))
        file.write(lines.getvalue())
    except pa.ArrowInvalid:  # Some text has a delimiter, a quote or a line end in it.
        write_csv(rows, file, WriteOptions(quoting_style="needed", **options))
