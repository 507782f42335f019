"""`mlflow run`: what a training records and prints, and from where it can be started."""

import json
import re

import mlflow
import numpy as np
import pytest

from documents import commands
from helpers import MLFLOW_RUN, as_a_user, client_of, copy_project, run_id_in, run_successfully
from wine import dataset

ELASTIC = {"alpha": "1.0", "l1_ratio": "0.1", "random_state": "42", "test_size": "0.25"}
HUBER = {"alpha": "0.0001", "epsilon": "1.35", "max_iter": "100", "with_mean": "True"}
TREES = {"n_estimators": "80", "max_depth": "None", "threshold": "0.33", "test_size": "0.2"}
EXPECTED = {  # the estimator, the name of its run, and some of the parameters
    "main": ("ElasticNet", "ElasticNet 1.0, 0.1", ELASTIC),
    "huber": ("HuberRegressor", "Huber 0.0001, 1.35, 100", HUBER),
    "classifier": ("ExtraTreesClassifier", "ExtraTrees 80, None", TREES),
}
OF_REGRESSOR = {"measured-against-predicted.png", "effects.png", "ask.html"}
OF_TREES = "confusion-matrix roc-curve precision-recall-curve importances calibration threshold"
OF_TREES = {f"{name}.png" for name in OF_TREES.split()}


@pytest.fixture(params=EXPECTED)
def entry_point(request):
    return request.param


@pytest.fixture
def run(recorded, entry_point):
    return recorded[entry_point]


@pytest.fixture
def model(project, run):
    (output,) = run.outputs.model_outputs
    return client_of(project).get_logged_model(output.model_id)


def test_run_has_a_name_and_the_parameters_of_the_estimator_and_the_split(run, entry_point):
    *names, params = EXPECTED[entry_point]
    assert [run.data.tags["estimator"], run.info.run_name] == names
    assert run.data.params.items() >= (params | {"data": "wine-quality.csv"}).items()


def test_run_has_the_training_set_and_the_test_set_as_inputs(run, project):
    inputs = run.inputs.dataset_inputs
    names = {each.tags[0].value: each.dataset.name for each in inputs}
    assert names == {part: f"wine-quality-{part}" for part in ("training", "test")}
    sources = {json.loads(each.dataset.source)["uri"] for each in inputs}
    assert sources == {str(project / "wine-quality.csv")}
    assert len({each.dataset.digest for each in inputs}) == 2


def test_run_has_figures_a_model_and_its_training_rows_as_artifacts(project, run, entry_point):
    folder = project / "mlruns/0" / run.info.run_id / "artifacts"
    files = OF_TREES if entry_point == "classifier" else OF_REGRESSOR
    assert {path.name for path in folder.iterdir()} == files | {"model", "training-rows.npy"}
    hashes = np.load(folder / "training-rows.npy")
    every = dataset.hash_groups(dataset.load(dataset.DATA))
    n_left = every[~every.isin(hashes)].nunique()  # different ones, by which a model is judged
    assert (len(hashes), n_left) == (run.data.metrics["n_train"], run.data.metrics["n_unseen"])


def test_run_and_model_say_the_estimator_and_its_metrics(run, model, entry_point):
    tags = run.data.tags
    for name in ("estimator", "converged", "mlflow.note.content"):
        assert model.tags[name] == tags[name]
    assert tags["converged"] == "true"
    description = tags["mlflow.note.content"]
    assert description.startswith(f"**{tags['estimator']}**")
    rare = "for rare values: only 20 wines of quality 3, and 5 of quality 9."
    good = "(quality 7 or more) from a probability of 0.33 on", "of which 1060 are good."
    regressor, classifier = (rare, "mean of the training"), (*good, "majority")
    for words in classifier if entry_point == "classifier" else regressor:
        assert words in description
    for name, value in run.data.metrics.items():
        if not name.startswith("n_") and not name.endswith("_std"):
            assert f"{value:.4f}" in description


def test_metrics_belong_to_the_model_and_to_the_rows_they_are_computed_on(run, model):
    assert (model.name, model.status) == ("model", "READY")
    assert {each.key: each.value for each in model.metrics} == run.data.metrics
    for each in model.metrics:
        of_training = each.key.startswith("cv_") or each.key == "n_train"
        assert each.dataset_name == f"wine-quality-{'training' if of_training else 'test'}"


def test_trees_are_saved_serial(models):
    """A single wine, as servers are asked for, is answered faster by one thread than by many."""
    trees = models["classifier"].get_raw_model()[-1].estimator_
    assert (trees.n_jobs, trees.n_estimators) == (None, 80)


def test_screen_shows_the_metrics_and_the_next_commands_and_nothing_else(
    trained, run, project, entry_point
):
    out = trained[entry_point].out
    for name, value in run.data.metrics.items():
        if not name.startswith("n_"):
            assert f"{value:.4f}" in out
    uri = f"-m runs:/{run.info.run_id}/model --env-manager local"
    assert f"\nmlflow models serve {uri} --port 5001\n" in out
    assert f'\nmlflow models predict {uri} -t csv -i "{project}/predict.csv"\n' in out
    assert "\nmlflow ui --port 5050 --workers 1\nhttp://127.0.0.1:5050/#/experiments/0/runs?" in out
    page = f"/runs/{run.info.run_id}/artifacts/ask.html?workflowType=machine_learning\n"
    assert (page in out) == (entry_point != "classifier")  # It is the page of a linear model.
    assert re.sub(r".* INFO (mlflow|alembic)\..*\n", "", trained[entry_point].err) == ""


def test_same_parameters_give_the_same_metrics(run_script, new_store, recorded):
    for script, entry_point in (("train.py", "main"), ("clf-train.py", "classifier")):
        run_id = run_id_in(run_script(script).out)
        metrics = client_of(new_store).get_run(run_id).data.metrics
        assert metrics == pytest.approx(recorded[entry_point].data.metrics, rel=1e-12)


def test_run_keeps_its_name_its_experiment_and_parameters_as_they_were_typed(new_store):
    names = ("--experiment-name", "new", "--run-name", "my-own-name")
    printed = run_successfully(*MLFLOW_RUN, "-P", "alpha=1", *names, cwd=new_store)
    run = client_of(new_store).get_run(run_id_in(printed))
    assert (run.info.status, run.info.run_name) == ("FINISHED", "my-own-name")
    assert run.data.params["alpha"] == "1"  # The script has made 1.0 of it.
    # An experiment that is not there is made.
    experiment = client_of(new_store).get_experiment_by_name("new").experiment_id
    assert run.info.experiment_id == experiment != "0"
    assert f"#/experiments/{experiment}/runs?" in printed
    assert [*new_store.glob(f"mlruns/{experiment}/*/artifacts/model/MLmodel")]


def test_start_line_trains_where_mlflow_on_its_own_would_not(tmp_path, monkeypatch):
    """The path has a blank and an accent, the folder above is read-only, and runs are in files."""
    project = copy_project(tmp_path / "João Silva" / "wine")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.MlflowClient(str(project / "mlruns")).create_experiment("of MLflow 2")
    tmp_path.chmod(0o555)
    start = next(each.text for each in commands("README.rst") if not each.not_run)
    environment, train = start.split("-r requirements.txt && ")
    assert environment.startswith("python3 -m venv .venv && . .venv/bin/activate && ")  # is here
    run_id = run_id_in(run_successfully(*as_a_user(), "bash", "-c", train, cwd=project))
    assert (project / "mlruns/0" / run_id / "artifacts/model/MLmodel").exists()
