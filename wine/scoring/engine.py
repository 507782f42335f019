"""The engine: it scores one file, or some row groups of it, here or as a task of Spark."""

import collections
import contextlib
import itertools

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from wine import UserError, files, process, rows, tables
from wine.model import predict
from wine.scoring import drift, output
from wine.scoring.counts import Counts, Histogram

OUT_OF_RANGE = "<value out of range"  # Arrow's text for a date that has no text


def open_table(data, model, decimal=None):
    """Open a table that a model is to score.

    Parameters
    ----------
    data : str
        Path or URL of a file.
    model : wine.model.Model
        Knows its columns.
    decimal : str, optional
        The decimal sign, if it is known.

    Returns
    -------
    wine.tables.Table

    Raises
    ------
    UserError
        If it cannot be read, lacks a column of the model's, or has one of an output's name.
    """
    missing = tuple(model.missing)
    columns = [rows.Column(name, name in model.texts, missing) for name in model.columns]
    table = tables.Table(data, "input", columns, decimal)
    for name in model.outputs:
        if name in table.schema.names:
            table.refuse(f"column {name!r} is in {data} already, and would be added")
    return table


def score_part(
    table, model, scored, rejected, suffix, *, row_groups=None, name=None, n_jobs=1, follow=iter
):
    """Score the rows of a file into a new file, and write the invalid ones into another.

    Parameters
    ----------
    table : wine.tables.Table
        As `open_table` has opened it.
    model : wine.model.Model
        What predicts.
    scored, rejected : str
        Absolute paths or URLs of the two new files.
    suffix : str
        The format of the first: .csv, .csv.gz or .parquet. The other is CSV.
    row_groups : range, optional
        Which row groups of a Parquet file are scored; by default, all are.
    name : str, optional
        The file's name in the rejected rows, where the table is a folder of files.
    n_jobs : int
        How many threads predict; -1 are as many as there are cores.
    follow : callable, optional
        Through which the batches pass, for instance to show the progress.

    Returns
    -------
    Counts

    Raises
    ------
    UserError
        If the file cannot be read to its end.
    OSError
        If a file cannot be written.
    """
    delimiter = _delimiter(table)
    place, counts = {} if name is None else {"file": name}, Counts()
    with _writer(scored, suffix, table, model) as write, _open(rejected) as reject:
        reject.write(_csv_line([*place, "row", "reason", *table.schema.names], delimiter))
        for batch in follow(table.batches(row_groups)):
            if suffix != ".parquet":
                batch = _without_text(batch, table)
            if len(batch.X):
                with joblib.parallel_config("threading", n_jobs=n_jobs):
                    predictions = predict(model, batch.X)
                write(batch, predictions)
                counts += _count(batch.X, model, predictions)
            for row in batch.invalid:
                cells = [*place.values(), row.number, row.reason, *row.cells]
                missing = len(table.schema) - len(row.cells)
                reject.write(_csv_line(cells, delimiter, missing))
            n_lines = sum(row.n_lines for row in batch.invalid)
            counts += Counts(rejected=len(batch.invalid), rejected_lines=n_lines)
    return counts


def score_file(table, model, location, overwrite):
    """Score a file into another, with all cores; both the output and the rejects appear, or none.

    Parameters
    ----------
    table, model
        As `score_part` takes them.
    location : str
        As `wine.scoring.output.resolve` has returned it.
    overwrite : bool
        Whether an output that is there by now may be replaced.

    Returns
    -------
    Counts

    Raises
    ------
    UserError
        If the file cannot be read to its end, or the output cannot be written.
    """

    def follow(batches):
        return process.progress(batches, 100, "scored", lambda batch: batch.percent)

    try:
        with output.partials(location) as (scored, rejected):
            suffix = output.suffix(location)
            counts = score_part(table, model, scored, rejected, suffix, n_jobs=-1, follow=follow)
            with process.uninterrupted():
                output.publish(scored, rejected if counts.rejected else None, location, overwrite)
            return counts
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"output: {location} cannot be written: {reason}") from error


def _delimiter(table):
    """Return what separates the cells of the CSV files that are written: what the input has."""
    return table.form.delimiter if table.form else ","


def _count(X, model, predictions):
    """Count some rows that were scored."""
    drifted = drift.count(X, model.deciles) if model.deciles else 0
    values = predictions[model.outputs[-1]]
    if len(model.outputs) > 2:  # One histogram cannot show all probabilities.
        classes = collections.Counter(predictions["prediction"].tolist())
        return Counts(scored=len(X), classes=classes, drift=drifted)
    return Counts(scored=len(X), histogram=Histogram.of(values), drift=drifted)


