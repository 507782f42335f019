"""Apache Spark: each of its tasks scores one file of a folder."""

import concurrent.futures
import contextlib
import functools
import os
import re
import shutil
import signal
import sys
import tempfile
import textwrap

from pyarrow.fs import FileSelector

from extras import scoring
from wine import UserError, tables
from wine.tables import filesystem

try:
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
except ImportError as error:
    raise UserError(
        "engine: received 'spark', which needs pyspark: pip install -r requirements-spark.txt"
    ) from error


def list_files(data):
    """Return the paths or URLs of the files of a table, and their names in its folder.

    Parameters
    ----------
    data : str
        Path or URL of a folder of files; or of a single file, whose name is None. Files and folders
        whose names begin with a point or an underscore, and empty files, do not count.

    Returns
    -------
    list of (str, str or None)
    """
    location = tables.locate(data).rstrip("/")
    try:
        files, path = filesystem(location)
        found = files.get_file_info(FileSelector(path, recursive=True))
    except (OSError, ValueError):  # It is no folder.
        return [(data, None)]
    names = sorted(each.path[len(path) :].strip("/") for each in found if each.size)
    names = [name for name in names if not re.search(r"(^|/)[._]", name)]
    if not names:
        raise UserError(f"input: received {data!r}, a folder without a file to score")
    return [(f"{location}/{name}", name) for name in names]


@contextlib.contextmanager
def _start(master):
    """Start Spark, give its context, and stop it in the end."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf = SparkConf().setMaster(master).setAppName("score").set("spark.ui.enabled", "false")
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    context = SparkContext(conf=conf)
    signal.signal(signal.SIGINT, on_ctrl_c)  # Spark's own handler
    context.setLogLevel("OFF")
    try:
        yield context
    finally:
        context.stop()


def score_files(master, files, table, model, scored, rejected, format):
    """Score each file of a table into a folder of files that are named part-...

    Parameters
    ----------
    master : str
        Where Spark runs, as Spark takes it: local[*], spark://host:port, yarn, k8s://...
    files : list of (str, str or None)
        As `list_files` returns them.
    table : wine.tables.Table
        The first file, which all others have to be like.
    model : extras.models.Model
        What predicts.
    scored, rejected : str
        Absolute paths or URLs of the two new folders. The second is there if any row is invalid.
    format : str
        That of the first, one of `extras.scoring.SUFFIXES`.

    Returns
    -------
    extras.scoring.Counts

    Raises
    ------
    UserError
        If Java is missing or too old, the master does not answer, or a file cannot be scored.
    """
    for folder in (scored, rejected):
        target, path = filesystem(folder)
        target.create_dir(path)
    try:
        with _start(master) as context:
            shared = model, table.schema, table.form, scored, rejected, format
            results = _run(context, shared, [*enumerate(files)])
    except (PySparkException, Py4JError) as error:
        java = getattr(error, "java_exception", None)
        reason = textwrap.shorten(java.toString() if java else str(error), 300)
        hint = "; it needs Java 17 or newer" if "JAVA_GATEWAY" in reason else ""
        raise UserError(f"master: Spark refuses {master!r}: {reason}{hint}") from error
    for error in filter(lambda result: isinstance(result, UserError), results):
        raise error
    counts = sum(results, scoring.Counts())
    if not counts.rejected:
        scoring.remove(rejected)
    for folder in (scored, rejected)[: 1 + bool(counts.rejected)]:
        target, path = filesystem(f"{folder}/_SUCCESS")  # Readers of Spark's folders look for it.
        target.open_output_stream(path).close()
    return counts


def _run(context, shared, files):
    """Run a task for each file, and return their results."""
    with tempfile.TemporaryDirectory() as folder:
        # The workers need these two packages, and one copy of the model each.
        for name in ("wine", "extras"):
            package = shutil.make_archive(f"{folder}/{name}", "zip", tables.PROJECT, name)
            context.addPyFile(package)
        score = functools.partial(_score, context.broadcast(shared))
        tasks = context.parallelize(files, len(files)).map(score)
        # Ctrl-C would break the connection on which it is waiting.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            job = thread.submit(tasks.collect)
            try:
                return job.result()
            except BaseException:
                context.stop()  # Tasks would go on writing into the folders.
                raise


def _score(shared, file):
    """Score a file in a task of Spark, which may be one of several attempts at it."""
    (model, schema, form, scored, rejected, format), (number, (data, name)) = shared.value, file
    try:
        table = scoring.open_table(data, model, format)
        if not table.schema.equals(schema) or (form and table.form.delimiter != form.delimiter):
            table.refuse(f"{data} has other columns, types or delimiters than the first file")
        if form:
            table.form = table.form._replace(decimal=form.decimal)
        part = f"part-{number:05}"
        names = f"{scored}/{part}{format}", f"{rejected}/{part}.csv"
        return scoring.score_file(table, model, *names, format, name=name)
    except UserError as error:  # Another attempt would come to the same.
        return error
