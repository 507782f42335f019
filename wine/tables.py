"""Tables: how CSV and Parquet files, in the forms in which people have them, become rows."""

import collections
import contextlib
import csv
import io
import os
import re
import socket
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import fs, parquet

from wine import UserError

PROJECT = Path(__file__).resolve().parent.parent
DOWNLOAD_TIMEOUT = 60  # seconds without a byte
CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}
DELIMITERS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
SAMPLE = BLOCK_SIZE = 2**20  # bytes, some 15,000 wines
# scikit-learn's trees compute with 32 bits, whose largest number is 3.4e38; a scaler may divide by
# a small number before that. A float64 holds each whole number below 2**53.
MAX_NUMBER, MAX_INTEGER = 1e30, 2**53 - 1
# Blanks, also those that do not break, and signs without a width.
BLANKS = "\t\n\v\f\r \xa0\xad\u202f\u205f\u2060\u3000\ufeff" + "".join(map(chr, range(8192, 8208)))
NUMBER_TYPES = r"u?int|(half)?float|double|decimal|null"
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# A number whose comma cannot separate thousands, for instance 0,27 or 7,5 or 1234,567 or ,5.
DECIMAL_COMMA = r"[+−-]?(\d*,(\d{1,2}|\d{4,})|(0\d*|\d{4,})?,\d+)([eE][+-]?\d+)?"
WORD = r"(?<!\d)[^\W\d_]"  # a letter that no digit stands before
STANDS_FOR_MISSING = r"(?i)|na|n/a|nan|null|none|\?|-|\."
OTHER_CELLS = {  # what a cell is that is no number
    r"[\d.,+-]+\s*%": "a percentage",
    r"\d{4}[-/.]\d\d?[-/.]\d\d?\b.*|\d\d?[-/.]\d\d?[-/.]\d{2,4}\b.*": "a date",
    DECIMAL_COMMA: "a number with a decimal comma",
    r"[+-]?\d{1,3}([,. '’\xa0\u202f]\d{3})+([.,]\d+)?": "a number whose thousands are separated",
    r"[\d.,]+\s*(-|–|to)\s*[\d.,]+": "a range",
    r"(?i)[+-]?(\d{16,}|[\d.]+e\+?\d+|inf(inity)?)": "too large",
    r"[$€£+-]*[\d.,]+\s*[^\W\d_]\D*|[$€£][\d.,]+": "a number with a unit",
}
WORKBOOK = "a workbook", "save its sheet as 'CSV UTF-8'"
OTHER_FILES = {  # what a file that is no table begins with; what it is; what helps
    r"$": ("empty", "look where it comes from"),
    r"PK.{,40}(\[Content_T|_rels/|docProps/|xl/|mimetype)|\ufffd{2}\x11\ufffd": WORKBOOK,
    r"PK[\x03\x05]|BZh\d|\ufffd7zXZ|.{257}ustar": ("an archive", "unpack it"),
    r"(?i)<(!doctype|html|\?xml)": ("a web page", "take the address of the file itself ('Raw')"),
    r"version https://git-lfs": ("a pointer of Git LFS", "`git lfs pull` fetches the file"),
    r'[\[{]\s*["\[{]': ("JSON", "convert it"),
    r"(?i)(%[^\n]*\n\s*)*@relation": ("an ARFF file", "convert it"),
    r"\ufffd[\x02-\x05]": ("a pickle", "convert it"),
    r"ARROW1|FEA1": ("a Feather file", "convert it"),
    r"[^\0]*\0": ("not text", "convert it"),
    r"[^,;|\n]*\n[^,;|\t\n]* [\d.+-]+ +[\d.+-]+": ("separated by blanks", "put commas there"),
    r'([^\n]*[,;\t|])?("?-?[\d.][\d.,e-]*"?[,;\t|\r\n]){2}': ("without a header", "add names"),
}
NOT_UNICODE = "some text is not UTF-8; save the file as 'CSV UTF-8'"
TOO_LONG = "a row has more than 1 MB; perhaps a quote is opened there and not closed"
csv.field_size_limit(2**31 - 1)  # A quote that is never closed makes a cell of what follows it.


