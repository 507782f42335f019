"""Tracking: what is hard about recording in MLflow."""

import contextlib
import logging
import os
import re
import shutil
import tempfile
import textwrap
import warnings
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

import mlflow
import numpy as np
import pandas as pd
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.utils.file_utils import local_file_uri_to_path

from wine import UserError
from wine.tables import locate

TRAINING_ROWS = "training-rows.npy"  # artifact of a training: the hash of each training row
FAIL_FAST = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "8", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@contextlib.contextmanager
def recording():
    """Look whether MLflow's store can be used, and make one line of an error of MLflow's.

    It stands around `mlflow.start_run`: a server that is away is noticed before there is a run. A
    run that has begun waits for its server as long as MLflow does, and is not lost. A run that
    Ctrl-C interrupts ends as KILLED, where MLflow says FAILED (mlflow/mlflow#1832).

    Raises
    ------
    UserError
        If MLflow cannot record.
    """
    with one_line_errors("MLflow cannot record"):
        with fail_fast():
            _check_store()
        try:
            yield
        except KeyboardInterrupt:
            with fail_fast():
                run = mlflow.last_active_run()
                if run and run.info.status == "FAILED":
                    mlflow.MlflowClient().update_run(run.info.run_id, "KILLED")
            raise


def run_name(name):
    """Return a name for `mlflow.start_run`, or None if the user has given the run one.

    `mlflow run` starts a run before the script, and makes up a name of two words and a number for
    it where the user gives none by `--run-name`.
    """
    if not (run_id := os.environ.get("MLFLOW_RUN_ID")):
        return name
    info = mlflow.get_run(run_id).info
    if info.status not in ("RUNNING", "SCHEDULED"):  # It would get another model's metrics.
        received = f"received {run_id!r}, a run that is {info.status}"
        raise UserError(f"MLFLOW_RUN_ID: {received}, allowed is a run that has not ended")
    return name if re.fullmatch(r"[a-z]+-[a-z]+-\d+", info.run_name) else None


def new_params(params):
    """Return those parameters that the active run does not have yet, for `mlflow.log_params`.

    `mlflow run` has logged the parameters as the user typed them. Where the user typed 1 and the
    script has made 1.0 of it, `mlflow.log_params` would fail (mlflow/mlflow#2820).
    """
    logged = mlflow.get_run(mlflow.active_run().info.run_id).data.params
    return {key: value for key, value in params.items() if key not in logged}


def datasets(split, data):
    """Describe the training set and the test set of a `Split` for `mlflow.log_input`.

    Both are an `mlflow.data.pandas_dataset.PandasDataset`; `data` is the table's path or URL.
    """
    training_set = _dataset(split.X_train, split.y_train, data, "training")
    return training_set, _dataset(split.X_test, split.y_test, data, "test")


def _dataset(X, y, data, context):
    # MLflow warns of whole-number columns, which cannot hold a missing value.
    rows = X.assign(**{y.name: y.astype("float64") if pd.api.types.is_numeric_dtype(y) else y})
    options = {"source": dataset_source(locate(data)), "targets": y.name}
    dataset = mlflow.data.from_pandas(rows, **options, name=f"{Path(data).stem}-{context}")
    # For its schema, MLflow would test each cell in Python: eleven seconds for a million wines. The
    # first rows in which each column has no value, and in which it has one, tell the same.
    few = rows.loc[pd.concat([rows.isna().idxmax(), rows.notna().idxmax()]).unique()]
    schema = mlflow.data.from_pandas(few, **options).schema
    # MLflow takes no longer one, so that a table of some 10,000 columns is recorded without it.
    dataset.schema = schema if len(schema.to_json()) < 1_000_000 else None
    return dataset


def dataset_source(location):
    """Return the `mlflow.data.dataset_source.DatasetSource` of a URL or an absolute path."""
    with warnings.catch_warnings(action="ignore"):  # MLflow registers the kind of a path twice.
        return resolve_dataset_source(location.removeprefix("file://"))


