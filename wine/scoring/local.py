"""The local engine: a file of any size, read in batches, scored by all cores of this machine."""

import collections
import contextlib
import csv
import gzip
import itertools
import os
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from wine import UserError, process
from wine.dataset import locate
from wine.model import predict
from wine.scoring import drift, rows
from wine.scoring.scorer import Counts, Scorer, refuse_existing, refuse_input, suffix

BLOCK_SIZE = 2**20  # bytes of CSV, some 15,000 wines; Arrow reads up to 32 blocks ahead.
BLOCKS_TOGETHER = 4  # that a model predicts at once
PARQUET_ROWS = 2**16
MAX_MALFORMED = 1_000_000  # malformed rows without a well-formed one between them


class Batch(NamedTuple):
    """Some rows of a table.

    Attributes
    ----------
    numbers : ndarray of int64, shape (n,)
        The numbers of the rows in `table`, from 1.
    table : pyarrow.RecordBatch, n rows
        The rows that have as many cells as there are columns.
    malformed : list of (int, str)
        For each row with too few or too many cells its number and its text.
    percent : int
        How much of the file all these rows are.
    """

    numbers: np.ndarray
    table: pa.RecordBatch
    malformed: list
    percent: int


class _WholeLineEnds:
    """A file whose blocks never end between CR and LF.

    Arrow drops an LF at the beginning of a block after a CR at the end of the one before, also
    where both are inside a quoted cell.
    """

    def __init__(self, file):
        self._file, self._pending, self.closed = file, b"", False

    def read(self, size):
        """Return up to `size` bytes."""
        block = self._pending + self._file.read(size - len(self._pending))
        self._pending = b""
        if len(block) > 1 and block.endswith(b"\r"):
            block, self._pending = block[:-1], b"\r"
        return block

    def close(self):
        """Close the file."""
        self.closed = True
        self._file.close()


