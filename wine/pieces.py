"""Scoring here: a file of any size, read in pieces and written whole or not at all."""

import collections
import contextlib
import csv
import gzip
import io
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from wine import UserError, process, scoring
from wine.dataset import locate

BLOCK = 2**20  # bytes of CSV, some 15,000 wines; Arrow reads up to 32 blocks ahead
TOGETHER = 4  # blocks that a model answers at once
ROWS = 2**16  # of Parquet
MOST_TORN = 1_000_000  # that many one after the other are no table


def measure(batch, columns):
    """Take a model's measurements out of a piece of a table.

    Parameters
    ----------
    batch : pyarrow.RecordBatch, n rows
        The piece.
    columns : list of str
        The measurements.

    Returns
    -------
    ndarray of float64, shape (n, n_columns)
        The measurements, NaN or infinite where a cell is not a finite number.
    """
    X = np.empty((len(batch), len(columns)))
    for place, name in enumerate(columns):
        cells = batch.column(name)
        try:
            numbers = pc.cast(cells, pa.float64())
        except pa.ArrowInvalid:  # some text is no number, or has spaces around it
            cells = pc.utf8_trim(cells, " \t")
            is_number = pc.match_substring_regex(cells, scoring.NUMBER)
            numbers = pc.cast(pc.if_else(is_number, cells, None), pa.float64())
        X[:, place] = pc.fill_null(numbers, np.nan)
    return X


