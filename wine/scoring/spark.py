"""The engine on Apache Spark, for folders of files and for many machines."""

import concurrent.futures
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wine import UserError
from wine.dataset import PROJECT, locate
from wine.model import predict
from wine.scoring import drift, rows
from wine.scoring.scorer import BINS, Counts, Scorer, refuse_existing, refuse_input, suffix

try:
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.accumulators import AccumulatorParam
    from pyspark.errors import PySparkException
    from pyspark.sql import Observation, SparkSession
    from pyspark.sql import functions as F
    from pyspark.sql import types as T
    from pyspark.sql.pandas.types import to_arrow_schema
except ImportError as error:
    raise UserError(
        "engine: received 'spark', which needs pyspark: pip install -r requirements-spark.txt"
    ) from error

JAVA = 17
MALFORMED = "_malformed"  # the column with the text of a row with too few or too many cells
# The columns from which the number of a row follows: its file, the block of it, and Spark's own id.
FILE, START, ID = "_file", "_start", "_id"
HISTOGRAM_BINS = 200  # which histogram_numeric places for itself
# A cell may hold line ends, so that one task reads a file. Nothing is trimmed or guessed.
CSV = {"header": True, "multiLine": True, "escape": '"', "emptyValue": ""}
CSV |= {"ignoreLeadingWhiteSpace": False, "ignoreTrailingWhiteSpace": False}


