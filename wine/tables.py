"""Tables: how CSV and Parquet files, in the forms in which people have them, become rows."""

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
from collections import Counter, defaultdict, deque, namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs, parquet
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

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
csv.field_size_limit(2**31 - 1)  # A quote that is never closed makes a cell of what follows it.


# A column that is needed: of numbers, or of texts; some texts stand for a missing value, as a null
# does then.
Column = namedtuple("Column", "name is_text missing", defaults=(False, ()))
# The form of a CSV file; skip_rows counts the lines above its header.
Form = namedtuple("Form", "delimiter decimal encoding skip_rows", defaults=(",", ".", "utf-8", 0))
# Some rows of a table, one behind the other. cells: a RecordBatch of the valid rows, all texts if
# the file is CSV. X: a DataFrame of their needed columns, under the needed names: float64 or texts,
# NaN where a value is missing. invalid: of each other row its number in the file, from 1, why it is
# invalid, and its cells, as many as there are columns, or fewer. percent: how much of the file.
Batch = namedtuple("Batch", "cells X invalid percent")


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
        self.location = self._path = locate(data)
        with self._reading():
            if self.location.startswith(("http://", "https://", "ftp://")):
                self._folder = tempfile.TemporaryDirectory()  # It goes with the table.
                self._path = str(Path(self._folder.name, "table"))
                socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
                urllib.request.urlretrieve(self.location, self._path)
            start = self.open().read(4)
            self.codec = CODECS.get(start[:2])
            if start == b"PAR1":
                self.form, self.schema = None, parquet.read_schema(self.open())
            else:
                self.form, self.schema = _find_form(self)
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
        except Exception as error:
            # File systems, web servers and decompressors raise errors of any kind.
            reason = _show(" ".join(str(error).split()) or type(error).__name__)
            self.refuse(f"{self.data} cannot be read: {reason}")

    def open(self):
        """Open the file at its beginning."""
        files, path = filesystem(self._path)
        if not files.get_file_info(path).is_file:
            raise FileNotFoundError(f"there is no file {self.data!r} in {Path.cwd()} or {PROJECT}")
        return files.open_input_file(path)

    def _find_columns(self):
        """Return the positions of the needed columns, by their names."""
        found = [*zip(self.columns, _find(self.schema.names, self.columns), strict=True)]
        taken = Counter(position for _, at in found for position in at)
        faults = []
        for column, at in found:
            if len(at) != 1 or taken[at[0]] > 1:
                fault = "is not the only one of its name" if at else "is missing"
                faults.append(f"column {column.name!r} {fault}")
        if faults:
            received = _show(", ".join(self.schema.names))
            self.refuse(f"{', '.join(faults[:5])} in {self.data}; received {received}")
        for column, (position,) in found:
            kind = self.schema.types[position]
            if not (column.is_text or is_text(kind) or re.match(NUMBER_TYPES, str(kind))):
                self.refuse(f"column {column.name!r} of {self.data} is {kind}, not a number")
        return [position for _, (position,) in found]

    def describe(self):
        """Return in words what is not plain in the file's form, or an empty text."""
        form = self.form or Form()
        words = ["UTF-16"] * (form.encoding == "utf-16")
        words += [f"separated by {DELIMITERS[form.delimiter]}"] * (form.delimiter != ",")
        words += ["decimal comma"] * (form.decimal == ",")
        if self.names != [column.name for column in self.columns]:
            words.append("names without regard to case, blanks, '_', '.' and '-'")
        return ", ".join(words)

    def read(self):
        """Return the needed columns of all rows as `Batch.X` has them, or refuse invalid rows."""
        # By the position of each needed column at fault: the first row of these, and how often each
        # text stands there. Malformed rows are at -1, with their reasons.
        read, faults = [], {}
        for numbers, cells, X, wrong, malformed, _ in self._pieces(self.names):
            for row, reason, _ in malformed:
                faults.setdefault(-1, (row, Counter()))[1].update([reason])
            for n in np.flatnonzero(wrong.any(axis=1)):
                texts = _to_texts(cells.column(self.names[n]).filter(pa.array(wrong[n])))
                faults.setdefault(n, (numbers[wrong[n]][0], Counter()))[1].update(texts)
            read.append(X)
        if faults:
            _refuse_rows(self, faults)
        table = pd.concat(read, ignore_index=True)
        read.clear()
        # Arrow keeps what it has freed: more than 100 MB of a million rows, which a training needs.
        pa.default_memory_pool().release_unused()
        return table

    def batches(self):
        """Yield each `Batch` of the rows, or raise a `UserError` if it cannot be read."""
        before = 0
        for numbers, cells, X, wrong, invalid, percent in self._pieces():
            rows = wrong.any(axis=0)
            if rows.any():
                columns = map(_to_texts, cells.filter(pa.array(rows)).columns)
                firsts = wrong[:, rows].argmax(axis=0)
                for row, n, *texts in zip(numbers[rows], firsts, *columns, strict=True):
                    reason = _explain(self.columns[n], texts[self.positions[n]])
                    invalid.append((int(row), reason, texts))
                cells, X = cells.filter(pa.array(~rows)), X[~rows]
            yield Batch(cells, X, sorted(invalid), percent - before)
            before = percent

    def _pieces(self, names=None):
        """Yield some rows after the other, of all columns or of those with these names.

        These are their numbers and cells, the values of the needed columns, which of these are not
        allowed, the malformed rows among them, and how much of the file is read in percent.
        """
        read = _read_csv if self.form else _read_parquet
        with self._reading():
            for numbers, cells, malformed, percent in read(self, names):
                values, wrong = {}, np.empty((len(self.columns), len(cells)), dtype=bool)
                for n, (column, name) in enumerate(zip(self.columns, self.names, strict=True)):
                    values[column.name], wrong[n] = _convert(cells.column(name), column, self.form)
                # pandas is slow with many columns that are not in one block, but that is a copy.
                X = pd.DataFrame(values, copy=len(values) > 100)
                yield numbers, cells, X, wrong, malformed, percent


