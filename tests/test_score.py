"""score.py: what is refused leaves nothing, what is scored is the model's, and it is recorded."""

import gzip
import io
import os
import shutil
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import (
    ENTRY_POINTS,
    LOCAL,
    PROJECT,
    assert_one_line_error,
    client_of,
    environment,
    free_port,
    run_command,
    run_id_in,
    runs_of,
    start_server,
    store_uri,
    tracking_in,
)
from tables import COLUMNS, MEASURED, assert_predicted, counts, predictions, read, write

# What is refused


def assert_refused(result, store, before, *parts):
    """Assert that a scoring ended with one line that has all parts, and left nothing."""
    assert_one_line_error(result, *parts)
    assert (sorted(os.listdir()), len(runs_of(store))) == before


def without(column):
    """Return the text of a table that lacks a column."""
    at = COLUMNS.index(column)
    rows = [COLUMNS, *MEASURED[:3]]
    return "\n".join(",".join([*row[:at], *row[at + 1 :]]) for row in rows)


TEXT = "\n".join(",".join(row) for row in [COLUMNS, *MEASURED[:3]]) + "\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["wines.csv"]),
        (b"\n\n", ["wines.csv"]),
        (without("pH").encode(), ["column 'pH' is missing"]),
        (without("alcohol").encode(), ["column 'alcohol' is missing"]),
        (
            TEXT.replace("pH", "PH").replace("density", "ph").encode(),
            ["column 'density' is missing"],
        ),
        (
            TEXT.replace("pH", "PH").replace("\n", ",1\n").replace(",1", ",ph", 1).encode(),
            ["column 'pH' is missing, and 'PH' or 'ph' may be it"],
        ),
        (TEXT.replace("pH", "density").encode(), ["'density'", "more than once"]),
        (TEXT.replace("\n", ",x\n").encode().replace(b",x", b",pH", 1), ["'pH'", "more than once"]),
        (TEXT.replace("\n", ",prediction\n", 1).encode(), ["'prediction'"]),
        (TEXT.partition("\n")[2].encode(), ["the first line has numbers where the names"]),
        (TEXT.replace("\n", ",café\n").encode("latin-1"), ["wines.csv", "utf-8"]),
        ((TEXT + TEXT.replace("pH", "café") * 20).encode("latin-1"), ["wines.csv", "utf-8"]),
        (bytes(range(256)) * 9, ["wines.csv"]),
    ],
)
def test_table_that_cannot_be_scored_is_refused(content, parts, score, model_uris, store):
    with open("wines.csv", "wb") as file:
        file.write(content)
    result = score(model_uris["main"], "wines.csv", "scored.csv")
    assert_refused(result, store, (["wines.csv"], len(runs_of(store))), "input: ", *parts)