def log_training_rows(split):
    """Log the groups of the training rows in the active run, by which others are told apart."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, TRAINING_ROWS), split.groups[split.y_train.index])
        mlflow.log_artifact(str(Path(folder, TRAINING_ROWS)))


@contextlib.contextmanager
def whole_model():
    """Keep the model that is logged inside whole: in its classic place, too, or nowhere.

    In a local store, the model's files are also put where MLflow 1 and 2 kept them, among the run's
    artifacts (mlflow/mlflow#16947), where the MLflow UI shows them. An error or Ctrl-C leaves no
    partial model behind.
    """
    classic = _local_path(mlflow.get_artifact_uri("model"))
    partial = classic and Path(f"{classic}.part")
    try:
        yield
        if classic:
            files = mlflow.artifacts.download_artifacts(mlflow.last_logged_model().model_uri)
            shutil.copytree(files, partial)
            partial.rename(classic)  # A reader never sees a partial model.
    except BaseException:
        with contextlib.suppress(mlflow.MlflowException):  # The first error is the one that counts.
            run = mlflow.get_run(mlflow.active_run().info.run_id)
            for output in run.outputs.model_outputs if classic else []:
                model = mlflow.get_logged_model(output.model_id)
                shutil.rmtree(_local_path(model.artifact_location), ignore_errors=True)
        raise
    finally:
        if classic:
            shutil.rmtree(partial, ignore_errors=True)


def _local_path(uri):
    """Return the path of an artifact URI on this machine, or None; C: is a drive of Windows."""
    is_local = urlsplit(uri).scheme in ("", "file") or len(urlsplit(uri).scheme) == 1
    return Path(local_file_uri_to_path(uri)) if is_local else None


@contextlib.contextmanager
def fail_fast():
    """Let MLflow notice soon that its server is away, unless the user has set how long to wait.

    MLflow waits 120 seconds for an answer and tries again, seven times (mlflow/mlflow#5744). Nobody
    looks at a silent screen for so long; but a run that has begun, which may have taken an hour,
    must not be lost because of some seconds. MLflow reads the two variables at each request.
    """
    added = {name: value for name, value in FAIL_FAST.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _check_store():
    """Ask the store for the experiment; refuse a place to record in that cannot be used.

    MLflow itself tries for two minutes to open a database in a folder that cannot be written to,
    and makes the folder of an experiment's artifacts anew where it is gone.
    """
    uri = mlflow.get_tracking_uri()
    file = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    is_closed = file.parent.exists() and not os.access(file.parent, os.W_OK)
    if uri.startswith("sqlite:") and (is_closed or file.is_dir()):
        hint = "MLFLOW_TRACKING_URI=sqlite:////<folder>/mlflow.db names one"
        allowed = f"a file in a folder that can be written to: {hint}"
        raise UserError(f"received {uri} to record in, allowed is {allowed}")
    if uri.startswith("sqlite:") and not os.access(Path.cwd(), os.W_OK):
        os.chdir(file.parent)  # MLflow puts the artifacts of a new database where it works.
    # MLflow logs the traceback of a database's error before it raises the error.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    experiment = _experiment()
    place = _local_path(experiment.artifact_location) if experiment else None
    # MLflow makes the last folder, or the last two, when it first records.
    if place and not any(each.exists() for each in (place, *place.parents[:2])):
        missing = f"artifacts of the experiment {experiment.name} belong in {place}, which is not"
        hint = "mount or restore it, or MLFLOW_TRACKING_URI=sqlite:///new.db begins a new database"
        raise UserError(f"MLflow cannot record: the {missing} there; {hint}")


def _experiment():
    """Return the experiment in which a run will be, or None if MLflow will make it."""
    if run_id := os.environ.get("MLFLOW_RUN_ID"):
        return mlflow.get_experiment(mlflow.get_run(run_id).info.experiment_id)
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        return mlflow.get_experiment_by_name(name)
    return mlflow.get_experiment(os.environ.get("MLFLOW_EXPERIMENT_ID", "0"))


@contextlib.contextmanager
def one_line_errors(what):
    """Raise a `UserError` of one line for an error of MLflow's, its database or its files.

    The line begins with what failed. Other errors pass.
    """
    try:
        yield
    except Exception as error:
        kinds = mlflow.MlflowException, OSError, ImportError  # A database's driver may be missing.
        if not isinstance(error, kinds) and type(error).__module__ != "sqlalchemy.exc":
            raise
        raise UserError(f"{what}: {_reason(error)}") from error


def _reason(error):
    """Return in one line why MLflow has failed, and what helps."""
    additions = r"\(raised as [^)]*\)|\[SQL:.*|\(Background .*"  # SQLAlchemy makes these.
    reason = textwrap.shorten(re.sub(additions, "", str(error), flags=re.DOTALL), 500)
    if deleted := re.match(r"The experiment (\S+) must be in the 'active' state", reason):
        restore = f"mlflow experiments restore -x {deleted[1]}"
        reason += f" {restore} brings it back, mlflow gc removes it"
    if "logged-models" in reason and "404" in reason:
        reason += "; a server of MLflow 2 keeps no models, allowed is MLflow 3 or newer"
    elif reason.startswith("API request"):  # The server has not answered.
        reason += "; MLFLOW_TRACKING_URI names the server, MLFLOW_HTTP_REQUEST_TIMEOUT the wait"
        if proxies := {*getproxies().values()}:
            reason += f"; the proxy {min(proxies)} is asked, but for hosts that NO_PROXY names"
    # MLflow encodes its default address, and makes the folder of the encoded name
    # (mlflow/mlflow#19205).
    if isinstance(error, PermissionError) and unquote(reason) != reason:
        reason += "; MLFLOW_TRACKING_URI=sqlite:///mlflow.db needs no such folder"
    return reason
