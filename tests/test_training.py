"""What a training computes, records and prints, through the real `mlflow run`."""

import importlib.util
import json
import re
import shutil

import mlflow
import pandas as pd
import pytest

from conftest import ENTRY_POINTS, PROJECT, command, git_commit
from wine import judgement, table

REGRESSOR = ("rmse", "mae", "r2")
CLASSIFIER = ("accuracy", "recall", "precision", "f1", "roc_auc", "average_precision")
RUN = ("mlflow", "run", ".", "--env-manager", "local")


def script(name):
    """Return a training script as a module."""
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), PROJECT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def wines():
    return table.read("wine-quality.csv")


@pytest.fixture(scope="session")
def client(project, trained):
    mlflow.set_tracking_uri(f"sqlite:///{project}/mlflow.db")
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def recorded(client, run_ids):
    """The run of each entry point, as the store has it."""
    return {entry_point: client.get_run(run_id) for entry_point, run_id in run_ids.items()}


@pytest.mark.parametrize(
    ("alpha", "l1_ratio", "rmse", "mae", "r2"),
    [  # as MLflow's own tutorials print them for this table
        (0.5, 0.5, 0.82224284975954, 0.6278761410160691, 0.12678721972772689),
        (0.2, 0.2, 0.7859129997062342, 0.6155290394093894, 0.20224631822892092),
        (0.1, 0.1, 0.7792546522251949, 0.6112547988118587, 0.2157063843066196),
        (0.42, 0.1, 0.7917149365733894, 0.6177463381374034, 0.19042414117747397),
    ],
)
def test_published_results(wines, alpha, l1_ratio, rmse, mae, r2):
    main = script("train")
    split = main.split(wines)
    estimator = main.build(alpha, l1_ratio)
    assert judgement.fit(estimator, split, remedy="")
    scores = judgement.scores(estimator, split)
    assert scores["test"].to_dict() == pytest.approx({"rmse": rmse, "mae": mae, "r2": r2}, abs=1e-9)


def test_huber_is_as_good_as_measured_behind_a_scaler(recorded):
    metrics = recorded["huber"].data.metrics
    assert [round(metrics[name], 5) for name in REGRESSOR] == [0.74482, 0.57882, 0.28350]


def test_wines_seen_in_training(recorded):
    metrics = {entry_point: run.data.metrics for entry_point, run in recorded.items()}
    assert metrics["main"]["n_test"] - metrics["main"]["n_unseen"] == 339
    assert metrics["classifier"]["n_test"] - metrics["classifier"]["n_unseen"] == 286


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_metrics(recorded, entry_point):
    names = CLASSIFIER if entry_point == "classifier" else REGRESSOR
    kinds = [f"{name}{kind}" for name in names for kind in ("", "_unseen", "_baseline")]
    assert set(recorded[entry_point].data.metrics) == {*kinds, "n_train", "n_test", "n_unseen"}


def test_unseen_is_judged_on_unseen_wines_alone(wines):
    split = script("train").split(wines)
    train = set(map(tuple, split.X_train.assign(quality=split.y_train).to_numpy()))
    test = map(tuple, split.X_test.assign(quality=split.y_test).to_numpy())
    assert split.unseen.tolist() == [wine not in train for wine in test]


@pytest.mark.parametrize(
    ("entry_point", "shaping"),
    [
        ("main", {"alpha": "1.0", "l1_ratio": "0.1", "random_state": "42", "test_size": "0.25"}),
        ("huber", {"alpha": "0.0001", "epsilon": "1.35", "max_iter": "100", "with_mean": "True"}),
        ("classifier", {"n_estimators": "200", "max_depth": "None", "split_random_state": "42"}),
    ],
)
def test_parameters(recorded, entry_point, shaping):
    params = recorded[entry_point].data.params
    assert params.items() >= (shaping | {"data": "wine-quality.csv"}).items()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_inputs(recorded, project, entry_point):
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
        ("main", {"predicted-against-measured", "residuals", "coefficients"}),
        ("huber", {"predicted-against-measured", "residuals", "coefficients"}),
        (
            "classifier",
            {"confusion-matrix", "roc-curve", "precision-recall-curve", "importances"},
        ),
    ],
)
def test_plots(client, run_ids, entry_point, plots):
    artifacts = {item.path for item in client.list_artifacts(run_ids[entry_point])}
    assert artifacts == {f"{plot}.png" for plot in plots} | {"model"}


@pytest.mark.parametrize(
    ("entry_point", "estimator"),
    [
        ("main", "ElasticNet"),
        ("huber", "HuberRegressor"),
        ("classifier", "RandomForestClassifier"),
    ],
)
def test_description_and_tags(recorded, entry_point, estimator):
    tags = recorded[entry_point].data.tags
    assert (tags["estimator"], tags["converged"]) == (estimator, "true")
    description = tags["mlflow.note.content"]
    assert description.startswith(f"**{estimator}**")
    assert "only 20 wines are rated 3 and 5 are rated 9" in description
    for name, value in recorded[entry_point].data.metrics.items():
        if not name.startswith("n_"):
            assert f"{value:.4f}" in description


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_model(client, recorded, project, entry_point):
    run = recorded[entry_point]
    (logged,) = client.search_logged_models(["0"], f"source_run_id = '{run.info.run_id}'")
    assert (logged.name, logged.status) == ("model", "READY")
    linked = {(metric.key, metric.value, metric.dataset_name) for metric in logged.metrics}
    assert {(key, value) for key, value, _ in linked} == set(run.data.metrics.items())
    assert {name for _, _, name in linked} == {"wine-quality-training", "wine-quality-test"}

    info = mlflow.models.get_model_info(logged.model_uri)
    answer = "long" if entry_point == "classifier" else "double"
    assert [(column.name, column.type.name) for column in info.signature.inputs] == [
        (name, "double") for name in table.MEASUREMENTS
    ]
    assert [column.type.name for column in info.signature.outputs] == [answer]
    trusted = ["sklearn.tree._tree.Tree"] if entry_point == "classifier" else []
    flavor = info.flavors["sklearn"]
    assert flavor["serialization_format"] == "skops"
    assert flavor["skops_trusted_types"] == trusted
    assert info.saved_input_example_info

    folder = mlflow.artifacts.download_artifacts(logged.model_uri)
    with open(f"{folder}/requirements.txt") as lines:
        requirements = set(lines.read().split())
    assert requirements <= set((PROJECT / "requirements.txt").read_text().split())
    assert {line.split("==")[0] for line in requirements} == {
        *("mlflow", "scikit-learn", "skops", "pandas", "numpy")
    }


