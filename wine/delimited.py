"""Delimited text (CSV): its encoding, delimiter and decimal sign, its header and its rows."""

import codecs
import collections
import csv
import io
import itertools
import re
import sys
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from wine import files

DELIMITERS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# A number whose comma cannot separate thousands, for instance 0,27 or 7,5 or 1234,567 or ,5.
DECIMAL_COMMA = r"^[+-]?(\d*,(\d{1,2}|\d{4,})|(0\d*|\d{4,})?,\d+)([eE][+-]?\d+)?$"
BLOCK_SIZE = 2**20  # bytes, some 15,000 wines; Arrow reads up to 32 blocks ahead.
BLOCKS_PER_BATCH = 4
MAX_HEADER = 2**24  # bytes
MAX_MALFORMED = 1_000_000  # malformed rows without a well-formed one between them

csv.field_size_limit(sys.maxsize)  # A quote that is never closed makes a cell of what follows it.


class Form(NamedTuple):
    """The form of a file.

    Attributes
    ----------
    delimiter : str
        What separates the cells.
    decimal : str
        The decimal sign, a point or a comma.
    encoding : str
        UTF-8 or UTF-16.
    member : str or None
        The name of the table in the archive that the file is.
    """

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "UTF-8"
    member: str | None = None

    def describe(self):
        """Return in words what is not plain."""
        words = [self.member] if self.member else []
        words += [self.encoding] if self.encoding != "UTF-8" else []
        if self.delimiter != ",":
            words.append(f"separated by {DELIMITERS.get(self.delimiter, repr(self.delimiter))}")
        return words + (["decimal comma"] if self.decimal == "," else [])


class DelimitedFile:
    """A delimited file, whose form is found out when it is opened.

    Parameters
    ----------
    source : wine.files.Source
        The file.
    rank : callable
        Says of a list of names how well they suit as the header; it chooses the delimiter.

    Attributes
    ----------
    form : Form
        What was found out so far; `find_decimal` says more.
    schema : pyarrow.Schema
        The names in the header, all of them texts.
    """

    def __init__(self, source, rank):
        self._source = source
        text, self.form = self._open()
        line = text.readline().decode("utf-8")
        if not line:
            source.refuse(f"{source.data} cannot be read: it is empty")
        if "\0" in line:
            source.refuse(f"{source.data} cannot be read: it is not text, and a header is missing")
        self._n_header_lines, delimiters = 1, list(DELIMITERS)
        if said := re.fullmatch(r'"?sep=(.)"?', line):  # Excel takes the delimiter from this line.
            self._n_header_lines, delimiters = 2, [said[1]]
            line = text.readline().decode("utf-8")
        headers = {each: split_cells(line, each) for each in delimiters}
        delimiter = max(delimiters, key=lambda each: rank(headers[each]))
        self.form = self.form._replace(delimiter=delimiter)
        self.schema = pa.schema([(name, pa.string()) for name in headers[delimiter]])

    def _open(self):
        """Open the file; return its text, and the parts of its form that its first bytes tell."""
        self._file = self._source.open()
        stream, member = files.decompress(self._file, self._source)
        start, encoding = stream.read(3), "UTF-8"
        if start.startswith(UTF16):
            utf16 = pa.PythonFile(_Text(stream, start), "r")
            stream, encoding = pa.transcoding_input_stream(utf16, "utf-16", "utf-8"), "UTF-16"
        if start.startswith((*UTF16, codecs.BOM_UTF8)):
            start = b""
        return _Text(stream, start), Form(encoding=encoding, member=member)

    def _start(self, positions, kinds, on_malformed=None, **convert):
        """Open the file behind its header; return its text, and how Arrow is to read it."""
        text, _ = self._open()
        for _ in range(self._n_header_lines):
            text.readline()
        names = [str(position) for position in range(len(self.schema))]
        return text, {
            "read_options": pa.csv.ReadOptions(
                # Malformed rows have their numbers only where a single thread reads.
                use_threads=on_malformed is None,
                block_size=BLOCK_SIZE,
                column_names=names,
            ),
            "parse_options": pa.csv.ParseOptions(
                delimiter=self.form.delimiter,
                newlines_in_values=True,
                invalid_row_handler=on_malformed,
            ),
            "convert_options": pa.csv.ConvertOptions(
                column_types={names[n]: kind for n, kind in zip(positions, kinds, strict=True)},
                include_columns=[names[position] for position in positions],
                decimal_point=self.form.decimal,
                **convert,
            ),
        }

    def find_decimal(self, positions):
        """Find out the decimal sign: a comma if some first row proves it and none has a point.

        Parameters
        ----------
        positions : list of int
            The columns that hold numbers.
        """
        if self.form.delimiter == ",":
            return
        first = next(self.batches(positions), None)
        cells = [pc.utf8_trim(each, " \t") for each in (first[1].columns if first else [])]
        has_point = any(pc.any(pc.match_substring(each, ".")).as_py() for each in cells)
        has_comma = any(
            pc.any(pc.match_substring_regex(each, DECIMAL_COMMA)).as_py() for each in cells
        )
        self.form = self.form._replace(decimal="," if has_comma and not has_point else ".")

    def read_plain(self, positions, kinds, missing):
        """Read columns whose cells are what Arrow reads by itself, in a third of the time.

        Parameters
        ----------
        positions : list of int
            The columns.
        kinds : list of pyarrow.DataType
            Their types.
        missing : sequence of str
            The texts that stand for a number that nobody knows.

        Returns
        -------
        pyarrow.Table or None
            None if some cell is of another type, a row has another number of cells, or there is no
            row.
        """
        text, options = self._start(
            positions, kinds, null_values=list(missing), strings_can_be_null=False
        )
        try:
            return pa.csv.read_csv(pa.PythonFile(text, "r"), **options)
        except pa.ArrowInvalid:
            return None

    def batches(self, positions):
        """Read columns as texts.

        Parameters
        ----------
        positions : sequence of int
            The columns.

        Yields
        ------
        numbers : ndarray of int64, shape (n_rows,)
            The numbers of the rows in the file, from 1.
        cells : pyarrow.RecordBatch, n_rows rows
            The rows that have as many cells as there are columns in the file.
        malformed : list of (int, str)
            For each other row its number and its text.
        percent : int
            How much of the file all these rows are.
        """
        malformed = collections.deque()  # The reader is ahead of the batches.

        def keep(row):
            malformed.append((row.number, row.text))
            return "skip" if len(malformed) < MAX_MALFORMED else "error"

        kinds = [pa.binary()] * len(positions)  # Each is a text, if it is valid UTF-8.
        text, options = self._start(positions, kinds, keep, strings_can_be_null=False)
        if text.is_at_end():
            return
        schema = pa.schema([self.schema.field(position) for position in positions])
        done, n_blocks, percent = 0, 0, 0
        try:
            reader = pa.csv.open_csv(pa.PythonFile(text, "r"), **options)
            while blocks := list(itertools.islice(reader, BLOCKS_PER_BATCH)):
                cells = pa.concat_batches(blocks)
                ahead = [number for number, _ in list(malformed)]
                numbers = np.arange(done + 1, done + len(cells) + len(ahead) + 1)
                numbers = numbers[~np.isin(numbers, ahead)][: len(cells)]
                done = numbers[-1] if len(numbers) else done  # All its rows may be malformed.
                passed = [malformed.popleft() for number in ahead if number < done]
                n_blocks, before = n_blocks + len(blocks), percent
                read = min(n_blocks * BLOCK_SIZE, self._file.tell())  # Arrow has read ahead.
                percent = 100 * read // (self._file.size() or 1)
                yield numbers, self._decode(cells, schema, done), passed, percent - before
        except pa.ArrowInvalid:
            reason = f"a row has more than {BLOCK_SIZE / 2**20:g} MB; perhaps a quote is opened"
            reason += " there and not closed"
            if len(malformed) >= MAX_MALFORMED:
                reason = f"{MAX_MALFORMED} rows have not {len(self.schema)} cells"
            self._source.refuse(f"{self._source.data} cannot be read: behind row {done}, {reason}")
        none = pa.RecordBatch.from_pylist([], schema)
        yield np.arange(0), none, list(malformed), 100 - percent

    def _decode(self, cells, schema, done):
        """Return the texts of a batch of bytes, under the names in the header."""
        try:
            columns = [pc.cast(column, pa.string()) for column in cells.columns]
        except pa.ArrowInvalid:
            self._source.refuse(
                f"{self._source.data} cannot be read: up to row {done}, some cell is not text in "
                "utf-8; save the file as 'CSV UTF-8'"
            )
        return pa.RecordBatch.from_arrays(columns, schema=schema)


