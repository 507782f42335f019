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
from typing import NamedTuple

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
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# A number whose comma cannot separate thousands, for instance 0,27 or 7,5 or 1234,567 or ,5.
DECIMAL_COMMA = r"[+−-]?(\d*,(\d{1,2}|\d{4,})|(0\d*|\d{4,})?,\d+)([eE][+-]?\d+)?"
LINE_END = r"\r\n|\n|\r"
STANDS_FOR_MISSING = r"(?i)|na|n/a|nan|null|none|\?|-|\."
OTHER_CELLS = {  # what a cell is that is no number
    r"[\d.,+-]+\s*%": "a percentage",
    r"\d{4}[-/.]\d\d?[-/.]\d\d?\b.*|\d\d?[-/.]\d\d?[-/.]\d{2,4}\b.*": "a date",
    DECIMAL_COMMA: "a number with a decimal comma",
    r"[+-]?\d{1,3}([,. '’\xa0\u202f]\d{3})+([.,]\d+)?": "a number whose thousands are separated",
    r"[\d.,]+\s*(-|–|to)\s*[\d.,]+": "a range",
    r"[$€£+-]*[\d.,]+\s*[^\W\d_]\D*|[$€£][\d.,]+": "a number with a unit",
    r"(?i)[+-]?inf(inity)?": "infinite",
}
ZIP_OF_WORKBOOK = rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/|mimetype)"
OTHER_FILES = {  # what a file that is no table begins with; what it is; what helps
    ZIP_OF_WORKBOOK + rb"|\xd0\xcf\x11\xe0": ("a workbook", "save its sheet as 'CSV UTF-8'"),
    rb"PK[\x03\x05]|BZh\d|\xfd7zXZ|.{257}ustar": ("an archive", "unpack it"),
    rb"(?i)<(!doctype|html|\?xml)": ("a web page", "take the address of the file itself ('Raw')"),
    rb"version https://git-lfs": ("a pointer of Git LFS", "`git lfs pull` fetches the file"),
    rb'[\[{]\s*["\[{]': ("JSON", "convert it"),
    rb"(?i)(%[^\n]*\n\s*)*@relation": ("an ARFF file", "convert it"),
    rb"\x80[\x02-\x05]": ("a pickle", "convert it"),
    rb"ARROW1|FEA1": ("a Feather file", "convert it"),
    rb"[^\0]*\0": ("not text", "convert it"),
}
NOT_UNICODE = "some text is not UTF-8; save the file as 'CSV UTF-8'"
csv.field_size_limit(2**31 - 1)  # A quote that is never closed makes a cell of what follows it.


class Column(NamedTuple):
    """A column that is needed.

    Attributes
    ----------
    name : str
        Its name.
    is_text : bool
        Whether it holds texts; otherwise, it holds numbers.
    missing : tuple of str
        The texts that stand for a missing value; if there is one, a null does so, too.
    """

    name: str
    is_text: bool = False
    missing: tuple = ()


class Form(NamedTuple):
    """The form of a CSV file; `skip_rows` counts the lines above its header."""

    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    skip_rows: int = 0


