"""A scoring on Spark, here and on a real master with a worker: the same as the one without."""

import contextlib
import importlib.util
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from helpers import PROJECT, assert_one_line_error, environment, free_port, runs_of, start_server
from tables import (
    COLUMNS,
    MEASURED,
    ON_LOOPBACK,
    TEXTS,
    assert_predicted,
    counts,
    grow,
    read,
    rows_with_texts,
    run_scoring,
    start_scoring,
    write,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]

ODD = "PH, `odd`.name"  # of a column
CUTS = [0, 30, 3000, 100_000]  # the rows at which the files of a folder end


@pytest.fixture(scope="module", autouse=True)
def equipped():
    """Leave the module out where there is no Spark, but not where everything has to be tested."""
    has_java = os.environ.get("JAVA_HOME") or shutil.which("java")
    if not has_java or importlib.util.find_spec("pyspark") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("needs pyspark and Java")


@pytest.fixture(scope="module")
def cluster(equipped, tmp_path_factory):
    """Return the address of a standalone Spark master that has a worker."""
    home = Path(importlib.util.find_spec("pyspark").origin).parent
    port, ports = free_port(), (free_port(), free_port())
    folder, address = tmp_path_factory.mktemp("cluster"), f"spark://127.0.0.1:{port}"
    env = environment(SPARK_HOME=str(home), SPARK_WORKER_DIR=str(folder / "work"), **ON_LOOPBACK)
    with contextlib.ExitStack() as servers:
        for name, ui, arguments in (
            ("master.Master", ports[0], ("--port", port)),
            ("worker.Worker", ports[1], ("--cores", 2, "--memory", "2g", address)),
        ):
            (folder / name).mkdir()
            java = (home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}")
            options = ("--host", "127.0.0.1", "--webui-port", ui, *arguments)
            ready = f"http://127.0.0.1:{ui}/json/"
            servers.enter_context(
                start_server(*java, *options, cwd=folder / name, ready=ready, env=env)
            )
        yield address


def read_folder(folder):
    """Return the header and the rows of a folder of CSV files."""
    assert (Path(folder) / "_SUCCESS").exists()
    header, rows = None, []
    for part in sorted(Path(folder).glob("part-*")):
        header, more = read(part)
        rows += more
    return header, rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the same rows, good and bad ones of all kinds, in one file and three."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [[*row, ""] for row in rows_with_texts()[0]]
    rows += [[*MEASURED[n], text] for n, text in enumerate(TEXTS)]
    rows += [[*MEASURED[0], text] for text in ("a,b", 'say "cheers"', "two\nlines", '"', '\\"')]
    rows += [MEASURED[1][:10], [*MEASURED[2], "x", "more"], ["lonely"]]
    rows += [[*wine, "good"] for wine in MEASURED]
    rows = [[str(number), *row] for number, row in enumerate(rows, start=1)]
    header = ["id", *COLUMNS, ODD]
    write(folder / "wines.csv", rows, header)
    (folder / "parts.csv" / "more").mkdir(parents=True)
    for n, name in enumerate(("a.csv", "b.csv", "more/c.csv")):
        write(folder / "parts.csv" / name, rows[CUTS[n] : CUTS[n + 1]], header)
    for ignored in ("_SUCCESS", ".hidden.csv", "empty.csv"):
        (folder / "parts.csv" / ignored).write_text("x" if ignored[0] == "." else "")
    return folder


@pytest.fixture(scope="module")
def local(folder, model_uris, project):
    """Return what a scoring without Spark makes of the rows: header, scored, rejected."""
    store = folder / "store"
    store.mkdir()
    shutil.copy(project / "mlflow.db", store)
    done = run_scoring(model_uris["classifier"], "wines.csv", "local.csv", store=store, cwd=folder)
    assert done.status == 3, done.err
    return (*read(folder / "local.csv"), read(folder / "local.csv.rejected.csv")[1])


