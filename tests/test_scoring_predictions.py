"""Scored tables have the predictions of the model, whatever the file and the address."""

import gzip
import os

import numpy as np
import pandas as pd
import pytest

from helpers import (
    ENTRY_POINTS,
    PROJECT,
    client_of,
    run_id_in,
    runs_of,
)
from tables import (
    COLUMNS,
    MEASURED,
    assert_predicted,
    counts,
    predictions,
    read,
    write,
)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_predictions_are_those_of_the_model(entry_point, score, model_uris, models):
    order = [*reversed(COLUMNS)]
    rows = [[f"bottle {n}", *reversed(wine), "white"] for n, wine in enumerate(MEASURED, start=1)]
    write("wines.csv", rows, ["name", *order, "colour"])
    done = score(model_uris[entry_point], "wines.csv", "scored.csv")
    assert done.status == 0, done.err
    assert counts(done.out) == (4898, 0)
    added = ["prediction", "probability"] if entry_point == "classifier" else ["prediction"]
    header, scored = read("scored.csv")
    assert header == ["name", *order, "colour", *added]
    assert [row[: -len(added)] for row in scored] == rows
    assert_predicted(scored, predictions(models[entry_point], MEASURED))
    assert sorted(os.listdir()) == ["scored.csv", "wines.csv"]


def test_every_address_of_a_model_gives_the_same_predictions(
    score, model_uris, run_ids, store, project
):
    client = client_of(store)
    (output,) = client.get_run(run_ids["main"]).outputs.model_outputs
    client.create_registered_model("wine")
    client.create_model_version(
        "wine", model_uris["main"], run_ids["main"], model_id=output.model_id
    )
    client.set_registered_model_alias("wine", "champion", "1")
    path = client.get_logged_model(output.model_id).artifact_location.removeprefix("file://")
    addresses = [
        model_uris["main"],
        f"models:/{output.model_id}",
        "models:/wine/1",
        "models:/wine@champion",
        path,
        os.path.relpath(path),
        project / "mlruns" / "0" / run_ids["main"] / "artifacts" / "model",
    ]
    texts = set()
    for number, address in enumerate(addresses):
        done = score(address, PROJECT / "predict.csv", f"scored {number}.csv")
        assert done.status == 0, (address, done.err)
        with open(f"scored {number}.csv") as file:
            texts.add(file.read())
        run = client.get_run(runs_of(store)[0].info.run_id)
        assert [item.model_id for item in run.inputs.model_inputs] == [output.model_id], address
    assert len(texts) == 1


def test_every_kind_of_file_gives_the_same_predictions(score, model_uris, models):
    wines = [[*wine, str(n)] for n, wine in enumerate(MEASURED[:50])]
    write("wines.csv", wines, [*COLUMNS, "number"])
    with open("wines.csv", "rb") as plain, gzip.open("wines.csv.gz", "wb") as packed:
        packed.write(plain.read())
    pd.read_csv("wines.csv").to_parquet("wines.parquet")
    answers = predictions(models["classifier"], MEASURED[:50])
    for given in ("csv", "csv.gz", "parquet"):
        for made in ("csv", "csv.gz", "parquet"):
            name = f"from {given} to.{made}"
            done = score(model_uris["classifier"], f"wines.{given}", name)
            assert done.status == 0, (name, done.err)
            if made == "parquet":
                scored = pd.read_parquet(name)
                assert scored["number"].astype(int).tolist() == list(range(50))
                assert [*scored.columns[-2:]] == ["prediction", "probability"]
                assert_predicted(scored.to_numpy(), answers)
            else:
                _, scored = read(name)
                assert [int(row[-3]) for row in scored] == list(range(50))
                assert_predicted(scored, answers)


def test_model_that_serves_probabilities_is_scored_and_promoted_as_any_other(
    score, run_script, store, model_uris
):
    trained = run_script(
        "clf-train.py", 80, "None", "wine-quality.csv", "predict_proba", store=store
    )
    assert trained.status == 0, trained.err
    uri = f"runs:/{run_id_in(trained.out)}/model"
    write("wines.csv", MEASURED[:100])
    for name, each in (("classes.csv", model_uris["classifier"]), ("probabilities.csv", uri)):
        assert score(each, "wines.csv", name).status == 0
    (header, found), (expected_header, expected) = read("probabilities.csv"), read("classes.csv")
    assert header == expected_header
    assert [row[:-1] for row in found] == [row[:-1] for row in expected]
    assert_predicted(found, np.array(expected)[:, -1:].astype(float))
    promoted = run_script("promote.py", uri, "good-wine", store=store)
    assert promoted.status == 0, promoted.err
