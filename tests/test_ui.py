"""The addresses of MLflow's UI, and the views that trainings store and never replace."""

import json

from sklearn.linear_model import Ridge

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from helpers import PROJECT, client_of, tracking_in
from wine import dataset, tracking, ui

KEY = "cv_rmse-alpha-l1_ratio-eae886fb"  # The last part is the digest of the training wines.


def experiment_tags(store):
    return client_of(store).get_experiment("0").tags


def runs_in(store, view):
    """Return the runs that a stored view shows, in its order."""
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    return client_of(store).search_runs(["0"], view["searchFilter"], order_by=[order])


def test_view_of_the_trainings_shows_the_metric_and_the_parameters(new_store, run_script):
    assert run_script("train.py").status == 0
    view = json.loads(experiment_tags(new_store)[ui.PREFIX + KEY])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`cv_rmse`", True)
    assert view["selectedColumns"] == [
        "metrics.`cv_rmse`",
        "metrics.`rmse_unseen`",
        "params.`alpha`",
        "params.`l1_ratio`",
    ]
    bars, parallel = view["compareRunCharts"]
    assert (bars["type"], bars["metricKey"]) == ("BAR", "cv_rmse")
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (
        ["alpha", "l1_ratio"],
        ["cv_rmse", "rmse_unseen"],
    )


def test_view_leaves_out_trainings_on_another_table(new_store, run_script):
    """The last one is the same table at another place."""
    lines = (PROJECT / dataset.DATA).read_text().splitlines(keepends=True)
    thousand, moved = new_store / "thousand.csv", new_store / "moved.csv"
    thousand.write_text("".join(lines[:1001]))
    moved.write_text("".join(lines))
    for data in (dataset.DATA, thousand, moved):
        assert run_script("train.py", 0.01, 0.1, data).status == 0
    tags = experiment_tags(new_store)
    views = [json.loads(tag) for name, tag in tags.items() if name.startswith(ui.PREFIX)]
    shown = [{run.info.run_name for run in runs_in(new_store, view)} for view in views]
    assert sorted(shown, key=len) == [
        {"ElasticNet 0.01, 0.1 on thousand"},
        {"ElasticNet 0.01, 0.1", "ElasticNet 0.01, 0.1 on moved"},
    ]


def test_best_by_chance_on_the_unseen_wines_does_not_come_first(new_store, run_script):
    """The first of these trainings is better on the unseen wines, the second one by folds."""
    for l1_ratio in (0.1, 0.5):
        assert run_script("train.py", 0.003, l1_ratio).status == 0
    view = json.loads(experiment_tags(new_store)[ui.PREFIX + KEY])
    runs = runs_in(new_store, view)
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


def test_registered_model_opens_outside_the_pages_for_language_models():
    url = "http://127.0.0.1:5050/#/models/wine?workflowType=machine_learning"
    assert ui.model_url("wine") == url


def test_password_in_the_tracking_address_is_not_shown(new_store):
    with tracking_in(new_store), tracking.start_run():
        mlflow.set_tracking_uri("http://ana:secret@wine.example/")
        shown = ui.runs_url()
        mlflow.set_tracking_uri(f"sqlite:///{new_store}/mlflow.db")
    assert shown == "http://wine.example/#/experiments/0/runs?workflowType=machine_learning"
