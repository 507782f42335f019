"""Apache Spark: each of its tasks scores one file of a folder."""

import concurrent.futures
import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import zipfile

from pyarrow.fs import FileSelector, LocalFileSystem

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

JAVA = 17


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
def start(master):
    """Start Spark, and stop it in the end.

    Parameters
    ----------
    master : str
        As Spark takes it: local[*], spark://host:port, yarn, k8s://...

    Yields
    ------
    pyspark.SparkContext

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
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf = SparkConf().setMaster(master).setAppName("score").set("spark.ui.enabled", "false")
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with _refusing("master", master):
        context = SparkContext(conf=conf)
    signal.signal(signal.SIGINT, on_ctrl_c)  # Spark's own handler
    context.setLogLevel("OFF")
    try:
        yield context
    finally:
        context.stop()


@contextlib.contextmanager
def _refusing(parameter, value):
    try:
        yield
    except (PySparkException, Py4JError) as error:
        java = getattr(error, "java_exception", None)
        reason = textwrap.shorten(java.toString() if java else str(error), 300)
        raise UserError(f"{parameter}: Spark refuses {value!r}: {reason}") from error


def score_files(context, files, table, model, location, rejected, overwrite):
    """Score each file of a table into a folder of files that are named part-...

    Parameters
    ----------
    context : pyspark.SparkContext
        Where the tasks run.
    files : list of (str, str or None)
        As `list_files` returns them.
    table : wine.tables.Table
        The first file, which all others have to be like.
    model : extras.models.Model
        What predicts.
    location, rejected : str
        Absolute paths or URLs of the two new folders. The second is there if any row is invalid.
    overwrite : bool
        Whether what is there by now may be replaced.

    Returns
    -------
    extras.scoring.Counts

    Raises
    ------
    UserError
        If a file cannot be read to its end, or the output cannot be written.
    """
    folders = scoring.whole(location, rejected, overwrite)
    # An object store cannot rename a folder: the files appear one by one there, _SUCCESS last.
    if not isinstance(filesystem(location)[0], LocalFileSystem):
        folders = contextlib.nullcontext((location, rejected))
        if overwrite:
            scoring.remove(location)
            scoring.remove(rejected)
    with folders as made:
        for folder in made:
            target, path = filesystem(folder)
            target.create_dir(path)
        shared = model, table.schema, table.form, made, scoring.suffix(location)
        with _refusing("output", location), concurrent.futures.ThreadPoolExecutor(1) as thread:
            # Ctrl-C would break the connection on which it is waiting.
            job = thread.submit(_run, context, shared, [*enumerate(files)])
            try:
                results = job.result()
            except BaseException:
                context.stop()  # Tasks would go on writing into the folders.
                raise
        for error in filter(lambda result: isinstance(result, UserError), results):
            raise error
        counts = sum(results, scoring.Counts())
        if not counts.rejected:
            scoring.remove(made[1])
        for folder in made[: 1 + bool(counts.rejected)]:
            _complete(folder)
    return counts


def _run(context, shared, files):
    """Run a task for each file, and return their results."""
    with tempfile.TemporaryDirectory() as folder:
        # The workers need these two packages, and one copy of the model each.
        with zipfile.ZipFile(f"{folder}/code.zip", "w") as archive:
            for file in (*tables.PROJECT.glob("wine/*.py"), *tables.PROJECT.glob("extras/*.py")):
                archive.write(file, file.relative_to(tables.PROJECT))
        context.addPyFile(archive.filename)
        score = functools.partial(_score, context.broadcast(shared))
        return context.parallelize(files, len(files)).map(score).collect()


def _score(shared, file):
    """Score a file in a task of Spark, which may be one of several attempts at it."""
    (model, schema, form, (scored, rejected), suffix), (number, (data, name)) = shared.value, file
    try:
        table = scoring.open_table(data, model, suffix)
        if not table.schema.equals(schema) or (form and table.form.delimiter != form.delimiter):
            table.refuse(f"{data} has other columns, types or delimiters than the first file")
        if form:
            table.form = table.form._replace(decimal=form.decimal)
        part = f"part-{number:05}"
        names = f"{scored}/{part}{suffix}", f"{rejected}/{part}.csv"
        return scoring.score_file(table, model, *names, overwrite=True, name=name)
    except UserError as error:  # Another attempt would come to the same.
        return error


def _complete(folder):
    """Remove what attempts that failed have left, and tell the readers of Spark's folders."""
    files, path = filesystem(folder)
    for each in files.get_file_info(FileSelector(path)):
        if each.base_name.startswith("."):
            files.delete_file(each.path)
    files.open_output_stream(f"{path}/_SUCCESS").close()
