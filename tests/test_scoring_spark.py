"""A scoring on Spark, on a real master with a worker: the same as the one without."""

import contextlib
import gzip
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import (
    LOCAL,
    PROJECT,
    client_of,
    environment,
    free_port,
    run_command,
    runs_of,
    start_server,
    store_uri,
)
from tables import (
    COLUMNS,
    MEASURED,
    TEXTS,
    counts,
    grow,
    read,
    rows_with_texts,
    start_scoring,
    table_of_many_types,
    wait_for_output,
    write,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]

ODD = "PH, `odd`.name"  # of a column
CUTS = [0, 30, 3000, 100_000]  # the rows at which the files of a folder end
ON_LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1"}


def lacking():
    """Return what Spark needs and is not here."""
    if importlib.util.find_spec("pyspark") is None:
        return "there is no pyspark"
    home = os.environ.get("JAVA_HOME")
    return None if home or shutil.which("java") else "there is no Java"


@pytest.fixture(scope="module", autouse=True)
def equipped():
    """Leave the module out where there is no Spark, but not where everything has to be tested."""
    if lacking() and os.environ.get("CI"):
        pytest.fail(lacking())
    elif lacking():
        pytest.skip(lacking())


@pytest.fixture(scope="module")
def cluster(equipped, tmp_path_factory):
    """The address of a standalone Spark master that has a worker."""
    home = Path(importlib.util.find_spec("pyspark").origin).parent
    port, ports = free_port(), (free_port(), free_port())
    folder = tmp_path_factory.mktemp("cluster")
    address = f"spark://127.0.0.1:{port}"
    env = environment(SPARK_HOME=str(home), SPARK_WORKER_DIR=str(folder / "work"), **ON_LOOPBACK)
    java = (home / "bin" / "spark-class",)
    with contextlib.ExitStack() as servers:
        for name, ui, arguments in (
            ("master.Master", ports[0], ("--port", port)),
            ("worker.Worker", ports[1], ("--cores", 2, "--memory", "2g", address)),
        ):
            (folder / name).mkdir()
            servers.enter_context(
                start_server(
                    *(*java, f"org.apache.spark.deploy.{name}"),
                    *("--host", "127.0.0.1", "--webui-port", ui, *arguments),
                    cwd=folder / name,
                    ready=f"http://127.0.0.1:{ui}/json/",
                    env=env,
                )
            )
        deadline = time.monotonic() + 60
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/json/", timeout=5) as state:
                if json.load(state)["aliveworkers"]:
                    break
            assert time.monotonic() < deadline, "the worker does not find the master"
            time.sleep(0.2)
        yield address


def run_scoring(*arguments, store, cwd, **env):
    """Run score.py to its end."""
    return run_command(
        *(sys.executable, PROJECT / "score.py", *arguments),
        cwd=cwd,
        MLFLOW_TRACKING_URI=store_uri(store),
        **(ON_LOOPBACK | env),
    )


def read_folder(folder):
    """Return the header and the rows of a folder of CSV files."""
    header, rows = None, []
    for part in sorted(Path(folder).glob("part-*")):
        header, more = read(part)
        rows += more
    return header, rows


def rows_of(folder):
    """Return the header and the rows of a folder of CSV files, in the order of the ids."""
    header, rows = read_folder(folder)
    n = header.index("id") if "id" in header else 0
    return header, sorted(rows, key=lambda row: int(row[n]))


def assert_same_rows(found, wanted, n_answers):
    """Assert that rows are the same, and their answers to 1e-12."""
    assert [row[:-n_answers] for row in found] == [row[:-n_answers] for row in wanted]
    np.testing.assert_allclose(
        np.array([row[-n_answers:] for row in found], dtype=float),
        np.array([row[-n_answers:] for row in wanted], dtype=float),
        rtol=0,
        atol=1e-12,
    )


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The same rows, good ones and bad ones of all kinds, as one file and as a folder of three."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [[*row, ""] for row in rows_with_texts()[0]]
    rows += [[*MEASURED[n], text] for n, text in enumerate(TEXTS)]
    rows += [[*MEASURED[0], text] for text in ("a,b", 'say "cheers"', "two\nlines", '"', '\\"')]
    rows += [MEASURED[1][:10], [*MEASURED[2], "x", "more"], ["lonely"]]
    rows += [[*wine, "good"] for wine in MEASURED]
    rows = [[str(number), *row] for number, row in enumerate(rows, start=1)]
    header = ["id", *COLUMNS, ODD]
    write(folder / "wines.csv", rows, header)
    (folder / "parts.csv").mkdir()
    for n in range(3):
        part = rows[CUTS[n] : CUTS[n + 1]]
        write(folder / "parts.csv" / f"part-{n}.csv", part, header)
    for ignored in ("_SUCCESS", ".hidden.csv", "part-3.csv"):
        (folder / "parts.csv" / ignored).write_text("x" if ignored[0] == "." else "")
    with gzip.open(folder / "wines.csv.gz", "wb") as packed:
        packed.write((folder / "wines.csv").read_bytes())
    return folder


