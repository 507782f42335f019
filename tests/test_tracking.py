"""The record: log what the run does not have yet, and say in one line why MLflow cannot record."""

import contextlib
import functools
import os
import socket
import sqlite3
import sys
import threading
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from mlflow.data import sources
from mlflow.entities import DatasetInput

from helpers import (
    PROJECT,
    as_a_user,
    assert_one_line_error,
    client_of,
    environment,
    free_port,
    models_of,
    predictions_of,
    run_command,
    run_id_in,
    run_successfully,
    runs_of,
    start_process,
    start_server,
    tracking_in,
)
from wine import dataset as wine_dataset
from wine import tracking

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX's permissions")


def test_parameters_that_are_logged_already_stay_as_they_are(new_store):
    with tracking_in(new_store), tracking.start_run() as run:
        mlflow.log_param("alpha", "1")
        tracking.log_params({"alpha": 1.0, "l1_ratio": 0.1})
    assert runs_of(new_store)[0].data.params == {"alpha": "1", "l1_ratio": "0.1"}
    assert run.info.run_id == runs_of(new_store)[0].info.run_id


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ZeroDivisionError, "FAILED")]
)
def test_interrupted_run_ends_as_killed_and_a_broken_one_as_failed(new_store, error, status):
    with pytest.raises(error), tracking_in(new_store), tracking.start_run():
        raise error
    assert runs_of(new_store)[0].info.status == status


