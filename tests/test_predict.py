"""`mlflow models predict`: a file gets the answers of the model, by each address of it."""

import json

import mlflow
import pytest

from helpers import ENTRY_POINTS, LOCAL, WINES, client_of, run_successfully, tracking_in


def predict(uri, cwd):
    """Return the predictions for predict.csv as the command prints them."""
    command = ("mlflow", "models", "predict", "-m", uri, *LOCAL, "-t", "csv", "-i", "predict.csv")
    return json.loads(run_successfully(*command, cwd=cwd))["predictions"]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_command_prints_the_predictions_of_the_model(entry_point, project, model_uris, models):
    expected = models[entry_point].predict(WINES)
    assert predict(model_uris[entry_point], project) == pytest.approx(expected, abs=1e-12)


def test_path_of_mlflow_1_and_2_finds_the_model(project, run_ids, models):
    expected = models["main"].predict(WINES)
    path = f"mlruns/0/{run_ids['main']}/artifacts/model"
    assert predict(path, project) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_every_address_loads_the_same_model(entry_point, project, run_ids, models):
    run_id = run_ids[entry_point]
    search = f"source_run_id = '{run_id}'"
    (logged,) = client_of(project).search_logged_models(["0"], search)
    for uri in (f"models:/{logged.model_id}", f"{project}/mlruns/0/{run_id}/artifacts/model"):
        with tracking_in(project):
            predictions = mlflow.pyfunc.load_model(uri).predict(WINES)
        assert predictions == pytest.approx(models[entry_point].predict(WINES), abs=1e-12)