def test_folder_on_a_cluster_is_scored_as_one_file_is_without_spark(
    cluster, folder, local, model_uris, store
):
    header, scored, rejected = local
    arguments = ("parts.csv", "cluster.csv", "false", "spark", cluster)
    done = run_scoring(model_uris["classifier"], *arguments, store=store, cwd=folder)
    assert (done.status, counts(done.out)) == (3, (len(scored), len(rejected))), done.err
    assert "Traceback" not in done.err
    found, rows = read_folder(folder / "cluster.csv")
    assert found == header
    assert [row[:-2] for row in rows] == [row[:-2] for row in scored]
    assert_predicted(rows, np.array([row[-2:] for row in scored], dtype=float))
    found, rows = read_folder(folder / "cluster.csv.rejected.csv")
    assert found == ["file", "row", "reason", "id", *COLUMNS, ODD]
    for row, (number, *cells) in zip(rows, rejected, strict=True):
        part = sum(int(number) > cut for cut in CUTS) - 1
        name = ("a.csv", "b.csv", "more/c.csv")[part]
        assert row == [name, str(int(number) - CUTS[part]), *cells]
    assert [name for name in os.listdir(folder) if "partial" in name] == []
    run, locally = runs_of(store)[0], runs_of(folder / "store")[0]
    assert (run.info.status, run.data.params["master"]) == ("FINISHED", cluster)
    for name in ("rows", "rejected_rows", "outside", "psi_alcohol", "outside_alcohol"):
        assert run.data.metrics[name] == locally.data.metrics[name]


def test_interrupted_scoring_leaves_nothing(model_uris, store, tmp_path):
    grow(tmp_path / "wines.csv", 400_000)  # Fewer are scored before they can be interrupted.
    on_spark = (model_uris["main"], "wines.csv", "scored.parquet", "false", "spark", "local[2]")
    with start_scoring(*on_spark, store=store, cwd=tmp_path) as scoring:
        while not [*tmp_path.glob(".scored.parquet.*.partial/scored.parquet/part*")]:
            assert scoring.poll() is None
            time.sleep(0.01)
        os.killpg(scoring.pid, signal.SIGINT)
        said = scoring.communicate(timeout=60)[0]
    assert scoring.returncode == 130, said
    assert said.endswith("score.py: interrupted\n")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == ["wines.csv"]
    assert runs_of(store)[0].info.status == "KILLED"


@pytest.mark.parametrize(
    ("data", "master", "part"),
    [
        ("empty", "local[1]", "input: received 'empty', a folder without a file to score"),
        ("mixed", "local[1]", "b.csv has other columns or types, or another form than"),
        ("wines.csv", "cluster", "master: Spark refuses 'cluster'"),
    ],
)
def test_scoring_that_cannot_be_done_is_refused(data, master, part, model_uris, store, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for name in ("wines.csv", "mixed/a.csv"):
        write(tmp_path / name, MEASURED[:3])
    write(tmp_path / "mixed" / "b.csv", MEASURED[:3], COLUMNS[::-1])
    before = sorted(os.listdir(tmp_path))
    arguments = (data, "scored.csv", "false", "spark", master)
    done = run_scoring(model_uris["main"], *arguments, store=store, cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert "Traceback" not in done.err
    assert part in done.err.splitlines()[-1]
    assert sorted(os.listdir(tmp_path)) == before


def test_missing_pyspark_is_said_in_one_line(model_uris, store, tmp_path):
    (tmp_path / "shim" / "pyspark").mkdir(parents=True)
    (tmp_path / "shim" / "pyspark" / "__init__.py").write_text("raise ImportError('pyspark')\n")
    write(tmp_path / "wines.csv", MEASURED[:3])
    path = {"PYTHONPATH": f"{tmp_path / 'shim'}{os.pathsep}{PROJECT}"}
    arguments = (model_uris["main"], "wines.csv", "scored.csv")
    done = run_scoring(*arguments, "false", "spark", store=store, cwd=tmp_path, **path)
    assert_one_line_error(done, "engine: ", "pip install -r requirements-spark.txt", status=1)
    done = run_scoring(*arguments, store=store, cwd=tmp_path, **path)
    assert done.status == 0, done.err


def test_missing_java_is_said_in_the_last_line(model_uris, store, tmp_path):
    write(tmp_path / "wines.csv", MEASURED[:3])
    arguments = (model_uris["main"], "wines.csv", "scored.csv", "false", "spark")
    env = {"PATH": "/usr/bin", "JAVA_HOME": str(tmp_path)}
    done = run_scoring(*arguments, store=store, cwd=tmp_path, **env)
    assert (done.status, done.out) == (1, "")
    assert "it needs Java 17 or newer" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert not (tmp_path / "scored.csv").exists()