def test_forest_is_saved_serial(client, run_ids):
    forest = mlflow.sklearn.load_model(f"runs:/{run_ids['classifier']}/model")[-1]
    assert (forest.n_jobs, forest.n_estimators) == (None, 200)


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_screen(trained, recorded, project, entry_point):
    run = recorded[entry_point]
    out = trained[entry_point].stdout
    for name, value in run.data.metrics.items():
        if not name.startswith("n_"):
            assert f"{value:.4f}" in out
    model = f"-m runs:/{run.info.run_id}/model --env-manager local"
    assert f"\nmlflow models serve {model} --port 5001\n" in out
    assert f'\nmlflow models predict {model} -t csv -i "{project}/predict.csv"\n' in out
    assert "\nmlflow ui --port 5000\nhttp://127.0.0.1:5000/#/experiments/0/runs?" in out
    noise = re.sub(r".* INFO (mlflow|alembic)\..*\n", "", trained[entry_point].stderr)
    assert noise == ""


def test_same_parameters_same_metrics(recorded, wines, trained, project, client):
    again = command(*RUN, "-P", "alpha=1", cwd=project)  # typed 1, logged as 1
    assert again.returncode == 0, again.stderr
    run = client.get_run(re.search(r"runs:/(\w+)", again.stdout)[1])
    assert run.data.params["alpha"] == "1"
    assert run.data.metrics == recorded["main"].data.metrics


@pytest.mark.parametrize(
    ("entry_point", "typed", "shown"),
    [
        ("huber", "epsilon=1", "epsilon=1.0"),
        ("main", "alpha=0.50", "alpha=0.5"),
        ("main", "alpha=1e-3", "alpha=0.001"),
    ],
)
def test_numbers_as_people_type_them(project, client, entry_point, typed, shown):
    done = command(*RUN, "-e", entry_point, "-P", typed, cwd=project)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    run = client.get_run(re.search(r"runs:/(\w+)", done.stdout)[1])
    name, value = typed.split("=")
    assert run.data.params[name] == value


def test_experiment_that_is_not_there_yet(project, client):
    done = command(*RUN, "-P", "l1_ratio=1", "--experiment-name", "new", cwd=project)
    assert done.returncode == 0, done.stderr
    experiment = client.get_experiment_by_name("new")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert f"#/experiments/{experiment.experiment_id}/runs?" in done.stdout


@pytest.mark.parametrize("dot", ["", "/%2e"], ids=["folder", "clone"])
def test_address_from_another_folder(project, tmp_path, dot):
    """MLflow takes file:// plus a path that is there for a folder, any other for git's."""
    if not (project / ".git").exists():
        git_commit(project)
    done = command(
        *("mlflow", "run", f"file://{project}{dot}".replace(" ", "%20" if dot else " ")),
        *("--env-manager", "local"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert ("Fetched" in done.stderr) == bool(dot)
    run_id = re.search(r"runs:/(\w+)", done.stdout)[1]
    assert (tmp_path / "mlruns/0" / run_id / "artifacts/model/MLmodel").exists()


def test_script_from_another_folder(tmp_path):
    done = command("python", PROJECT / "train.py", "0.5", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ElasticNet: alpha=0.5, l1_ratio=0.1, data=wine-quality.csv" in done.stdout


def test_more_alcohol_never_lowers_the_grade_that_main_predicts(client, run_ids, wines):
    main = mlflow.sklearn.load_model(f"runs:/{run_ids['main']}/model")
    X = wines[table.MEASUREMENTS]
    assert (main.predict(X.assign(alcohol=X["alcohol"] + 1)) >= main.predict(X)).all()


def test_classifier_knows_good_wines_from_others(client, run_ids, wines):
    forest = mlflow.sklearn.load_model(f"runs:/{run_ids['classifier']}/model")
    good = forest.predict_proba(wines[table.MEASUREMENTS])[:, 1]
    assert good[wines["quality"] >= 8].mean() > 0.5 > good[wines["quality"] <= 5].mean()


def test_nothing_unseen_is_said_rather_than_judged(tmp_path):
    wines = pd.read_csv(PROJECT / "wine-quality.csv").head(40)
    pd.concat([wines] * 30).to_csv(tmp_path / "copies.csv", index=False)
    done = command("python", PROJECT / "train.py", "0.1", "0.1", "copies.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "300 test wines, 0 unseen" in done.stdout
    assert re.search(r"^rmse +[\d.]+ +- +[\d.]+$", done.stdout, re.MULTILINE)


def test_environment_of_uv(tmp_path, project):
    if not shutil.which("uv"):
        pytest.skip("needs uv, which tests/requirements.txt installs")
    done = command(*("mlflow", "run", project, "--env-manager", "uv"), cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "rmse 0.8107" in done.stdout