def _find_form(table):
    """Return the form of a CSV file, and its schema."""
    start = pa.input_stream(table.open(), table.codec).read(SAMPLE)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = start.decode(encoding, "replace").lstrip("\ufeff")
    # Excel may name the delimiter in a line above the header.
    above = re.match(r'[\r\n]*("?sep=[,;\t|]"?[\r\n]+)?', text)[0]
    n_above, text = len(above.splitlines()), text.removeprefix(above)
    names, delimiter = _split_header(text, table.columns)
    if not all(_find(names, table.columns)):
        _refuse_other(table, text, n_above)
    if "\ufffd" in "".join(names):
        raise ValueError(NOT_UNICODE)
    has_comma = delimiter != "," and _has_decimal_comma(text, delimiter, table.columns)
    form = Form(delimiter, "," if has_comma else ".", encoding, n_above)
    return form, pa.schema([(name, pa.string()) for name in names])


def _refuse_other(table, text, n_above):
    """Raise a ValueError that says what stands where the header belongs, if it is known."""
    for number, line in enumerate(text.splitlines()[:20], n_above + 1):
        if all(_find(_split_header(line, table.columns)[0], table.columns)):
            raise ValueError(f"its header is line {number}: remove the lines above it")
    needed = ",".join(column.name for column in table.columns) + "\n"
    for pattern, (kind, hint) in OTHER_FILES.items():
        # The needed names may be numbers.
        if re.match(pattern, text.lstrip(), re.DOTALL) and not re.match(pattern, needed):
            # A damaged archive raises an error of any kind.
            with contextlib.suppress(Exception):
                kind += f" of {_show(_members(table))}" if kind == "an archive" else ""
            raise ValueError(f"it is {kind}, allowed are CSV and Parquet: {hint}")


