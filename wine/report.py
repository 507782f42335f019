"""The report of a run: its description and its text on the screen, and what MLflow's UI shows."""

import json
import re
import sys
from urllib.parse import urlencode

from sklearn.base import is_classifier

import mlflow
import pandas as pd

from wine import evaluation
from wine.dataset import NOUN, TARGET, count
from wine.process import print_text
from wine.tables import PROJECT

# MLflow's own Share button stores a view in a tag of the experiment with this prefix; the rest of
# the tag's name is the view's key in the address.
PREFIX = "mlflow.sharedViewState."
# Without it in an address, MLflow opens its pages for language models.
TRAINING = {"workflowType": "machine_learning"}


def tags(estimator, params, split, result, converged):
    """Return the tags of a training's run and of its model.

    Of them, MLflow shows `mlflow.note.content` as the description.
    """
    return {
        "estimator": evaluation.name(estimator),
        "converged": str(converged).lower(),
        "mlflow.note.content": _describe(estimator, params, split, result),
    }


def _describe(estimator, params, split, result):
    """Describe a run in Markdown, as MLflow's UI shows it."""
    table = result.scores.to_csv(sep="|", float_format="%.4f", na_rep="-")
    # The spaces keep the columns apart in MLflow's UI.
    header, rows = table.replace("|", " | &nbsp; ").rstrip().split("\n", 1)
    y, threshold = split.y_train, evaluation.threshold(estimator)
    constant = "majority" if is_classifier(estimator) else "mean"
    meaning = f" ({y.attrs['meaning']})" if "meaning" in y.attrs else ""
    meaning += f" from a probability of {threshold:g} on" if threshold else ""
    return f"""\
**{evaluation.name(estimator)}** ({evaluation.join(params)}) predicts `{y.name}`{meaning} \
from the {split.X_train.shape[1]} raw measurements of a {NOUN}. Trained on {count(len(y))}, \
judged by {len(split.y_test)} others (*test*){_by(split)}. {split.unseen.sum()} of these differ \
from each other and from the training {NOUN}s (*unseen*). On these, the *baseline* always answers \
the {constant} of the training {NOUN}s. *cv* is the mean of {evaluation.describe_folds(split)}. \
Choose by *cv*, report by *unseen*.

metric{header}
---|---:|---:|---:|---:
{rows}

**Not good for** {NOUN}s of another kind than the {len(y) + len(split.y_test)} of this table, \
{_rare(split)}."""


def _by(split):
    """Return in words by which column the table was split, if it was by one."""
    return f", split by {split.params['split_by']}" if "split_by" in split.params else ""


def _rare(split):
    """Return in words what a model cannot know well."""
    y = pd.concat([split.y_train, split.y_test])
    if "meaning" in split.y_train.attrs:
        return f"of which {y.sum()} are {y.name}"
    counts = y.value_counts()
    if len(counts) > 30 and pd.api.types.is_numeric_dtype(y):
        return f"and for values of {TARGET} outside {y.min():g} to {y.max():g}"
    (first, n_first), (last, n_last) = counts.sort_index().nsmallest(2).sort_index().items()
    rare = f"only {count(n_first)} of {TARGET} {first}, and {n_last} of {TARGET} {last}"
    return f"and for rare values: {rare}"


def print_summary(estimator, params, split, result):
    """Print the metrics, and the next commands with the active run's ID filled in.

    The address that is printed opens a view of the experiment, in which the best of the trainings
    come first; it is stored where there is none.
    """
    view = _store_trainings(estimator, params)
    model = f"-m runs:/{mlflow.active_run().info.run_id}/model --env-manager local"
    sliders = f"\nAsk the model by sliders:\n\n{artifact_url('ask.html')}\n"
    sliders = sliders if evaluation.is_linear(estimator) else ""
    scores = result.scores["unseen"].filter(["r2", "average_precision"])
    for metric, score in scores[scores > 0.999].items():
        leak = f"{metric} is {score:.4f} on unseen {NOUN}s: a column may hold the answer"
        print(f"data: {leak}", file=sys.stderr)
    print_text(
        f"""
{evaluation.name(estimator)}: {evaluation.join(params)}
{count(len(split.y_train), "training")}, {count(len(split.y_test), "test")}, \
{split.unseen.sum()} unseen{_by(split)}

{result.scores.to_string(float_format="{:.4f}".format, na_rep="-")}

{_rule(split, result)}

Serve the model, score a file with it, compare the runs:

mlflow models serve {model} --port 5001

{_predict_command(split, model)}

{start_command()}{runs_url(**view)}
{sliders}"""
    )