def start(master):
    """Start Spark.

    Parameters
    ----------
    master : str
        As Spark takes it: local[*], spark://host:port, yarn, k8s://...

    Returns
    -------
    pyspark.sql.SparkSession

    Raises
    ------
    UserError
        If Java is missing or too old, or the master does not answer.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    printed = (
        subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    )
    version = re.search(r'version "(\d+)', printed)
    if not version or int(version[1]) < JAVA:
        found = f"Java {version[1]}" if version else "none"
        raise UserError(
            f"engine: received 'spark', which needs Java {JAVA} or newer, found {found}"
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("score")
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = builder.config("spark.ui.enabled", False)
    builder = builder.config("spark.sql.caseSensitive", True)  # pH and PH are two columns.
    builder = builder.config("spark.ui.showConsoleProgress", sys.stderr.isatty())
    # Without this, a row with too many cells would be cut to those that are asked for.
    builder = builder.config("spark.sql.csv.parser.columnPruning.enabled", False)
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with _refusing("master", master):
        spark = builder.getOrCreate()
    # Spark's own handler of Ctrl-C breaks the connection on which it is waiting, and py4j prints
    # its traceback.
    signal.signal(signal.SIGINT, on_ctrl_c)
    logging.getLogger().addFilter(lambda logged: "while sending command" not in logged.getMessage())
    spark.sparkContext.setLogLevel("OFF")
    spark.sparkContext.setInterruptOnCancel(True)
    return spark


@contextlib.contextmanager
def _refusing(parameter, value):
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        cause = error.java_exception.toString() if isinstance(error, Py4JJavaError) else str(error)
        reason = textwrap.shorten(cause, 300)
        raise UserError(
            f"{parameter}: received {value!r}, which Spark refuses: {reason}"
        ) from error


class SparkScorer(Scorer):
    """A table to be scored on Spark: a file, or a folder of part files.

    Parameters
    ----------
    data : str
        Its path or URL, as Spark takes it.
    master : str
        Where Spark runs.

    Raises
    ------
    UserError
        If Spark cannot be started, or the table is not there or not such a table.
    """

    def __init__(self, data, master):
        self._suffix = suffix("input", data.rstrip("/"))
        self._spark, self._parts = start(master), []
        try:
            self._open(data)
        except BaseException:
            self.close()
            raise

    def _open(self, data):
        self.source = locate(data) if Path(locate(data)).exists() else data
        with _refusing("input", data):
            if self._suffix == ".parquet":
                self._rows = self._spark.read.parquet(self.source)
            else:
                reader = self._spark.read.options(**CSV)
                # The names as they are: Spark would number those that are there twice.
                first = reader.options(header=False).csv(self.source).first()
                names = [name or f"_c{position}" for position, name in enumerate(first or [])]
                schema = ", ".join(f"{_quoted(name)} string" for name in [*names, MALFORMED])
                reader = self._spark.read.options(**CSV)
                reader = reader.options(enforceSchema=False, columnNameOfCorruptRecord=MALFORMED)
                self._rows = reader.schema(schema).csv(self.source)
            self._names = [name for name in self._rows.columns if name != MALFORMED]
            self._fields = [field for field in self._rows.schema if field.name != MALFORMED]
            self.schema = to_arrow_schema(T.StructType(self._fields))

    def close(self):
        """Stop Spark, and remove what a task that was cancelled has still written."""
        with contextlib.suppress(Py4JError, PySparkException):
            self._spark.stop()
            for files, part in self._parts:
                files.delete(part, True)

    def _files(self, path):
        """Return the file system of a path, and the path as that has it."""
        path = self._spark._jvm.org.apache.hadoop.fs.Path(path)
        return path.getFileSystem(self._spark._jsc.hadoopConfiguration()), path

    def resolve_output(self, output, overwrite):
        """Return the absolute path of an output, as `Scorer.resolve_output` does."""
        suffix("output", output.rstrip("/"))
        with _refusing("output", output):
            files, source = self._files(self.source)
            source = files.makeQualified(source).toString()
            files, path = self._files(output)
            path = files.makeQualified(path).toString()
            for each in (path, f"{path}.rejected.csv"):
                if each == source:
                    refuse_input(each)
                if files.exists(self._files(each)[1]) and not overwrite:
                    refuse_existing(each)
        return path

    def score(self, model, output, overwrite):
        """Score the table into a folder of part files, as `Scorer.score` does."""
        # Spark works in a thread, as Ctrl-C in the middle of a call would break its connection.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            scoring = thread.submit(self._score, model, output, overwrite)
            try:
                return scoring.result()
            except KeyboardInterrupt:
                while not scoring.done():
                    self._cancel()
                raise

    def _cancel(self):
        """Wait until Spark has ended what it still does, which would go on writing."""
        with contextlib.suppress(Py4JError, PySparkException):
            context = self._spark.sparkContext
            context.cancelAllJobs()
            executors = context._jsc.sc().statusTracker().getExecutorInfos
            deadline = time.monotonic() + 30
            while any(each.numRunningTasks() for each in executors()):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)

    def _score(self, model, output, overwrite):
        with (
            _refusing("output", output),
            tempfile.TemporaryDirectory() as folder,
            self._partial(output) as scored,
            self._partial(f"{output}.rejected.csv") as rejected,
        ):
            # The workers need this package, and one copy of the model each.
            package = shutil.make_archive(f"{folder}/wine", "zip", PROJECT, "wine")
            self._spark.sparkContext.addPyFile(package)
            shared = self._spark.sparkContext.broadcast(model)
            counts = self._write_scored(model, shared, scored, suffix("output", output))
            if counts.rejected:
                counts.rejected_lines = self._write_rejected(model.columns, rejected)
            self._publish(scored, output, overwrite)
            self._publish(rejected, f"{output}.rejected.csv", overwrite)
        return counts

    def _write_scored(self, model, shared, path, format_):
        is_csv, names, all_names = self._suffix != ".parquet", self._names, self._rows.columns
        fields = [
            # A text that is a number becomes one where the format tells the two apart.
            T.StructField(field.name, T.DoubleType())
            if format_ == ".parquet"
            and field.name in model.columns
            and isinstance(field.dataType, T.StringType)
            else field
            for field in self._fields
        ]
        kinds = {"prediction": T.LongType() if "probability" in model.outputs else T.DoubleType()}
        fields += [T.StructField(name, kinds.get(name, T.DoubleType())) for name in model.outputs]
        schema = T.StructType(fields)
        arrow_schema = to_arrow_schema(schema)
        drifted = self._spark.sparkContext.accumulator(np.int64(0), _Sum())

        def score(batches):
            for batch in batches:
                batch = batch.rename_columns(all_names)
                X, reasons = _validate(batch, shared.value.columns)
                is_valid = np.ones(len(batch), dtype=bool)
                is_valid[[*reasons]] = False
                if not is_valid.any():
                    continue
                kept = batch.filter(pa.array(is_valid))
                columns = {name: kept.column(name) for name in names}
                if is_csv:  # An empty cell of CSV is a text without characters.
                    columns = {name: pc.fill_null(column, "") for name, column in columns.items()}
                for position, name in enumerate(shared.value.columns):
                    if arrow_schema.field(name).type != columns[name].type:
                        columns[name] = pa.array(X[is_valid, position])
                columns |= predict(shared.value, X[is_valid])
                if shared.value.deciles:
                    drifted.add(drift.count(X[is_valid], shared.value.deciles))
                yield pa.RecordBatch.from_arrays(
                    [pc.cast(pa.array(columns[field.name]), field.type) for field in arrow_schema],
                    schema=arrow_schema,
                )

        read, written = Observation(), Observation()
        table = _numbered_columns(self._rows.observe(read, F.count("*").alias("rows")))
        bins = F.histogram_numeric(model.outputs[-1], F.lit(HISTOGRAM_BINS)).alias("bins")
        table = table.mapInArrow(score, schema).observe(written, F.count("*").alias("rows"), bins)
        _write(table, path, format_)
        counts = Counts(written.get["rows"], read.get["rows"] - written.get["rows"])
        counts.drift = drifted.value
        if counts.scored:
            found = written.get["bins"]
            counts.histogram, counts.edges = np.histogram(
                [each.x for each in found], BINS, weights=[each.y for each in found]
            )
        return counts

    def _write_rejected(self, columns, path):
        """Write the invalid rows; return how many lines of the file they take."""
        names = self._names
        texts = [(name, "string") for name in ("reason", *names)]
        fields = [(FILE, "string"), (START, "long"), (ID, "long"), ("lines", "long"), *texts]
        schema = ", ".join(f"{_quoted(name)} {kind}" for name, kind in fields)

        def reject(batches):
            for batch in batches:
                batch = batch.rename_columns(all_names)
                _, reasons = _validate(batch, columns)
                if reasons:
                    taken = batch.take(pa.array([*reasons]))
                    lines = pa.array([rows.lines_of(reason) for reason in reasons.values()])
                    found = [taken.column(name) for name in (FILE, START, ID)]
                    found += [pc.cast(lines, pa.int64()), pa.array(reasons.values())]
                    found += [rows.texts(taken.column(name)) for name in names]
                    yield pa.RecordBatch.from_arrays(found, [name for name, _ in fields])

        table, written = self._rows.withColumns(_row_ids()), Observation()
        all_names = table.columns
        table = self._numbered(_numbered_columns(table).mapInArrow(reject, schema))
        table = table.observe(written, F.sum("lines").alias("lines")).drop("lines")
        _write(table, path, ".csv")
        return written.get["lines"]

    def _numbered(self, rejected):
        """Give rows their numbers in all files, one after the other by their names."""
        parts = self._rows.withColumns(_row_ids()).groupBy(FILE, START)
        parts = parts.agg(F.min(ID), F.count("*")).collect()
        before, offsets = 0, []
        for file, block, first, n_rows in sorted(parts):
            offsets.append((file, block, before - first + 1))
            before += n_rows
        schema = f"{FILE} string, {START} long, _offset long"
        offsets = self._spark.createDataFrame(offsets, schema)
        row = (F.col(ID) + F.col("_offset")).alias("row")
        columns = [_column(name) for name in ("lines", "reason", *self._names)]
        return rejected.join(F.broadcast(offsets), [FILE, START]).select(row, *columns)

    @contextlib.contextmanager
    def _partial(self, output):
        """Give the name of a folder beside an output; `close` removes it, too."""
        files, path = self._files(output)
        name = f".{path.getName()}.{uuid.uuid4().hex}.partial"
        _, part = self._files(f"{path.getParent()}/{name}")
        self._parts.append((files, part))
        try:
            yield part.toString()
        except BaseException:
            self._cancel()
            raise
        finally:
            files.delete(part, True)

    def _publish(self, part, output, overwrite):
        """Give a complete folder its name, which may have appeared meanwhile."""
        files, path = self._files(output)
        _, part = self._files(part)
        if files.exists(path) and not overwrite:
            refuse_existing(output)
        files.delete(path, True)
        if files.exists(part):
            files.rename(part, path)


class _Sum(AccumulatorParam):
    """The sum of arrays, or of 0 and arrays."""

    def zero(self, value):
        return value

    def addInPlace(self, one, other):  # noqa: N802 (Spark's name)
        return one + other


def _validate(batch, columns):
    """Validate a batch as `rows.validate` does, malformed rows of CSV among them."""
    X, reasons = rows.validate(batch, columns)
    if MALFORMED in batch.schema.names:
        texts = batch.column(MALFORMED).to_pylist()
        n_columns = batch.schema.names.index(MALFORMED)
        reasons |= {
            row: rows.malformed(text, n_columns)
            for row, text in enumerate(texts)
            if text is not None
        }
    return X, dict(sorted(reasons.items()))


def _numbered_columns(table):
    """Give the columns names that `mapInArrow` can take, which resolves dots and backticks."""
    return table.toDF(*[f"c{position}" for position in range(len(table.columns))])


def _row_ids():
    """Return the columns from which the number of a row follows."""
    return {
        FILE: F.col("_metadata.file_path"),
        START: F.col("_metadata.file_block_start"),
        ID: F.monotonically_increasing_id(),
    }


def _quoted(name):
    return f"`{name.replace('`', '``')}`"


def _column(name):
    return F.col(_quoted(name))


def _write(table, path, format_):
    if format_ == ".parquet":
        table.write.parquet(path)
    else:
        table.write.options(**CSV).csv(path, compression="gzip" if format_ == ".csv.gz" else "none")