class LocalScorer(Scorer):
    """A file to be scored by this process.

    Parameters
    ----------
    data : str
        Path of a CSV file (commas, one header line, UTF-8), compressed by gzip or not, or of a
        Parquet file.

    Raises
    ------
    UserError
        If it is not there or not such a file.
    """

    def __init__(self, data):
        self._suffix = suffix("input", data)
        self.data, self.source = data, locate(data)
        if not os.path.isfile(self.source):
            raise UserError(f"input: received {data!r}, no such file in {Path.cwd()}")
        self._has_rows = True
        with self._reading():
            if self._suffix == ".parquet":
                schema = pa.parquet.read_schema(self.source)
                # Arrow cannot take rows out of a string_view.
                fields = [
                    field.with_type(pa.string()) if field.type == pa.string_view() else field
                    for field in schema
                ]
                self.schema = pa.schema(fields, schema.metadata)
                return
            opened = gzip.open if self._suffix == ".csv.gz" else open
            with opened(self.source, "rt", encoding="utf-8-sig", newline="") as lines:
                header = next(csv.reader(lines))
                self._has_rows = lines.read(1) != ""
        self.schema = pa.schema([(name, pa.string()) for name in header])

    @contextlib.contextmanager
    def _reading(self):
        try:
            yield
        except (
            *(pa.ArrowException, OSError, EOFError, UnicodeError, StopIteration, csv.Error),
        ) as error:
            reason = (str(error) or "it is empty").splitlines()[0]
            if "straddling object" in reason:
                reason = (
                    f"behind row {self._done}, a row has more than {BLOCK_SIZE / 2**20:g} MB; "
                    "perhaps a quote is opened there and not closed"
                )
            raise UserError(f"input: {self.data} cannot be read: {reason}") from error

    def _batches(self):
        """Read the file; see `Batch`."""
        self._done = 0
        with self._reading():
            if self._suffix == ".parquet":
                yield from self._parquet()
            elif self._has_rows:
                yield from self._csv()

    def _parquet(self):
        file = pa.parquet.ParquetFile(self.source)
        length, done = file.metadata.num_rows, 0
        for table in file.iter_batches(PARQUET_ROWS):
            before, done = done, done + len(table)
            percent = 100 * done // length - 100 * before // length
            yield Batch(np.arange(before + 1, done + 1), table.cast(self.schema), [], percent)

    def _csv(self):
        malformed = collections.deque()  # The reader is ahead of the batches.

        def keep(row):
            malformed.append((row.number - 1, row.text))  # The header is counted, too.
            return "skip" if len(malformed) < MAX_MALFORMED else "error"

        with pa.OSFile(self.source) as file:
            stream = pa.CompressedInputStream(file, "gzip") if self._suffix == ".csv.gz" else file
            reader = pa.csv.open_csv(
                pa.PythonFile(_WholeLineEnds(stream), "r"),
                # Rows have their numbers only where a single thread reads.
                pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_SIZE),
                pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep),
                pa.csv.ConvertOptions(
                    column_types=dict.fromkeys(self.schema.names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            blocks, done, percent = 0, 0, 0
            while some := list(itertools.islice(reader, BLOCKS_TOGETHER)):
                blocks, table = blocks + len(some), pa.concat_batches(some)
                ahead = [number for number, _ in list(malformed)]
                numbers = np.arange(done + 1, done + len(table) + len(ahead) + 1)
                numbers = numbers[~np.isin(numbers, ahead)][: len(table)]
                done = numbers[-1] if len(numbers) else done  # All its rows may be malformed.
                self._done = done
                passed = [malformed.popleft() for number in ahead if number < done]
                before, percent = (
                    percent,
                    100 * min(blocks * BLOCK_SIZE, file.tell()) // (file.size() or 1),
                )
                yield Batch(numbers, table, passed, percent - before)
        last = pa.RecordBatch.from_pylist([], self.schema)
        yield Batch(np.arange(0), last, list(malformed), 100 - percent)

    def resolve_output(self, output, overwrite):
        """Return the absolute path of an output, as `Scorer.resolve_output` does."""
        suffix("output", output)
        try:
            path = Path(output).resolve()
        except (OSError, RuntimeError) as error:  # A link to itself; RuntimeError until 3.12.
            raise UserError(
                f"output: received {output!r}, which cannot be followed: {error}"
            ) from error
        if not path.parent.is_dir():
            raise UserError(f"output: received {output!r}, there is no folder {path.parent}")
        for each in (path, Path(f"{path}.rejected.csv")):
            if os.path.lexists(each):
                if os.path.exists(each) and os.path.samefile(each, self.source):
                    refuse_input(each)
                if each.is_dir():
                    raise UserError(f"output: {each} is a folder, allowed is the name of a file")
                if not overwrite:
                    refuse_existing(each)
        return str(path)

    def score(self, model, output, overwrite):
        """Score the table, as `Scorer.score` does."""
        scored, rejected = Path(output), Path(f"{output}.rejected.csv")
        try:
            with _partial(scored) as scored_part, _partial(rejected) as rejected_part:
                counts = self._score(model, suffix("output", output), scored_part, rejected_part)
                self._publish(scored_part, scored, overwrite)
                try:
                    if counts.rejected:
                        self._publish(rejected_part, rejected, overwrite)
                    elif overwrite:  # Those of an earlier scoring.
                        rejected.unlink(missing_ok=True)
                except BaseException:
                    if not overwrite:
                        scored.unlink()
                    raise
                return counts
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"output: {output} cannot be written: {reason}") from error

    def _publish(self, part, path, overwrite):
        """Give a complete file its name, which may have appeared meanwhile."""
        if overwrite:
            os.replace(part, path)
            return
        try:
            os.link(part, path)  # which fails where there is something, unlike a rename
        except FileExistsError:
            refuse_existing(path)
        except OSError:  # The file system has no such links.
            if os.path.lexists(path):
                refuse_existing(path)
            os.replace(part, path)

    def _score(self, model, format_, scored, rejected):
        fields = [
            # A text that is a number becomes one where the format tells the two apart.
            pa.field(field.name, pa.float64())
            if format_ == ".parquet" and field.name in model.columns and rows.is_text(field.type)
            else field
            for field in self.schema
        ]
        kinds = {"prediction": pa.int64() if "probability" in model.outputs else pa.float64()}
        fields += [pa.field(name, kinds.get(name, pa.float64())) for name in model.outputs]
        schema = pa.schema(fields, self.schema.metadata)
        counts = Counts()
        with (
            _writer(scored, format_, schema) as write,
            open(rejected, "w", encoding="utf-8", newline="") as lines,
        ):
            lines.write(rows.csv_line(["row", "reason", *self.schema.names]))
            batches = process.progress(self._batches(), 100, "scored", lambda each: each.percent)
            for numbers, table, malformed, _ in batches:
                X, reasons = rows.validate(table, model.columns)
                if format_ != ".parquet":
                    reasons |= _without_text(table, reasons)
                is_valid = np.ones(len(table), dtype=bool)
                is_valid[[*reasons]] = False
                if is_valid.any():
                    with joblib.parallel_config("threading", n_jobs=-1):
                        predictions = predict(model, X[is_valid])
                    counts.add(predictions)
                    if model.deciles:
                        counts.drift += drift.count(X[is_valid], model.deciles)
                    columns = dict(zip(table.schema.names, table.filter(is_valid), strict=True))
                    for field in schema:
                        if field.name in model.columns and field.type != columns[field.name].type:
                            columns[field.name] = X[is_valid, model.columns.index(field.name)]
                    columns |= predictions
                    arrays = [pa.array(columns[field.name], field.type) for field in schema]
                    write(pa.RecordBatch.from_arrays(arrays, schema=schema))
                invalid = [
                    (number, rows.malformed(text, len(self.schema)), text)
                    for number, text in malformed
                ]
                invalid = [
                    (number, reason, *rows.split_cells(text, len(self.schema)))
                    for number, reason, text in invalid
                ]
                if reasons:
                    chosen = table.take([*reasons])
                    cells = zip(*(rows.texts(column).to_pylist() for column in chosen), strict=True)
                    invalid += [
                        (numbers[row], reason, *each)
                        for (row, reason), each in zip(reasons.items(), cells, strict=True)
                    ]
                lines.writelines(rows.csv_line(row) for row in sorted(invalid))
                counts.rejected += len(invalid)
                counts.rejected_lines += sum(rows.lines_of(reason) for _, reason, *_ in invalid)
        return counts


def _without_text(table, reasons):
    """Return the reasons for rows with a date that CSV cannot show."""
    found = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if pa.types.is_temporal(column.type):
            bad = pc.starts_with(rows.texts(column), rows.OUT_OF_RANGE)
            for row in np.flatnonzero(bad.to_numpy(zero_copy_only=False)):
                if int(row) not in reasons | found:
                    (text,) = rows.texts(column.slice(row, 1)).to_pylist()
                    found[int(row)] = (
                        f"column '{name}': received '{text}', allowed is a {column.type} that CSV "
                        "can show; Parquet keeps it"
                    )
    return found


@contextlib.contextmanager
def _partial(path):
    """Give the name of a file beside a path, and remove it in the end."""
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _writer(path, format_, schema):
    """Give a function that writes a pyarrow.RecordBatch into a table of a format."""
    if format_ == ".parquet":
        with pa.parquet.ParquetWriter(path, schema) as file:
            yield file.write_batch
        return
    with pa.output_stream(path, compression="gzip" if format_ == ".csv.gz" else None) as file:
        file.write(rows.csv_line(schema.names).encode())

        def write(batch):
            try:
                file.write(_csv_lines(batch, "none"))
            except pa.ArrowInvalid:  # Some text has a comma, a quote or a line end in it.
                file.write(_csv_lines(batch, "needed"))

        yield write


def _csv_lines(batch, quoting):
    lines = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style=quoting)
    pa.csv.write_csv(batch, lines, options)
    return lines.getvalue()
