"""Tables: how a file becomes rows, for trainings and for scorings."""

import collections
import re
import textwrap

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from wine import rows
from wine.delimited import DelimitedFile
from wine.files import PARQUET, Source

PARQUET_BATCH_SIZE = 2**16  # rows
MAX_NAMES = 1000  # of a header, of which a message repeats the first ones


class Table:
    """A table in a file, with the columns that are needed of it.

    Parameters
    ----------
    data : str
        Path or URL of a CSV or Parquet file, compressed or not.
    parameter : str
        The name of the parameter that says so, for the error messages.
    columns : list of wine.rows.Column
        The columns that are needed.
    decimal : str, optional
        The decimal sign of a CSV file, if it is known; by default, its first rows tell it.

    Attributes
    ----------
    location : str
        The absolute path or the URL.
    schema : pyarrow.Schema
        All columns, under the names that they have in the file; those of a CSV file are texts.
    positions : list of int
        Where the needed columns are among these.
    form : wine.delimited.Form or None
        The form of a CSV file; None for a Parquet file.
    group_sizes : ndarray of int64, shape (n_row_groups,), or None
        The number of rows in each row group of a Parquet file; None for a CSV file.
    is_sized : bool
        Whether it is known that this is the whole file, as `wine.files.Source` says.

    Raises
    ------
    UserError
        If there is no such file, it is neither CSV nor Parquet, or a needed column is missing, is
        there more than once, or has a type that cannot hold numbers.
    """

    def __init__(self, data, parameter, columns, decimal=None):
        self.columns, self._source = columns, Source(data, parameter)
        self.location, self.form, self.group_sizes = self._source.location, None, None
        with self._source.reading():
            if self._source.open().read(len(PARQUET)) == PARQUET:
                self._file = _ParquetFile(self._source)
                self.group_sizes = self._file.group_sizes
            else:
                self._file = DelimitedFile(self._source, self._rank)
        self.schema, self.is_sized = self._file.schema, self._source.is_sized
        self.positions = self._find_columns()
        self._check_types()
        if self.group_sizes is None:
            with self._source.reading():
                numbers = [n for n, c in zip(self.positions, columns, strict=True) if not c.is_text]
                self._file.find_decimal(numbers)
            self.form = self._file.form = (
                self._file.form._replace(decimal=decimal) if decimal else self._file.form
            )

    def refuse(self, message):
        """Raise a `UserError` that begins with the parameter's name."""
        self._source.refuse(message)

    def describe(self):
        """Return in words what is not plain in the file's form, or an empty text."""
        words = self.form.describe() if self.form else []
        names = [self.schema.names[position] for position in self.positions]
        if names != [column.name for column in self.columns]:
            words.append("names without regard to case, blanks, '_', '.' and '-'")
        return ", ".join(words)

    def _rank(self, names):
        """Return how well a header suits: how many of the needed columns it has, and of all."""
        return sum(map(bool, _find(names, self.columns))), len(names)

    def _find_columns(self):
        """Return the positions of the needed columns, by their names."""
        names, found = self.schema.names, _find(self.schema.names, self.columns)
        for column, positions in zip(self.columns, found, strict=True):
            if len(positions) == 1 and found.count(positions) == 1:
                continue
            if all(re.match(rows.NUMBER, name.strip()) for name in names):
                wrong = (
                    "is missing: the first line has numbers where the names of the columns belong"
                )
            elif not positions:
                wrong = "is missing"
            elif names[positions[0]] == column.name:
                wrong = "stands there more than once"
            else:
                wrong = (
                    f"is missing, and {' or '.join(repr(names[n]) for n in positions)} may be it"
                )
            self.refuse(
                f"column {column.name!r} {wrong} in {self._source.data}; received "
                f"{textwrap.shorten(', '.join(names[:MAX_NAMES]), 300)}; "
                f"needed are {', '.join(each.name for each in self.columns)}"
            )
        return [position for (position,) in found]

    def _check_types(self):
        for column, position in zip(self.columns, self.positions, strict=True):
            kind = self.schema.field(position).type
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
            is_number |= pa.types.is_decimal(kind) or pa.types.is_null(kind)
            if not (is_number or rows.is_text(kind) or (column.is_text and kind == pa.bool_())):
                self.refuse(
                    f"column {column.name!r} has the type {kind} in {self._source.data}, "
                    "allowed are numbers, or texts of numbers"
                )

    def read(self):
        """Read the needed columns of all rows.

        Returns
        -------
        DataFrame, shape (n_rows, n_columns)
            As `wine.rows.Batch.X` has them.

        Raises
        ------
        UserError
            If a row is invalid, or the file cannot be read to its end.
        """
        if self.form:
            kinds = [pa.string() if each.is_text else pa.float64() for each in self.columns]
            with self._source.reading():
                cells = self._file.read_plain(self.positions, kinds, self.columns[0].missing)
            if cells is not None:
                options = {"columns": self.columns, "positions": range(len(kinds))}
                options |= {"form": self.form, "n_columns": len(self.schema)}
                batch = rows.check(np.arange(len(cells)) + 1, cells, [], 100, **options)
                if not batch.invalid:
                    return batch.X
        read, invalid, n_rows = [], [], 0
        for batch in self.batches(only_needed=True):
            read.append(batch.X)
            invalid += batch.invalid
            n_rows += len(batch.X) + len(batch.invalid)
        if invalid:
            self._refuse_rows(invalid, n_rows)
        names = [each.name for each in self.columns]
        return pd.concat(read or [pd.DataFrame([], columns=names, dtype=float)], ignore_index=True)

    def _refuse_rows(self, invalid, n_rows):
        """Refuse the table because of its invalid rows, and say what helps."""
        first, hint = invalid[0], ""
        where = f"column {first.column!r}, row" if first.column else "row"
        more = f"; {len(invalid)} of {n_rows} rows are invalid" if len(invalid) > 1 else ""
        if first.column and not first.received.strip():
            empty = {row.column for row in invalid if not row.received.strip()}
            names = [
                self.schema.names[position]
                for column, position in zip(self.columns, self.positions, strict=True)
                if column.name in empty
            ]
            command = _dropna(self.location, self.form, names)
            hint = f"; this leaves out the rows with empty cells: {command}"
        elif first.column and re.search(r"[^\W\d_]", first.received):
            hint = "; a column of texts belongs in CATEGORIES in wine/dataset.py"
        self.refuse(f"{where} {first.number} of {self._source.data}: {first.fault}{more}{hint}")

    def batches(self, row_groups=None, only_needed=False):
        """Read the rows.

        Parameters
        ----------
        row_groups : range, optional
            Which row groups of a Parquet file are read; by default, all are.
        only_needed : bool
            Whether the cells of a batch are those of the needed columns only, in their order.

        Yields
        ------
        wine.rows.Batch

        Raises
        ------
        UserError
            If the file cannot be read to its end.
        """
        positions = self.positions if only_needed else range(len(self.schema))
        needed = range(len(self.columns)) if only_needed else self.positions
        known = {"form": self.form, "n_columns": len(self.schema)}
        options = {} if self.form else {"row_groups": row_groups}
        with self._source.reading():
            for read in self._file.batches(positions, **options):
                yield rows.check(*read, columns=self.columns, positions=needed, **known)


