"""Views: each training stores one, and never replaces what somebody has changed."""

import json

from sklearn.linear_model import Ridge

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from helpers import client_of, run_id_in, runs_of, tracking_in
from wine import report, tracking, views

KEY = "rmse-alpha-l1_ratio"


def experiment_tags(store):
    return client_of(store).get_experiment("0").tags


def test_view_of_the_trainings(new_store, run_script):
    assert run_script("train.py").status == 0
    view = json.loads(experiment_tags(new_store)[views.PREFIX + KEY])
    assert view["searchFilter"] == "metrics.`rmse_unseen` > 0"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`rmse_unseen`", True)
    assert view["selectedColumns"] == [
        "tags.`estimator`",
        "metrics.`rmse_unseen`",
        "metrics.`rmse`",
        "metrics.`rmse_baseline`",
        "params.`alpha`",
        "params.`l1_ratio`",
    ]


def test_view_that_is_there_stays(new_store, run_script):
    own = json.dumps({"selectedColumns": []})
    client_of(new_store).set_experiment_tag("0", views.PREFIX + KEY, own)
    result = run_script("train.py")
    assert result.status == 0, result.err
    assert experiment_tags(new_store)[views.PREFIX + KEY] == own
    assert f"&viewStateShareKey={KEY}\n" in result.out


def test_view_that_cannot_be_stored_does_not_fail_the_run(new_store):
    """A tag of an experiment that was deleted is refused, as to a member without the right."""
    with tracking_in(new_store), tracking.start_run():
        mlflow.MlflowClient().delete_experiment("0")
        with pytest.raises(MlflowException):
            mlflow.MlflowClient().set_experiment_tag("0", "any", "any")
        view = views.store_trainings(Ridge(), {"alpha": 1.0})
        assert view == {}
        assert report.ui_url(**view).endswith("/runs?workflowType=machine_learning")
        mlflow.MlflowClient().restore_experiment("0")


@pytest.mark.parametrize("name", ["my-own-name", "sweep-of-7", "lazy-days-12"])
def test_name_that_a_user_gave_stays(new_store, run_script, monkeypatch, name):
    run = client_of(new_store).create_run("0", run_name=name)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    result = run_script("train.py")
    assert result.status == 0, result.err
    assert client_of(new_store).get_run(run_id_in(result.out)).info.run_name == name


def test_random_name_is_replaced(new_store, run_script):
    for _ in range(3):
        assert run_script("train.py", 0.5).status == 0
    assert {run.info.run_name for run in runs_of(new_store)} == {
        "ElasticNet alpha=0.5 l1_ratio=0.1"
    }
