"""Known faults of MLflow 3.17.2: a test fails when one is gone, and what stands for it may go."""

from sklearn.linear_model import LinearRegression

import mlflow
import pytest

from helpers import client_of, tracking_in

pytestmark = pytest.mark.slow


def test_interrupted_run_ends_as_failed(new_store):
    """mlflow/mlflow#1832; see `wine.tracking.recording`."""
    with tracking_in(new_store):
        with pytest.raises(KeyboardInterrupt), mlflow.start_run() as run:
            raise KeyboardInterrupt
        assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


def test_parameter_as_it_was_typed_and_as_it_was_read_are_two(new_store):
    """mlflow/mlflow#2820; see `wine.tracking.new_params`."""
    with tracking_in(new_store), mlflow.start_run():
        mlflow.log_params({"alpha": "1"})
        with pytest.raises(mlflow.MlflowException, match="Changing param values is not allowed"):
            mlflow.log_params({"alpha": 1.0})


def test_model_is_not_among_the_artifacts_of_its_run(new_store):
    """mlflow/mlflow#16947; see `wine.tracking.whole_model`."""
    with tracking_in(new_store), mlflow.start_run() as run:
        line = LinearRegression().fit([[0], [1]], [0, 1])
        mlflow.sklearn.log_model(line, name="model", pip_requirements=[])
    run_folder = new_store / "mlruns" / "0" / run.info.run_id
    assert not (run_folder / "artifacts" / "model").exists()
    assert client_of(new_store).search_logged_models(["0"])