@pytest.fixture(scope="module")
def local(tables, model_uris, project):
    """What a scoring without Spark makes of the same rows: header, scored, rejected."""
    store = tables / "store"
    store.mkdir()
    shutil.copy(project / "mlflow.db", store)
    done = run_scoring(model_uris["classifier"], "wines.csv", "local.csv", store=store, cwd=tables)
    assert done.status == 3, done.err
    return (*read(tables / "local.csv"), read(tables / "local.csv.rejected.csv"))


def test_folder_on_a_cluster_is_scored_as_one_file_is_without_spark(
    cluster, tables, local, model_uris, store
):
    header, scored, (_, rejected) = local
    done = run_scoring(
        *(model_uris["classifier"], "parts.csv", "cluster.csv", "false", "spark", cluster),
        store=store,
        cwd=tables,
    )
    assert done.status == 3, done.err
    assert "Traceback" not in done.err
    assert counts(done.out) == (len(scored), len(rejected))
    found, rows = rows_of(tables / "cluster.csv")
    assert found == header
    assert_same_rows(rows, scored, 2)
    found, rows = rows_of(tables / "cluster.csv.rejected.csv")
    assert found == ["file", "row", "reason", "id", *COLUMNS, ODD]
    for row, (number, *cells) in zip(rows, rejected, strict=True):
        part = sum(int(number) > cut for cut in CUTS) - 1
        assert row == [f"part-{part}.csv", str(int(number) - CUTS[part]), *cells]
    assert [name for name in os.listdir(tables) if "partial" in name] == []

    client = client_of(store)
    run = client.get_run(runs_of(store)[0].info.run_id)
    assert (run.info.status, run.data.params["master"]) == ("FINISHED", cluster)
    assert run.data.metrics["rows"] == len(scored) + len(rejected)
    assert run.data.metrics["rejected_rows"] == len(rejected)
    assert run.data.metrics["rows_per_second"] > 0
    (locally, *_) = runs_of(tables / "store")
    for name in ("outside", "psi_alcohol", "outside_alcohol"):
        assert run.data.metrics[name] == locally.data.metrics[name]
    assert {item.tags[0].value for item in run.inputs.dataset_inputs} == {"input", "output"}
    assert len(run.inputs.model_inputs) == 1
    assert "predictions.png" in [item.path for item in client.list_artifacts(run.info.run_id)]


def test_one_packed_file_is_scored_as_without_spark(tables, local, project, model_uris, store):
    header, scored, (_, rejected) = local
    done = run_command(
        *(
            "mlflow",
            "run",
            project,
            "-e",
            "score",
            *LOCAL,
            "-P",
            f"model={model_uris['classifier']}",
        ),
        *("-P", f"input={tables}/wines.csv.gz", "-P", f"output={tables}/run.parquet"),
        *("-P", "engine=spark", "-P", "master=local[2]"),
        cwd=tables,
        MLFLOW_TRACKING_URI=store_uri(store),
    )
    assert done.status == 1, done.err
    assert counts(done.out) == (len(scored), len(rejected))
    table = pq.read_table(tables / "run.parquet").sort_by("prediction")
    assert table.column_names == header
    kinds = {name: "double" for name in COLUMNS} | {"prediction": "int64", "probability": "double"}
    assert [str(field.type) for field in table.schema] == [kinds.get(n, "string") for n in header]
    table = table.to_pandas().sort_values("id", key=lambda ids: ids.astype(int))
    assert table[ODD].tolist() == [row[-3] for row in scored]
    numbers = np.array([[*row[1:12], *row[13:]] for row in scored], dtype=float)
    found = table.drop(columns=["id", ODD]).to_numpy(dtype=float)
    np.testing.assert_allclose(found, numbers, rtol=0, atol=1e-12)
    assert rows_of(tables / "run.parquet.rejected.csv")[1] == rejected


