"""A served model, a scored file and a model in memory give the same answers."""

import json

import pandas as pd
import pytest

from helpers import WINES, post


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
    status, answer = post(address, *BODIES[form])
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx(
        models[entry_point].predict(WINES).tolist(), abs=1e-12
    )


def test_whole_numbers_are_measurements(served, models):
    entry_point, address = served
    whole = WINES.round().astype("int64")
    expected = models[entry_point].predict(whole.astype("float64")).tolist()
    for body, kind in ((split(whole), "application/json"), (whole.to_csv(index=False), "text/csv")):
        status, answer = post(address, body, kind)
        assert (status, answer["predictions"]) == (200, pytest.approx(expected, abs=1e-12))


def test_refused_bodies_leave_the_server_alive(served):
    _, address = served
    good = split(WINES)["dataframe_split"]
    text = {**good, "data": [["dry", *good["data"][0][1:]]]}
    null = {**good, "data": [[None, *good["data"][0][1:]]]}
    assert "fixed acidity" in post(address, split(WINES.drop(columns="fixed acidity")))[1]
    for body in (split(WINES.drop(columns="pH")), {"dataframe_split": text}, good, "{", ""):
        assert post(address, body)[0] == 400
    assert post(address, {"dataframe_split": null})[0] == 400
    assert post(address, json.dumps(good), "application/json; format=pandas-split")[0] == 415
    assert post(address, *BODIES["split"])[0] == 200


def test_famous_wrong_answer_is_not_given(served):
    """6.379428821398614 is what a model answers that takes shuffled columns by position."""
    _, address = served
    wine = [6.2, 0.66, 0.48, 1.2, 0.029, 29, 75, 0.98, 3.33, 0.39, 12.8]
    one = pd.DataFrame([wine], columns=WINES.columns)
    answers = [post(address, split(one[order]))[1] for order in (list(WINES), sorted(WINES))]
    assert answers[0] == answers[1]
    assert answers[0]["predictions"] != [pytest.approx(6.379428821398614)]