class Batch(NamedTuple):
    """Some rows of a table, one behind the other.

    Attributes
    ----------
    cells : pyarrow.RecordBatch
        All cells of the valid rows: texts if the file is CSV.
    X : DataFrame
        The needed columns of these rows, under the needed names: float64 or texts, NaN where a
        value is missing.
    invalid : list of (int, str, list of str)
        The number, from 1, of each other row in the file, why it is invalid, and its cells: as many
        as there are columns, or fewer.
    percent : int
        How much of the file these rows are.
    """

    cells: pa.RecordBatch
    X: pd.DataFrame
    invalid: list
    percent: int


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
    positions : list of int
        Where the needed columns are among these.
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
            is_parquet = self._open().read(4) == b"PAR1"
            self._file = _Parquet(self._open) if is_parquet else _Csv(self._open, columns)
        self.form, self.schema, self.codec = self._file.form, self._file.schema, self._file.codec
        self.positions = self._find_columns()
        self._names = [self.schema.names[position] for position in self.positions]

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
            allowed = "allowed is the path or the URL of a CSV or Parquet file"
            self.refuse(f"received {self.data!r}, {wrong}; {allowed}")
        return files.open_input_file(path)

    def _find_columns(self):
        """Return the positions of the needed columns, by their names."""
        names, found, faults = self.schema.names, _find(self.schema.names, self.columns), []
        taken = collections.Counter(position for positions in found for position in positions)
        for column, positions in zip(self.columns, found, strict=True):
            if len(positions) != 1 or taken[positions[0]] > 1:
                wrong = "stands there more than once" if positions else "is missing"
                faults.append(f"column {column.name!r} {wrong}")
            elif not _is_allowed(kind := self.schema.field(positions[0]).type, column):
                faults.append(f"column {column.name!r} has the type {kind}, which is no number,")
        if faults:
            needed = ", ".join(column.name for column in self.columns)
            self.refuse(
                f"{', '.join(_first_five(faults))} in {self.data}; received "
                f"{_show(', '.join(names))}; needed are {_show(needed)}"
            )
        return [position for (position,) in found]

    def describe(self):
        """Return in words what is not plain in the file's form, or an empty text."""
        form = self.form or Form()
        words = ["UTF-16"] * (form.encoding == "utf-16")
        words += [f"separated by {DELIMITERS[form.delimiter]}"] * (form.delimiter != ",")
        words += ["decimal comma"] * (form.decimal == ",")
        if self._names != [column.name for column in self.columns]:
            words.append("names without regard to case, blanks, '_', '.' and '-'")
        return ", ".join(words)

    def read(self):
        """Read the needed columns of all rows.

        Returns
        -------
        DataFrame, shape (n_rows, n_columns)
            As `Batch.X` has them.

        Raises
        ------
        UserError
            If a row is invalid, or the file cannot be read to its end.
        """
        read, faults, n_rows, positions = [], [], 0, range(len(self.columns))
        with self._reading():
            if (cells := self._file.read(self._names, self.columns)) is not None:
                X, wrong = _convert_columns(cells, self.columns, positions, self.form)
                if not wrong.any():
                    return X
            for numbers, cells, malformed, _ in self._file.batches(self._names):
                X, wrong = _convert_columns(cells, self.columns, positions, self.form)
                n_rows += len(X) + len(malformed)
                if malformed or wrong.any():
                    faults += [*_find_faults(self.columns, numbers, cells, X, wrong, malformed)]
                read += [] if faults else [X]
        if faults:
            _refuse_rows(self, pd.concat(faults), n_rows)
        return pd.concat(read, ignore_index=True)

    def batches(self):
        """Yield each `Batch` of the rows, or raise a `UserError` if it cannot be read."""
        before = 0
        with self._reading():
            for numbers, cells, invalid, percent in self._file.batches():
                X, wrong = _convert_columns(cells, self.columns, self.positions, self.form)
                if (rows := wrong.any(axis=0)).any():
                    texts = zip(*(_to_texts(column, rows) for column in cells.columns), strict=True)
                    for row, row_texts in zip(np.flatnonzero(rows), texts, strict=True):
                        n = int(wrong[:, row].argmax())
                        column, text = self.columns[n], row_texts[self.positions[n]]
                        reason = f"column {column.name!r}: {_explain(column, text, X.iloc[row, n])}"
                        invalid.append((int(numbers[row]), reason, [*row_texts]))
                    cells, X = cells.filter(pa.array(~rows)), X[~rows]
                yield Batch(cells, X, sorted(invalid), percent - before)
                before = percent


