"""`mlflow run`: what a training records and prints, and from where it can be started."""

import json
import re
import shutil

import mlflow
import pytest

from documents import commands
from helpers import (
    ENTRY_POINTS,
    LOCAL,
    MLFLOW_RUN,
    PROJECT,
    WINES,
    as_a_user,
    client_of,
    copy_project,
    copy_store,
    git_commit,
    models_of,
    run_command,
    run_id_in,
    run_successfully,
    runs_of,
    store_uri,
    tracking_in,
)
from wine import dataset


@pytest.fixture(scope="module")
def client(project):
    return client_of(project)


# What is recorded


@pytest.mark.parametrize(
    ("entry_point", "params"),
    [
        ("main", {"alpha": "1.0", "l1_ratio": "0.1", "random_state": "42", "test_size": "0.25"}),
        ("huber", {"alpha": "0.0001", "epsilon": "1.35", "max_iter": "100", "with_mean": "True"}),
        (
            "classifier",
            {
                "n_estimators": "80",
                "max_depth": "None",
                "threshold": "0.33",
                "split_random_state": "42",
            },
        ),
    ],
)
def test_run_has_the_parameters_of_the_estimator_and_the_split(recorded, entry_point, params):
    found = recorded[entry_point].data.params
    assert found.items() >= (params | {"data": "wine-quality.csv"}).items()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_run_has_the_training_set_and_the_test_set_as_inputs(recorded, project, entry_point):
    inputs = recorded[entry_point].inputs.dataset_inputs
    found = {item.dataset.name: item for item in inputs}
    assert set(found) == {"wine-quality-training", "wine-quality-test"}
    for name, item in found.items():
        assert item.tags[0].value == name.rsplit("-", 1)[1]
        assert json.loads(item.dataset.source)["uri"] == str(project / "wine-quality.csv")
        assert item.dataset.digest
    assert len({item.dataset.digest for item in inputs}) == 2


@pytest.mark.parametrize(
    ("entry_point", "plots"),
    [
        ("main", {"predicted-against-measured", "residuals", "effects"}),
        ("huber", {"predicted-against-measured", "residuals", "effects"}),
        (
            "classifier",
            {"confusion-matrix", "roc-curve", "precision-recall-curve", "importances"}
            | {"calibration", "threshold"},
        ),
    ],
)
def test_run_has_its_plots_and_its_model_as_artifacts(project, client, run_ids, entry_point, plots):
    with tracking_in(project):
        artifacts = {item.path for item in client.list_artifacts(run_ids[entry_point])}
    assert artifacts == {f"{plot}.png" for plot in plots} | {"model"}


@pytest.mark.parametrize(
    ("entry_point", "estimator"),
    [
        ("main", "ElasticNet"),
        ("huber", "HuberRegressor"),
        ("classifier", "ExtraTreesClassifier"),
    ],
)
def test_description_and_tags_say_the_estimator_and_the_metrics(
    client, recorded, entry_point, estimator
):
    tags = recorded[entry_point].data.tags
    assert (tags["estimator"], tags["converged"]) == (estimator, "true")
    description = tags["mlflow.note.content"]
    (model,) = client.search_logged_models(
        ["0"], f"source_run_id = '{recorded[entry_point].info.run_id}'"
    )
    own = ("estimator", "converged", "mlflow.note.content")
    assert [model.tags[name] for name in own] == [tags[name] for name in own]
    assert description.startswith(f"**{estimator}**")
    assert "only 20 wines of quality 3, and 5 of quality 9" in description
    for name, value in recorded[entry_point].data.metrics.items():
        if not name.startswith("n_") and not name.endswith("_std"):
            assert f"{value:.4f}" in description


