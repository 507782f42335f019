"""Tracking: what is hard about recording in MLflow, under the names of MLflow's own functions."""

import contextlib
import functools
import logging
import os
import re
import sys
import textwrap
import time
import traceback
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pandas as pd
from mlflow.data import sources
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.file_utils import local_file_uri_to_path

# There is no public way to know a random name: its shape is also that of names that users give,
# such as lazy-days-12, and `mlflow run` leaves no trace of who gave the name.
from mlflow.utils.name_utils import _GENERATOR_NOUNS, _GENERATOR_PREDICATES
from mlflow.utils.rest_utils import http_request

from wine import UserError
from wine.files import locate
from wine.patience import patience, patiently

INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
FAIL_FAST = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "8", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
# MLflow chooses among these only in a private function.
SOURCES = {
    "http": sources.HTTPDatasetSource,
    "https": sources.HTTPDatasetSource,
    "ftp": sources.FTPArtifactDatasetSource,
    "s3": sources.S3ArtifactDatasetSource,
    "gs": sources.GCSArtifactDatasetSource,
    "hdfs": sources.HdfsArtifactDatasetSource,
}


@contextlib.contextmanager
def start_run(run_name=None):
    """Start a run, or take the one that `mlflow run` has started, as `mlflow.start_run` does.

    There are four differences. A run that `mlflow run` has started gets the name, too, unless the
    user has given it one. A run that is interrupted ends as KILLED, not as FAILED
    (mlflow/mlflow#1832). An error inside MLflow or its database becomes one line for the user. A
    server that is away is noticed soon before there is a run; a run that has begun waits for its
    server or its database, and so does its end.

    Parameters
    ----------
    run_name : str, optional
        The run's name; without one, MLflow makes up a random one.

    Yields
    ------
    mlflow.ActiveRun

    Raises
    ------
    UserError
        If the folder of the database cannot be written to, if the server is older than MLflow 3,
        if MLflow cannot record, if MLFLOW_RUN_ID names a run that has ended, or if the experiment's
        artifacts are not where its database is.
    """
    _check_store()
    _quiet_database()
    with one_line_errors("MLflow cannot record"):
        run, status = _begin(run_name), "FAILED"
        try:
            with patience():
                _check_artifacts(run.info)
                yield run
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            _end(run.info.run_id, status)


def _begin(run_name):
    """Start a run soon or not at all, or take the one that is there, for which it waits."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    with patience() if run_id else fail_fast():
        _check_server()
        if run_id:
            info = patiently(mlflow.get_run, run_id).info
            _check_status(info)
            run_name = run_name if _is_random(info.run_name) else None
            return patiently(mlflow.start_run, run_name=run_name)
        return mlflow.start_run(run_name=run_name)


def _end(run_id, status):
    """End a run's record, or say that it could not be ended."""

    def end_run():
        active = mlflow.active_run()
        if active and active.info.run_id == run_id:
            mlflow.end_run(status)
        else:  # Another run, or one that MLflow forgot before it tried to record its end.
            mlflow.MlflowClient().set_terminated(run_id, status)

    try:
        if status == "KILLED":  # Whoever has interrupted a run waits for its end.
            with fail_fast():
                end_run()
        else:
            with patience():
                patiently(end_run)
    except Exception as error:
        if not _is_raised_by_mlflow(error):
            raise
        ending = f"mlflow.MlflowClient().set_terminated('{run_id}', '{status}')"
        print(
            f"{_one_line('the end of the run cannot be recorded', error)}; it stays RUNNING until "
            f'this ends it: python -c "import mlflow; {ending}"',
            file=sys.stderr,
        )
        if status == "FINISHED":
            raise