class _Parquet:
    """The rows of a Parquet file."""

    form = codec = None

    def __init__(self, open_file):
        self._open, schema = open_file, parquet.read_schema(open_file())
        # Arrow cannot search in a string_view, as Polars writes it.
        fields = [f.with_type(pa.string()) if f.type == pa.string_view() else f for f in schema]
        self.schema = pa.schema(fields, schema.metadata)

    def read(self, names, _):
        """Return some columns of all rows."""
        return parquet.ParquetFile(self._open()).read(names).select(names)

    def batches(self, names=None):
        """Yield row numbers, all or some columns, no malformed rows, and how much was read."""
        schema = pa.schema([self.schema.field(name) for name in names]) if names else self.schema
        file, done = parquet.ParquetFile(self._open()), 0
        for cells in file.iter_batches(columns=names):
            numbers = np.arange(done + 1, done + len(cells) + 1)
            done += len(cells)
            yield numbers, cells.cast(schema), [], 100 * done // file.metadata.num_rows


class _Csv:
    """The rows of a CSV file, whose form is found out first."""

    def __init__(self, open_file, columns):
        self._open, self.codec = open_file, CODECS.get(open_file().read(2))
        start = self._decompress(open_file()).read(SAMPLE)
        encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        text = start.decode(encoding, "replace").lstrip("\ufeff")
        # Excel takes the delimiter from a line above the header.
        above = re.match(rf'({LINE_END})*("?sep=([,;\t|])"?({LINE_END})+)?', text)
        n_above, text = len(re.findall(LINE_END, above[0])), text[above.end() :]
        if not text.strip():
            raise ValueError("it is empty")
        delimiter, names = _split_header(text, columns, above[3] or DELIMITERS)
        if not all(found := _find(names, columns)):
            _refuse_other_file(start if encoding == "utf-8" else text.encode(), open_file)
            _refuse_other_header(text, names, columns, n_above)
        if "\ufffd" in "".join(names):
            raise ValueError(NOT_UNICODE)
        self.schema = pa.schema([(name, pa.string()) for name in names])
        numbers = [p[0] for p, c in zip(found, columns, strict=True) if p and not c.is_text]
        decimal = "." if delimiter == "," else _find_decimal(_rows(text, delimiter), numbers)
        self.form = Form(delimiter, decimal, encoding, n_above)

    def _decompress(self, file):
        return pa.CompressedInputStream(file, self.codec) if self.codec else file

    def _start(self, file, names, on_malformed=None, **convert):
        """Return a file as Arrow's functions take it, and how they are to read its columns."""
        text, form = self._decompress(file), self.form
        if form.encoding != "utf-8":
            text = pa.transcoding_input_stream(text, form.encoding, "utf-8")
        # Malformed rows have their numbers only where a single thread reads.
        read = {"use_threads": not on_malformed, "block_size": BLOCK_SIZE}
        parse = {"delimiter": form.delimiter, "invalid_row_handler": on_malformed}
        convert |= {"include_columns": names, "decimal_point": form.decimal}
        return (
            pa.PythonFile(_Text(text), "r"),
            arrow_csv.ReadOptions(skip_rows=form.skip_rows, **read),
            arrow_csv.ParseOptions(newlines_in_values=True, **parse),
            arrow_csv.ConvertOptions(**convert),
        )

    def read(self, names, columns):
        """Return some columns if Arrow itself reads all their cells, in a third of the time."""
        kinds = [pa.string() if column.is_text else pa.float64() for column in columns]
        missing = set.intersection(*(set(column.missing) for column in columns))
        convert = {"column_types": dict(zip(names, kinds, strict=True)), "null_values": [*missing]}
        with contextlib.suppress(pa.ArrowInvalid):
            return arrow_csv.read_csv(*self._start(self._open(), names, **convert))

    def batches(self, names=()):
        """Yield row numbers, all or some columns, the malformed rows, and how much was read."""
        malformed, done, file = collections.deque(), 0, self._open()

        def keep(row):
            malformed.append((row.number - 1 - self.form.skip_rows, row.text))
            return "skip"

        arguments = self._start(file, names, keep, default_column_type=pa.string())
        try:
            for cells in arrow_csv.open_csv(*arguments):
                ahead = [number for number, _ in [*malformed]]  # The reader is ahead.
                numbers = np.arange(done + 1, done + len(cells) + len(ahead) + 1)
                numbers = numbers[~np.isin(numbers, ahead)][: len(cells)]
                done, passed = int(numbers[-1]) if len(numbers) else done, []
                while malformed and malformed[0][0] <= done + 1:
                    passed.append(self._explain(*malformed.popleft()))
                    done = max(done, passed[-1][0])
                yield numbers, cells, passed, 100 * file.tell() // (file.size() or 1)
        except pa.ArrowInvalid as error:
            reason = f"behind row {done}, a row has more than {BLOCK_SIZE / 2**20:g} MB; "
            reason += "perhaps a quote is opened there and not closed"
            if "Empty CSV" not in str(error):  # It is a header without a line end.
                raise ValueError(NOT_UNICODE if "UTF8" in str(error) else reason) from error
        schema = pa.schema([(name, pa.string()) for name in names or self.schema.names])
        rest = [self._explain(*row) for row in malformed]
        yield np.arange(0), pa.RecordBatch.from_pylist([], schema), rest, 100

    def _explain(self, number, text):
        """Return a row with a wrong number of cells."""
        cells = next(_rows(text, self.form.delimiter), [])[: len(self.schema)]
        return number, f"received '{_show(text, 200)}', allowed are {len(self.schema)} cells", cells