def _read_parquet(table, names):
    file, done = parquet.ParquetFile(table.open()), 0
    for cells in file.iter_batches(columns=names):
        first, done = done + 1, done + len(cells)
        yield np.arange(first, done + 1), cells, [], 100 * done // file.metadata.num_rows
    yield np.arange(0), pa.RecordBatch.from_pylist([], table.schema), [], 100


def _read_csv(table, names):
    delimiter, _, encoding, skip_rows = table.form
    malformed, done, file = deque(), 0, table.open()
    text = pa.transcoding_input_stream(pa.input_stream(file, table.codec), encoding, "utf-8")

    def keep(row):
        cells = next(_rows(row.text, delimiter), [])[: len(table.schema)]
        reason = f"received '{_show(row.text)}', allowed are {len(table.schema)} cells"
        malformed.append((row.number - 1 - skip_rows, reason, cells))
        return "skip"

    # Malformed rows have their numbers only where a single thread reads.
    read = ReadOptions(use_threads=False, block_size=BLOCK_SIZE, skip_rows=skip_rows)
    parse = ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep)
    convert = ConvertOptions(default_column_type=pa.string(), include_columns=names)
    try:
        for cells in open_csv(pa.PythonFile(_Text(text), "r"), read, parse, convert):
            first, done, passed = done + 1, done + len(cells), []
            while malformed and malformed[0][0] <= done + 1:  # The reader is ahead.
                passed.append(malformed.popleft())
                done += 1
            numbers = np.delete(np.arange(first, done + 1), [row[0] - first for row in passed])
            yield numbers, cells, passed, 100 * file.tell() // (file.size() or 1)
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):  # It is a header without a line end.
            reason = f"behind row {done}, a row has over 1 MB; perhaps a quote is not closed"
            raise ValueError(NOT_UNICODE if "UTF8" in str(error) else reason) from error
    yield np.arange(0), pa.RecordBatch.from_pylist([], table.schema), [*malformed], 100


def _explain(column, text):
    """Return why a cell of a needed column is not allowed."""
    kind = "a text" if column.is_text else "a finite number"
    allowed = " or ".join([kind, *map(repr, column.missing)]) + _recognize(text)
    return f"column {column.name!r}: received '{_show(text)}', allowed is {allowed}"


def _refuse_rows(table, faults):
    """Say of each column its first row that is wrong, and why, in the order of these rows."""
    parts = []
    for n, (row, counts) in sorted(faults.items(), key=lambda fault: fault[1][0]):
        text, n_wrong = next(iter(counts)), counts.total()
        reason = text if n < 0 else _explain(table.columns[n], text)
        parts.append(f"row {row}: {reason}" + f" (in {n_wrong} rows)" * (n_wrong > 1))
    if len(parts) > 5:
        parts[5:] = [f"and {len(parts) - 5} more columns"]
    parts += _hints(table, {n: {*counts} for n, (_, counts) in faults.items() if n >= 0})
    table.refuse(f"{table.data}, {'; '.join(parts)}")


def _hints(table, wrong):
    """Yield what helps against wrong cells; `wrong` has the texts of each column at fault."""
    # A word has a letter that no digit stands before: 5g is none.
    texts, word = set().union(*wrong.values()), r"(?<!\d)[^\W\d_]"
    empty = {text for text in texts if re.fullmatch(STANDS_FOR_MISSING, text.strip(BLANKS))}
    if any(re.search(word, text) and not _recognize(text) for text in texts - empty):
        yield "a column of texts belongs in CATEGORIES in wine/dataset.py"
    if empty:
        missing = sorted({*table.columns[0].missing, *(text.strip(BLANKS) for text in empty)})
        yield f"MISSING = {missing} in wine/dataset.py keeps these rows"
    if empty and table.form:
        form = table.form
        names = ", ".join(_quote(table.names[n]) for n in wrong if wrong[n] & empty)
        written = f"sep={form.delimiter!r}, encoding={form.encoding!r}"
        read = f"{_quote(table.location)}, {written}, compression={table.codec!r}"
        read += f", skiprows={form.skip_rows}, dtype=str, na_values={sorted(empty)}"
        read += ", keep_default_na=False, on_bad_lines='skip'"
        write = f"dropna(subset=[{names}]).to_csv('complete.csv', index=False, {written})"
        command = f'python -c "import pandas as pd; pd.read_csv({read}).{write}"'
        yield f"this leaves out the rows with empty cells: {command}"


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