def _predict_command(split, model):
    """Return the command that scores the rows of predict.csv."""
    texts, rows = split.X_train.select_dtypes(exclude="number"), f'"{PROJECT / "predict.csv"}"'
    codes = [name for name in texts if pd.to_numeric(texts[name], errors="coerce").notna().all()]
    if not codes:
        return f"mlflow models predict {model} -t csv -i {rows}"
    reason = f"`mlflow models predict` would take the texts of {codes[0]!r} for numbers, and refuse"
    return f"python -m extras.score {model.split()[1]} {rows} scored.csv\n({reason})"


def _rule(split, result):
    """Return which metrics serve what."""
    cv, reported = result.cv, "test" if result.scores["unseen"].isna().all() else "unseen"
    if cv is None:
        return f"Report by {reported}."
    spread, rows = cv.summarize()[f"cv_{cv.metric}_std"], evaluation.describe_folds(split)
    return f"Choose by cv ({rows}, {cv.metric} ±{spread:.4f}), report by {reported}."


def runs_url(**view):
    """Return the URL that opens the runs of the active run's experiment.

    The view is what the page shows, by the names in its own URL, for instance
    ``compareRunsMode="CHART"``; by default it is the table of all training runs.
    """
    experiment_id = mlflow.active_run().info.experiment_id
    return f"{_server()}/#/experiments/{experiment_id}/runs?{urlencode(TRAINING | view)}"


def artifact_url(path):
    """Return the URL of the page that shows an artifact of the active run."""
    page = f"/{mlflow.active_run().info.run_id}/artifacts/{path}?"
    return runs_url().replace("?", page)


def model_url(name):
    """Return the URL of the page of a registered model."""
    return f"{_server()}/#/models/{name}?{urlencode(TRAINING)}"


def start_command():
    """Return the command that starts the UI, with its line end; on a server it has started."""
    return "" if _is_remote() else "mlflow ui --port 5050 --workers 1\n"


def _server():
    """Return the address of the UI, without the password that must not be shown."""
    server = mlflow.get_tracking_uri() if _is_remote() else "http://127.0.0.1:5050"
    return re.sub("//[^/]*@", "//", server).rstrip("/")


def _is_remote():
    return mlflow.get_tracking_uri().startswith("http")


def _store_trainings(estimator, params):
    """Store the view of an experiment's trainings: the best by cross-validation comes first.

    It shows those on the training set of the active run, as metrics on other rows cannot be
    compared. Trials and other runs are left out, as they have no metric on the test set. The
    columns are as many as there is room for beside the Assistant on a projector: the metric by
    folds and on the unseen test rows, then the parameters.
    """
    metric, names = evaluation.main_metric(estimator), [*evaluation.own_params(estimator, params)]
    inputs = mlflow.get_run(mlflow.active_run().info.run_id).inputs.dataset_inputs
    digest = next(each.dataset.digest for each in inputs if each.tags[0].value == "training")
    metrics = [f"cv_{metric.name}", f"{metric.name}_unseen"]
    search = f"metrics.`{metric.name}` >= 0 and dataset.digest = '{digest}'"
    key = "-".join([metrics[0], *names, digest])
    return store_view(key, search, metrics, names, metric.ascending)


def store_view(key, search, metrics, params, ascending):
    """Store a view of the active run's experiment unless there is one, which may be changed.

    `key` is its name in the address, `search` the filter of the runs, in the language of MLflow's
    search box. `metrics` and `params` are the columns of the table of runs and the axes of the
    chart of parallel coordinates; below it are bars of the first metric. If `ascending`, the run
    with its lowest value comes first.

    Returns
    -------
    dict
        What `runs_url` takes to open the view; empty if it cannot be stored.
    """
    columns = [*(f"metrics.`{each}`" for each in metrics), *(f"params.`{each}`" for each in params)]
    section = {"uuid": "charts", "name": "Charts", "display": True, "columns": 1, "cardHeight": 250}
    chart = {"metricSectionId": "charts", "runsCountToCompare": 100, "deleted": False}
    parallel = {"type": "PARALLEL", "uuid": "parallel", "showAllRuns": True}
    parallel |= {"selectedParams": params, "selectedMetrics": metrics}
    bars = {"type": "BAR", "uuid": "bars", "metricKey": metrics[0]}
    state = {
        "selectedColumns": columns,
        "searchFilter": search,
        "orderByKey": columns[0],
        "orderByAsc": ascending,
        "compareRunSections": [section],
        "compareRunCharts": [chart | parallel, chart | bars],
        "runsHiddenMode": "SHOWALL",  # Charts would draw only the first ten runs.
    }
    client, experiment_id = mlflow.MlflowClient(), mlflow.active_run().info.experiment_id
    try:
        if PREFIX + key not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, PREFIX + key, json.dumps(state))
    except mlflow.MlflowException:  # On a team's server, not every member may change it.
        return {}
    return {"viewStateShareKey": key}