@contextlib.contextmanager
def fail_fast():
    """Let MLflow notice soon that its server is away, unless the user has set how long to wait.

    MLflow waits 120 seconds for an answer and tries again, seven times (mlflow/mlflow#5744). Nobody
    looks at a silent screen for so long; but a run that has begun, which may have taken an hour,
    must not be lost because of some seconds. MLflow reads the two variables at each request.
    """
    _quiet_database()
    added = {name: value for name, value in FAIL_FAST.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _quiet_database():
    """Keep MLflow from logging the traceback of a database's error before it raises the error."""
    logging.getLogger("mlflow.store.db.utils").addFilter(_is_below_error)


def _is_below_error(record):
    return record.levelno < logging.ERROR


@contextlib.contextmanager
def one_line_errors(what):
    """Make one line of an error inside MLflow or its database.

    Parameters
    ----------
    what : str
        What failed, with which the line begins.

    Raises
    ------
    UserError
        In place of that error; others pass.
    """
    try:
        yield
    except Exception as error:
        if not _is_raised_by_mlflow(error):
            raise
        raise _one_line(what, error) from error


def _check_store():
    """Refuse a database that MLflow would try to open for two minutes before it gives up."""
    uri = mlflow.get_tracking_uri()
    file = sqlite_file(uri)
    if uri.startswith("sqlite:") and file.is_dir():
        raise UserError(
            f"received {uri} to record in, which is a folder, allowed is the file of a database; "
            "MLFLOW_TRACKING_URI says so"
        )
    if uri.startswith("sqlite:") and file.parent.exists() and not os.access(file.parent, os.W_OK):
        raise UserError(
            f"received {uri} to record in, allowed is a folder that can be written to; "
            "MLFLOW_TRACKING_URI or another working folder says so"
        )


def _check_server():
    """Refuse a server older than MLflow 3, where a training would fail when it logs its model.

    Asked for a model that is not there, MLflow 3 answers in JSON; an older server, which has no
    models to ask for, answers with the page of an unknown address.
    """
    uri = mlflow.get_tracking_uri()
    if not uri.startswith(("http://", "https://")):
        return
    credentials = get_default_host_creds(uri)
    answer = http_request(credentials, "/api/2.0/mlflow/logged-models/m-0", "GET")
    if answer.status_code == 404 and "json" not in answer.headers.get("Content-Type", ""):
        asked = http_request(credentials, "/version", "GET")
        version = textwrap.shorten(asked.text, 20) if asked.ok else "of an unknown version"
        raise UserError(
            f"received {uri} to record in, a server of MLflow {version}, allowed is MLflow 3 or "
            "newer; MLFLOW_TRACKING_URI says so"
        )


def _check_status(info):
    """Refuse a run that has ended: it would keep its parameters and get another model's metrics."""
    if info.status not in ("RUNNING", "SCHEDULED"):
        raise UserError(
            f"MLFLOW_RUN_ID: received {info.run_id!r}, a run that is {info.status}, allowed is a "
            "run that has not ended"
        )


def _check_artifacts(info):
    """Refuse to record in a folder that was moved or copied: the artifacts would go to the old."""
    experiment = patiently(mlflow.get_experiment, info.experiment_id)
    if path := moved_to(experiment):
        raise UserError(
            f"MLflow cannot record: the folder of {mlflow.get_tracking_uri()} was moved or copied, "
            f"and the run's artifacts would go to {experiment.artifact_location}; "
            f"python -m wine.relocate records that they are in {path}"
        )


def moved_to(experiment):
    """Return where the artifacts of an experiment are now, if they were moved with their database.

    An experiment keeps the absolute path of its artifacts. By default, this is in mlruns in the
    folder in which MLflow made the database.

    Parameters
    ----------
    experiment : mlflow.entities.Experiment
        One in the store that MLflow uses.

    Returns
    -------
    pathlib.Path or None
        None if they are where the experiment says, or elsewhere than MLflow puts them by default.
    """
    uri, default = mlflow.get_tracking_uri(), Path("mlruns", experiment.experiment_id)
    recorded = Path(local_file_uri_to_path(experiment.artifact_location))
    if not uri.startswith("sqlite:") or recorded.parts[-2:] != default.parts:
        return None
    here, there = sqlite_file(uri).resolve().parent, recorded.parent.parent
    # A link to the folder leads to the same one. A database may be elsewhere than the artifacts.
    is_moved = there.resolve() != here and ((here / default).exists() or not there.exists())
    return here / default if is_moved else None


def sqlite_file(uri):
    """Return the path of the database with an address `sqlite:///...`."""
    return Path(uri.removeprefix("sqlite:///"))


def _is_random(run_name):
    """Tell whether MLflow has made up a name, as `mlflow run` does without `--run-name`."""
    words = run_name.split("-")
    return len(words) == 3 and words[0] in _GENERATOR_PREDICATES and words[1] in _GENERATOR_NOUNS


def _is_raised_by_mlflow(error):
    """Tell whether an error was raised inside MLflow's code or that of its database library."""
    of_database = type(error).__module__ == "sqlalchemy.exc"
    if not (of_database or isinstance(error, (MlflowException, OSError, ImportError))):
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [frame.f_globals.get("__name__", "") for frame in frames]
    return any(module.startswith(("mlflow.", "sqlalchemy.")) for module in modules)


def _one_line(what, error):
    additions = r"\(raised as [^)]*\)|\[SQL:.*|\(Background .*"  # SQLAlchemy makes these.
    reason = textwrap.shorten(re.sub(additions, "", str(error), flags=re.DOTALL), 500)
    if deleted := re.match(r"The experiment (\S+) must be in the 'active' state", reason):
        restore = f"mlflow experiments restore -x {deleted[1]}"
        reason += f" {restore} brings it back, mlflow gc removes it for ever"
    if reason.startswith("API request"):  # The server has not answered, whatever was asked of it.
        reason += "; MLFLOW_TRACKING_URI names the server, MLFLOW_HTTP_REQUEST_TIMEOUT the wait"
    # MLflow encodes its default address, and makes the folder of the encoded name
    # (mlflow/mlflow#19205).
    if isinstance(error, PermissionError) and unquote(reason) != reason:
        reason += "; MLFLOW_TRACKING_URI=sqlite:///mlflow.db needs no such folder"
    return UserError(f"{what}: {reason}")


def log_params(params):
    """Log the parameters that the active run does not have yet, unlike `mlflow.log_params`.

    `mlflow run` has logged the parameters as the user typed them. Where the user typed 1 and the
    script has made 1.0 of it, `mlflow.log_params` would fail (mlflow/mlflow#2820).

    Parameters
    ----------
    params : dict
        The values by name.
    """
    logged = patiently(mlflow.get_run, mlflow.active_run().info.run_id).data.params
    patiently(mlflow.log_params, {key: value for key, value in params.items() if key not in logged})


def metric_name(name):
    """Return the name of a metric, in which MLflow allows few signs besides letters and digits.

    Examples
    --------
    >>> metric_name("psi_sepal length (cm)")
    'psi_sepal length _cm_'
    """
    return re.sub(r"[^\w.:/ -]", "_", name)


def datasets(split, data):
    """Describe the training set and the test set for `mlflow.log_input`.

    Parameters
    ----------
    split : wine.dataset.Split
        The table, split.
    data : str
        Path or URL of the table.

    Returns
    -------
    training_set, test_set : mlflow.data.pandas_dataset.PandasDataset
    """
    return (
        _dataset(split.X_train, split.y_train, data, "training"),
        _dataset(split.X_test, split.y_test, data, "test"),
    )


def _dataset(X, y, data, context):
    # MLflow warns of whole-number columns, which cannot hold a missing value.
    rows = X.assign(**{y.name: y.astype("float64") if pd.api.types.is_numeric_dtype(y) else y})
    options = {"source": dataset_source(locate(data)), "targets": y.name}
    dataset = mlflow.data.from_pandas(rows, **options, name=f"{Path(data).stem}-{context}")
    # For its schema, MLflow would test each cell in Python: eleven seconds for a million wines. The
    # first rows in which each column has no value, and in which it has one, tell the same.
    few = rows.loc[pd.concat([rows.isna().idxmax(), rows.notna().idxmax()]).unique()]
    dataset.schema = mlflow.data.from_pandas(few, **options).schema
    return dataset


def log_input(dataset, context, model=None):
    """Log a dataset as an input of the active run, as `mlflow.log_input` does.

    Where two runs log a new dataset at the same time, each adds it to the database, which accepts
    it only once. The run that is refused finds the other's when it logs the dataset again.

    Parameters
    ----------
    dataset : mlflow.data.dataset.Dataset
        One of those that `datasets` returns, for instance.
    context : str
        What the run uses it for, for instance training.
    model : mlflow.entities.LoggedModelInput, optional
        The model that is applied to it.
    """
    log = functools.partial(mlflow.log_input, dataset, context=context, model=model)
    try:
        patiently(log)
    except MlflowException as error:
        if not re.search("unique|duplicate", str(error), re.IGNORECASE):
            raise
        patiently(log)


def log_inputs(split, data):
    """Log the training set and the test set as inputs of the active run.

    Parameters
    ----------
    split, data
        As `datasets` takes them.

    Returns
    -------
    mlflow.data.pandas_dataset.PandasDataset
        The test set, to which metrics belong.
    """
    training_set, test_set = datasets(split, data)
    log_input(training_set, context="training")
    log_input(test_set, context="test")
    return test_set


def dataset_source(location):
    """Return the source of an MLflow dataset.

    Parameters
    ----------
    location : str
        URL or absolute path.

    Returns
    -------
    mlflow.data.dataset_source.DatasetSource
    """
    # A path may begin like a scheme: C:/wines.csv.
    scheme = urlsplit(location).scheme if "://" in location else "file"
    return SOURCES.get(scheme, sources.LocalArtifactDatasetSource)(location)


def log_trial(number, name, started, params, metrics=None, converged=None, error=None):
    """Log one candidate of a search as a finished run below the active one.

    `mlflow.start_run(nested=True)` cannot be told when the evaluation was started.

    Parameters
    ----------
    number : int
        The candidate's number; 0 are the defaults.
    name : str
        The name of its run.
    started : float
        When its evaluation was started, in seconds since the epoch.
    params : dict
        The candidate's parameters.
    metrics : dict, optional
        Its metrics by name.
    converged : bool, optional
        Whether all its fits converged.
    error : str, optional
        Why it could not be evaluated; its run is logged as failed then.
    """
    parent = mlflow.active_run()
    experiment = parent.info.experiment_id
    tags = {key: value for key, value in parent.data.tags.items() if key in INHERITED}
    tags |= {"mlflow.parentRunId": parent.info.run_id, "trial": str(number)}
    tags |= {"error": error} if error else {"converged": str(converged).lower()}
    client, now = mlflow.MlflowClient(), int(time.time() * 1000)
    batch = {
        "metrics": [Metric(key, value, now, 0) for key, value in (metrics or {}).items()],
        "params": [Param(key, str(value)) for key, value in params.items()],
    }
    search = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' AND tags.trial = '{number}'"
    tried, run_ids = [], []

    def log():
        """Go on where an outage has stopped: MLflow does not mind a value that is logged again."""
        if tried and not run_ids:  # The run may be there, though MLflow did not hear of it.
            run_ids.extend(run.info.run_id for run in client.search_runs([experiment], search))
        tried.append(True)
        if not run_ids:
            start_time = int(started * 1000)
            run = client.create_run(experiment, start_time, tags=tags, run_name=name)
            run_ids.append(run.info.run_id)
        client.log_batch(*run_ids, **batch)
        client.set_terminated(*run_ids, "FAILED" if error else "FINISHED")

    try:
        patiently(log)
    except Exception:
        for run_id in run_ids:
            _end(run_id, "FAILED")
        raise
