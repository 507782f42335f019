"""Tracking: what is hard about recording in MLflow, under the names of MLflow's own functions."""

import contextlib
import json
import logging
import os
import re
import shutil
import textwrap
import time
import traceback
from importlib.metadata import version
from pathlib import Path

from sklearn.base import is_classifier

import mlflow
import numpy as np
from mlflow.data.dataset_source_registry import (
    get_dataset_source_from_json,
    resolve_dataset_source,
)
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from mlflow.utils.name_utils import _GENERATOR_NOUNS, _GENERATOR_PREDICATES
from mlflow.utils.uri import is_local_uri

from wine import UserError
from wine.dataset import deciles, locate

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # of a served model
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")

# MLflow waits 120 seconds for an answer and tries again, eight times, before it says that its
# server is away (mlflow/mlflow#5744). Nobody looks at a silent screen for so long.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
# MLflow logs the traceback of a database's error before it raises the error, which `start_run`
# reports in one line.
logging.getLogger("mlflow.store.db.utils").addFilter(lambda log: log.levelno != logging.ERROR)


@contextlib.contextmanager
def start_run():
    """Start a run, or take the one that `mlflow run` has started, as `mlflow.start_run` does.

    There are two differences. A run that is interrupted ends as KILLED, not as FAILED
    (mlflow/mlflow#1832). An error inside MLflow or its database becomes one line for the user.

    Yields
    ------
    mlflow.ActiveRun

    Raises
    ------
    UserError
        If the folder of the database cannot be written to, if MLflow cannot record, or if
        MLFLOW_RUN_ID names a run that has ended.
    """
    uri = mlflow.get_tracking_uri()
    file = Path(uri.removeprefix("sqlite:///"))
    # MLflow would try to open the database for two minutes before it reports that it cannot.
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
    with one_line_errors("MLflow cannot record"):
        _check_run_id()
        with mlflow.start_run() as run:
            try:
                yield run
            except KeyboardInterrupt:
                mlflow.end_run("KILLED")
                raise


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


def _check_run_id():
    """Refuse a run that has ended: it would keep its parameters and get another model's metrics."""
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if run_id:
        status = mlflow.get_run(run_id).info.status
        if status not in ("RUNNING", "SCHEDULED"):
            raise UserError(
                f"MLFLOW_RUN_ID: received {run_id!r}, a run that is {status}, allowed is a run "
                "that has not ended"
            )


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
    if reason.startswith("API request"):  # The server has not answered, whatever was asked of it.
        reason += "; MLFLOW_TRACKING_URI names the server, MLFLOW_HTTP_REQUEST_TIMEOUT the wait"
    return UserError(f"{what}: {reason}")


def set_run_name(name):
    """Name the active run, unless its user has named it, as `mlflow run --run-name` does.

    Parameters
    ----------
    name : str
        The name, in place of the random one that MLflow gives.
    """
    predicate, *_ = words = mlflow.get_run(mlflow.active_run().info.run_id).info.run_name.split("-")
    if len(words) == 3 and predicate in _GENERATOR_PREDICATES and words[1] in _GENERATOR_NOUNS:
        mlflow.set_tag(MLFLOW_RUN_NAME, name)


def log_params(params):
    """Log the parameters that the active run does not have yet, unlike `mlflow.log_params`.

    `mlflow run` has logged the parameters as the user typed them. Where the user typed 1 and the
    script has made 1.0 of it, `mlflow.log_params` would fail (mlflow/mlflow#2820).

    Parameters
    ----------
    params : dict
        The values by name.
    """
    logged = mlflow.get_run(mlflow.active_run().info.run_id).data.params
    mlflow.log_params({key: value for key, value in params.items() if key not in logged})


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
    return tuple(
        mlflow.data.from_pandas(
            # MLflow warns of whole-number columns, which cannot hold a missing value.
            X.assign(**{y.name: y}).astype("float64"),
            source=dataset_source(locate(data)),
            targets=y.name,
            name=f"{Path(data).stem}-{context}",
        )
        for X, y, context in (
            (split.X_train, split.y_train, "training"),
            (split.X_test, split.y_test, "test"),
        )
    )


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
    try:
        mlflow.log_input(dataset, context=context, model=model)
    except MlflowException as error:
        if not re.search("unique|duplicate", str(error), re.IGNORECASE):
            raise
        mlflow.log_input(dataset, context=context, model=model)


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
    if "://" in location:
        return resolve_dataset_source(location)
    # MLflow has registered its class for local files twice, and warns of it: mlflow/mlflow#9702.
    return get_dataset_source_from_json(json.dumps({"uri": location}), "local")


