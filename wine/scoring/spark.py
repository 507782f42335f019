"""Apache Spark as the executor: each of its tasks runs the engine on one file of a folder."""

import concurrent.futures
import contextlib
import functools
import itertools
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
from typing import NamedTuple

from pyarrow.fs import FileSelector, FileType

from wine import UserError, process
from wine.files import DOWNLOADED, PROJECT, Source, filesystem, locate
from wine.scoring import engine, output
from wine.scoring.counts import Counts

try:
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
except ImportError as error:
    raise UserError(
        "engine: received 'spark', which needs pyspark: pip install -r requirements-spark.txt"
    ) from error

JAVA = 17
BYTES_PER_PART = 2**26  # of a Parquet file, whose row groups can be read by several tasks
ATTEMPTS = "attempts"  # the folder of the files that tasks write, beside the complete ones


class Part(NamedTuple):
    """What one task scores.

    Attributes
    ----------
    data : str
        Path or URL of a file.
    name : str or None
        The file's name in the rejected rows; None if the table is a single file.
    row_groups : range or None
        Which row groups of a Parquet file; None are all.
    """

    data: str
    name: str | None = None
    row_groups: range | None = None


def list_parts(data, model):
    """Open a table, and divide it among tasks: a file each, or some row groups of a large one.

    Parameters
    ----------
    data : str
        Path or URL of a file, or of a folder of files. Files and folders whose names begin with a
        point or an underscore, and empty files, do not count.
    model : wine.model.Model
        The model that is to score it.

    Returns
    -------
    table : wine.tables.Table
        The first file, which all others have to be like.
    parts : list of Part

    Raises
    ------
    UserError
        If there is no file, or the first one cannot be scored.
    """
    location = locate(data).rstrip("/")
    table, parts = None, []
    for name, size in _list_files(location, data).items():
        file = location if name is None else f"{location}/{name}"
        opened = None
        if table is None or size > BYTES_PER_PART:
            opened = engine.open_table(data if name is None else file, model)
        table = table or opened
        n_groups = 0 if opened is None or opened.form else len(opened.group_sizes)
        n_parts = max(1, min(n_groups, -(-size // BYTES_PER_PART)))
        edges = [n_groups * n // n_parts for n in range(n_parts + 1)]
        groups = [range(*pair) for pair in itertools.pairwise(edges)] if n_parts > 1 else [None]
        parts += [Part(file, name, each) for each in groups]
    return table, parts


def _list_files(location, data):
    """Return the size of each file by its path in the folder; None if the table is a file."""
    if location.startswith(DOWNLOADED):
        return {None: 0}
    with Source(data, "input").reading():
        files, path = filesystem(location)
        info = files.get_file_info(path)
        if info.type != FileType.Directory:
            return {None: info.size or 0}
        found = files.get_file_info(FileSelector(path, recursive=True))
    sizes = {each.path[len(path) :].strip("/"): each.size for each in found if each.is_file}
    names = [name for name in sorted(sizes) if sizes[name] and not re.search(r"(^|/)[._]", name)]
    if not names:
        raise UserError(f"input: received {data!r}, a folder without a file to score")
    return {name: sizes[name] for name in names}


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
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf = SparkConf().setMaster(master).setAppName("score").set("spark.ui.enabled", "false")
    conf.set("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with _refusing("master", master):
        context = SparkContext(conf=conf)
    # Spark's own handler of Ctrl-C breaks the connection on which it is waiting, and py4j prints
    # its traceback.
    signal.signal(signal.SIGINT, on_ctrl_c)
    logging.getLogger().addFilter(lambda logged: "while sending command" not in logged.getMessage())
    context.setLogLevel("OFF")
    try:
        yield context
    finally:
        _stop(context)


@contextlib.contextmanager
def _refusing(parameter, value):
    try:
        yield
    except (PySparkException, Py4JError) as error:
        java = getattr(error, "java_exception", None)
        reason = textwrap.shorten(java.toString() if java else str(error), 300)
        raise UserError(
            f"{parameter}: received {value!r}, which Spark refuses: {reason}"
        ) from error


def _stop(context):
    with contextlib.suppress(Py4JError, PySparkException):
        context.stop()


def score_parts(context, parts, table, model, location, overwrite):
    """Score the parts of a table into a folder, with a file for each part.

    Parameters
    ----------
    context : pyspark.SparkContext
        Where the tasks run.
    parts, table, model
        As `list_parts` takes and returns them.
    location : str
        As `wine.scoring.output.resolve` has returned it.
    overwrite : bool
        Whether an output that is there by now may be replaced.

    Returns
    -------
    Counts

    Raises
    ------
    UserError
        If a file cannot be read to its end, or the output cannot be written.
    """
    with output.partials(location) as folders:
        for folder in folders:
            files, path = filesystem(folder)
            files.create_dir(f"{path}/{ATTEMPTS}")
        suffix, shared = output.suffix(location), (model, table.schema, table.form, folders)
        try:
            with _refusing("output", location):
                results = _wait(context, _run, context, parts, shared, suffix)
        except BaseException:
            _stop(context)  # Tasks would go on writing into the folders.
            raise
        counts = sum((result.counts for result in results), Counts())
        for result in results:
            if result.error:
                raise UserError(result.error)
        with process.uninterrupted():
            scored, rejected = folders
            _keep(scored, [result.file for result in results], suffix)
            is_rejected = [result.file for result in results if result.counts.rejected]
            _keep(rejected, is_rejected, ".csv")
            output.publish(scored, rejected if is_rejected else None, location, overwrite)
        return counts


class _Result(NamedTuple):
    """What a task returns: its counts, and the name of its two files; or why it refuses."""

    file: str
    counts: Counts
    error: str | None = None


def _score(shared, suffix, part):
    """Score a part in a task of Spark, which may be one of several attempts at it."""
    model, schema, form, folders = shared.value
    file = uuid.uuid4().hex
    try:
        table = engine.open_table(part.data, model, form.decimal if form else None)
        if not table.schema.equals(schema) or (form and table.form.delimiter != form.delimiter):
            table.refuse(f"{part.data} has other columns, types or delimiters than the first file")
        scored, rejected = (f"{folder}/{ATTEMPTS}/{file}" for folder in folders)
        options = {"row_groups": part.row_groups, "name": part.name}
        return _Result(file, engine.score_part(table, model, scored, rejected, suffix, **options))
    except UserError as error:  # Another attempt would come to the same.
        return _Result(file, Counts(), str(error))


def _run(context, parts, shared, suffix):
    """Run a task for each part, and return their results."""
    with tempfile.TemporaryDirectory() as folder:
        # The workers need this package, and one copy of the model each.
        context.addPyFile(shutil.make_archive(f"{folder}/wine", "zip", PROJECT, "wine"))
        score = functools.partial(_score, context.broadcast(shared), suffix)
        return context.parallelize(parts, len(parts)).map(score).collect()


def _wait(context, run, *arguments):
    """Return what a function returns; it runs in a thread, as Ctrl-C would break its connection."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        working = thread.submit(run, *arguments)
        try:
            return working.result()
        except KeyboardInterrupt:
            while not working.done():  # It may not have begun yet.
                with contextlib.suppress(Py4JError, PySparkException):
                    context.cancelAllJobs()
                time.sleep(0.1)
            raise


def _keep(folder, names, suffix):
    """Give the files of the attempts that count their final names, and remove the others."""
    files, path = filesystem(folder)
    for number, name in enumerate(names):
        files.move(f"{path}/{ATTEMPTS}/{name}", f"{path}/part-{number:05}{suffix}")
    files.delete_dir(f"{path}/{ATTEMPTS}")
    files.open_output_stream(f"{path}/_SUCCESS").close()  # Readers of Spark's folders look for it.
