"""The record: what a training leaves in MLflow and says on the screen."""

import contextlib
import json
import os
import re
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from sklearn.base import is_classifier

import mlflow
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import (
    get_dataset_source_from_json,
    resolve_dataset_source,
)
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import LoggedModelInput, Metric, Param
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.uri import is_local_uri

from wine import Refusal
from wine.judgement import final_step
from wine.table import PROJECT, locate

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")
INHERITED = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


@contextlib.contextmanager
def run():
    """Make a run the active one, as `mlflow.start_run` does, and end an interrupted one as KILLED.

    Yields
    ------
    mlflow.ActiveRun

    Raises
    ------
    Refusal
        If the runs are to be recorded in a folder that cannot be written to.
    """
    store = mlflow.get_tracking_uri()
    folder = Path(store.removeprefix("sqlite:///")).parent
    # which MLflow by itself finds out after trying to open the database for two minutes
    if store.startswith("sqlite:") and folder.exists() and not os.access(folder, os.W_OK):
        raise Refusal(
            f"received {store} to record in, allowed is a folder that can be written to; "
            "MLFLOW_TRACKING_URI or another working folder says so"
        )
    with mlflow.start_run() as active:
        try:
            yield active
        except KeyboardInterrupt:  # which MLflow by itself would call FAILED
            mlflow.end_run("KILLED")
            raise


def training(estimator, parameters, split, scores, figures, converged, trusted_types=()):
    """Record one training in the active run, and print it with what to do next.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; raw measurements go in.
    parameters : dict
        The entry point's parameters, `data` among them.
    split : wine.table.Split
        The wines.
    scores : DataFrame
        The metrics, as `wine.judgement.scores` returns them.
    figures : dict
        A matplotlib Figure for each file name.
    converged : bool
        Whether the fit converged.
    trusted_types : sequence of str
        The types in the estimator that skops does not trust by itself.
    """
    name = type(final_step(estimator)).__name__
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    shaping = {key: value for step in steps for key, value in step.get_params().items()}
    shaping |= {"test_size": split.test_size, "split_random_state": split.random_state}
    log_params(shaping | parameters)

    trained_on = _dataset(split.X_train, split.y_train, parameters["data"], "training")
    judged_by = _dataset(split.X_test, split.y_test, parameters["data"], "test")
    mlflow.log_input(trained_on, context="training")
    mlflow.log_input(judged_by, context="test")

    model = _log_model(estimator, split.X_test, trusted_types)
    sizes = {"n_train": len(split.y_train)}
    mlflow.log_metrics(sizes, dataset=trained_on, model_id=model.model_id)
    sizes = {"n_test": len(split.y_test), "n_unseen": int(split.unseen.sum())}
    mlflow.log_metrics(sizes | _flat(scores), dataset=judged_by, model_id=model.model_id)
    for file_name, figure in figures.items():
        mlflow.log_figure(figure, file_name)
    mlflow.set_tags(
        {
            "estimator": name,
            "converged": str(converged).lower(),
            "mlflow.note.content": _description(name, parameters, split, scores),
        }
    )
    _print(name, parameters, split, scores)


def log_params(parameters):
    """Log what the active run does not have yet.

    `mlflow run` has logged what the user typed: 1 may not be logged again as 1.0.

    Parameters
    ----------
    parameters : dict
        The values by name.
    """
    logged = mlflow.get_run(mlflow.active_run().info.run_id).data.params
    mlflow.log_params({key: value for key, value in parameters.items() if key not in logged})


def trial(number, started, parameters, metrics=None, converged=None, error=None):
    """Record one candidate of a search as a run below the active one, in a single batch.

    Parameters
    ----------
    number : int
        Its place among the candidates; 0 are the defaults.
    started : float
        When it was started, in seconds since the epoch.
    parameters : dict
        The candidate.
    metrics : dict, optional
        Its scores by name.
    converged : bool, optional
        Whether all its fits converged.
    error : str, optional
        Why it could not be judged; its run has then failed.
    """
    parent = mlflow.active_run()
    tags = {key: value for key, value in parent.data.tags.items() if key in INHERITED}
    tags |= {MLFLOW_PARENT_RUN_ID: parent.info.run_id}
    tags |= {"error": error} if error else {"converged": str(converged).lower()}
    client, now = mlflow.MlflowClient(), int(time.time() * 1000)
    run = client.create_run(
        parent.info.experiment_id,
        start_time=int(started * 1000),
        tags=tags,
        run_name=f"trial {number}" if number else "defaults",
    )
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in (metrics or {}).items()],
        params=[Param(key, str(value)) for key, value in parameters.items()],
    )
    client.set_terminated(run.info.run_id, "FAILED" if error else "FINISHED")


def scoring(model, source, output, counts, seconds):
    """Record a scoring in the active run.

    Parameters
    ----------
    model : wine.scoring.Model
        What has scored.
    source, output : str
        Where the tables are.
    counts : wine.scoring.Counts
        What it has come to.
    seconds : float
        How long it took.
    """
    for where, context in ((source, "input"), (output, "output")):
        dataset = MetaDataset(_source(where), name=Path(where).name)
        mlflow.log_input(dataset, context=context, model=LoggedModelInput(model.model_id))
    rows = counts.scored + counts.rejected
    mlflow.log_metrics(
        {"rows": rows, "rejected_rows": counts.rejected, "rows_per_second": rows / seconds}
    )
    if counts.scored:
        figure = Figure(figsize=(6.4, 4.8), layout="constrained")
        ax = figure.subplots()
        ax.stairs(counts.histogram, counts.edges, fill=True)
        ax.set(xlabel=model.answers[-1], ylabel="rows", title=f"{counts.scored:,} rows scored")
        mlflow.log_figure(figure, "predictions.png")