def log_model(estimator, split, trusted_types=(), predict_fn="predict"):
    """Log a scikit-learn model with its signature, as `mlflow.sklearn.log_model` does.

    There are three differences. The deciles of the training rows are kept in the model's metadata,
    by which a scoring notices a table unlike them. In a local store, the model's files are also put
    where MLflow 1 and 2 kept them, among the run's artifacts (mlflow/mlflow#16947), where the
    MLflow UI shows them.
    An error or Ctrl-C leaves no partial model behind.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; features go in as they were measured.
    split : wine.dataset.Split
        Its features are the model's inputs, and its first two test rows the example.
    trusted_types : sequence of str
        The types in the estimator that skops does not trust by itself.
    predict_fn : str
        The estimator's method that a server, `mlflow models predict` and an image call: predict
        or predict_proba, which returns the probability of each class, shape (n_rows, n_classes).

    Returns
    -------
    mlflow.models.model.ModelInfo
    """
    is_local = is_local_uri(mlflow.get_artifact_uri())
    legacy_path = local_file_uri_to_path(mlflow.get_artifact_uri("model")) if is_local else ""
    partial_path = f"{legacy_path}.part"
    try:
        model = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=ModelSignature(
                inputs=Schema([ColSpec("double", column) for column in split.X_test.columns]),
                outputs=_output_schema(estimator, predict_fn),
            ),
            input_example=split.X_test.head(2),
            metadata={"deciles": deciles(split.X_train)},
            # MLflow would spend three seconds to find these out.
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            serialization_format="skops",
            skops_trusted_types=list(trusted_types),
            pyfunc_predict_fn=predict_fn,
        )
        if is_local:
            # A reader never sees a partial model under the final name.
            shutil.copytree(mlflow.artifacts.download_artifacts(model.model_uri), partial_path)
            os.rename(partial_path, legacy_path)
    except BaseException as error:
        partial = mlflow.last_logged_model()
        if is_local and partial and partial.source_run_id == mlflow.active_run().info.run_id:
            shutil.rmtree(local_file_uri_to_path(partial.artifact_location), ignore_errors=True)
            shutil.rmtree(partial_path, ignore_errors=True)
        if isinstance(error, OSError):
            raise _one_line("MLflow cannot record", error) from error
        raise
    return model


def _output_schema(estimator, predict_fn):
    if predict_fn == "predict_proba":
        return Schema([TensorSpec(np.dtype("float64"), (-1, len(estimator.classes_)))])
    return Schema([ColSpec("long" if is_classifier(estimator) else "double")])


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
    tags = {key: value for key, value in parent.data.tags.items() if key in INHERITED}
    tags |= {MLFLOW_PARENT_RUN_ID: parent.info.run_id, "trial": str(number)}
    tags |= {"error": error} if error else {"converged": str(converged).lower()}
    client, now = mlflow.MlflowClient(), int(time.time() * 1000)
    run = client.create_run(
        parent.info.experiment_id,
        start_time=int(started * 1000),
        tags=tags,
        run_name=name,
    )
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in (metrics or {}).items()],
        params=[Param(key, str(value)) for key, value in params.items()],
    )
    client.set_terminated(run.info.run_id, "FAILED" if error else "FINISHED")