def test_run_is_named_after_its_estimator_and_parameters(recorded):
    assert {entry_point: run.info.run_name for entry_point, run in recorded.items()} == {
        "main": "ElasticNet 1.0, 0.1",
        "huber": "Huber 0.0001, 1.35, 100",
        "classifier": "ExtraTrees 80, None",
    }


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_logged_model_has_signature_pins_and_metrics(client, recorded, project, entry_point):
    run = recorded[entry_point]
    (logged,) = client.search_logged_models(["0"], f"source_run_id = '{run.info.run_id}'")
    assert (logged.name, logged.status) == ("model", "READY")
    linked = {(metric.key, metric.value, metric.dataset_name) for metric in logged.metrics}
    assert {(key, value) for key, value, _ in linked} == set(run.data.metrics.items())
    assert {name for _, _, name in linked} == {"wine-quality-test"}

    with tracking_in(project):
        info = mlflow.models.get_model_info(logged.model_uri)
        folder = mlflow.artifacts.download_artifacts(logged.model_uri)
    answer = "long" if entry_point == "classifier" else "double"
    assert [(column.name, column.type.name) for column in info.signature.inputs] == [
        (name, "double") for name in dataset.FEATURES
    ]
    assert [column.type.name for column in info.signature.outputs] == [answer]
    trusted = ["sklearn.tree._tree.Tree"] if entry_point == "classifier" else []
    flavor = info.flavors["sklearn"]
    assert flavor["serialization_format"] == "skops"
    assert flavor["skops_trusted_types"] == trusted
    assert info.saved_input_example_info

    with open(f"{folder}/requirements.txt") as lines:
        requirements = set(lines.read().split())
    assert requirements <= set((PROJECT / "requirements.txt").read_text().split())
    assert {line.split("==")[0] for line in requirements} == {
        *("mlflow", "scikit-learn", "skops", "pandas", "numpy")
    }


def test_trees_are_saved_serial(project, model_uris):
    """A single wine, as servers are asked for, is answered faster by one thread than by many."""
    with tracking_in(project):
        trees = mlflow.sklearn.load_model(model_uris["classifier"])[-1].estimator_
    assert (trees.n_jobs, trees.n_estimators) == (None, 80)


def test_predict_proba_makes_the_model_answer_with_probabilities(run_script, new_store, models):
    """What a server, `mlflow models predict` and an image answer, is what pyfunc answers."""
    result = run_script("clf-train.py", 80, "None", "wine-quality.csv", "predict_proba")
    assert result.status == 0, result.err
    with tracking_in(new_store):
        uri = f"runs:/{run_id_in(result.out)}/model"
        served, estimator = mlflow.pyfunc.load_model(uri), mlflow.sklearn.load_model(uri)
    (output,) = served.metadata.signature.outputs.to_dict()
    assert output["tensor-spec"] == {"dtype": "float64", "shape": (-1, 2)}
    probabilities = served.predict(WINES)
    assert probabilities.tolist() == estimator.predict_proba(WINES).tolist()
    classes = models["classifier"].predict(WINES)
    assert ((probabilities[:, 1] >= 0.33) == classes).all()
    assert ((probabilities[:, 1] >= 0.5) != classes).any()


# What is printed


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_screen_shows_the_metrics_and_the_next_commands(trained, recorded, project, entry_point):
    run = recorded[entry_point]
    out = trained[entry_point].out
    for name, value in run.data.metrics.items():
        if not name.startswith("n_"):
            assert f"{value:.4f}" in out
    model = f"-m runs:/{run.info.run_id}/model --env-manager local"
    assert f"\nmlflow models serve {model} --port 5001\n" in out
    assert f'\nmlflow models predict {model} -t csv -i "{project}/predict.csv"\n' in out
    assert "\nmlflow ui --port 5050 --workers 1\nhttp://127.0.0.1:5050/#/experiments/0/runs?" in out
    noise = re.sub(r".* INFO (mlflow|alembic)\..*\n", "", trained[entry_point].err)
    assert noise == ""


# How it is started


def test_same_parameters_give_the_same_metrics(run_script, new_store, recorded):
    result = run_script("train.py")
    assert result.status == 0, result.err
    (run,) = runs_of(new_store)
    assert run.data.metrics == recorded["main"].data.metrics