class _Text(io.RawIOBase):
    """A text in blocks that never end between CR and LF.

    Arrow drops an LF at the beginning of a block after a CR at the end of the one before, also
    where both are inside a quoted cell.
    """

    def __init__(self, stream):
        self._stream, self._rest = stream, b""

    def readable(self):
        """Say that it can be read."""
        return True

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
    if "://" in data:
        return data
    # os.path.exists is False for a name that is too long, while Path.exists raises an error.
    return str(Path(data).resolve() if os.path.exists(data) else PROJECT / data)


def filesystem(location):
    """Return the `pyarrow.fs.FileSystem` of an absolute path or a URL, and the path in it."""
    if "://" in location:
        return fs.FileSystem.from_uri(location)
    return fs.LocalFileSystem(), location


def is_text(kind):
    """Tell whether an Arrow type is text, also as a dictionary of texts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _is_allowed(kind, column):
    """Tell whether a column may have an Arrow type."""
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    other = column.is_text and (pa.types.is_boolean(kind) or pa.types.is_temporal(kind))
    return number or other or is_text(kind) or pa.types.is_null(kind)


def _rows(text, delimiter):
    """Return an iterator over the rows of a text that are not blank."""
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _split_header(text, columns, delimiters):
    """Return the delimiter by which most needed names are found, or else most names, and these."""
    headers = [(next(_rows(text, each), [""]), each) for each in delimiters]
    names, delimiter = max(headers, key=lambda h: (sum(map(bool, _find(h[0], columns))), len(h[0])))
    return delimiter, names


def _find_decimal(rows, numbers):
    """Return the decimal sign of the numbers in the rows behind a header."""
    n_names = len(next(rows))
    cells = [row[n].strip(BLANKS) for row in rows if len(row) == n_names for n in numbers]
    has_comma = any(re.fullmatch(DECIMAL_COMMA, cell) for cell in cells)
    return "," if has_comma and not any("." in cell for cell in cells) else "."


def _refuse_other_file(start, open_file):
    """Raise a ValueError that says what a file is, if it is known."""
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for pattern, (kind, hint) in OTHER_FILES.items():
        if re.match(pattern, start, re.DOTALL):
            names = _members(open_file()) if kind == "an archive" else []
            kind += f" of {_show(', '.join(names))}" if names else ""
            raise ValueError(f"it is {kind}, allowed are CSV and Parquet: {hint}")


def _members(file):
    """Return the names of the files in an archive, as far as Python reads it."""
    with contextlib.suppress(Exception):  # A damaged archive raises an error of any kind.
        return tarfile.open(fileobj=file).getnames()
    with contextlib.suppress(Exception):
        return zipfile.ZipFile(file).namelist()
    return []


def _refuse_other_header(text, names, columns, n_above):
    """Raise a ValueError that says what stands where the header belongs, if it is known."""
    lines = text.splitlines()[:20]
    for number, line in enumerate(lines, n_above + 1):
        if all(_find(_split_header(line, columns, DELIMITERS)[1], columns)):
            raise ValueError(f"its header is line {number}: remove the lines above it")
    words = [line.split() for line in lines if line.strip()]
    if len(names) <= 2 < min(map(len, words)) and _are_numbers(words[-1]):
        raise ValueError("its cells are separated by blanks, allowed are ',', ';', tabs and '|'")
    cells, needed = re.findall(r'[^,;\t|\s"]+', lines[0]), [column.name for column in columns]
    if _are_numbers(cells) and not _are_numbers(needed):
        reason = "the first line has numbers where the names of the columns belong"
        raise ValueError(f"{reason}; received {_show(lines[0])}")


def _are_numbers(texts):
    """Tell whether most texts are numbers."""
    found = [bool(re.fullmatch(r"[+-]?[\d.,]+([eE].+)?", text)) for text in texts]
    return 2 * sum(found) > len(found)


def _find_faults(columns, numbers, cells, X, wrong, malformed):
    """Return tables of the column, row and text of each fault, and the reason of the first one."""
    found = [pd.DataFrame(malformed, columns=["row", "reason", "text"]).assign(n=-1, text="")]
    for n in map(int, np.flatnonzero(wrong.any(axis=1))):
        texts = _to_texts(cells.column(n), wrong[n])
        reason = _explain(columns[n], texts[0], X.iloc[wrong[n].argmax(), n])
        reason += _recognize(texts[0])
        found.append(pd.DataFrame({"n": n, "row": numbers[wrong[n]], "text": texts}))
        found[-1]["reason"] = reason
    return [each for each in found if len(each)]


def _refuse_rows(table, faults, n_rows):
    """Refuse a table because of its wrong cells and rows, and say what helps."""
    parts, groups = [], [group for _, group in faults.groupby("n")]
    for group in sorted(groups, key=lambda group: group["row"].iloc[0]):
        n, row, reason = group.iloc[0][["n", "row", "reason"]]
        place = f"column {table.columns[n].name!r}, row" if n >= 0 else "row"
        count = f" (in {len(group)} rows)" if len(groups) > 1 and len(group) > 1 else ""
        parts.append(f"{place} {row}{'' if parts else f' of {table.data}'}: {reason}{count}")
    parts, n_invalid = _first_five(parts), faults["row"].nunique()
    parts += [f"{n_invalid} of {n_rows} rows are invalid"] if n_invalid > 1 else []
    cells = faults[faults["n"] >= 0]
    texts = {*cells["text"]}
    missing = {t for t in texts if re.fullmatch(STANDS_FOR_MISSING, t.strip(BLANKS))}
    if any(
        re.search(r"(?<!\d)[^\W\d_]", text) and not _recognize(text) for text in texts - missing
    ):
        parts.append("a column of texts belongs in CATEGORIES in wine/dataset.py")
    if missing:
        empty = cells["n"][cells["text"].isin(missing)].unique()
        names = [table.schema.names[table.positions[n]] for n in empty]
        texts = {*table.columns[0].missing, *(text.strip(BLANKS) for text in missing)}
        texts = ", ".join(f'"{text}"' for text in sorted(texts))
        parts.append(f"MISSING = [{texts}] in wine/dataset.py keeps these rows")
        command = _dropna(table, names, sorted(missing))
        parts.append(f"this leaves out the rows with empty cells: {command}")
    table.refuse("; ".join(parts))


def _dropna(table, names, missing):
    """Return the command that copies a table without the rows in which columns are empty."""
    form, path, options = table.form, _quote(table.location), ""
    read = f"pd.read_parquet({path}).replace({missing}, None)"
    if form:
        # pandas reads Zstandard with a module of its own only.
        path = f"pa.input_stream({path}, {table.codec!r})" if table.codec else path
        options = f", sep={form.delimiter!r}, encoding={form.encoding!r}"
        read = f"pd.read_csv({path}{options}, skiprows={form.skip_rows}, dtype=str, na_values="
        read += f"{missing}, keep_default_na=False, on_bad_lines='skip')"
    write = f"dropna(subset=[{', '.join(map(_quote, names))}]).to_csv('complete.csv'{options}"
    return f'python -c "import pandas as pd, pyarrow as pa; {read}.{write}, index=False)"'


def _find(names, columns):
    """Return for each column the positions at which it may be: by its name, or else by `_fold`."""
    exact, folded = {}, {}
    for n, name in enumerate(names):
        exact.setdefault(name, []).append(n)
    if any(column.name not in exact for column in columns):
        for n, name in enumerate(names):
            folded.setdefault(_fold(name), []).append(n)
    return [exact.get(each.name) or folded.get(_fold(each.name), []) for each in columns]


def _fold(name):
    """Return a name without regard to case, signs without a width, and what stands for a blank."""
    name = re.sub("[\xad\u200b-\u200f\u2060\ufeff]", "", name)
    return re.sub(r"[\s_.\-\u2010\u2011]+", " ", name).strip().casefold()


def _convert_columns(cells, columns, positions, form):
    """Return the needed columns, and which cells of each are not allowed."""
    values, wrong = {}, np.empty((len(columns), len(cells)), dtype=bool)
    for n, (column, position) in enumerate(zip(columns, positions, strict=True)):
        values[column.name], wrong[n] = _convert(cells.column(position), column, form)
    return pd.DataFrame(values, copy=False), wrong


def _convert(cells, column, form):
    """Return the values of a column, and which of its cells are not allowed."""
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
        is_empty = np.array(pc.fill_null(pc.equal(cells, ""), True))
        return cells.to_pandas(), is_empty & ~missing
    values = _to_floats(cells, form.decimal if form else ".")
    return values, ~(missing | (np.abs(values) <= limit))


def _to_floats(cells, decimal):
    """Return the numbers of a column, NaN where a cell is none."""
    if is_text(cells.type):
        if decimal == ",":
            cells = pc.replace_substring(pc.replace_substring(cells, ".", "?"), ",", ".")
        try:  # It takes nan and inf, too, but these are not finite.
            cells = pc.cast(cells, pa.float64())
        except pa.ArrowInvalid:  # Some text is not a number, or has signs around it.
            cells = pc.replace_substring(pc.utf8_trim(cells, BLANKS), "\u2212", "-")
            cells = pc.if_else(pc.match_substring_regex(cells, f"^({NUMBER})$"), cells, None)
    return pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _to_texts(column, chosen):
    """Return some cells of a column as a CSV file shows them."""
    column = column.filter(pa.array(chosen))
    # Lists and the like have no text.
    with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
        column = pc.cast(column, pa.string())
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def _explain(column, text, value):
    """Return why a cell is not allowed."""
    allowed = "a text" if column.is_text else "a finite number"
    if not column.is_text and np.isfinite(value):
        limit = MAX_NUMBER if abs(value) > MAX_NUMBER else MAX_INTEGER
        allowed += f" from -{limit} to {limit}".replace("e+", "e")
    allowed = " or ".join([allowed, *map(repr, column.missing)])
    return f"received '{_show(text, 200)}', allowed is {allowed}"


def _recognize(text):
    """Say what a text is that is not a number, if it is known."""
    kinds = [kind for form, kind in OTHER_CELLS.items() if re.fullmatch(form, text.strip(BLANKS))]
    return f", and this is {kinds[0]}" if kinds else ""


def _first_five(columns):
    """Return the first five texts, and how many more there are."""
    more = [f"and {len(columns) - 5} more columns"] if len(columns) > 5 else []
    return columns[:5] + more


def _show(text, length=300):
    """Return the beginning of a text, in which signs that cannot be seen are escaped."""
    return repr(text if len(text) <= length else f"{text[:length]}...")[1:-1]


def _quote(text):
    """Return a text for a command in double quotes, as Python and shells read it."""
    return "'" + re.sub(r"""["'$`!\\\r\n]""", lambda sign: f"\\x{ord(sign[0]):02x}", text) + "'"
