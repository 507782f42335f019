"""A scoring is a run, with its parameters, inputs, metrics and plot."""

import mlflow

from helpers import (
    LOCAL,
    client_of,
    run_command,
    runs_of,
    store_uri,
)
from tables import (
    MEASURED,
    counts,
    read,
    write,
)


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