def test_dataset_that_another_run_logs_at_the_same_time_is_logged(new_store):
    split = wine_dataset.split(wine_dataset.load(wine_dataset.DATA))
    training_set, _ = tracking.datasets(split, wine_dataset.DATA)
    client = client_of(new_store)
    others = []

    def log_it_first(connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO datasets") and not others:
            others.append(client.create_run("0").info.run_id)
            client.log_inputs(others[0], [DatasetInput(training_set._to_mlflow_entity(), [])])

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", log_it_first)
    with tracking_in(new_store), tracking.start_run() as run:
        tracking.log_input(training_set, context="training")
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", log_it_first)
    for run_id in (run.info.run_id, *others):
        (logged,) = client.get_run(run_id).inputs.dataset_inputs
        assert logged.dataset.name == "wine-quality-training"


@pytest.mark.parametrize("missing", [False, True])
def test_datasets_are_described_as_mlflow_describes_them(missing):
    """Only the way is another: MLflow tests each cell in Python, too slowly for a large table."""
    split = wine_dataset.split(wine_dataset.load(wine_dataset.DATA))
    if missing:
        colors = pd.Series(["red", "white", None], dtype="str").sample(3673, replace=True)
        split.X_train["color"] = colors.array
        split.X_train.loc[split.X_train["pH"] > 3.5, ["pH", "alcohol"]] = np.nan
    described, _ = tracking.datasets(split, wine_dataset.DATA)
    table = split.X_train.assign(quality=split.y_train.astype("float64"))
    expected = mlflow.data.from_pandas(
        table, source=described.source, targets="quality", name="wine-quality-training"
    )
    assert described.to_dict() == expected.to_dict()
    assert ('"required": false' in described.to_dict()["schema"]) == missing


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_run_that_has_ended_is_refused_and_stays_as_it_was(
    new_store, run_script, monkeypatch, status
):
    client = client_of(new_store)
    run_id = client.create_run("0").info.run_id
    client.set_terminated(run_id, status)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    result = run_script("train.py")
    assert_one_line_error(result, f"MLFLOW_RUN_ID: received '{run_id}'", status, status=1)
    (run,) = runs_of(new_store)
    assert (run.info.status, run.data.params, run.data.metrics) == (status, {}, {})


def test_folder_in_place_of_the_database_is_refused_at_once(tmp_path):
    uri = f"sqlite:///{tmp_path}"
    done = run_command(sys.executable, PROJECT / "train.py", cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert_one_line_error(done, f"received {uri} to record in, which is a folder", status=1)


def test_database_without_its_driver_is_one_line(tmp_path):
    uri = "mssql+pymssql://wine@127.0.0.1/wine"  # a driver that nothing here installs
    done = run_command(sys.executable, PROJECT / "train.py", cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert_one_line_error(done, "MLflow cannot record: No module named 'pymssql'", status=1)


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("/wines.csv", sources.LocalArtifactDatasetSource),
        ("file:///wines.csv", sources.LocalArtifactDatasetSource),
        ("C:/wines.csv", sources.LocalArtifactDatasetSource),
        ("https://wine.example/wines.csv", sources.HTTPDatasetSource),
        ("s3://wine/wines.parquet", sources.S3ArtifactDatasetSource),
    ],
)
def test_address_tells_the_source_of_a_dataset(location, kind):
    source = tracking.dataset_source(location)
    assert isinstance(source, kind)
    assert list(source.to_dict().values()) == [location]


IMPORTS = """
import logging, os, sys, mlflow
logger = logging.getLogger("mlflow.store.db.utils")
before = dict(os.environ), sys.excepthook, list(logger.filters)
import wine.process, wine.tracking
assert (dict(os.environ), sys.excepthook, logger.filters) == before
"""


def test_importing_the_modules_changes_nothing():
    run_successfully(sys.executable, "-c", IMPORTS, cwd=PROJECT)


def test_users_own_patience_stays(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with tracking.fail_fast():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


# The name of a run


@pytest.mark.parametrize("name", ["my-own-name", "sweep-of-7", "lazy-days-12"])
def test_name_that_a_user_gave_stays(new_store, run_script, monkeypatch, name):
    run = client_of(new_store).create_run("0", run_name=name)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    result = run_script("train.py")
    assert result.status == 0, result.err
    assert client_of(new_store).get_run(run_id_in(result.out)).info.run_name == name


def test_random_name_is_replaced(new_store, run_script):
    for _ in range(3):
        assert run_script("train.py", 0.5).status == 0
    assert {run.info.run_name for run in runs_of(new_store)} == {"ElasticNet 0.5, 0.1"}


# The tracking server


@pytest.fixture
def silent_server():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def accept():
            try:
                while True:
                    accepted.append(listener.accept()[0])
            except OSError:  # closed
                return

        threading.Thread(target=accept).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


def test_server_that_is_away_is_said_in_one_line_soon(tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    assert_one_line_soon(tmp_path, uri, "Connection refused")


@pytest.mark.slow
def test_server_that_never_answers_is_said_in_one_line_soon(tmp_path, silent_server):
    assert_one_line_soon(tmp_path, silent_server, "Read timed out")


@pytest.mark.slow
def test_server_of_mlflow_2_is_refused_in_one_line_before_a_run_is_started(tmp_path):
    server = ("uv", "tool", "run", "--from", "mlflow==2.22.5", "--with", "sqlalchemy<2.1")
    server += ("--with", "setuptools<81", "mlflow", "server", "--workers", 1)
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with start_server(*server, "--port", port, cwd=tmp_path, ready=f"{uri}/health", seconds=240):
        train = (sys.executable, PROJECT / "train.py")
        done = run_command(*train, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
        assert mlflow.MlflowClient(uri).search_runs(["0"]) == []
    refused = f"train.py: received {uri} to record in, a server of MLflow 2.22.5, allowed"
    assert_one_line_error(done, refused, status=1)


@pytest.mark.slow
def test_run_that_has_begun_waits_for_its_server(new_store):
    """The server is stopped when the run is there, and started again."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    server = functools.partial(
        start_server,
        *("mlflow", "server", "--port", port, "--workers", 1),
        cwd=new_store,
        ready=f"{uri}/health",
        env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    )
    classifier = (sys.executable, PROJECT / "clf-train.py")
    with server():
        training = start_process(*classifier, cwd=new_store, MLFLOW_TRACKING_URI=uri)
        while training.poll() is None and not runs_of(new_store):
            time.sleep(0.05)
    assert training.poll() is None  # Most is still to be recorded.
    time.sleep(5)
    with server():
        printed = training.communicate()[0]
    assert training.returncode == 0, printed
    (run,) = runs_of(new_store)
    assert run.info.status == "FINISHED"
    assert {"n_train", "roc_auc_unseen"} < set(run.data.metrics)
    assert len(models_of(new_store)) == 1


def assert_one_line_soon(folder, uri, reason):
    begun = time.monotonic()
    done = run_command(sys.executable, PROJECT / "train.py", cwd=folder, MLFLOW_TRACKING_URI=uri)
    assert time.monotonic() - begun < 60
    parts = ("train.py: MLflow cannot record: ", uri, reason, "; MLFLOW_TRACKING_URI names")
    assert_one_line_error(done, *parts, status=1)
    assert list(folder.iterdir()) == []


# A store that cannot be written to


def test_read_only_folder_is_refused_in_one_line(tmp_path):
    tmp_path.chmod(0o555)
    begun = time.monotonic()
    done = run_command(*as_a_user(), sys.executable, PROJECT / "train.py", cwd=tmp_path)
    assert time.monotonic() - begun < 60
    refused = f"received sqlite:///{tmp_path}/mlflow.db to record in, allowed is"
    assert_one_line_error(done, refused, status=1)
    assert list(tmp_path.iterdir()) == []


def test_encoded_folder_that_cannot_be_made_is_one_line_that_says_what_helps(tmp_path):
    """MLflow encodes its default address, and makes the folder of the encoded name."""
    folder = tmp_path / "João Silva" / "wine"
    folder.mkdir(parents=True)
    tmp_path.chmod(0o555)
    done = run_command(*as_a_user(), sys.executable, PROJECT / "train.py", cwd=folder)
    said = "Permission denied: '", "Jo%C3%A3o%20Silva'", "; MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
    assert_one_line_error(done, *said, status=1)


def test_read_only_store_is_refused_in_one_line(new_store, run_script, tmp_path):
    assert run_script("train.py").status == 0
    for name, said in (
        ("mlflow.db", "readonly database"),
        ("mlruns/0/models", "Permission denied"),
    ):
        writable = (tmp_path / name).stat().st_mode
        (tmp_path / name).chmod(writable & ~0o222)
        done = run_command(*as_a_user(), sys.executable, PROJECT / "train.py", cwd=tmp_path)
        (tmp_path / name).chmod(writable)
        assert_one_line_error(done, "train.py: MLflow cannot record: ", said, status=1)
    for run in runs_of(tmp_path):
        assert (predictions_of(tmp_path, run) is None) == (run.info.status != "FINISHED")


def test_experiment_that_was_deleted_can_be_restored(run_script, new_store, monkeypatch):
    experiment_id = client_of(new_store).create_experiment("again")
    client_of(new_store).delete_experiment(experiment_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "again")
    restore = f"mlflow experiments restore -x {experiment_id} brings it back, mlflow gc removes it"
    assert_one_line_error(run_script("train.py"), "MLflow cannot record: ", restore, status=1)


@pytest.mark.slow
def test_database_that_is_locked_for_a_while_is_waited_for(new_store):
    """MLflow alone gives up after twenty seconds."""
    with start_process(sys.executable, PROJECT / "clf-train.py", cwd=new_store) as training:
        while not runs_of(new_store) and training.poll() is None:
            time.sleep(0.1)
        with contextlib.closing(sqlite3.connect(new_store / "mlflow.db", timeout=60)) as database:
            database.execute("BEGIN EXCLUSIVE")
            time.sleep(25)
            database.rollback()
        printed = training.communicate(timeout=120)[0]
    assert training.returncode == 0, printed
    (run,) = runs_of(new_store)
    assert run.info.status == "FINISHED"
    assert len(models_of(new_store)) == 1
