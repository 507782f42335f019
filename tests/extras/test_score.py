"""score: what is refused leaves nothing, what is scored is the model's, and it is recorded."""

import gzip
import os
import shutil
import signal
import sys

import mlflow
import pandas as pd
import pytest

from extras import drift
from helpers import (
    ENTRY_POINTS,
    LOCAL,
    PROJECT,
    assert_one_line_error,
    client_of,
    copy_store,
    run_command,
    runs_of,
    store_uri,
)
from tables import (
    COLUMNS,
    MEASURED,
    assert_predicted,
    counts,
    grow,
    predictions,
    read,
    run_scoring,
    start_scoring,
    wait_for_output,
    write,
)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["MODEL", "none.csv", "scored.csv"], ["input: ", "'none.csv'"]),
        (["MODEL", "wines.csv", "old.csv"], ["output: ", "old.csv", "overwrite=true"]),
        (["MODEL", "wines.csv", "scored.csv", "false", "dask"], ["engine", "'dask'", "spark"]),
        (["runs:/0/model", "wines.csv", "scored.csv"], ["model: ", "'runs:/0/model'"]),
    ],
)
def test_wrong_argument_is_refused(arguments, parts, score, model_uris, store):
    write("wines.csv", MEASURED[:3])
    shutil.copy("wines.csv", "old.csv")
    before = sorted(os.listdir()), len(runs_of(store))
    result = score(*[model_uris["main"] if word == "MODEL" else word for word in arguments])
    assert_one_line_error(result, *parts)
    assert (sorted(os.listdir()), len(runs_of(store))) == before
    assert read("old.csv") == (COLUMNS, MEASURED[:3])


def test_file_that_goes_bad_later_leaves_the_output_of_before(score, model_uris, store, large):
    write("old.csv", MEASURED[:3])
    text = large.read_bytes()[:8_000_000]
    with open("wines.csv.gz", "wb") as file:
        file.write(gzip.compress(text, 1)[:-5000])
    with open("latin.csv", "wb") as file:
        file.write(text + b"\ncaf\xe9" + b",1" * 10 + b"\n")
    for name in ("wines.csv.gz", "latin.csv"):
        result = score(model_uris["main"], name, "old.csv", "true")
        assert (result.status, result.out) == (1, "")
        assert f"input: {name} cannot be read: " in result.err.splitlines()[-1]
        assert "Traceback" not in result.err
        assert sorted(os.listdir()) == ["latin.csv", "old.csv", "wines.csv.gz"]
        assert read("old.csv") == (COLUMNS, MEASURED[:3])
    assert runs_of(store)[0].info.status == "FAILED"


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_predictions_are_those_of_the_model(entry_point, score, model_uris, models):
    order = [*reversed(COLUMNS)]
    rows = [[f"bottle {n}", *reversed(wine), "white"] for n, wine in enumerate(MEASURED, start=1)]
    write("wines.csv", rows, ["name", *order, "colour"])
    done = score(model_uris[entry_point], "wines.csv", "scored.csv")
    assert done.status == 0, done.err
    assert done.out.endswith(f"\n4898 rows scored into {os.getcwd()}/scored.csv, 0 rejected\n")
    added = ["prediction", "probability"] if entry_point == "classifier" else ["prediction"]
    header, scored = read("scored.csv")
    assert header == ["name", *order, "colour", *added]
    assert [row[: -len(added)] for row in scored] == rows
    assert_predicted(scored, predictions(models[entry_point], MEASURED))
    assert sorted(os.listdir()) == ["scored.csv", "wines.csv"]


def test_every_address_of_a_model_gives_the_same_predictions(
    score, run_script, model_uris, run_ids, store, project, empty_store, tmp_path
):
    client = client_of(store)
    (output,) = client.get_run(run_ids["main"]).outputs.model_outputs
    uri, run_id, model_id = model_uris["main"], run_ids["main"], output.model_id
    client.create_registered_model("wine")
    client.create_model_version("wine", uri, run_id, model_id=model_id)
    client.set_registered_model_alias("wine", "champion", "1")
    sent = project / "mlruns" / "0" / run_id / "artifacts" / "model"
    addresses = [uri, f"models:/{model_id}", "models:/wine/1", "models:/wine@champion"]
    texts = set()
    for address in (*addresses, os.path.relpath(sent)):
        done = score(address, PROJECT / "predict.csv", "scored.csv", "true")
        assert done.status == 0, (address, done.err)
        texts.add((tmp_path / "scored.csv").read_text())
        run = client.get_run(runs_of(store)[0].info.run_id)
        assert [item.model_id for item in run.inputs.model_inputs] == [model_id], address
    # The folder that a colleague has sent is known to no run of this store.
    copy_store(empty_store, tmp_path)
    done = run_script("extras.score", sent, PROJECT / "predict.csv", "scored.csv", "true")
    assert done.status == 0, done.err
    texts.add((tmp_path / "scored.csv").read_text())
    assert runs_of(tmp_path)[0].inputs.model_inputs == []
    assert len(texts) == 1


def test_scoring_records_parameters_inputs_metrics_and_figures(
    score, model_uris, store, run_ids, tmp_path
):
    write("wines.csv", [*MEASURED[:500], ["dry"] * 11])
    done = score(model_uris["classifier"], "wines.csv", "scored.csv")
    assert (done.status, counts(done.out)) == (3, (500, 1))
    client = client_of(store)
    run = client.get_run(runs_of(store)[0].info.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "Scoring of wines.csv")
    given = {"model": model_uris["classifier"], "input": "wines.csv", "output": "scored.csv"}
    assert given.items() <= run.data.params.items()
    metrics = run.data.metrics
    assert (metrics["rows"], metrics["rejected_rows"]) == (501, 1)
    assert {f"psi_{name}" for name in COLUMNS} < set(metrics)
    recorded = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(recorded) == {"input", "output"}
    assert f"{tmp_path}/wines.csv" in recorded["input"].source
    (linked,) = run.inputs.model_inputs
    (trained,) = client.get_run(run_ids["classifier"]).outputs.model_outputs
    assert linked.model_id == trained.model_id
    assert f"/runs/{run.info.run_id}/artifacts/predictions.png?" in done.out
    for name in ("predictions.png", "drift.png"):
        mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{name}")


