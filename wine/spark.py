"""Scoring on Apache Spark: like `wine.pieces`, for folders of files and on many machines."""

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

import mlflow
import numpy as np
from mlflow.models import Model

from wine import UserError, scoring
from wine.dataset import locate

try:
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import Observation, SparkSession
    from pyspark.sql import functions as F
except ImportError as error:
    raise UserError(
        "engine: received 'spark', which needs pyspark: pip install -r requirements-spark.txt"
    ) from error

JAVA = 17
# columns beside the table's own: the text of a row with too few or too many cells, what is wrong
# with a row, the model's answer, and by which a row finds its number
TORN, WRONG, ANSWER = "_torn", "_wrong", "_answer"
BINS = 200  # which histogram_numeric places for itself
# a cell may hold lines' ends, so that a file is read by one task; nothing is trimmed or guessed
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
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
    version = re.search(r'version "(\d+)', said)
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
    builder = builder.config("spark.sql.caseSensitive", True)  # pH and PH are two columns
    builder = builder.config("spark.ui.showConsoleProgress", sys.stderr.isatty())
    # without it, a row with too many cells is cut to those that are asked for
    builder = builder.config("spark.sql.csv.parser.columnPruning.enabled", False)
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with _refusing("master", master):
        spark = builder.getOrCreate()
    # Spark's own answer to Ctrl-C breaks the connection on which it is waiting, and py4j prints
    # its traceback
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


class Table:
    """A table to be scored: a file, or a folder of part files.

    Parameters
    ----------
    data : str
        Its path or URL, as Spark takes it.
    master : str
        Where Spark runs.

    Attributes
    ----------
    source : str
        Where it is.
    columns : list of str
        Its columns; those of CSV are all text.

    Raises
    ------
    UserError
        If Spark cannot be started, or the table is not there or not such a table.
    """

    def __init__(self, data, master):
        suffix = scoring.suffix("input", data.rstrip("/"))
        self._spark = start(master)
        self.source = locate(data) if Path(locate(data)).exists() else data
        with _refusing("input", data):
            self._read = self._spark.read.parquet
            if suffix != ".parquet":
                reader = self._spark.read.options(**CSV)
                # as they stand there: Spark would number those that are there twice
                first = reader.options(header=False).csv(self.source).first()
                names = [name or f"_c{place}" for place, name in enumerate(first or [])]
                schema = ", ".join(f"{_quoted(name)} string" for name in [*names, TORN])
                reader = self._spark.read.options(**CSV)
                reader = reader.options(enforceSchema=False, columnNameOfCorruptRecord=TORN)
                self._read = reader.schema(schema).csv
            self._rows = self._read(self.source)
        self.columns = [name for name in self._rows.columns if name != TORN]

    def _files(self, path):
        """Return the file system of a path, and the path as that has it."""
        path = self._spark._jvm.org.apache.hadoop.fs.Path(path)
        return path.getFileSystem(self._spark._jsc.hadoopConfiguration()), path

    def place(self, output, overwrite):
        """Return where an output will be, or refuse one that is there; as in `wine.pieces`."""
        scoring.suffix("output", output.rstrip("/"))
        with _refusing("output", output):
            files, path = self._files(output)
            if files.exists(path) and not overwrite:
                raise UserError(f"output: {output} is there already; overwrite=true replaces it")
            return path.makeQualified(files.getUri(), files.getWorkingDirectory()).toString()

    def score(self, model, output):
        """Score the table into a folder of part files; as in `wine.pieces`.

        Parameters
        ----------
        model : wine.scoring.Model
            The table has to have its columns.
        output : str
            The folder to make, in a format by its suffix; the bad rows go to one beside it.

        Returns
        -------
        wine.scoring.Counts

        Raises
        ------
        UserError
            If Spark does not get to the end.
        """
        suffix = scoring.suffix("output", output)
        rejects = f"{output}.rejected.csv"
        kinds = dict(self._rows.dtypes)
        numbers = {name: _number(name, kinds[name]) for name in model.columns}
        wrong = [_wrong(name, kinds[name], numbers[name]) for name in model.columns]
        if TORN in kinds:
            allowed = f"', allowed are {len(self.columns)} cells"
            wrong.insert(0, F.concat(F.lit("received '"), TORN, F.lit(allowed)))
        rows = self._rows.withColumns({WRONG: F.coalesce(*wrong), **_place()})
        read, scored = Observation(), Observation()
        with (
            _refusing("output", output),
            tempfile.TemporaryDirectory() as folder,
            self._whole(output) as scored_path,
            self._whole(rejects) as rejected_path,
        ):
            udf = _udf(self._spark, model, folder)
            good = rows.observe(read, F.count("*").alias("rows")).where(F.col(WRONG).isNull())
            good = good.withColumn(
                ANSWER, udf(F.struct(*[numbers[name].alias(name) for name in model.columns]))
            )
            columns = [_column(name) for name in self.columns]
            if TORN in kinds:  # an empty cell of CSV is a text without characters
                empty = F.lit("")
                columns = [
                    F.coalesce(column, empty).alias(name)
                    for name, column in zip(self.columns, columns, strict=True)
                ]
            if suffix == ".parquet":  # where a number is not a text
                columns = [
                    numbers[name].alias(name)
                    if kinds[name] == "string" and name in numbers
                    else column
                    for name, column in zip(self.columns, columns, strict=True)
                ]
            good = good.select(*columns, *_answers(model))
            bins = F.histogram_numeric(model.answers[-1], F.lit(BINS)).alias("bins")
            good = good.observe(scored, F.count("*").alias("rows"), bins)
            _write(good, scored_path, suffix)

            counts = scoring.Counts(scored.get["rows"], read.get["rows"] - scored.get["rows"])
            if counts.scored:
                found = scored.get["bins"]
                counts.histogram, counts.edges = np.histogram(
                    [each.x for each in found], scoring.BINS, weights=[each.y for each in found]
                )
            if counts.rejected:
                bad = self._numbered(rows.where(F.col(WRONG).isNotNull()))
                _write(bad, rejected_path, ".csv")
        self._spark.stop()
        return counts

    def _numbered(self, bad):
        """Return rows with their numbers in all files, one after the other by their names."""
        parts = self._rows.withColumns(_place()).groupBy("_path", "_start")
        parts = parts.agg(F.min("_id"), F.count("*")).collect()
        before, offsets = 0, []
        for path, start, first, n_rows in sorted(parts):
            offsets.append((path, start, before - first + 1))
            before += n_rows
        offsets = self._spark.createDataFrame(offsets, "_path string, _start long, _offset long")
        row = (F.col("_id") + F.col("_offset")).alias("row")
        # CSV has no lists and the like
        columns = [_column(name).cast("string").alias(name) for name in self.columns]
        bad = bad.join(F.broadcast(offsets), ["_path", "_start"])
        return bad.select(row, F.col(WRONG).alias("reason"), *columns)

    def _cancel(self):
        """Wait until Spark has ended what it still does, which would go on writing."""
        with contextlib.suppress(Py4JError, PySparkException):
            context = self._spark.sparkContext
            context.cancelAllJobs()
            executors = context._jsc.sc().statusTracker().getExecutorInfos
            patience = 300  # tenths of a second
            while patience and any(each.numRunningTasks() for each in executors()):
                time.sleep(0.1)
                patience -= 1

    @contextlib.contextmanager
    def _whole(self, output):
        """Give a folder its name when it is complete, or not at all; as in `wine.pieces`."""
        files, path = self._files(output)
        _, beside = self._files(f"{path.getParent()}/.{path.getName()}.{uuid.uuid4().hex}.partial")
        try:
            yield beside.toString()
            files.delete(path, True)
            if files.exists(beside):
                files.rename(beside, path)
        except BaseException:
            self._cancel()
            raise
        finally:
            files.delete(beside, True)


