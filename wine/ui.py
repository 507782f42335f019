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
    return f"{runs}?{urlencode({'workflowType': 'machine_learning'} | view)}"


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
    return f"{_server()}/#/models/{name}"


def start_command():
    """Return the command that starts the UI, with its line end; on a server it has started."""
    return "" if _is_remote() else "mlflow ui --port 5050\n"


def _server():
    """Return the address of the UI, without the password that must not be shown."""
    server = mlflow.get_tracking_uri() if _is_remote() else "http://127.0.0.1:5050"
    return re.sub("//[^/]*@", "//", server).rstrip("/")


def _is_remote():
    return mlflow.get_tracking_uri().startswith("http")


def store_trainings(estimator, params):
    """Store the view of an experiment's trainings: the best by cross-validation comes first.

    Its columns are the metric by folds, on the unseen test rows, on the whole test set and of the
    baseline, and the parameters. Trials and other runs are left out, as they have no metric on the
    test set.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It says which metric is shown.
    params : dict
        The script's parameters.

    Returns
    -------
    dict
        What `runs_url` takes to open the view; empty if it cannot be stored.
    """
    metric = evaluation.main_metric(estimator)
    names = [name for name in params if name != "data"]
    cv, test = f"metrics.`cv_{metric.name}`", f"metrics.`{metric.name}`"
    others = (f"metrics.`{metric.name}{suffix}`" for suffix in ("_unseen", "", "_baseline"))
    columns = ["tags.`estimator`", cv, *others, *(f"params.`{name}`" for name in names)]
    state = _table(columns, f"{test} >= 0", cv, metric.ascending)
    return _store("-".join([f"cv_{metric.name}", *names]), state)


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
    section = {"uuid": "trials", "name": "Trials", "display": True, "isReordered": False}
    chart = {"metricSectionId": "trials", "deleted": False, "isGenerated": False}
    parallel = chart | {
        "type": "PARALLEL",
        "uuid": "parallel",
        "runsCountToCompare": 100,
        "showAllRuns": True,
        "selectedParams": names,
        "selectedMetrics": [metric],
    }
    scatters = [
        chart
        | {
            "type": "SCATTER",
            "uuid": f"scatter-{name}",
            "runsCountToCompare": 100,
            "xaxis": {"key": name, "type": "PARAM"},
            "yaxis": {"key": metric, "type": "METRIC"},
        }
        for name in names
    ]
    state |= {"compareRunSections": [section], "compareRunCharts": [parallel, *scatters]}
    # Charts would draw only the first ten runs.
    state |= {"runsHiddenMode": "SHOWALL"}
    return _store(f"sweep-{run_id}", state)


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
