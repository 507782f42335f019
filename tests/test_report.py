"""The report: the addresses of MLflow's UI, and the views that trainings store, never replace."""

import json

import mlflow
import pandas as pd

from helpers import PROJECT, client_of, tracking_in
from wine import dataset, report

KEY = "cv_rmse-alpha-l1_ratio-eae886fb"  # The last part is the digest of the training wines.


def views_of(store):
    """Return the stored views of the experiment in a folder's store, by their keys."""
    tags = client_of(store).get_experiment("0").tags
    return {
        name.removeprefix(report.PREFIX): json.loads(tag)
        for name, tag in tags.items()
        if name.startswith(report.PREFIX)
    }


def runs_in(store, view):
    """Return the runs that a stored view shows, in its order."""
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    return client_of(store).search_runs(["0"], view["searchFilter"], order_by=[order])


def test_view_of_the_trainings_shows_the_metric_and_the_parameters(project):
    view = views_of(project)[KEY]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`cv_rmse`", True)
    metrics, params = ["cv_rmse", "rmse_unseen"], ["alpha", "l1_ratio"]
    columns = [*(f"metrics.`{name}`" for name in metrics), *(f"params.`{name}`" for name in params)]
    assert view["selectedColumns"] == columns
    parallel, bars = view["compareRunCharts"]
    assert (bars["type"], bars["metricKey"]) == ("BAR", "cv_rmse")
    assert (parallel["selectedParams"], parallel["selectedMetrics"]) == (params, metrics)


def test_best_classifier_comes_first_by_the_highest_metric(project):
    (view,) = (view for key, view in views_of(project).items() if "n_estimators" in key)
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`cv_average_precision`", False)


def test_view_leaves_out_trainings_on_another_table(new_store, run_script):
    """The last one is the same table at another place."""
    lines = (PROJECT / dataset.DATA).read_text().splitlines(keepends=True)
    thousand, moved = new_store / "thousand.csv", new_store / "moved.csv"
    thousand.write_text("".join(lines[:1001]))
    moved.write_text("".join(lines))
    for data in (dataset.DATA, thousand, moved):
        assert run_script("train.py", 0.01, 0.1, data).status == 0
    views = views_of(new_store).values()
    shown = [{run.info.run_name for run in runs_in(new_store, view)} for view in views]
    assert sorted(shown, key=len) == [
        {"ElasticNet 0.01, 0.1 on thousand"},
        {"ElasticNet 0.01, 0.1", "ElasticNet 0.01, 0.1 on moved"},
    ]


def test_best_by_chance_on_the_unseen_wines_does_not_come_first(new_store, run_script):
    """The first of these trainings is better on the unseen wines, the second one by folds."""
    for l1_ratio in (0.1, 0.5):
        assert run_script("train.py", 0.003, l1_ratio).status == 0
    best, other = runs_in(new_store, views_of(new_store)[KEY])
    assert [run.data.params["l1_ratio"] for run in (best, other)] == ["0.5", "0.1"]
    assert best.data.metrics["rmse_unseen"] > other.data.metrics["rmse_unseen"]


def test_view_that_is_there_stays(new_store, run_script):
    own = {"selectedColumns": []}
    client_of(new_store).set_experiment_tag("0", report.PREFIX + KEY, json.dumps(own))
    result = run_script("train.py")
    assert result.status == 0, result.err
    assert views_of(new_store) == {KEY: own}
    assert f"&viewStateShareKey={KEY}\n" in result.out


def test_view_that_cannot_be_stored_opens_the_table_of_all_runs(new_store):
    """A tag of an experiment that was deleted is refused, as to a member without the right."""
    with tracking_in(new_store), mlflow.start_run():
        mlflow.MlflowClient().delete_experiment("0")
        view = report.store_view("key", "", ["rmse"], [], True)
        mlflow.MlflowClient().restore_experiment("0")
        assert (view, views_of(new_store)) == ({}, {})
        assert report.runs_url(**view).endswith("/runs?workflowType=machine_learning")


def test_password_in_the_tracking_address_is_not_shown(new_store):
    with tracking_in(new_store), mlflow.start_run():
        mlflow.set_tracking_uri("http://ana:secret@wine.example/")
        shown = report.runs_url()
        mlflow.set_tracking_uri(f"sqlite:///{new_store}/mlflow.db")
    assert shown == "http://wine.example/#/experiments/0/runs?workflowType=machine_learning"


def test_column_that_holds_the_answer_is_said(run_script, new_store):
    table = pd.read_csv(PROJECT / dataset.DATA)
    table.assign(alcohol=2 * table["quality"]).to_csv(new_store / "leak.csv", index=False)
    result = run_script("train.py", 0, 0, "leak.csv")
    assert "data: r2 is 1.0000 on unseen wines: a column may hold the answer" in result.err
