"""The addresses of MLflow's UI, and the views that trainings store and never replace."""

import json

from sklearn.linear_model import Ridge

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from helpers import client_of, tracking_in
from wine import tracking, ui

KEY = "cv_rmse-alpha-l1_ratio"


def experiment_tags(store):
    return client_of(store).get_experiment("0").tags


def test_view_of_the_trainings_shows_the_metric_and_the_parameters(new_store, run_script):
    assert run_script("train.py").status == 0
    view = json.loads(experiment_tags(new_store)[ui.PREFIX + KEY])
    assert view["searchFilter"] == "metrics.`rmse` >= 0"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`cv_rmse`", True)
    assert view["selectedColumns"] == [
        "tags.`estimator`",
        "metrics.`cv_rmse`",
        "metrics.`rmse_unseen`",
        "metrics.`rmse`",
        "metrics.`rmse_baseline`",
        "params.`alpha`",
        "params.`l1_ratio`",
    ]


def test_best_by_chance_on_the_unseen_wines_does_not_come_first(new_store, run_script):
    """The first of these trainings is better on the unseen wines, the second one by folds."""
    for l1_ratio in (0.1, 0.5):
        assert run_script("train.py", 0.003, l1_ratio).status == 0
    view = json.loads(experiment_tags(new_store)[ui.PREFIX + KEY])
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client_of(new_store).search_runs(["0"], view["searchFilter"], order_by=[order])
    assert [run.data.params["l1_ratio"] for run in runs] == ["0.5", "0.1"]
    assert runs[0].data.metrics["rmse_unseen"] > runs[1].data.metrics["rmse_unseen"]


def test_view_that_is_there_stays(new_store, run_script):
    own = json.dumps({"selectedColumns": []})
    client_of(new_store).set_experiment_tag("0", ui.PREFIX + KEY, own)
    result = run_script("train.py")
    assert result.status == 0, result.err
    assert experiment_tags(new_store)[ui.PREFIX + KEY] == own
    assert f"&viewStateShareKey={KEY}\n" in result.out


def test_view_that_cannot_be_stored_does_not_fail_the_run(new_store):
    """A tag of an experiment that was deleted is refused, as to a member without the right."""
    with tracking_in(new_store), tracking.start_run():
        mlflow.MlflowClient().delete_experiment("0")
        with pytest.raises(MlflowException):
            mlflow.MlflowClient().set_experiment_tag("0", "any", "any")
        view = ui.store_trainings(Ridge(), {"alpha": 1.0})
        assert view == {}
        assert ui.runs_url(**view).endswith("/runs?workflowType=machine_learning")
        mlflow.MlflowClient().restore_experiment("0")


def test_password_in_the_tracking_address_is_not_shown(new_store):
    with tracking_in(new_store), tracking.start_run():
        mlflow.set_tracking_uri("http://ana:secret@wine.example/")
        shown = ui.runs_url()
        mlflow.set_tracking_uri(f"sqlite:///{new_store}/mlflow.db")
    assert shown == "http://wine.example/#/experiments/0/runs?workflowType=machine_learning"