# A column that is needed: of numbers, or of texts; some texts stand for a missing value, as a null
# does then.
Column = collections.namedtuple("Column", "name is_text missing", defaults=(False, ()))
# The form of a CSV file; skip_rows counts the lines above its header.
Form = collections.namedtuple(
    "Form", "delimiter decimal encoding skip_rows codec", defaults=(",", ".", "utf-8", 0, None)
)
# Some rows of a table, one behind the other. cells: a RecordBatch of the valid rows, all texts if
# the file is CSV. X: a DataFrame of their needed columns, under the needed names: float64 or texts,
# NaN where a value is missing. invalid: of each other row its number in the file, from 1, why it is
# invalid, and its cells, as many as there are columns, or fewer. percent: how much of the file.
Batch = collections.namedtuple("Batch", "cells X invalid percent")


class Table:
    """A table in a file, with the columns that are needed of it.

    Parameters
    ----------
    data : str
        Path or URL of a CSV or Parquet file.
    parameter : str
        The name of the parameter that says so, for the error messages.
    columns : list of Column
        The columns that are needed.

    Attributes
    ----------
    location : str
        The absolute path or the URL.
    schema : pyarrow.Schema
        All columns, under the names that they have in the file; those of a CSV file are texts.
    positions, names : list
        Where the needed columns are among these, and under which names.
    form : Form or None
        The form of a CSV file; None for a Parquet file.

    Raises
    ------
    UserError
        If there is no such file, it is neither CSV nor Parquet, or a needed column is missing, is
        there more than once, or has a type that it cannot have.
    """

    def __init__(self, data, parameter, columns):
        self.data, self.parameter, self.columns = data, parameter, columns
        self.location, self.form = locate(data), None
        self._path = self.location
        with self._reading():
            if self.location.startswith(("http://", "https://", "ftp://")):
                self._folder = tempfile.TemporaryDirectory()  # It goes with the table.
                self._path = str(Path(self._folder.name, "table"))
                socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
                urllib.request.urlretrieve(self.location, self._path)
            if self._open().read(4) == b"PAR1":
                self.schema = _read_parquet_schema(self._open())
            else:
                self.form, names = _find_form(self._open, columns)
                self.schema = pa.schema([(name, pa.string()) for name in names])
        self.positions = self._find_columns()
        self.names = [self.schema.names[position] for position in self.positions]

    def refuse(self, message):
        """Raise a `UserError` that begins with the parameter's name."""
        raise UserError(f"{self.parameter}: {message}")

    @contextlib.contextmanager
    def _reading(self):
        """Make one line of whatever happens while the file is read."""
        try:
            yield
        except UserError:
            raise
        # File systems, web servers and decompressors raise errors of any kind.
        except Exception as error:
            reason = _show(" ".join(str(error).split()) or type(error).__name__)
            self.refuse(f"{self.data} cannot be read: {reason}")

    def _open(self):
        """Open the file at its beginning."""
        files, path = filesystem(self._path)
        if (kind := files.get_file_info(path).type) != fs.FileType.File:
            places = "" if "://" in self.data else f" in {Path.cwd()} or {PROJECT}"
            wrong = f"no such file{places}" if kind == fs.FileType.NotFound else "which is no file"
            wrong = "which is a folder" if kind == fs.FileType.Directory else wrong
            self.refuse(f"received {self.data!r}, {wrong}; allowed is a CSV or Parquet file")
        return files.open_input_file(path)

    def _find_columns(self):
        """Return the positions of the needed columns, by their names."""
        found, faults = _find(self.schema.names, self.columns), []
        taken = collections.Counter(position for positions in found for position in positions)
        for column, positions in zip(self.columns, found, strict=True):
            wrong = "stands there more than once" if positions else "is missing"
            if len(positions) == 1 and taken[positions[0]] == 1:
                kind = self.schema.field(positions[0]).type
                is_allowed = column.is_text or is_text(kind) or re.match(NUMBER_TYPES, str(kind))
                wrong = "" if is_allowed else f"has the type {kind}, which is no number,"
            faults += [f"column {column.name!r} {wrong}"] if wrong else []
        if faults:
            received = _show(", ".join(self.schema.names))
            needed = _show(", ".join(column.name for column in self.columns))
            faults = ", ".join(faults[:5])
            self.refuse(f"{faults} in {self.data}; received {received}; needed are {needed}")
        return [position for (position,) in found]

    def describe(self):
        """Return in words what is not plain in the file's form, or an empty text."""
        form = self.form or Form()
        words = ["UTF-16"] * (form.encoding == "utf-16")
        words += [f"separated by {DELIMITERS[form.delimiter]}"] * (form.delimiter != ",")
        words += ["decimal comma"] * (form.decimal == ",")
        if self.names != [column.name for column in self.columns]:
            words.append("names without regard to case, blanks, '_', '.' and '-'")
        return ", ".join(words)

    def _pieces(self, names=None):
        """Yield row numbers, cells of these columns, malformed rows, and how much is read in %."""
        read = _read_csv if self.form else _read_parquet
        return read(self._open, self.form, self.schema, names)

    def read(self):
        """Return the needed columns of all rows as `Batch.X` has them, or refuse invalid rows."""
        read, n_rows, n_invalid = [], 0, 0
        # By the positions of the columns; those of malformed rows are at -1.
        first_rows, faults = {}, collections.defaultdict(collections.Counter)
        with self._reading():
            for numbers, cells, malformed, _ in self._pieces(self.names):
                X, wrong = _convert_columns(cells, self)
                n_rows += len(X) + len(malformed)
                n_invalid += np.count_nonzero(wrong.any(axis=0)) + len(malformed)
                for row, reason, _ in malformed:
                    first_rows.setdefault(-1, row)
                    faults[-1][reason] += 1
                for n in np.flatnonzero(wrong.any(axis=1)):
                    first_rows.setdefault(n, numbers[wrong[n]][0])
                    faults[n].update(_to_texts(cells.column(self.names[n]), wrong[n]))
                read = [] if faults else [*read, X]
        if faults:
            parts = _explain_faults(self, first_rows, faults)
            parts += [f"{n_invalid} of {n_rows} rows are invalid"] if n_invalid > 1 else []
            self.refuse("; ".join([*parts, *_hints(self, faults)]))
        table = pd.concat(read, ignore_index=True)
        read.clear()
        # Arrow keeps what it has freed: more than 100 MB of a million rows, which a training needs.
        pa.default_memory_pool().release_unused()
        return table

    def explain(self, n, text):
        """Return why a cell of a needed column is not allowed."""
        name, is_text, missing = self.columns[n]
        allowed = " or ".join(["a text" if is_text else "a finite number", *map(repr, missing)])
        kind = f", and this is {kind}" if (kind := _recognize(text)) else ""
        return f"column {name!r}: received '{_show(text, 200)}', allowed is {allowed}{kind}"

    def batches(self):
        """Yield each `Batch` of the rows, or raise a `UserError` if it cannot be read."""
        before = 0
        with self._reading():
            for numbers, cells, invalid, percent in self._pieces():
                X, wrong = _convert_columns(cells, self)
                if (rows := wrong.any(axis=0)).any():
                    firsts = wrong[:, rows].argmax(axis=0)
                    texts = zip(*(_to_texts(column, rows) for column in cells.columns), strict=True)
                    for row, n, row_texts in zip(numbers[rows], firsts, texts, strict=True):
                        reason = self.explain(n, row_texts[self.positions[n]])
                        invalid.append((int(row), reason, [*row_texts]))
                    cells, X = cells.filter(pa.array(~rows)), X[~rows]
                yield Batch(cells, X, sorted(invalid), percent - before)
                before = percent


