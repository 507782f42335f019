"""A served model, a scored file and a model in memory give the same answers."""

import json

import mlflow
import pandas as pd
import pytest

from conftest import ENTRY_POINTS, LOCAL, WINES, ask, command, tracking_in


def split(wines):
    return {"dataframe_split": wines.to_dict(orient="split", index=False)}


BODIES = {
    "split": (split(WINES), "application/json"),
    "records": ({"dataframe_records": WINES.to_dict(orient="records")}, "application/json"),
    "inputs": ({"inputs": WINES.to_dict(orient="list")}, "application/json"),
    "instances": ({"instances": WINES.to_dict(orient="records")}, "application/json"),
    "csv": (WINES.to_csv(index=False), "text/csv"),
    "charset": (WINES.to_csv(index=False), "text/csv; charset=utf-8"),
    "shuffled": (split(WINES[sorted(WINES)]), "application/json"),
    "extra": (split(WINES.assign(colour="white", quality=5)), "application/json"),
}


@pytest.mark.parametrize("form", BODIES)
def test_every_form_of_body_gets_the_answers_of_the_model(served, models, form):
    entry_point, address = served
    status, answer = ask(address, *BODIES[form])
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx(
        models[entry_point].predict(WINES).tolist(), abs=1e-12
    )


def test_whole_numbers(served, models):
    entry_point, address = served
    whole = WINES.round().astype("int64")
    expected = models[entry_point].predict(whole.astype("float64")).tolist()
    for body, kind in ((split(whole), "application/json"), (whole.to_csv(index=False), "text/csv")):
        status, answer = ask(address, body, kind)
        assert (status, answer["predictions"]) == (200, pytest.approx(expected, abs=1e-12))


def test_refused_bodies_leave_the_server_alive(served):
    _, address = served
    good = split(WINES)["dataframe_split"]
    text = {**good, "data": [["dry", *good["data"][0][1:]]]}
    null = {**good, "data": [[None, *good["data"][0][1:]]]}
    assert "fixed acidity" in ask(address, split(WINES.drop(columns="fixed acidity")))[1]
    for body in (split(WINES.drop(columns="pH")), {"dataframe_split": text}, good, "{", ""):
        assert ask(address, body)[0] == 400
    assert ask(address, {"dataframe_split": null})[0] == 400
    assert ask(address, json.dumps(good), "application/json; format=pandas-split")[0] == 415
    assert ask(address, *BODIES["split"])[0] == 200


def test_famous_wrong_answer_is_not_given(served):
    """6.379428821398614 is what a model answers that takes shuffled columns by position."""
    _, address = served
    wine = [6.2, 0.66, 0.48, 1.2, 0.029, 29, 75, 0.98, 3.33, 0.39, 12.8]
    one = pd.DataFrame([wine], columns=WINES.columns)
    answers = [ask(address, split(one[order]))[1] for order in (list(WINES), sorted(WINES))]
    assert answers[0] == answers[1]
    assert answers[0]["predictions"] != [pytest.approx(6.379428821398614)]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_same_answers_everywhere(entry_point, project, run_ids, models):
    run_id = run_ids[entry_point]
    expected = models[entry_point].predict(WINES)
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    (logged,) = client.search_logged_models(["0"], f"source_run_id = '{run_id}'")
    classic = f"mlruns/0/{run_id}/artifacts/model"
    for uri in (f"models:/{logged.model_id}", project / classic):
        with tracking_in(project):
            answers = mlflow.pyfunc.load_model(str(uri)).predict(WINES)
        assert answers == pytest.approx(expected, abs=1e-12)
    for uri in (f"runs:/{run_id}/model", classic):
        done = command(
            *("mlflow", "models", "predict", "-m", uri, *LOCAL, "-t", "csv", "-i", "predict.csv"),
            cwd=project,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["predictions"] == pytest.approx(expected, abs=1e-12)