@contextlib.contextmanager
def whole(path):
    """Write a file that appears under its name when it is complete, or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The name; what is there is replaced, or removed if nothing is written.

    Yields
    ------
    pathlib.Path
        Where to write, in the same folder.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        if beside.exists():
            os.replace(beside, path)
        else:
            path.unlink(missing_ok=True)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def writer(path, suffix, schema):
    """Write a table piece by piece.

    Parameters
    ----------
    path : pathlib.Path
        Where to.
    suffix : str
        One of `wine.scoring.SUFFIXES`, which says in what format.
    schema : pyarrow.Schema
        The table's columns.

    Yields
    ------
    callable
        Writes a pyarrow.RecordBatch.
    """
    if suffix == ".parquet":
        with pa.parquet.ParquetWriter(path, schema) as file:
            yield file.write_batch
        return
    with pa.output_stream(path, compression="gzip" if suffix == ".csv.gz" else None) as file:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(schema.names)
        file.write(header.getvalue().encode())

        def write(batch):
            try:
                file.write(_lines(batch, "none"))
            except pa.ArrowInvalid:  # some text has a comma, a quote or a line's end in it
                file.write(_lines(batch, "needed"))

        yield write


def _lines(batch, quotes):
    lines = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style=quotes)
    pa.csv.write_csv(batch, lines, options)
    return lines.getvalue()


def _row(batch, row):
    return [column[row].as_py() for column in batch.columns]


class Table:
    """A file to be scored.

    Parameters
    ----------
    data : str
        Path of a CSV file (commas, one header line, UTF-8), compressed by gzip or not, or of a
        Parquet file.

    Attributes
    ----------
    source : str
        Its absolute path.
    schema : pyarrow.Schema
        Its columns; those of a CSV file are all text.
    columns : list of str
        Their names.

    Raises
    ------
    UserError
        If it is not there or not such a file.
    """

    def __init__(self, data):
        self._suffix = scoring.suffix("input", data)
        self.data, self.source = data, locate(data)
        if not Path(self.source).is_file():
            raise UserError(f"input: received {data!r}, no such file in {Path.cwd()}")
        with self._refusing():
            if self._suffix == ".parquet":
                self.schema = pa.parquet.read_schema(self.source)
            else:
                opened = gzip.open if self._suffix == ".csv.gz" else open
                with opened(self.source, "rt", encoding="utf-8-sig", newline="") as lines:
                    self.schema = pa.schema(
                        [(name, pa.string()) for name in next(csv.reader(lines))]
                    )

        self.columns = self.schema.names

    @contextlib.contextmanager
    def _refusing(self):
        try:
            yield
        except (pa.ArrowException, OSError, EOFError, UnicodeError, StopIteration) as error:
            reason = (str(error) or "it is empty").splitlines()[0]
            raise UserError(f"input: {self.data} cannot be read: {reason}") from error

    def pieces(self):
        """Read the file.

        Yields
        ------
        numbers : ndarray of int64, shape (n,)
            The numbers of the rows in this piece, from 1.
        batch : pyarrow.RecordBatch, n rows
            These rows.
        torn : list of (int, str, str)
            For each row with too few or too many cells its number, what is wrong, and its text.
        percent : int
            How much of the file this was.

        Raises
        ------
        UserError
            If it cannot be read to its end.
        """
        with self._refusing():
            yield from self._parquet() if self._suffix == ".parquet" else self._csv()

    def _parquet(self):
        file = pa.parquet.ParquetFile(self.source)
        length, done = file.metadata.num_rows, 0
        for batch in file.iter_batches(ROWS):
            before, done = done, done + len(batch)
            percent = 100 * done // length - 100 * before // length
            yield np.arange(before + 1, done + 1), batch, [], percent

    def _csv(self):
        torn = collections.deque()  # the reader is ahead of the pieces

        def tear(row):
            wrong = f"received '{row.text}', allowed are {row.expected_columns} cells"
            torn.append((row.number - 1, wrong, row.text))  # the header is counted, too
            return "skip" if len(torn) < MOST_TORN else "error"

        file = pa.OSFile(self.source)
        batches = pa.csv.open_csv(
            pa.CompressedInputStream(file, "gzip") if self._suffix == ".csv.gz" else file,
            # rows have their numbers only where a single thread reads
            pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
            pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=tear),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(self.columns, pa.string())),
        )
        batches, blocks = iter(batches), 0
        done = percent = 0
        while some := list(itertools.islice(batches, TOGETHER)):
            blocks, batch = blocks + len(some), pa.concat_batches(some)
            ahead = [number for number, *_ in list(torn)]
            numbers = np.arange(done + 1, done + len(batch) + len(ahead) + 1)
            numbers = numbers[~np.isin(numbers, ahead)][: len(batch)]
            done = numbers[-1] if len(numbers) else done  # a piece may have torn rows only
            passed = [torn.popleft() for number in ahead if number < done]
            before, percent = percent, 100 * min(blocks * BLOCK, file.tell()) // file.size()
            yield numbers, batch, passed, percent - before
        last = pa.RecordBatch.from_pylist([], self.schema)
        yield np.arange(0), last, list(torn), 100 - percent

    def place(self, output, overwrite):
        """Return where an output will be, or refuse one that cannot be made.

        Parameters
        ----------
        output : str
            Its path.
        overwrite : bool
            Whether it may be there already.

        Returns
        -------
        str
            Its absolute path.

        Raises
        ------
        UserError
            If its name does not say its format, its folder is not there or it is there itself.
        """
        scoring.suffix("output", output)
        path = Path(output).resolve()
        if not path.parent.is_dir():
            raise UserError(f"output: received {output!r}, there is no folder {path.parent}")
        if path.is_dir() or (path.exists() and not overwrite):
            raise UserError(f"output: {path} is there already; overwrite=true replaces a file")
        return str(path)

    def score(self, model, output):
        """Score the table into a file, and its bad rows into `<output>.rejected.csv`.

        Parameters
        ----------
        model : wine.scoring.Model
            The table has to have its columns.
        output : str
            The file to make, in a format by its suffix.

        Returns
        -------
        wine.scoring.Counts

        Raises
        ------
        UserError
            If the table cannot be read to its end, or the output cannot be written.
        """
        try:
            with whole(Path(output)) as scored, whole(Path(f"{output}.rejected.csv")) as rejected:
                counts = self._score(model, scoring.suffix("output", output), scored, rejected)
                if not counts.rejected:
                    rejected.unlink()
                return counts
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"output: {output} cannot be written: {reason}") from error

    def _score(self, model, suffix, scored, rejected):
        # what CSV has as text becomes numbers where a format tells them apart
        fields = [
            pa.field(field.name, pa.float64())
            if suffix == ".parquet"
            and field.name in model.columns
            and pa.types.is_string(field.type)
            else field
            for field in self.schema
        ]
        kinds = {"prediction": pa.int64() if "probability" in model.answers else pa.float64()}
        answers = [pa.field(name, kinds.get(name, pa.float64())) for name in model.answers]
        schema = pa.schema([*fields, *answers], self.schema.metadata)
        counts = scoring.Counts()
        with (
            writer(scored, suffix, schema) as write,
            open(rejected, "w", encoding="utf-8", newline="") as lines,
        ):
            rejects = csv.writer(lines, lineterminator="\n")
            rejects.writerow(["row", "reason", *self.schema.names])
            pieces = process.progress(self.pieces(), 100, "scored", size=lambda piece: piece[-1])
            for numbers, batch, torn, _ in pieces:
                X = measure(batch, model.columns)
                good = np.isfinite(X).all(axis=1)
                if good.any():
                    answered = scoring.answer(model, X[good])
                    counts.add(answered)
                    measured = dict(zip(model.columns, X[good].T, strict=True))
                    kept = batch.filter(pa.array(good))
                    columns = [
                        column if column.type == field.type else pa.array(measured[field.name])
                        for column, field in zip(kept.columns, fields, strict=True)
                    ]
                    columns += [pa.array(answered[name]) for name in model.answers]
                    write(pa.RecordBatch.from_arrays(columns, schema=schema))
                bad = [(number, wrong, *self._cells(text)) for number, wrong, text in torn]
                for row in np.flatnonzero(~good):
                    cells = ["" if cell is None else cell for cell in _row(batch, row)]
                    name = model.columns[np.argmin(np.isfinite(X[row]))]
                    cell = cells[self.schema.names.index(name)]
                    wrong = f"column '{name}': received '{cell}', allowed is a finite number"
                    bad.append((numbers[row], wrong, *cells))
                rejects.writerows(sorted(bad))
                counts.rejected += len(bad)
        return counts

    def _cells(self, text):
        """Return as many cells of a row as there are columns."""
        cells = next(csv.reader(io.StringIO(text, newline="")))
        return (cells + [""] * len(self.columns))[: len(self.columns)]