def test_file_that_goes_bad_later_is_refused(score, model_uris, store, large):
    text = large.read_bytes()[:8_000_000]
    with open("wines.csv.gz", "wb") as file:
        file.write(gzip.compress(text, 1)[:-5000])
    with open("latin.csv", "wb") as file:
        file.write(text + b"\ncaf\xe9" + b",1" * 10 + b"\n")
    with open("wines.parquet", "wb") as file:
        sound = io.BytesIO()
        pd.read_csv(large, nrows=9000).to_parquet(sound)
        file.write(sound.getvalue()[:-500])
    before = sorted(os.listdir())
    for name in ("wines.csv.gz", "latin.csv", "wines.parquet"):
        result = score(model_uris["main"], name, "scored.csv")
        assert result.status == 1
        assert "score.py: input: " in result.err.splitlines()[-1], result.err
        assert name in result.err
        assert "Traceback" not in result.err
        assert sorted(os.listdir()) == before
        assert result.out == ""
    assert runs_of(store)[0].info.status != "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["MODEL", "none.csv", "scored.csv"], ["input: received 'none.csv'", "no such file"]),
        (["MODEL", "no/wines.csv", "scored.csv"], ["input: received 'no/wines.csv'"]),
        (["MODEL", "wines.csv", "no/scored.csv"], ["output: ", "no/scored.csv"]),
        (["MODEL", "wines.csv", "abc://x/scored.csv"], ["output: received 'abc://x/scored.csv'"]),
        (["MODEL", "wines.csv", "wines.csv"], ["output: "]),
        (["MODEL", "wines.csv", "scored.xlsx"], ["output: ", "'scored.xlsx'", ".parquet"]),
        (["MODEL", "https://127.0.0.1:9/x", "scored.csv"], ["input: https://", "cannot be read"]),
        (["MODEL", "abc://wines.csv", "scored.csv"], ["input: abc://wines.csv cannot be read"]),
        (["MODEL", "wines.csv", "old.csv"], ["output: ", "old.csv", "overwrite=true"]),
        (["MODEL", "wines.csv", "old.csv", "yes"], ["overwrite", "'yes'", "true"]),
        (["MODEL", "wines.csv", "folder.csv", "true"], ["output: ", "folder.csv"]),
        (["MODEL", "folder.csv", "scored.csv"], ["input: ", "folder.csv"]),
        (["MODEL", "wines.csv", "scored.csv", "false", "dask"], ["engine", "'dask'", "spark"]),
        (["runs:/0/model", "wines.csv", "scored.csv"], ["model: ", "'runs:/0/model'"]),
        (["models:/none/1", "wines.csv", "scored.csv"], ["model: ", "'models:/none/1'"]),
        (["models:/none@x", "wines.csv", "scored.csv"], ["model: ", "'models:/none@x'"]),
        (["models:/m-0", "wines.csv", "scored.csv"], ["model: ", "'models:/m-0'"]),
        (["no/model", "wines.csv", "scored.csv"], ["model: ", "'no/model'"]),
        (["folder.csv", "wines.csv", "scored.csv"], ["model: ", "'folder.csv'"]),
        (["MODEL", "wines.csv", "scored.csv", "--overwrit", "true"], ["did you mean overwrite?"]),
        (["MODEL", "wines.csv"], ["output"]),
    ],
)
def test_wrong_argument_is_refused(arguments, parts, score, model_uris, store):
    write("wines.csv", MEASURED[:3])
    shutil.copy("wines.csv", "old.csv")
    os.mkdir("folder.csv")
    before = sorted(os.listdir()), len(runs_of(store))
    result = score(*[model_uris["main"] if word == "MODEL" else word for word in arguments])
    assert_refused(result, store, before, *parts)
    assert read("old.csv") == (COLUMNS, MEASURED[:3])


def test_overwrite_replaces_the_output(score, model_uris):
    write("wines.csv", MEASURED[:3])
    write("scored.csv", [])
    assert score(model_uris["main"], "wines.csv", "scored.csv", "true").status == 0
    assert len(read("scored.csv")[1]) == 3


# What is scored


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


# What is recorded


