"""Known faults of MLflow 3.17.2: a test fails when one is gone, and what stands for it may go."""

from sklearn.linear_model import LinearRegression

import mlflow
import pytest

from helpers import WINES, client_of, post, tracking_in

pytestmark = pytest.mark.slow


def test_interrupted_run_ends_as_failed(new_store):
    """mlflow/mlflow#1832; see `wine.tracking.killed_by_interrupts`."""
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


SERVED = pytest.mark.parametrize(
    "served", [pytest.param("main", marks=pytest.mark.xdist_group("main"))], indirect=True
)
GOOD = WINES.head(1).to_dict(orient="split", index=False)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(({"dataframe_split": GOOD}, None), id="no content type"),
        pytest.param(("[" * 100_000,), id="nested too deeply"),
    ],
)
@SERVED
def test_some_bad_requests_are_errors_of_the_server(served, sent):
    """mlflow/mlflow#4897; the server lives on."""
    assert post(served[1], *sent) == (500, "Internal Server Error")
    assert post(served[1], {"dataframe_split": GOOD})[0] == 200


@SERVED
def test_row_of_csv_with_a_cell_too_many_is_read_from_its_second_cell(served, models):
    """As pandas.read_csv does, MLflow takes the first cell for a name; no issue is known."""
    header, row = WINES.head(1).to_csv(index=False).splitlines()
    shifted = WINES.head(1).shift(-1, axis="columns").assign(alcohol=7.0)
    answer = post(served[1], f"{header}\n{row},7.0", "text/csv")
    assert answer == (200, {"predictions": models["main"].predict(shifted).tolist()})