def _without_text(batch, table):
    """Reject the rows with a date that CSV cannot show."""
    shown = np.ones(len(batch.cells), dtype=bool)
    column_of = {}
    for name, column in zip(table.schema.names, batch.cells.columns, strict=True):
        if pa.types.is_temporal(column.type):
            bad = pc.starts_with(rows.to_texts(column), OUT_OF_RANGE).to_numpy(zero_copy_only=False)
            shown &= ~bad
            column_of |= {row: name for row in np.flatnonzero(bad)}

    def explain(row, texts):
        position = table.schema.names.index(column_of[row])
        kind = table.schema.field(position).type
        return column_of[row], texts[position], f"is a {kind} that CSV can show; Parquet keeps it"

    return rows.reject(batch, shown, explain, is_csv=False)


@contextlib.contextmanager
def _writer(location, suffix, table, model):
    """Give a function that writes a batch and its predictions into a table of a format."""
    fields = list(table.schema)
    for column, position in zip(table.columns, table.positions, strict=True):
        # A text that is a number becomes one where the format tells the two apart.
        name, kind = fields[position].name, fields[position].type
        if suffix == ".parquet" and rows.is_text(kind) and not column.is_text:
            fields[position] = pa.field(name, pa.float64())
    is_regressor = model.outputs == ["prediction"]
    predicted = pa.float64() if is_regressor else pa.array(model.estimator.classes_).type
    kinds = [predicted] + [pa.float64()] * (len(model.outputs) - 1)
    fields += map(pa.field, model.outputs, kinds)
    schema = pa.schema(fields, table.schema.metadata)

    def columns_of(batch, predictions):
        columns = list(batch.cells.columns)
        for name, position in zip(model.columns, table.positions, strict=True):
            if columns[position].type != schema.field(position).type:
                columns[position] = pa.array(batch.X[name], pa.float64(), from_pandas=True)
        return columns + [pa.array(values) for values in predictions.values()]

    if suffix == ".parquet":
        schema = pa.schema(
            [
                field.with_name(name)
                for field, name in zip(schema, _different(schema.names), strict=True)
            ],
            schema.metadata,
        )
        filesystem, path = files.filesystem(location)
        with pa.parquet.ParquetWriter(path, schema, filesystem=filesystem) as file:
            yield lambda *read: file.write_batch(
                pa.RecordBatch.from_arrays(columns_of(*read), schema=schema)
            )
        return
    delimiter = _delimiter(table)
    with _open(location, "gzip" if suffix == ".csv.gz" else None) as file:
        file.write(_csv_line(schema.names, delimiter))

        def write(batch, predictions):
            columns = columns_of(batch, predictions)
            if table.form and table.form.decimal == ",":
                for position in range(len(table.schema), len(columns)):
                    if pa.types.is_floating(columns[position].type):
                        texts = pc.cast(columns[position], pa.string())
                        columns[position] = pc.replace_substring(texts, ".", ",")
            file.write(_csv_lines(pa.RecordBatch.from_arrays(columns, schema.names), delimiter))

        yield write


def _open(location, compression=None):
    filesystem, path = files.filesystem(location)
    return filesystem.open_output_stream(path, compression=compression)


def _different(names):
    """Return the names, of which Parquet may have each only once, as pandas makes them different.

    Examples
    --------
    >>> _different(["a", "", "a", ""])
    ['a', '', 'a.1', '.1']
    """
    different = {}
    for name in names:
        candidates = (f"{name}.{n}" if n else name for n in itertools.count())
        different[next(each for each in candidates if each not in different)] = None
    return [*different]


def _csv_lines(batch, delimiter):
    """Return a batch as lines of CSV; either all its texts are quoted, or none."""
    options = {"include_header": False, "delimiter": delimiter}
    lines = pa.BufferOutputStream()
    try:
        pa.csv.write_csv(batch, lines, pa.csv.WriteOptions(quoting_style="none", **options))
    except pa.ArrowInvalid:  # Some text has a delimiter, a quote or a line end in it.
        lines = pa.BufferOutputStream()
        pa.csv.write_csv(batch, lines, pa.csv.WriteOptions(quoting_style="needed", **options))
    return lines.getvalue()


def _csv_line(cells, delimiter, n_empty=0):
    """Return a line of CSV, in which each cell is quoted that has to be, and empty cells follow."""
    special = f'{delimiter}"\r\n'
    quoted = (
        '"' + cell.replace('"', '""') + '"' if any(char in cell for char in special) else cell
        for cell in map(str, cells)
    )
    return f"{delimiter.join(quoted)}{delimiter * n_empty}\n".encode()
