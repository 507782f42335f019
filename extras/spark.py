"""Apache Spark: each of its tasks scores one file of a folder."""

import functools
import os
import re
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from pyarrow.fs import FileSelector

from extras import scoring
from wine import UserError, tables

try:
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
except ImportError as error:
    raise UserError("engine: spark needs pyspark: pip install -r requirements-spark.txt") from error


def list_files(data):
    """Return the names of the files of a table in its folder, by their paths or URLs.

    Parameters
    ----------
    data : str
        Path or URL of a folder of files, or of a single file. Files and folders whose names begin
        with a point or an underscore, and empty files, do not count.

    Returns
    -------
    dict
    """
    location = tables.locate(data).rstrip("/")
    try:
        files, path = tables.filesystem(location)
        found = files.get_file_info(FileSelector(path, recursive=True))
    except (OSError, ValueError):  # It is no folder.
        return {data: os.path.basename(data)}
    names = sorted(each.path[len(path) :].strip("/") for each in found if each.size)
    names = [name for name in names if not re.search(r"(^|/)[._]", name)]
    if not names:
        raise UserError(f"input: received {data!r}, a folder without a file to score")
    return {f"{location}/{name}": name for name in names}


def score_files(master, files, table, model, scored, rejected):
    """Score each file of a table into a folder of files that are named part-...

    Parameters
    ----------
    master : str
        Where Spark runs, as Spark takes it: local[*], spark://host:port, yarn, k8s://...
    files : dict
        As `list_files` returns them.
    table : wine.tables.Table
        The first file, which all others have to be like.
    model : extras.models.Model
        What predicts.
    scored, rejected : pathlib.Path
        Of the two new folders. The second is there if any row is invalid.

    Returns
    -------
    extras.scoring.Counts

    Raises
    ------
    UserError
        If Java is missing or too old, the master does not answer, or a file cannot be scored.
    """
    for folder in (scored, rejected):
        folder.mkdir()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    conf, on_ctrl_c = SparkConf().set("spark.ui.enabled", "false"), signal.getsignal(signal.SIGINT)
    conf.set("spark.executorEnv.PYTHONPATH", str(tables.PROJECT))  # Its workers import this module.
    try:
        with ThreadPoolExecutor(1) as thread, SparkContext(master, "score", conf=conf) as context:
            signal.signal(signal.SIGINT, on_ctrl_c)  # Spark has set its own.
            context.setLogLevel("OFF")
            score = functools.partial(_score, model, table.schema, table.form, scored, rejected)
            tasks = context.parallelize(enumerate(files.items()), len(files)).map(score)
            # Ctrl-C would break the connection on which a thread waits; this one has to stop Spark.
            results = thread.submit(tasks.collect).result()
    except (PySparkException, Py4JError) as error:
        reason = " ".join(str(error).split())[:300]
        hint = "; it needs Java 17 or newer" if "JAVA_GATEWAY" in reason else ""
        raise UserError(f"master: Spark refuses {master!r}: {reason}{hint}") from error
    for error in filter(lambda result: isinstance(result, UserError), results):
        raise error
    counts = sum(results, scoring.Counts())
    for folder in (scored, rejected):
        (folder / "_SUCCESS").touch()  # Readers of Spark's folders look for it.
    if not counts.rejected:
        shutil.rmtree(rejected)
    return counts


def _score(model, schema, form, scored, rejected, file):
    """Score a file in a task of Spark, which may be one of several attempts at it."""
    number, (data, name) = file
    try:
        table = scoring.open_table(data, model, scored)
        if form and table.form:  # The decimal sign may be proved in the first file only.
            table.form = table.form._replace(decimal=form.decimal)
        if (table.schema, table.form) != (schema, form):
            table.refuse(f"{data} has other columns or types, or another form than the first file")
        ending = next(each for each in scoring.SUFFIXES if scored.name.endswith(each))
        paths = scored / f"part-{number:05}{ending}", rejected / f"part-{number:05}.csv"
        return scoring.score_file(table, model, *paths, name)
    except UserError as error:  # Another attempt would come to the same.
        return error