def _members(table):
    """Return the names of the files in an archive, as far as Python reads it."""
    if zipfile.is_zipfile(table.open()):
        return ", ".join(zipfile.ZipFile(table.open()).namelist())
    with tarfile.open(fileobj=table.open()) as archive:
        return ", ".join(archive.getnames())


def locate(data):
    """Return where a table is: a URL as it is, a path as an absolute one.

    A relative path is looked for in the working directory, then beside the scripts, so that the
    project's own table is found from any folder.
    """
    # Path.exists raises an error for a name that is too long, as an address on the web may be.
    path = Path(data).resolve() if os.path.exists(data) else PROJECT / data
    return data if "://" in data else str(path)


def filesystem(location):
    """Return the `pyarrow.fs.FileSystem` of an absolute path or a URL, and the path in it."""
    is_url = "://" in location
    return fs.FileSystem.from_uri(location) if is_url else (fs.LocalFileSystem(), location)


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (pa.string(), pa.large_string())


def _rows(text, delimiter):
    """Return an iterator over the rows of a text that are not blank."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _split_header(text, columns):
    """Return the names, and the delimiter by which most needed ones, or else most, are found."""
    headers = [(next(_rows(text, each), [""]), each) for each in DELIMITERS]
    return max(headers, key=lambda h: (sum(map(bool, _find(h[0], columns))), len(h[0])))


def _has_decimal_comma(text, delimiter, columns):
    """Tell whether some number cannot be read otherwise, and none has a point."""
    names, *rows = _rows(text, delimiter)
    found = _find(names, [column for column in columns if not column.is_text])
    positions = [n for positions in found for n in positions]
    rows = [row for row in rows if len(row) == len(names)]
    cells = [row[n].strip(BLANKS) for row in rows for n in positions]
    has_point = any("." in cell for cell in cells)
    return not has_point and any(re.fullmatch(DECIMAL_COMMA, cell) for cell in cells)


def _find(names, columns):
    """Return for each column the positions at which it may be: by its name, or else by `_fold`."""
    exact, folded = defaultdict(list), defaultdict(list)
    for n, name in enumerate(names):
        exact[name].append(n)
        folded[_fold(name)].append(n)
    return [exact[each.name] or folded[_fold(each.name)] for each in columns]


def _fold(name):
    """Return a name without regard to case, signs without a width, and what stands for a blank."""
    name = re.sub("[\xad\u200b-\u200f\u2060\ufeff]", "", name)
    return re.sub(r"[\s_.\-\u2010\u2011]+", " ", name).strip().casefold()


def _convert(cells, column, form):
    """Return the values of a column, NaN where a cell is none, and which cells are not allowed."""
    limit = MAX_INTEGER if pa.types.is_integer(cells.type) else MAX_NUMBER
    missing = np.array(pc.is_null(cells, nan_is_null=True)) & bool(column.missing)
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


def _to_texts(column):
    """Return the cells of a column as a CSV file shows them."""
    # Lists and the like have no text.
    with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
        column = pc.cast(column, pa.string())
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def _recognize(text):
    """Return the end of a sentence that says what a text is, if it is known, or an empty text."""
    kinds = [kind for form, kind in OTHER_CELLS.items() if re.fullmatch(form, text.strip(BLANKS))]
    return f", and this is {kinds[0]}" if kinds else ""


def _show(text):
    """Return the beginning of a text, in which signs that cannot be seen are escaped."""
    return repr(text if len(text) <= 300 else f"{text[:300]}...")[1:-1]


def _quote(text):
    """Return a text for a command in double quotes, as Python and shells read it."""
    return "'" + re.sub(r"""["'$`!\\\r\n]""", lambda sign: f"\\x{ord(sign[0]):02x}", text) + "'"
