"""MLflow's UI: the addresses of its pages, and the stored views that they open on."""

import json
import re
from urllib.parse import urlencode

import mlflow
from mlflow.exceptions import MlflowException

from wine import evaluation

# MLflow's own Share button stores a view in a tag of the experiment with this prefix; the rest of
# the tag's name is the view's key in the address.
PREFIX = "mlflow.sharedViewState."
# Without it in an address, MLflow opens its pages for language models.
TRAINING = {"workflowType": "machine_learning"}


def runs_url(**view):
    """Return the URL that opens the runs of the active run's experiment.

    Parameters
    ----------
    **view : str
        What the page shows, by the names in its own URL, for instance ``compareRunsMode="CHART"``;
        by default it is the table of all training runs.

    Returns
    -------
    str
    """
    runs = f"{_server()}/#/experiments/{mlflow.active_run().info.experiment_id}/runs"
    return f"{runs}?{urlencode(TRAINING | view)}"


def model_url(name):
    """Return the URL of the page of a registered model.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    str
    """
    return f"{_server()}/#/models/{name}?{urlencode(TRAINING)}"


def artifact_url(path):
    """Return the URL of the page that shows an artifact of the active run.

    Parameters
    ----------
    path : str
        Its path among the run's artifacts.

    Returns
    -------
    str
    """
    run = mlflow.active_run().info
    page = f"{_server()}/#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/{path}"
    return f"{page}?{urlencode(TRAINING)}"


def start_command():
    """Return the command that starts the UI, with its line end; on a server it has started."""
    return "" if _is_remote() else "mlflow ui --port 5050 --workers 1\n"


def _server():
    """Return the address of the UI, without the password that must not be shown."""
    server = mlflow.get_tracking_uri() if _is_remote() else "http://127.0.0.1:5050"
    return re.sub("//[^/]*@", "//", server).rstrip("/")


def _is_remote():
    return mlflow.get_tracking_uri().startswith("http")


def store_trainings(estimator, params):
    """Store the view of an experiment's trainings: the best by cross-validation comes first.

    It shows those on the training set of the active run, as metrics on other rows cannot be
    compared. Trials and other runs are left out, as they have no metric on the test set. The
    columns are as many as there is room for beside the Assistant on a projector: the metric by
    folds and on the unseen test rows, then the parameters. The charts are bars of the metric by
    folds, and parallel coordinates.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It says which metric is shown.
    params : dict
        The script's parameters, of which those of the estimator are shown.

    Returns
    -------
    dict
        What `runs_url` takes to open the view; empty if it cannot be stored.
    """
    metric = evaluation.main_metric(estimator)
    names = list(evaluation.own_params(estimator, params))
    cv, unseen = f"cv_{metric.name}", f"{metric.name}_unseen"
    columns = [*(f"metrics.`{name}`" for name in (cv, unseen)), *(f"params.`{p}`" for p in names)]
    search, key = f"metrics.`{metric.name}` >= 0", [cv, *names]
    if digest := _training_set():
        search, key = f"{search} and dataset.digest = '{digest}'", [*key, digest]
    bars = {"type": "BAR", "uuid": "bars", "metricKey": cv}
    charts = _charts("Trainings", [bars, _parallel(names, [cv, unseen])])
    return _store("-".join(key), _table(columns, search, columns[0], metric.ascending) | charts)


def _training_set():
    """Return the digest of the training set among the active run's inputs, or None."""
    for each in mlflow.get_run(mlflow.active_run().info.run_id).inputs.dataset_inputs:
        if any((tag.key, tag.value) == ("mlflow.data.context", "training") for tag in each.tags):
            return each.dataset.digest
    return None


def store_trials(run_id, names, metric, ascending):
    """Store the view of a sweep's trials: parallel coordinates, and a chart for each parameter.

    Parameters
    ----------
    run_id : str
        The sweep's run.
    names : list of str
        The parameters that were searched.
    metric : str
        The trials' metric.
    ascending : bool
        Whether the lowest is the best.

    Returns
    -------
    dict
        As `store_trainings` returns it.
    """
    columns = [f"metrics.`{metric}`", *(f"params.`{name}`" for name in names)]
    state = _table(columns, f"tags.`mlflow.parentRunId` = '{run_id}'", columns[0], ascending)
    scatters = [
        {
            "type": "SCATTER",
            "uuid": f"scatter-{name}",
            "xaxis": {"key": name, "type": "PARAM"},
            "yaxis": {"key": metric, "type": "METRIC"},
        }
        for name in names
    ]
    charts = _charts("Trials", [_parallel(names, [metric]), *scatters])
    return _store(f"sweep-{run_id}", state | charts)


def _parallel(params, metrics):
    """Return a chart of parallel coordinates."""
    return {
        "type": "PARALLEL",
        "uuid": "parallel",
        "showAllRuns": True,
        "selectedParams": params,
        "selectedMetrics": metrics,
    }


def _charts(section, charts):
    """Return the state of a page of charts, one below the other, as a projector has no room."""
    common = {"metricSectionId": section, "runsCountToCompare": 100}
    common |= {"deleted": False, "isGenerated": False}
    size = {"columns": 1, "cardHeight": 250}  # pixels
    return {
        "compareRunSections": [
            {"uuid": section, "name": section, "display": True, "isReordered": False} | size
        ],
        "compareRunCharts": [common | chart for chart in charts],
        "runsHiddenMode": "SHOWALL",  # Charts would draw only the first ten runs.
    }


def _table(columns, search, order, ascending):
    """Return the state of a table of runs, in the names of MLflow's front end."""
    return {
        "selectedColumns": columns,
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": ascending,
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "groupsExpanded": {},
    }


def _store(key, state):
    """Store a view unless there is one of that key, which somebody may have changed."""
    client, experiment_id = mlflow.MlflowClient(), mlflow.active_run().info.experiment_id
    try:
        if PREFIX + key not in client.get_experiment(experiment_id).tags:
            client.set_experiment_tag(experiment_id, PREFIX + key, json.dumps(state))
    except MlflowException:  # On a team's server, not every member may change the experiment.
        return {}
    return {"viewStateShareKey": key}