def test_folder_of_parquet_is_scored_as_one_file_is_without_spark(model_uris, store, tmp_path):
    table = table_of_many_types().drop_columns(
        ["cask"]
    )  # Each part file has a dictionary of its own.
    pq.write_table(table, tmp_path / "wines.parquet")
    (tmp_path / "parts.parquet").mkdir()
    for n in range(4):
        pq.write_table(
            table[10 * n : 10 * n + 10], tmp_path / "parts.parquet" / f"part-{n}.parquet"
        )
    for arguments in (
        ("wines.parquet", "local.parquet"),
        ("parts.parquet", "spark.parquet", "false", "spark", "local[2]"),
    ):
        done = run_scoring(model_uris["huber"], *arguments, store=store, cwd=tmp_path)
        assert (done.status, counts(done.out)) == (3, (36, 4)), done.err
    found, wanted = (
        pq.read_table(tmp_path / f"{engine}.parquet").sort_by("count")
        for engine in ("spark", "local")
    )
    assert found.column_names == wanted.column_names
    for name in set(found.column_names) - {"prediction"}:
        assert found[name].to_pylist() == wanted[name].to_pylist(), name
    np.testing.assert_allclose(found["prediction"], wanted["prediction"], rtol=0, atol=1e-12)
    header, rejected = read(tmp_path / "local.parquet.rejected.csv")
    found, rows = read_folder(tmp_path / "spark.parquet.rejected.csv")
    assert found == ["file", *header]
    for row, (number, *cells) in zip(rows, rejected, strict=True):
        part, before = divmod(int(number) - 1, 10)
        assert row == [f"part-{part}.parquet", str(before + 1), *cells]


def test_row_groups_of_a_large_file_are_parts(run_script, model_uris, store, monkeypatch):
    from wine.scoring import spark

    monkeypatch.setattr(spark, "BYTES_PER_PART", 30_000)
    pq.write_table(table_of_many_types(), "small.parquet")
    table = pa.concat_tables([table_of_many_types()] * 50)
    pq.write_table(table, "wines.parquet", row_group_size=70)
    for name, *engine in (("local", "local"), ("spark", "spark", "local[2]")):
        arguments = (model_uris["main"], "wines.parquet", f"{name}.parquet", "false", *engine)
        done = run_script("score.py", *arguments, store=store)
        assert (done.status, counts(done.out)) == (3, (1800, 200)), done.err
    parts = sorted(Path("spark.parquet").glob("part-*"))
    assert 1 < len(parts) <= len(range(0, 2000, 70))
    found = pa.concat_tables([pq.read_table(part) for part in parts])
    assert found.equals(pq.read_table("local.parquet"))
    wanted = read("local.parquet.rejected.csv")
    assert read_folder("spark.parquet.rejected.csv") == wanted


def test_task_that_is_tried_again_leaves_nothing(model_uris, store, tmp_path):
    """Python's worker is killed while it writes; Spark starts another one."""
    n_rows = 200_000
    (tmp_path / "parts.csv").mkdir()
    for number in range(2):
        grow(tmp_path / "parts.csv" / f"{number}.csv", n_rows)
    on_spark = (model_uris["main"], "parts.csv", "scored.csv", "false", "spark", "local[2,4]")
    with start_scoring(*on_spark, store=store, cwd=tmp_path) as scoring:
        wait_for_output(tmp_path, scoring)
        killed = None
        while killed is None and scoring.poll() is None:
            killed = kill_a_writer(tmp_path)
        said = scoring.communicate(timeout=120)[0]
    assert (scoring.returncode, counts(said)) == (0, (2 * n_rows, 0)), said
    assert sorted(os.listdir(tmp_path)) == ["parts.csv", "scored.csv"]
    names = ["_SUCCESS", "part-00000.csv", "part-00001.csv"]
    assert sorted(os.listdir(tmp_path / "scored.csv")) == names


def kill_a_writer(folder):
    """Kill a process that writes below a folder, and return its ID; None if there is none."""
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            path = os.readlink(fd)
            if path.startswith(f"{folder}/.scored.csv") and os.stat(fd).st_size:
                os.kill(int(fd.parts[2]), signal.SIGKILL)
                return int(fd.parts[2])
    return None