def address(**view):
    """Return the address that opens the training runs of the active run's experiment in the UI.

    Parameters
    ----------
    **view : str
        What the page is to show, as its own address names it, for instance
        ``compareRunsMode="CHART"``; by default the table of all runs.

    Returns
    -------
    str
    """
    server = mlflow.get_tracking_uri()
    server = server if server.startswith("http") else "http://127.0.0.1:5000"
    server = re.sub("//[^/]*@", "//", server).rstrip("/")  # a password is not to be shown
    runs = f"{server}/#/experiments/{mlflow.active_run().info.experiment_id}/runs"
    return f"{runs}?{urlencode({'workflowType': 'machine_learning'} | view)}"


def _flat(scores):
    """Return the metrics that are defined, by name: rmse, rmse_unseen, rmse_baseline, ..."""
    names = {"test": "{}", "unseen": "{}_unseen", "baseline": "{}_baseline"}
    return {
        names[column].format(metric): value
        for (metric, column), value in scores.stack().dropna().items()
    }


def _dataset(X, y, data, part):
    # float64 throughout: MLflow warns of whole-number columns, which cannot hold a missing value
    wines = X.assign(**{y.name: y}).astype("float64")
    return mlflow.data.from_pandas(
        wines, source=_source(locate(data)), targets=y.name, name=f"{Path(data).stem}-{part}"
    )


def _source(where):
    if "://" in where:
        return resolve_dataset_source(where)
    # a path as such makes MLflow 3.17.2 warn of itself, twice registered
    return get_dataset_source_from_json(json.dumps({"uri": where}), "local")


def _log_model(estimator, X, trusted_types):
    """Log the model, and in a local store also where MLflow 1 and 2 kept it: with the run."""
    answer = "long" if is_classifier(estimator) else "double"
    local = is_local_uri(mlflow.get_artifact_uri())
    classic = local_file_uri_to_path(mlflow.get_artifact_uri("model")) if local else ""
    try:
        model = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=ModelSignature(
                inputs=Schema([ColSpec("double", column) for column in X.columns]),
                outputs=Schema([ColSpec(answer)]),
            ),
            input_example=X.head(2),
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            serialization_format="skops",
            skops_trusted_types=list(trusted_types),
        )
        if local:
            # first beside its place: who looks there finds a whole model or none at any moment
            shutil.copytree(mlflow.artifacts.download_artifacts(model.model_uri), f"{classic}.part")
            os.rename(f"{classic}.part", classic)
    except BaseException:  # a full disk, Ctrl-C: half a model may not stay, nor be found
        half = mlflow.last_logged_model()
        if local and half and half.source_run_id == mlflow.active_run().info.run_id:
            shutil.rmtree(local_file_uri_to_path(half.artifact_location), ignore_errors=True)
            shutil.rmtree(f"{classic}.part", ignore_errors=True)
        raise
    return model


def _description(name, parameters, split, scores):
    """Describe the run in Markdown, as MLflow's UI shows it at the run's top."""
    typed = ", ".join(f"{key}={value}" for key, value in parameters.items())
    table = scores.to_csv(sep="|", float_format="%.4f", na_rep="-").replace("|", " | &nbsp; ")
    header, *rows = table.splitlines()  # the spaces keep the columns apart in MLflow's UI
    grades = split.grades
    return "\n".join(
        [
            f"**{name}** ({typed}) predicts `{split.y_train.name}` from the "
            f"{split.X_train.shape[1]} raw measurements of a wine. Trained on "
            f"{len(split.y_train)} wines, judged by {len(split.y_test)} others (*test*), of which "
            f"{split.unseen.sum()} have no identical copy among the training wines (*unseen*). "
            "*baseline* always answers the mean or the majority of the training wines.",
            "",
            f"metric{header}",
            "---|---:|---:|---:",
            *rows,
            "",
            f"**Not good for** wines of another kind than the {grades.sum()} of this table, and "
            f"for rare grades: only {grades.iloc[0]} wines are rated {grades.index[0]} and "
            f"{grades.iloc[-1]} are rated {grades.index[-1]}.",
        ]
    )


def _print(name, parameters, split, scores):
    """Print the parameters, the metrics, and the next commands with this run's ID filled in."""
    ui = "" if mlflow.get_tracking_uri().startswith("http") else "mlflow ui --port 5000\n"
    model = f"-m runs:/{mlflow.active_run().info.run_id}/model --env-manager local"
    print(
        f"""
{name}: {", ".join(f"{key}={value}" for key, value in parameters.items())}
{len(split.y_train)} training wines, {len(split.y_test)} test wines, {split.unseen.sum()} unseen

{scores.to_string(float_format="{:.4f}".format, na_rep="-")}

Serve the model, score a file with it, compare the runs:

mlflow models serve {model} --port 5001

mlflow models predict {model} -t csv -i "{PROJECT / "predict.csv"}"

{ui}{address()}
""",
        flush=True,
    )