def test_scoring_records_parameters_inputs_metrics_and_plot(
    score, model_uris, store, run_ids, tmp_path
):
    write("wines.csv", [*MEASURED[:500], ["dry"] * 11])
    assert score(model_uris["classifier"], "wines.csv", "scored.csv").status == 3
    client = client_of(store)
    run = client.get_run(runs_of(store)[0].info.run_id)
    assert run.info.status == "FINISHED"
    given = {"model": model_uris["classifier"], "input": "wines.csv", "output": "scored.csv"}
    assert given.items() <= run.data.params.items()
    assert run.data.metrics["rows"] == 501
    assert run.data.metrics["rejected_rows"] == 1
    assert run.data.metrics["rows_per_second"] > 0
    recorded = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(recorded) == {"input", "output"}
    assert f"{tmp_path}/wines.csv" in recorded["input"].source
    assert f"{tmp_path}/scored.csv" in recorded["output"].source
    (linked,) = run.inputs.model_inputs
    (trained,) = client.get_run(run_ids["classifier"]).outputs.model_outputs
    assert linked.model_id == trained.model_id
    plot = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/predictions.png")
    with open(plot, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_mlflow_run_fails_with_rejected_rows_and_finishes_without(
    project, trained, model_uris, store, tmp_path
):
    write(tmp_path / "wines 1.csv", [*MEASURED[:5], ["dry"] * 11])
    address = {"MLFLOW_TRACKING_URI": store_uri(store)}
    scoring = (
        *("mlflow", "run", project, "-e", "score", *LOCAL, "-P", f"model={model_uris['main']}"),
    )
    output = tmp_path / "scored.csv"
    done = run_command(
        *(*scoring, "-P", f"input={tmp_path}/wines 1.csv", "-P", f"output={output}"),
        cwd=tmp_path,
        **address,
    )
    assert done.status != 0
    assert counts(done.out) == (5, 1), done.err
    assert "Traceback" not in done.err
    assert len(read(output)[1]) == 5

    assert runs_of(store)[0].info.status == "FAILED"

    done = run_command(
        *(*scoring, "-P", "input=predict.csv", "-P", f"output={output}", "-P", "overwrite=true"),
        cwd=tmp_path,
        **address,
    )
    assert done.status == 0, done.err
    assert counts(done.out) == (20, 0)
    assert runs_of(store)[0].info.status == "FINISHED"


def test_description_says_how_many_rows_and_whether_they_are_like_the_training(
    score, store, model_uris
):
    table = pd.read_csv(PROJECT / "wine-quality.csv").drop(columns="quality").head(500)
    table.to_csv("white.csv", index=False)
    table.assign(alcohol=table["alcohol"] + 3).to_csv("strong.csv", index=False)
    notes = []
    for name in ("white", "strong"):
        assert score(model_uris["main"], f"{name}.csv", f"{name}-scored.csv").status == 0
        notes.append(runs_of(store)[0].data.tags["mlflow.note.content"])
    assert all(note.startswith("500 rows scored into ") for note in notes)
    assert all(f"Model: {model_uris['main']}" in note for note in notes)
    assert "The input is like the training rows." in notes[0]
    assert "The input is unlike the training wines: " in notes[1]


# Whoever publishes the output kills the server directly afterwards.
KILLED_LATE = """
import os, runpy, signal, sys
from wine.scoring import output
script, server = sys.argv.pop(1), int(sys.argv.pop(1))
publish = output.publish
def publish_and_kill(*arguments):
    publish(*arguments)
    os.killpg(server, signal.SIGKILL)
output.publish = publish_and_kill
sys.argv[0] = script
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.slow
def test_output_that_is_complete_is_said_where_the_server_dies(tmp_path, project, model_uris):
    model = tmp_path / "model"  # of no run, as the server knows none of the project's
    with tracking_in(project):
        mlflow.sklearn.save_model(
            mlflow.sklearn.load_model(model_uris["main"]),
            model,
            signature=mlflow.models.get_model_info(model_uris["main"]).signature,
            serialization_format="skops",
        )
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with start_server(
        *("mlflow", "server", "--port", port, "--workers", 1),
        cwd=tmp_path,
        ready=f"{address}/health",
        env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
    ) as server:
        result = run_command(
            *(sys.executable, "-c", KILLED_LATE, PROJECT / "score.py", server.pid),
            *(model, PROJECT / "predict.csv", "scored.csv"),
            cwd=tmp_path,
            PYTHONPATH=str(PROJECT),
            MLFLOW_TRACKING_URI=address,
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
        )
    assert result.status == 1
    kept = f"the output is complete: 20 rows scored into {tmp_path}/scored.csv, 0 rejected"
    assert result.err.splitlines()[-1].endswith(kept)
    assert "Traceback" not in result.err
    assert len(pd.read_csv(tmp_path / "scored.csv")) == 20