def _place():
    """Return the columns from which the number of a row follows."""
    places = {"_path": F.col("_metadata.file_path"), "_start": F.col("_metadata.file_block_start")}
    return {**places, "_id": F.monotonically_increasing_id()}


def _quoted(name):
    return f"`{name.replace('`', '``')}`"


def _column(name):
    return F.col(_quoted(name))


def _number(name, kind):
    if kind != "string":
        return _column(name).cast("double")
    text = F.trim(_column(name), F.lit(" \t"))
    return F.when(text.rlike(scoring.NUMBER), text.try_cast("double"))


def _wrong(name, kind, number):
    cell = F.coalesce(_column(name).cast("string"), F.lit(""))
    if kind != "string":  # as Arrow writes them
        cell = F.replace(F.lower(cell), F.lit("infinity"), F.lit("inf"))
    said = F.concat(F.lit(f"column '{name}': received '"), cell)
    said = F.concat(said, F.lit("', allowed is a finite number"))
    finite = F.coalesce(F.abs(number) < F.lit(float("inf")), F.lit(False))  # NaN is above all
    return F.when(~finite, said)


def _udf(spark, model, folder):
    """Return the model as a function of Spark's; of a classifier, its probabilities."""
    path = mlflow.artifacts.download_artifacts(model.uri, dst_path=folder)
    kind = "double"
    if "probability" in model.answers:
        kind = "array<double>"
        saved = Model.load(path)
        saved.flavors["python_function"]["predict_fn"] = "predict_proba"
        saved.save(f"{path}/MLmodel")
    return mlflow.pyfunc.spark_udf(spark, path, result_type=kind, env_manager="local")


def _answers(model):
    if "probability" not in model.answers:
        return [F.col(ANSWER).alias("prediction")]
    other, good = F.col(ANSWER)[0], F.col(ANSWER)[1]
    is_good = good > other if model.threshold is None else good >= F.lit(model.threshold)
    return [is_good.cast("long").alias("prediction"), good.alias("probability")]


def _write(rows, path, suffix):
    if suffix == ".parquet":
        rows.write.parquet(path)
    else:
        rows.write.options(**CSV).csv(path, compression="gzip" if suffix == ".csv.gz" else "none")
