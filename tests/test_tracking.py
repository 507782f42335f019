"""The record: what MLflow cannot record is one line, and nothing of it is left behind."""

import os
import re
import shutil
import sys
import time

from sklearn.linear_model import LinearRegression

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import (
    PROJECT,
    as_a_user,
    assert_one_line_error,
    client_of,
    free_port,
    predictions_of,
    run_command,
    run_successfully,
    runs_of,
    start_server,
    store_uri,
    tracking_in,
)
from wine import dataset, model, tracking

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX's permissions")

TRAIN = (sys.executable, PROJECT / "train.py")


@pytest.fixture(scope="module")
def split():
    return dataset.split_table(dataset.load(dataset.DATA))


@pytest.mark.parametrize(
    ("error", "status", "logged"),
    [(KeyboardInterrupt, "KILLED", True), (ZeroDivisionError, "FAILED", False)],
)
def test_run_that_does_not_end_says_how_and_keeps_no_model(new_store, split, error, status, logged):
    estimator = LinearRegression().fit(split.X_train, split.y_train)

    def train():
        with tracking.recording(), mlflow.start_run(), tracking.whole_model():
            if logged:
                mlflow.sklearn.log_model(estimator, name="model", **model.options(estimator, split))
            raise error

    with tracking_in(new_store), pytest.raises(error):
        train()
    (run,) = runs_of(new_store)
    assert run.info.status == status
    assert predictions_of(new_store, run) is None
    assert [path for path in new_store.glob("mlruns/**/*") if path.is_file()] == []


@pytest.mark.parametrize("missing", [False, True])
def test_datasets_are_described_as_mlflow_describes_them(split, missing):
    """Only the way is another: MLflow tests each cell in Python, too slowly for a large table."""
    X = split.X_train.copy()
    if missing:
        X["color"] = pd.Series(["red", "white", None], dtype="str")[np.arange(len(X)) % 3].array
        X.loc[X["pH"] > 3.5, ["pH", "alcohol"]] = np.nan
    described, _ = tracking.datasets(split._replace(X_train=X), dataset.DATA)
    table = X.assign(quality=split.y_train.astype("float64"))
    names = {"targets": "quality", "name": "wine-quality-training"}
    expected = mlflow.data.from_pandas(table, source=described.source, **names)
    assert described.to_dict() == expected.to_dict()
    assert ('"required": false' in described.to_dict()["schema"]) == missing