def _find_form(open_file, columns):
    """Return the form of a CSV file, and the names in its header."""
    codec, decimal = CODECS.get(open_file().read(2)), "."
    start = pa.input_stream(open_file(), codec).read(SAMPLE)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = start.decode(encoding, "replace").lstrip("\ufeff")
    # Excel takes the delimiter from a line above the header.
    above = re.match(r'[\r\n]*("?sep=([,;\t|])"?[\r\n]+)?', text)
    n_above, text = len(above[0].splitlines()), text[above.end() :]
    delimiter, names = _split_header(text, columns, above[2] or DELIMITERS)
    if not all(found := _find(names, columns)):
        _refuse_other(text, columns, n_above, open_file)
    if "\ufffd" in "".join(names):
        raise ValueError(NOT_UNICODE)
    if delimiter != ",":
        _, *rows = _rows(text, delimiter)
        numbers = [p[0] for p, each in zip(found, columns, strict=True) if p and not each.is_text]
        rows = [row for row in rows if len(row) == len(names)]
        cells = [row[n].strip(BLANKS) for row in rows for n in numbers]
        if not any("." in cell for cell in cells):
            decimal = "," if any(re.fullmatch(DECIMAL_COMMA, cell) for cell in cells) else "."
    return Form(delimiter, decimal, encoding, n_above, codec), names