def test_description_says_how_many_rows_and_whether_they_are_like_the_training(
    score, store, model_uris
):
    table = pd.read_csv(PROJECT / "wine-quality.csv").drop(columns="quality").head(500)
    strong = table.assign(alcohol=table["alcohol"] + 3)
    for rows, words, said in (
        (table, "500 rows", drift.NOTHING),
        (strong, "500 rows", "The input is unlike the training wines: "),
        (table[:1], "1 row", drift.NOTHING),
    ):
        rows.to_csv("wines.csv", index=False)
        done = score(model_uris["huber"], "wines.csv", "scored.csv", "true")
        assert done.status == 0
        assert ("input: wines.csv is unlike the training wines: " in done.err) == (rows is strong)
        note = runs_of(store)[0].data.tags["mlflow.note.content"]
        assert note.startswith(f"{words} scored into ")
        assert f"Model: {model_uris['huber']}" in note
        assert said in note


def test_mlflow_run_fails_with_rejected_rows_and_finishes_without(
    project, model_uris, store, tmp_path
):
    write(tmp_path / "wines 1.csv", [*MEASURED[:5], ["dry"] * 11])
    output = tmp_path / "scored.csv"
    scoring = ("mlflow", "run", project, "-e", "score", *LOCAL, "-P", f"model={model_uris['main']}")
    for data, status, found in (
        (f"{tmp_path}/wines 1.csv", "FAILED", (5, 1)),
        ("predict.csv", "FINISHED", (20, 0)),
    ):
        params = ("-P", f"input={data}", "-P", f"output={output}", "-P", "overwrite=true")
        done = run_command(*scoring, *params, cwd=tmp_path, MLFLOW_TRACKING_URI=store_uri(store))
        assert counts(done.out) == found, done.err
        assert (done.status == 0) == (status == "FINISHED")
        assert "Traceback" not in done.err
        assert len(read(output)[1]) == found[0]
        assert runs_of(store)[0].info.status == status


def test_output_that_is_complete_is_said_where_mlflow_fails(score, model_uris, monkeypatch):
    monkeypatch.setattr(drift, "metrics", lambda found: {"what MLflow refuses: $": 1.0})
    result = score(model_uris["main"], PROJECT / "predict.csv", "scored.csv")
    assert result.status == 1
    assert result.err.splitlines()[-1].startswith("score.py: MLflow cannot record: ")
    assert result.out.endswith(f"\n20 rows scored into {os.getcwd()}/scored.csv, 0 rejected\n")
    assert len(read("scored.csv")[1]) == 20


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_table(model_uris, store, large, tmp_path):
    """Linux counts the memory of a child from that of its parent on, which is small here."""
    grow(tmp_path / "larger.csv", 1_600_000)
    used = []
    for path in (large, tmp_path / "larger.csv"):
        arguments = model_uris["main"], path, "scored.csv", "true"
        before = (sys.executable, "-c", PEAK)
        done = run_scoring(*arguments, store=store, cwd=tmp_path, before=before)
        assert done.status == 0, done.err
        used.append(int(done.out) / (2**20 if sys.platform == "darwin" else 2**10))
    with open(tmp_path / "scored.csv", "rb") as file:
        assert sum(1 for _ in file) == 1_600_001
    assert used[1] - used[0] < 50


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_or_killed_scoring_leaves_no_output(number, model_uris, store, large, tmp_path):
    arguments = model_uris["main"], large, "scored.csv"
    with start_scoring(*arguments, store=store, cwd=tmp_path) as scoring:
        wait_for_output(tmp_path, scoring)
        os.killpg(scoring.pid, number)
        said = scoring.communicate(timeout=60)[0]
    assert not (tmp_path / "scored.csv").exists()
    if number == signal.SIGKILL:
        done = run_scoring(*arguments, store=store, cwd=tmp_path)  # It can be started again.
        assert (done.status, counts(done.out)) == (0, (400_000, 0))
    else:
        assert scoring.returncode == 130
        assert said.endswith("score.py: interrupted\n")
        assert "Traceback" not in said
        assert os.listdir(tmp_path) == []
        assert runs_of(store)[0].info.status == "KILLED"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_full_disk_ends_with_one_line_and_no_output(suffix, model_uris, store, large, tmp_path):
    before = ("bash", "-c", 'ulimit -f 4096; exec "$@"', "bash")
    arguments = model_uris["main"], large, f"scored.{suffix}"
    done = run_scoring(*arguments, store=store, cwd=tmp_path, before=before)
    assert done.status == 1, done.err
    assert "cannot be written: " in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []
    assert runs_of(store)[0].info.status == "FAILED"


def test_standard_error_that_is_closed_does_not_end_a_scoring(model_uris, store, tmp_path):
    write(tmp_path / "wines.csv", [*MEASURED[:5], ["dry"] * 11])
    without = ("bash", "-c", 'exec "$@" 2>&-', "bash")
    arguments = model_uris["main"], "wines.csv", "scored.csv"
    done = run_scoring(*arguments, store=store, cwd=tmp_path, before=without)
    assert (done.status, counts(done.out)) == (3, (5, 1))
    assert len(read(tmp_path / "scored.csv")[1]) == 5