def test_server_that_is_away_is_said_in_one_line_soon(tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    done = run_command(*TRAIN, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert time.monotonic() - begun < 60
    parts = ("train.py: MLflow cannot record: ", uri, "refused", "; MLFLOW_TRACKING_URI names")
    assert_one_line_error(done, *parts, status=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_server_of_mlflow_2_is_refused_in_one_line(tmp_path):
    server = ("uv", "tool", "run", "--from", "mlflow==2.22.5", "--with", "sqlalchemy<2.1")
    server += ("--with", "setuptools<81", "mlflow", "server", "--workers", 1)
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    with start_server(*server, "--port", port, cwd=tmp_path, ready=f"{uri}/health", seconds=240):
        done = run_command(*TRAIN, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
        (run,) = mlflow.MlflowClient(uri).search_runs(["0"])
    refused = "; a server of MLflow 2 keeps no models, allowed is MLflow 3 or newer\n"
    ended = done._replace(out="")  # MLflow prints the address of a run that has ended.
    assert_one_line_error(ended, "train.py: MLflow cannot record: ", refused, status=1)
    assert (run.info.status, run.data.metrics) == ("FAILED", {})


def test_read_only_folder_is_refused_in_one_line_soon(tmp_path):
    tmp_path.chmod(0o555)
    begun = time.monotonic()
    done = run_command(*as_a_user(), *TRAIN, cwd=tmp_path)
    assert time.monotonic() - begun < 60
    refused = f"received {store_uri(tmp_path)} to record in, allowed is a file in a folder"
    assert_one_line_error(done, refused, status=1)
    assert list(tmp_path.iterdir()) == []


def test_project_that_cannot_be_written_to_records_beside_the_database(tmp_path):
    """MLflow would put the artifacts into the working folder, which a pod may not write to."""
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    tmp_path.chmod(0o755)
    uri = store_uri(tmp_path / "open")
    done = run_command(*as_a_user(), *TRAIN, cwd=tmp_path / "closed", MLFLOW_TRACKING_URI=uri)
    assert done.status == 0, done.err
    assert [*(tmp_path / "open").glob("mlruns/0/*/artifacts/model/MLmodel")]


def test_proxy_that_stands_before_a_server_is_named(tmp_path):
    address = f"http://127.0.0.1:{free_port()}"
    proxy = {"http_proxy": address, "MLFLOW_TRACKING_URI": "http://tracking.example:5000"}
    done = run_command(*TRAIN, cwd=tmp_path, **proxy)
    said = f"; the proxy {address} is asked, but for hosts that NO_PROXY names"
    assert_one_line_error(done, "MLflow cannot record: ", said, status=1)


@pytest.mark.parametrize(
    ("name", "said"), [("mlflow.db", "readonly database"), ("mlruns/0/models", "Permission denied")]
)
def test_read_only_store_is_refused_in_one_line(new_store, name, said):
    (new_store / "mlruns/0/models").mkdir(parents=True)
    (new_store / name).chmod((new_store / name).stat().st_mode & ~0o222)
    done = run_command(*as_a_user(), *TRAIN, cwd=new_store)
    assert_one_line_error(done, "train.py: MLflow cannot record: ", said, status=1)
    assert [run.info.status for run in runs_of(new_store)] in ([], ["FAILED"])
    assert list(new_store.glob("mlruns/**/*.skops")) == []


def test_database_without_its_driver_is_one_line(tmp_path):
    uri = "mssql+pymssql://wine@127.0.0.1/wine"  # a driver that nothing here installs
    done = run_command(*TRAIN, cwd=tmp_path, MLFLOW_TRACKING_URI=uri)
    assert_one_line_error(done, "MLflow cannot record: No module named 'pymssql'", status=1)


def test_experiment_that_was_deleted_can_be_restored(run_script, new_store, monkeypatch):
    experiment_id = client_of(new_store).create_experiment("again")
    client_of(new_store).delete_experiment(experiment_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "again")
    restore = f"mlflow experiments restore -x {experiment_id} brings it back, mlflow gc removes it"
    assert_one_line_error(run_script("train.py"), "MLflow cannot record: ", restore, status=1)


def test_run_that_has_ended_is_refused_and_stays_as_it_is(run_script, new_store, monkeypatch):
    assert run_script("train.py").status == 0
    (run,) = runs_of(new_store)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    said = f"MLFLOW_RUN_ID: received '{run.info.run_id}', a run that is FINISHED, allowed is a run"
    assert_one_line_error(run_script("train.py", 0.5), said, status=1)
    assert [each.to_dictionary() for each in runs_of(new_store)] == [run.to_dictionary()]


def test_store_in_a_folder_that_was_moved_is_refused_with_what_begins_a_new_one(
    run_script, new_store, tmp_path_factory, monkeypatch
):
    moved = tmp_path_factory.mktemp("moved") / "talk"
    shutil.move(new_store, moved)
    monkeypatch.chdir(moved)
    refused = run_script("train.py", store=moved)
    place = f"belong in {new_store}/mlruns/0, which is not there"
    assert_one_line_error(refused, "MLflow cannot record: ", place, status=1)
    assert not new_store.exists()
    assert runs_of(moved) == []
    name, uri = re.search(
        r"(MLFLOW_TRACKING_URI)=(\S+) begins a new database$", refused.err
    ).groups()
    run_successfully(*TRAIN, cwd=moved, **{name: uri})
    assert not new_store.exists()
    assert list(moved.glob("mlruns/0/models/*"))


def test_artifacts_that_a_user_has_put_elsewhere_stay_there(run_script, new_store, monkeypatch):
    elsewhere = new_store / "of wines"
    client_of(new_store).create_experiment("elsewhere", str(elsewhere))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    assert run_script("train.py").status == 0
    for place in ("models/*/artifacts", "*/artifacts/model"):
        assert len([*elsewhere.glob(f"{place}/MLmodel")]) == 1


IMPORTS = """
import logging, os, signal, sys, mlflow
logger = logging.getLogger("mlflow.store.db.utils")
def state():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return dict(os.environ), sys.excepthook, logger.level, logger.filters[:], handlers
before = state()
import wine.process, wine.report, wine.tracking
for name in ("train", "huber-train", "clf-train"):
    __import__(name)
assert state() == before
"""


def test_importing_the_modules_and_the_scripts_changes_nothing():
    run_successfully(sys.executable, "-c", IMPORTS, cwd=PROJECT)