def _read_parquet_schema(file):
    """Return the schema of a Parquet file with texts in which Arrow can search, unlike views."""
    schema, view = parquet.read_schema(file), pa.string_view()
    fields = [each.with_type(pa.string()) if each.type == view else each for each in schema]
    return pa.schema(fields, schema.metadata)


def _read_parquet(open_file, form, schema, names):
    """Yield the pieces of a Parquet file; `form` is None."""
    file, done = parquet.ParquetFile(open_file()), 0
    schema = pa.schema([schema.field(name) for name in names]) if names else schema
    for cells in file.iter_batches(columns=names):
        numbers = np.arange(done + 1, done + len(cells) + 1)
        done += len(cells)
        yield numbers, cells.cast(schema), [], 100 * done // file.metadata.num_rows


def _read_csv(open_file, form, schema, names):
    """Yield the pieces of a CSV file."""
    malformed, done, file = collections.deque(), 0, open_file()

    def keep(row):
        cells = next(_rows(row.text, form.delimiter), [])[: len(schema)]
        reason = f"received '{_show(row.text, 200)}', allowed are {len(schema)} cells"
        malformed.append((row.number - 1 - form.skip_rows, reason, cells))
        return "skip"

    text = pa.transcoding_input_stream(pa.input_stream(file, form.codec), form.encoding, "utf-8")
    # Malformed rows have their numbers only where a single thread reads.
    read = {"use_threads": False, "block_size": BLOCK_SIZE, "skip_rows": form.skip_rows}
    parse = {"delimiter": form.delimiter, "invalid_row_handler": keep, "newlines_in_values": True}
    convert = {"default_column_type": pa.string(), "include_columns": names}
    options = arrow_csv.ReadOptions(**read), arrow_csv.ParseOptions(**parse)
    try:
        for cells in arrow_csv.open_csv(
            pa.PythonFile(_Text(text), "r"), *options, arrow_csv.ConvertOptions(**convert)
        ):
            last, passed = done + len(cells), []
            while malformed and malformed[0][0] <= last + 1:  # The reader is ahead.
                passed.append(malformed.popleft())
                last += 1
            numbers = np.arange(done + 1, last + 1)
            numbers, done = np.delete(numbers, [row[0] - done - 1 for row in passed]), last
            yield numbers, cells, passed, 100 * file.tell() // (file.size() or 1)
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):  # It is a header without a line end.
            reason = f"behind row {done}, {TOO_LONG}"
            raise ValueError(NOT_UNICODE if "UTF8" in str(error) else reason) from error
    schema = pa.schema([(name, pa.string()) for name in names or schema.names])
    yield np.arange(0), pa.RecordBatch.from_pylist([], schema), [*malformed], 100


class _Text:
    """A text in blocks that never end between CR and LF.

    Arrow drops an LF at the beginning of a block after a CR at the end of the one before, also
    where both are inside a quoted cell.
    """

    closed = False

    def __init__(self, stream):
        self._stream, self._rest = stream, b""

    def read(self, size):
        """Return up to `size` bytes."""
        block = self._rest + self._stream.read(size - len(self._rest))
        self._rest = b"\r" if len(block) > 1 and block.endswith(b"\r") else b""
        return block[: len(block) - len(self._rest)]