class _Text:
    """The text of a CSV file, in blocks that never end between CR and LF.

    Arrow drops an LF at the beginning of a block after a CR at the end of the one before, also
    where both are inside a quoted cell.
    """

    closed = False

    def __init__(self, stream, pending=b""):
        self._stream, self._pending = stream, pending

    def read(self, size):
        """Return up to `size` bytes."""
        block, self._pending = self._pending[:size], self._pending[size:]
        if len(block) < size:
            block += self._stream.read(size - len(block))
        if len(block) > 1 and block.endswith(b"\r"):
            block, self._pending = block[:-1], b"\r" + self._pending
        return block

    def readline(self):
        """Return the first line that is not blank, in which a quoted cell may hold line ends."""
        text = b""
        while len(text) < MAX_HEADER:
            block = self.read(BLOCK_SIZE)
            text, quoted = (text + block).lstrip(b"\r\n"), False
            for token in re.finditer(rb'"|\r\n|\n|\r', text):
                if token[0] == b'"':
                    quoted = not quoted
                elif not quoted:
                    self._pending = text[token.end() :] + self._pending
                    return text[: token.start()]
            if not block:
                break
        return text

    def is_at_end(self):
        """Tell whether there is nothing left to read."""
        self._pending = self._pending or self.read(BLOCK_SIZE)
        return not self._pending

    def close(self):
        """Close the file."""
        self.closed = True
        self._stream.close()


def split_cells(text, delimiter):
    """Return the cells of a row's text."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def count_lines(text):
    r"""Return how many lines of a file a text takes.

    Parameters
    ----------
    text : str
        Of a cell, or of a row.

    Returns
    -------
    int

    Examples
    --------
    >>> count_lines("one"), count_lines("one\r\ntwo\n")
    (1, 2)
    """
    ends = re.findall(r"\r\n|\n|\r", text)
    return len(ends) + (not text.endswith(("\n", "\r")))