@pytest.mark.parametrize(
    ("script", "name", "typed", "shown"),
    [
        ("train.py", "alpha", "1", "alpha=1.0"),
        ("train.py", "alpha", "0.50", "alpha=0.5"),
        ("train.py", "alpha", "1e-3", "alpha=0.001"),
        ("huber-train.py", "alpha", "1", "alpha=1.0"),
    ],
)
def test_number_stays_logged_as_it_was_typed(
    run_script, new_store, monkeypatch, script, name, typed, shown
):
    """`mlflow run` logs the text before the script starts; a value is logged only once."""
    client = client_of(new_store)
    run_id = client.create_run("0").info.run_id
    client.log_param(run_id, name, typed)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    result = run_script(script, typed)
    assert result.status == 0, result.err
    assert shown in result.out
    assert client.get_run(run_id).data.params[name] == typed


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a git repository with the project."""
    folder = copy_project(tmp_path_factory.mktemp("clone") / "wine project")
    git_commit(folder)
    return folder


@pytest.mark.parametrize("dot", ["", "/%2e"], ids=["folder", "clone"])
def test_project_runs_by_its_address_from_another_folder(clone, empty_store, tmp_path, dot):
    """MLflow takes file:// plus a path that is there for a folder, any other for git's."""
    copy_store(empty_store, tmp_path)
    address = f"file://{clone}{dot}".replace(" ", "%20" if dot else " ")
    typed = (
        "-P",
        "alpha=1",
        "--experiment-name",
        "new",
        "--run-name",
        "my-own-name",
    )  # alpha is logged as 1
    done = run_command("mlflow", "run", address, *LOCAL, *typed, cwd=tmp_path)
    assert done.status == 0, done.err
    assert ("Fetched" in done.err) == bool(dot)
    run_id = run_id_in(done.out)
    run = client_of(tmp_path).get_run(run_id)
    assert (run.info.status, run.data.params["alpha"]) == ("FINISHED", "1")
    assert run.info.run_name == "my-own-name"
    # an experiment that is not there is made
    experiment = client_of(tmp_path).get_experiment_by_name("new").experiment_id
    assert run.info.experiment_id == experiment != "0"
    assert f"#/experiments/{experiment}/runs?" in done.out
    assert (tmp_path / "mlruns" / experiment / run_id / "artifacts/model/MLmodel").exists()


def test_start_line_trains_where_mlflow_on_its_own_would_not(tmp_path, monkeypatch):
    """The path has a blank and an accent, the folder above is read-only, and runs are in files."""
    project = copy_project(tmp_path / "João Silva" / "wine")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.MlflowClient(str(project / "mlruns")).create_experiment("of MLflow 2")
    tmp_path.chmod(0o555)
    environment, train = commands("README.rst")[0].text.split("-r requirements.txt && ")
    assert environment.startswith("python3 -m venv .venv && . .venv/bin/activate && ")  # is here
    done = run_command(*as_a_user(), "bash", "-c", train, cwd=project)
    assert done.status == 0, done.err
    (run,) = runs_of(project)
    assert (project / "mlruns/0" / run.info.run_id / "artifacts/model/MLmodel").exists()


def test_script_runs_from_another_folder(tmp_path):
    """The script makes the store itself where there is none."""
    out = run_successfully("python", PROJECT / "train.py", "0.5", "0.1", cwd=tmp_path)
    assert "ElasticNet: alpha=0.5, l1_ratio=0.1, data=wine-quality.csv" in out
    (run,) = runs_of(tmp_path)
    assert (tmp_path / "mlruns/0" / run.info.run_id / "artifacts/model/MLmodel").exists()


def test_wrong_parameter_makes_a_failed_run(new_store):
    done = run_command(*MLFLOW_RUN, "-P", "alhpa=0.1", cwd=new_store)
    assert done.status != 0
    assert "did you mean alpha?" in done.err
    assert "Traceback" not in done.err
    (run,) = runs_of(new_store)
    assert (run.info.status, run.data.metrics, models_of(new_store)) == ("FAILED", {}, [])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_project_runs_in_an_environment_of_uv(tmp_path, project):
    if not shutil.which("uv"):
        pytest.skip("needs uv, which tests/requirements.txt installs")
    uv = ("mlflow", "run", project, "--env-manager", "uv")
    out = run_successfully(*uv, cwd=tmp_path, timeout=600, MLFLOW_TRACKING_URI=store_uri(tmp_path))
    assert "rmse 0.8139 0.8107" in out