class _ParquetFile:
    """A Parquet file, which yields its rows as `wine.delimited.DelimitedFile` does."""

    def __init__(self, source):
        self._source = source
        file = pa.parquet.ParquetFile(source.open())
        # Arrow cannot take rows out of a string_view.
        self.schema = pa.schema(
            [
                field.with_type(pa.string()) if field.type == pa.string_view() else field
                for field in file.schema_arrow
            ],
            file.schema_arrow.metadata,
        )
        groups = range(file.num_row_groups)
        self.group_sizes = np.array([file.metadata.row_group(n).num_rows for n in groups], "int64")

    def batches(self, positions, row_groups=None):
        groups = range(len(self.group_sizes)) if row_groups is None else row_groups
        done, length = 0, self.group_sizes[groups].sum()
        first = self.group_sizes[: groups.start].sum()
        fields = [self.schema.field(position) for position in positions]
        file = pa.parquet.ParquetFile(self._source.open())
        for read in file.iter_batches(PARQUET_BATCH_SIZE, row_groups=[*groups]):
            before, done = done, done + len(read)
            columns = [
                pc.cast(read.column(position), field.type)
                for position, field in zip(positions, fields, strict=True)
            ]
            cells = pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))
            percent = 100 * done // length - 100 * before // length
            yield np.arange(first + before + 1, first + done + 1), cells, [], percent


def _find(names, columns):
    """Return for each column the positions at which it may be: by its name, or else by `_fold`."""
    exact, folded = _positions(names), {}
    if any(each.name not in exact for each in columns):
        folded = _positions(map(_fold, names))
    return [exact.get(each.name) or folded.get(_fold(each.name), []) for each in columns]


def _positions(names):
    """Return the positions of each name."""
    positions = collections.defaultdict(list)
    for position, name in enumerate(names):
        positions[name].append(position)
    return positions


def _fold(name):
    """Return a name without regard to case, blanks around it, and what stands for a blank."""
    return re.sub(r"[\s_.-]+", " ", name).strip().casefold()


def _dropna(location, form, names):
    """Return the command that copies a table without the rows in which columns are empty."""
    read = f"pd.read_parquet({location!r}"
    if form:
        read = f"pd.read_csv({location!r}"
        read += f", sep={form.delimiter!r}" if form.delimiter != "," else ""
        read += ", decimal=','" if form.decimal == "," else ""
        read += ", encoding='utf-16'" if form.encoding == "UTF-16" else ""
    write = f"dropna(subset={names}).to_csv('complete.csv', index=False)"
    return f'python -c "import pandas as pd; {read}).{write}"'