def locate(data):
    """Return where a table is: a URL as it is, a path as an absolute one.

    A relative path is looked for in the working directory, then beside the scripts, so that the
    project's own table is found from any folder.
    """
    # os.path.exists is False for a name that is too long, while Path.exists raises an error.
    path = Path(data).resolve() if os.path.exists(data) else PROJECT / data
    return data if "://" in data else str(path)


def filesystem(location):
    """Return the `pyarrow.fs.FileSystem` of an absolute path or a URL, and the path in it."""
    is_url = "://" in location
    return fs.FileSystem.from_uri(location) if is_url else (fs.LocalFileSystem(), location)


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _rows(text, delimiter):
    """Return an iterator over the rows of a text that are not blank."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _split_header(text, columns, delimiters):
    """Return the delimiter by which most needed names are found, or else most names, and these."""
    headers = [(next(_rows(text, each), [""]), each) for each in delimiters]
    names, delimiter = max(headers, key=lambda h: (sum(map(bool, _find(h[0], columns))), len(h[0])))
    return delimiter, names


def _refuse_other(text, columns, n_above, open_file):
    """Raise a ValueError that says what stands where the header belongs, if it is known."""
    for number, line in enumerate(text.splitlines()[:20], n_above + 1):
        if all(_find(_split_header(line, columns, DELIMITERS)[1], columns)):
            raise ValueError(f"its header is line {number}: remove the lines above it")
    text, needed = text.lstrip(), ",".join(column.name for column in columns) + "\n"
    for pattern, (kind, hint) in OTHER_FILES.items():
        # The needed names may be numbers.
        if re.match(pattern, text, re.DOTALL) and not re.match(pattern, needed, re.DOTALL):
            names = _members(open_file(), text[:2] == "PK") if kind == "an archive" else []
            kind += f" of {_show(', '.join(names))}" if names else ""
            raise ValueError(f"it is {kind}, allowed are CSV and Parquet: {hint}")


def _members(file, is_zip):
    """Return the names of the files in an archive, as far as Python reads it."""
    with contextlib.suppress(Exception):  # A damaged archive raises an error of any kind.
        return zipfile.ZipFile(file).namelist() if is_zip else tarfile.open(fileobj=file).getnames()
    return []


def _explain_faults(table, first_rows, faults):
    """Return for each column at fault its first wrong cell, in the order of the rows."""
    parts = []
    for n, row in sorted(first_rows.items(), key=lambda item: item[1]):
        text, n_wrong = next(iter(faults[n])), faults[n].total()
        reason = text if n < 0 else table.explain(n, text)
        reason += f" (in {n_wrong} rows)" if n_wrong > 1 else ""
        parts.append(f"row {row}{'' if parts else f' of {table.data}'}: {reason}")
    return parts[:5] + [f"and {len(parts) - 5} more columns"] * (len(parts) > 5)


def _hints(table, faults):
    """Return what helps against wrong cells."""
    hints, cells = [], {n: {*texts} for n, texts in faults.items() if n >= 0}
    texts = set().union(*cells.values())
    empty = {text for text in texts if re.fullmatch(STANDS_FOR_MISSING, text.strip(BLANKS))}
    if any(re.search(WORD, text) and not _recognize(text) for text in texts - empty):
        hints.append("a column of texts belongs in CATEGORIES in wine/dataset.py")
    if empty:
        missing = sorted({*table.columns[0].missing, *(text.strip(BLANKS) for text in empty)})
        hints.append(f"MISSING = {missing} in wine/dataset.py keeps these rows")
    if empty and table.form:
        names = [table.names[n] for n in cells if cells[n] & empty]
        command = _dropna(table, names, sorted(empty))
        hints.append(f"this leaves out the rows with empty cells: {command}")
    return hints


def _dropna(table, names, missing):
    """Return the command that copies a CSV file without the rows in which columns are empty."""
    form, subset = table.form, ", ".join(map(_quote, names))
    written = f"sep={form.delimiter!r}, encoding={form.encoding!r}"
    read = f"{written}, skiprows={form.skip_rows}, dtype=str, na_values={missing}"
    read += ", keep_default_na=False, on_bad_lines='skip'"
    write = f"dropna(subset=[{subset}]).to_csv('complete.csv', index=False, {written})"
    return f'python -c "import pandas as pd; pd.read_csv({_quote(table.location)}, {read}).{write}"'


def _find(names, columns):
    """Return for each column the positions at which it may be: by its name, or else by `_fold`."""
    exact, folded = collections.defaultdict(list), collections.defaultdict(list)
    for n, name in enumerate(names):
        exact[name].append(n)
        folded[_fold(name)].append(n)
    return [exact.get(each.name) or folded.get(_fold(each.name), []) for each in columns]


def _fold(name):
    """Return a name without regard to case, signs without a width, and what stands for a blank."""
    name = re.sub("[\xad\u200b-\u200f\u2060\ufeff]", "", name)
    return re.sub(r"[\s_.\-\u2010\u2011]+", " ", name).strip().casefold()


def _convert_columns(cells, table):
    """Return the needed columns, and which cells of each are not allowed."""
    values, wrong = {}, np.empty((len(table.columns), len(cells)), dtype=bool)
    for n, (column, name) in enumerate(zip(table.columns, table.names, strict=True)):
        values[column.name], wrong[n] = _convert(cells.column(name), column, table.form)
    # pandas is slow with many columns that are not in one block, but that is a copy.
    return pd.DataFrame(values, copy=len(values) > 100), wrong


def _convert(cells, column, form):
    """Return the values of a column, NaN where a cell is none, and which cells are not allowed."""
    limit = MAX_INTEGER if pa.types.is_integer(cells.type) else MAX_NUMBER
    # Of the numbers that Arrow has read from text, only what it has taken for a null is missing.
    missing = np.array(pc.is_null(cells, nan_is_null=form is None)) & bool(column.missing)
    if column.is_text or is_text(cells.type):
        cells = pc.cast(cells, pa.string())
        if column.is_text or column.missing:
            cells = pc.utf8_trim(cells, BLANKS)
            missing |= np.array(pc.is_in(cells, pa.array(column.missing, pa.string())))
            cells = pc.if_else(pa.array(missing), None, cells)
    if column.is_text:
        return cells.to_pandas(), ~missing & np.array(pc.fill_null(pc.equal(cells, ""), True))
    if is_text(cells.type):
        if form and form.decimal == ",":
            cells = pc.replace_substring(pc.replace_substring(cells, ".", "?"), ",", ".")
        try:  # It takes nan and inf, too, but these are not finite.
            cells = pc.cast(cells, pa.float64())
        except pa.ArrowInvalid:  # Some text is not a number, or has signs around it.
            cells = pc.replace_substring(pc.utf8_trim(cells, BLANKS), "\u2212", "-")
            cells = pc.if_else(pc.match_substring_regex(cells, f"^({NUMBER})$"), cells, None)
    values = pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values, ~(missing | (np.abs(values) <= limit))


def _to_texts(column, chosen):
    """Return some cells of a column as a CSV file shows them."""
    column = column.filter(pa.array(chosen))
    # Lists and the like have no text.
    with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
        column = pc.cast(column, pa.string())
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def _recognize(text):
    """Say what a text is that is not a number, if it is known."""
    text = text.strip(BLANKS)
    return next((kind for form, kind in OTHER_CELLS.items() if re.fullmatch(form, text)), "")


def _show(text, length=300):
    """Return the beginning of a text, in which signs that cannot be seen are escaped."""
    return repr(text if len(text) <= length else f"{text[:length]}...")[1:-1]


def _quote(text):
    """Return a text for a command in double quotes, as Python and shells read it."""
    return "'" + re.sub(r"""["'$`!\\\r\n]""", lambda sign: f"\\x{ord(sign[0]):02x}", text) + "'"