def test_file_with_other_columns_is_refused(model_uris, store, tmp_path):
    (tmp_path / "parts.csv").mkdir()
    write(tmp_path / "parts.csv" / "a.csv", MEASURED[:3])
    write(tmp_path / "parts.csv" / "b.csv", MEASURED[:3], COLUMNS[::-1])
    on_spark = (model_uris["main"], "parts.csv", "scored.csv", "false", "spark", "local[1]")
    done = run_scoring(*on_spark, store=store, cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert "input: " in done.err.splitlines()[-1]
    assert "b.csv has other columns, types or delimiters" in done.err.splitlines()[-1]
    assert os.listdir(tmp_path) == ["parts.csv"]


def test_interrupted_or_killed_scoring_leaves_no_output(model_uris, store, tmp_path):
    n_rows = 200_000  # Fewer are scored before they can be interrupted.
    grow(tmp_path / "wines.csv", n_rows)
    on_spark = (model_uris["main"], "wines.csv", "scored.parquet", "false", "spark", "local[2]")
    for number in (signal.SIGINT, signal.SIGKILL):
        with start_scoring(*on_spark, store=store, cwd=tmp_path) as scoring:
            wait_for_output(tmp_path, scoring)
            time.sleep(0.3)
            os.killpg(scoring.pid, number)
            said = scoring.communicate(timeout=60)[0]
        assert not (tmp_path / "scored.parquet").exists()
        if number == signal.SIGINT:
            assert scoring.returncode == 130, said
            assert said.endswith("score.py: interrupted\n")
            assert "Traceback" not in said
            assert os.listdir(tmp_path) == ["wines.csv"]
            assert runs_of(store)[0].info.status == "KILLED"
        else:
            assert scoring.returncode == -signal.SIGKILL
    done = run_scoring(*on_spark, store=store, cwd=tmp_path)
    assert (done.status, counts(done.out)) == (0, (n_rows, 0)), done.err
    assert pq.read_metadata(next((tmp_path / "scored.parquet").glob("part-*"))).num_rows > 0
    assert pq.read_table(tmp_path / "scored.parquet").num_rows == n_rows


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["no-pH.csv", "scored.csv"], ["input: column 'pH' is missing in no-pH.csv"]),
        (["empty", "scored.csv"], ["input: received 'empty', a folder without a file to score"]),
        (["none.csv", "scored.csv"], ["input: received 'none.csv', no such file"]),
        (["wines.csv", "old.csv"], ["output: ", "old.csv", "overwrite=true"]),
        (["wines.csv", "scored.csv", "false", "spark", "cluster"], ["master: received 'cluster'"]),
    ],
)
def test_scoring_that_cannot_be_done_is_refused(arguments, parts, model_uris, store, tmp_path):
    write(tmp_path / "wines.csv", MEASURED[:3])
    write(tmp_path / "old.csv", [])
    write(tmp_path / "no-pH.csv", MEASURED[:3], [name.replace("pH", "p") for name in COLUMNS])
    (tmp_path / "empty").mkdir()
    before = sorted(os.listdir(tmp_path)), len(runs_of(store))
    done = run_scoring(
        model_uris["main"],
        *(arguments + ["false", "spark", "local[1]"])[:5],
        store=store,
        cwd=tmp_path,
    )
    assert done.status == 1, done
    assert done.out == ""
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err.splitlines()[-1]
    assert (sorted(os.listdir(tmp_path)), len(runs_of(store))) == before


def test_missing_pyspark_is_said_in_one_line(model_uris, store, tmp_path):
    (tmp_path / "shim" / "pyspark").mkdir(parents=True)
    (tmp_path / "shim" / "pyspark" / "__init__.py").write_text("raise ImportError('pyspark')\n")
    write(tmp_path / "wines.csv", MEASURED[:3])
    done = run_scoring(
        *(model_uris["main"], "wines.csv", "scored.csv", "false", "spark"),
        store=store,
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path / "shim"),
    )
    assert done.status == 1
    assert done.err.count("\n") == 1, done.err
    assert "engine: " in done.err
    assert "pip install -r requirements-spark.txt" in done.err
    assert sorted(os.listdir(tmp_path)) == ["shim", "wines.csv"]
    done = run_scoring(
        *(model_uris["main"], "wines.csv", "scored.csv"),
        store=store,
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path / "shim"),
    )
    assert done.status == 0, done.err


@pytest.mark.parametrize("java", [None, "11", "1.8"])
def test_missing_or_old_java_is_said_in_one_line(java, model_uris, store, tmp_path):
    write(tmp_path / "wines.csv", MEASURED[:3])
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    if java:
        old = home / "bin" / "java"
        old.write_text(f"#!/bin/sh\necho 'openjdk version \"{java}.0_392\" 2023' >&2\n")
        old.chmod(0o755)
    done = run_scoring(
        *(model_uris["main"], "wines.csv", "scored.csv", "false", "spark"),
        store=store,
        cwd=tmp_path,
        PATH=str(home / "bin"),
        JAVA_HOME=str(home) if java else "",
    )
    assert done.status == 1
    assert done.err.count("\n") == 1, done.err
    assert "engine: received 'spark', which needs Java 17" in done.err
    assert not (tmp_path / "scored.csv").exists()
