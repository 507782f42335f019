"""promote.py: a model becomes the champion of a name if it is better, and one champion loads."""

import concurrent.futures
import contextlib
import functools
import importlib
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
import tracemalloc
from pathlib import Path

from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.cluster import KMeans

import mlflow
import numpy as np
import pandas as pd
import pytest

import promote
from helpers import (
    LOCAL,
    PROJECT,
    WINES,
    assert_one_line_error,
    client_of,
    environment,
    free_port,
    post,
    run_command,
    run_id_in,
    runs_of,
    start_process,
    start_server,
    store_uri,
    tracking_in,
)
from wine import trainings

NAME = "wine-quality"


@pytest.fixture
def better(store, run_script):
    """Return the URI of an ElasticNet that is better than the one with the defaults."""
    done = run_script("train.py", 0.01, store=store)
    assert done.status == 0, done.err
    return f"runs:/{run_id_in(done.out)}/model"


@pytest.fixture
def run_promote(run_script, store):
    """Return a function that runs promote.py in this process."""

    def run(model, *arguments, name=NAME):
        return run_script("promote.py", model, name, *arguments, store=store)

    return run


def aliases(store, name=NAME):
    """Return the version that each alias of the registered model has."""
    return {
        alias: int(v) for alias, v in client_of(store).get_registered_model(name).aliases.items()
    }


def n_versions(store, name=NAME):
    return len(client_of(store).search_model_versions(f"name = '{name}'"))


def test_alias_moves_to_a_better_model_and_by_force_and_back(
    run_promote, store, model_uris, better
):
    first = run_promote(model_uris["main"])
    assert first.status == 0, first.err
    assert "rmse on 845 unseen wines: challenger 0.8060, the baseline 0.8841\n" in first.out
    assert "\nPromoted: version 1 of wine-quality is the champion\n" in first.out
    assert aliases(store) == {"champion": 1}

    second = run_promote(better)
    assert second.status == 0, second.err
    assert "challenger 0.7449, version 1 of wine-quality 0.8060\n" in second.out
    assert "version 2 of wine-quality is the champion, version 1 is the previous one" in second.out
    assert aliases(store) == {"champion": 2, "previous": 1}

    again = run_promote(better)
    assert (again.status, aliases(store)) == (0, {"champion": 2, "previous": 1})
    assert again.out.endswith("Not promoted: it is the champion of wine-quality already\n")

    worse = run_promote(model_uris["main"])
    assert (worse.status, aliases(store)) == (3, {"champion": 2, "previous": 1})
    assert worse.out.endswith("or is none; force=true promotes in any case\n")

    forced = run_promote(model_uris["main"], "true")
    assert (forced.status, aliases(store)) == (0, {"champion": 1, "previous": 2})
    assert "\nPromoted by force=true: version 1 of wine-quality is the champion" in forced.out

    back = run_promote(f"models:/{NAME}@previous", "true")
    assert (back.status, aliases(store)) == (0, {"champion": 2, "previous": 1})
    assert n_versions(store) == 2  # A model is registered once.


def test_run_records_both_models_the_figures_and_a_plot(run_promote, store, model_uris, better):
    for uri in (model_uris["main"], better):
        assert run_promote(uri).status == 0
    run, first, *_ = runs_of(store)
    assert run.data.params == {
        "model": better,
        "name": NAME,
        "force": "false",
        "data": "wine-quality.csv",
    }
    found = run.data.metrics
    assert set(found) == {
        *(f"rmse_{key}" for key in ("challenger", "champion", "gain", "gain_low", "gain_high")),
        "challengers_before",
    }
    assert found["challengers_before"] == 1
    assert found["rmse_gain"] == found["rmse_champion"] - found["rmse_challenger"]
    assert 0 < found["rmse_gain_low"] < found["rmse_gain"] < found["rmse_gain_high"]
    with tracking_in(store):
        assert run.data.tags["challenger"] == mlflow.models.get_model_info(better).model_id
    assert (run.data.tags["promoted"], run.data.tags["compared_with"]) == (
        "true",
        "version 1 of wine-quality",
    )
    assert first.data.tags["compared_with"] == "the baseline"
    description = run.data.tags["mlflow.note.content"]
    assert description.startswith(
        f"**ElasticNet** {better}\n\nrmse on 845 unseen wines: challenger"
    )
    version = client_of(store).get_model_version_by_alias(NAME, "champion")
    assert version.description == description
    inputs = client_of(store).get_run(run.info.run_id).inputs
    (logged,) = inputs.dataset_inputs
    assert logged.dataset.name == "wine-quality-test"
    assert len(inputs.model_inputs) == 2
    with tracking_in(store):
        artifacts = [item.path for item in client_of(store).list_artifacts(run.info.run_id)]
    assert artifacts == ["comparison.png"]


def test_classifiers_are_compared_by_average_precision(run_promote, store, model_uris):
    done = run_promote(model_uris["classifier"], name="good-wine")
    assert done.status == 0, done.err
    assert "average_precision on 672 unseen wines: challenger 0.6469, the baseline" in done.out
    done = run_promote(model_uris["classifier"])
    assert "is the champion" in done.out
    refused = run_promote(model_uris["main"])
    assert_one_line_error(refused, "model: received a regressor, allowed is a classifier", status=1)
    assert aliases(store) == {"champion": 1}


class Fixed(RegressorMixin, BaseEstimator):
    """A regressor that knows the answers but for some noise."""

    def __init__(self, y, noise, seed):
        self.answers = y + np.random.default_rng(seed).normal(scale=noise, size=len(y))

    def predict(self, X):
        return self.answers


def test_gain_that_may_be_chance_is_none():
    y = promote.dataset.load(promote.dataset.DATA)["quality"].head(300)
    scores, gains = promote.compare(Fixed(y, 0.7, 0), Fixed(y, 0.7, 1), None, y)
    assert scores["gain_low"] < 0 < scores["gain_high"]
    assert np.allclose([scores["gain_low"], scores["gain_high"]], np.percentile(gains, [2.5, 97.5]))
    scores, _ = promote.compare(Fixed(y, 0.5, 2), Fixed(y, 0.9, 3), None, y)
    assert 0.2 < scores["gain_low"] < scores["gain"] < scores["gain_high"] < 0.6


def test_resamples_are_not_in_memory_at_once():
    y = pd.Series(np.arange(20_000.0), name="quality")
    models = Fixed(y, 0.7, 0), Fixed(y, 0.7, 1)
    tracemalloc.start()
    try:
        promote.compare(*models, None, y)
        assert tracemalloc.get_traced_memory()[1] < 30e6  # All of them take 640 MB.
    finally:
        tracemalloc.stop()


class Probable(ClassifierMixin, BaseEstimator):
    """A classifier of two classes that gives random probabilities."""

    def __init__(self, seed, classes=(0, 1)):
        self.classes_, self.seed = np.array(classes), seed

    def predict_proba(self, X):
        probability = np.random.default_rng(self.seed).random(len(X))
        return np.column_stack([1 - probability, probability])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [(0, 1), ("good", "other")])
def test_resample_of_one_class_tells_nothing_and_warns_of_nothing(classes):
    y = pd.Series([classes[1]] + [classes[0]] * 39)
    models = Probable(0, classes), Probable(1, classes)
    scores, gains = promote.compare(*models, y.to_frame(), y)
    assert 0.2 < np.mean(gains == 0) < 0.6  # 36 % of the resamples lack the only row of a class.
    assert scores["gain"] != 0


@pytest.mark.parametrize(
    ("script", "unseen", "said"),
    [
        ("train", lambda split: np.zeros(len(split.y_test), bool), "0 unseen wines in"),
        ("train", lambda split: np.arange(len(split.y_test)) < 1, "1 unseen wine in"),
        ("clf-train", lambda split: np.arange(len(split.y_test)) < 29, "allowed are 30 different"),
        ("clf-train", lambda split: split.y_test == 0, "none of them of the class 1, allowed are"),
        ("clf-train", lambda split: split.y_test == 1, "none of them of the class 0, allowed are"),
    ],
)
def test_too_few_unseen_rows_are_refused(script, unseen, said):
    script = importlib.import_module(script)
    split = script.split(promote.dataset.load(promote.dataset.DATA))
    estimator = script.build(**trainings.defaults(script))
    if promote.is_classifier(estimator):
        estimator = Probable(0)
    with pytest.raises(promote.UserError, match=f"data: received .*{said}"):
        promote.check_rows(estimator, split._replace(unseen=np.asarray(unseen(split))), "x.csv")
    promote.check_rows(estimator, split._replace(unseen=np.arange(len(split.y_test)) < 30), "")


def test_table_with_few_unseen_rows_promotes_nothing_even_by_force(run_script, new_store):
    lines = (PROJECT / "wine-quality.csv").read_text().splitlines(keepends=True)
    (new_store / "few.csv").write_text("".join(lines[:90]))
    trained = run_script("train.py", 0.01, 0.1, "few.csv")
    model = f"runs:/{run_id_in(trained.out)}/model"
    refused = run_script("promote.py", model, NAME, "true", "few.csv")
    assert_one_line_error(refused, "data: received 1", "unseen wines in the test set of few.csv")
    assert client_of(new_store).search_registered_models() == []


def test_challengers_are_counted_over_all_experiments(
    run_promote, store, model_uris, better, monkeypatch
):
    said = "Challengers of wine-quality that these wines have judged before: "
    assert f"{said}0\n" in run_promote(model_uris["main"]).out
    client = client_of(store)
    client.delete_run(runs_of(store)[0].info.run_id)
    assert f"{said}0\n" in run_promote(model_uris["main"]).out  # It is the same one.
    client.delete_run(runs_of(store)[0].info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", client.create_experiment("another"))
    assert f"{said}1\n" in run_promote(better).out
    assert f"{said}2\n" in run_promote(model_uris["huber"]).out
    done = run_promote(model_uris["huber"], name="other-name")
    assert "Challengers of other-name that these wines have judged before: 0\n" in done.out
    # Other wines judge the classifiers.
    assert (
        f"{said.replace('quality', 'class')}0"
        in run_promote(model_uris["classifier"], name="wine-class").out
    )


@pytest.mark.parametrize(
    ("arguments", "parts", "status"),
    [
        (["runs:/none/model", NAME], ["model: received 'runs:/none/model'"], 1),
        (["{main}", "wine/quality"], ["argument name: received 'wine/quality'"], 2),
        (["{main}", ""], ["argument name: received ''"], 2),
        (["{main}", NAME, "perhaps"], ["argument force: received 'perhaps'"], 2),
        (["{main}", NAME, "true", "half.csv"], ["was trained on another dataset", "half.csv"], 1),
        (["{main}"], ["name"], 2),
    ],
)
def test_wrong_parameter_or_model_is_refused(
    run_script, store, tmp_path, model_uris, arguments, parts, status
):
    lines = (PROJECT / "wine-quality.csv").read_text().splitlines(keepends=True)
    (tmp_path / "half.csv").write_text("".join(lines[:2000]))
    arguments = [argument.format(**model_uris) for argument in arguments]
    before = len(runs_of(store))
    assert_one_line_error(run_script("promote.py", *arguments, store=store), *parts, status=status)
    assert len(runs_of(store)) == before
    assert client_of(store).search_registered_models() == []


def log_estimator(store, estimator, columns=WINES):
    """Log an estimator in a run of its own, without a training, and return its URI."""
    with tracking_in(store), mlflow.start_run():
        return mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=mlflow.models.infer_signature(columns),
            serialization_format="skops",
            pip_requirements=["scikit-learn"],
        ).model_uri


@pytest.fixture
def estimator(project, model_uris):
    with tracking_in(project):
        return mlflow.sklearn.load_model(model_uris["main"])


@pytest.fixture
def of_other_columns(store, estimator):
    """Return the URI of a model with a column that the wines do not have."""
    names = ["acidity" if name == "pH" else name for name in estimator.feature_names_in_]
    estimator.feature_names_in_ = np.array(names)
    return log_estimator(store, estimator, WINES.rename(columns={"pH": "acidity"}))


def set_champion(store, uri):
    """Register a model, and make it the champion without any check."""
    with tracking_in(store):
        model_id = mlflow.models.get_model_info(uri).model_id
        version = mlflow.register_model(f"models:/{model_id}", NAME).version
        mlflow.MlflowClient().set_registered_model_alias(NAME, "champion", version)


def test_model_of_other_columns_is_refused(run_promote, of_other_columns):
    refused = run_promote(of_other_columns)
    assert_one_line_error(refused, "model: ", "has the columns", "acidity", status=1)


def model_id_of(store, uri):
    with tracking_in(store):
        return mlflow.models.get_model_info(uri).model_id


def files_of(store, uri):
    """Return the folder of a logged model."""
    location = client_of(store).get_logged_model(model_id_of(store, uri)).artifact_location
    return location.removeprefix("file://")


def lose_files(store, uri):
    shutil.rmtree(files_of(store, uri))


def delete_logged_model(store, uri):
    client_of(store).delete_logged_model(model_id_of(store, uri))


def delete_run_for_ever(store, uri):
    run_id = client_of(store).get_logged_model(model_id_of(store, uri)).source_run_id
    with contextlib.closing(sqlite3.connect(store / "mlflow.db")) as connection:
        connection.execute("DELETE FROM runs WHERE run_uuid = ?", (run_id,))
        connection.commit()


FAULTS = {
    "files": (lose_files, "cannot be loaded (No such artifact"),
    "logged model": (delete_logged_model, "cannot be loaded (Logged model with ID"),
    "run": (delete_run_for_ever, "was trained on wines that nobody knows: its run"),
}


def assert_replaced_by_force(run_promote, store, challenger, fault):
    said = f"champion: version 1 of wine-quality {fault}"
    refused = run_promote(challenger)
    assert_one_line_error(refused, said, "; force=true replaces it\n", status=1)
    forced = run_promote(challenger, "true")
    assert forced.status == 0, forced.err
    assert said in forced.err
    assert "the baseline 0.8841" in forced.out
    assert "Promoted by force=true: version 2 of wine-quality is the champion, version 1 is" in (
        forced.out
    )
    assert aliases(store) == {"champion": 2, "previous": 1}


@pytest.mark.parametrize(("lose", "fault"), FAULTS.values(), ids=FAULTS)
def test_champion_of_which_something_is_lost_is_replaced_by_force(
    run_promote, store, model_uris, estimator, lose, fault
):
    uri = log_estimator(store, estimator)
    set_champion(store, uri)
    lose(store, uri)
    assert_replaced_by_force(run_promote, store, model_uris["main"], fault)


def test_champion_of_other_columns_is_replaced_by_force(
    run_promote, store, model_uris, of_other_columns
):
    set_champion(store, of_other_columns)
    said = "has the columns fixed acidity,"
    assert_replaced_by_force(run_promote, store, model_uris["main"], said)


def test_champion_that_cannot_predict_is_replaced_by_force(run_promote, store, model_uris):
    set_champion(store, log_estimator(store, KMeans(2, random_state=0).fit(WINES)))
    said = "is a KMeans, allowed is a regressor or a classifier"
    assert_replaced_by_force(run_promote, store, model_uris["main"], said)


def test_challenger_of_which_only_a_copy_is_left_is_refused(run_promote, store, better):
    """The copy among the run's artifacts loads, but the version in the registry would not."""
    lose_files(store, better)
    assert_one_line_error(run_promote(better, "true"), "model: received 'models:/m-", status=1)
    assert client_of(store).search_registered_models() == []


def test_challenger_whose_run_is_gone_is_refused(run_promote, store, estimator):
    uri = log_estimator(store, estimator)
    delete_run_for_ever(store, uri)
    refused = run_promote(uri, "true")
    assert_one_line_error(refused, f"model: {uri} was trained on wines that nobody", status=1)


class Hostile(RegressorMixin, BaseEstimator):
    """An estimator that leaves a file behind wherever it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.filterwarnings("ignore")  # MLflow's word on the format
def test_challenger_that_is_pickled_is_refused_before_its_code_runs(run_promote, store):
    with tracking_in(store), mlflow.start_run():
        uri = mlflow.sklearn.log_model(
            Hostile(), name="model", serialization_format="cloudpickle", pip_requirements=["mlflow"]
        ).model_uri
    refused = run_promote(uri, "true")
    assert_one_line_error(refused, f"model: {uri} is saved with cloudpickle", status=1)
    assert not Path("ran").exists()


def test_classifier_of_other_classes_is_refused(store, model_uris):
    table = promote.dataset.load(promote.dataset.DATA)
    split = trainings.load("classifier").split(table)
    with tracking_in(store):
        model = promote.load(model_uris["classifier"])
        digest = promote.training_digest(model)
    fault_of = functools.partial(promote.find_fault, digest=digest, data="wine-quality.csv")
    with tracking_in(store):
        assert fault_of(model, split) is None
        words = split._replace(y_train=split.y_train.map({0: "other", 1: "good"}))
        assert fault_of(model, words) == "knows the classes 0, 1, allowed are good, other"


OTHER_SPLIT = """
from train import *


def split(table):
    return dataset.split(table, test_size=0.4, random_state=7)

"""


def test_model_is_judged_by_the_test_set_of_the_script_that_trained_it(
    store, tmp_path, monkeypatch
):
    (tmp_path / "other-train.py").write_text(OTHER_SPLIT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "other-train", raising=False)
    script = importlib.import_module("other-train")
    table = promote.dataset.load(promote.dataset.DATA)
    params = {"alpha": 1.0, "l1_ratio": 0.1, "data": promote.dataset.DATA}
    with tracking_in(store):
        with mlflow.start_run() as run:
            script.train(params, script.split(table))
        model = promote.load(f"runs:/{run.info.run_id}/model")

        def found():
            return promote.find_split(model, table, params["data"])

        split, training_set, _ = found()
        fault = promote.find_fault(model, split, training_set.digest, params["data"])
        assert fault.startswith("was trained on another dataset")
        monkeypatch.setitem(trainings.SCRIPTS, "other", "other-train")
        split, training_set, _ = found()
        assert promote.find_fault(model, split, training_set.digest, params["data"]) is None
    assert (split.test_size, split.random_state) == (0.4, 7)


def test_registry_that_cannot_be_reached_is_said_in_one_line(tmp_path):
    done = run_command(
        *(sys.executable, PROJECT / "promote.py", "runs:/0/model", NAME),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}",
    )
    assert_one_line_error(done, "name: MLflow's registry cannot be used: ", "refused", status=1)


def test_champion_is_served_by_its_alias(store, model_uris, models):
    """The commands that the screen ends with, by a real `mlflow run` and a real server."""
    promotion = (
        "-e",
        "promote",
        *LOCAL,
        "-P",
        f"model={model_uris['huber']}",
        "-P",
        f"name={NAME}",
    )
    done = run_command(
        *("mlflow", "run", PROJECT, *promotion), cwd=store, MLFLOW_TRACKING_URI=store_uri(store)
    )
    assert done.status == 0, done.err
    serve = re.search(r"^(mlflow models serve .*) --port 5001$", done.out, re.MULTILINE)[1]
    assert f"#/models/{NAME}?workflowType=machine_learning\n" in done.out
    port = free_port()
    with start_server(
        *serve.split(),
        *("--port", port),
        cwd=store,
        env=environment(MLFLOW_TRACKING_URI=store_uri(store)),
        ready=f"http://127.0.0.1:{port}/ping",
    ):
        body = {"dataframe_split": WINES.to_dict(orient="split", index=False)}
        status, answer = post(f"http://127.0.0.1:{port}/invocations", body)
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx(models["huber"].predict(WINES).tolist())


def champion_answers(store):
    """Return what today's champion predicts."""
    with tracking_in(store):
        return mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(WINES).tolist()


@pytest.mark.slow
def test_promotions_at_once_leave_one_champion(store, model_uris, run_promote):
    assert run_promote(model_uris["huber"]).status == 0
    command = (sys.executable, PROJECT / "promote.py")
    uris = [model_uris["main"]] * 3

    def run(uri):
        return run_command(
            *command, uri, NAME, "true", cwd=store, MLFLOW_TRACKING_URI=store_uri(store)
        )

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(run, uris))
    assert 0 in [result.status for result in results], results
    for result in results:
        assert result.status == 0 or "another champion meanwhile" in result.err, result
    assert n_versions(store) == 2
    assert aliases(store) == {"champion": 2, "previous": 1}
    with tracking_in(store):
        expected = mlflow.pyfunc.load_model(uris[0]).predict(WINES).tolist()
    assert champion_answers(store) == expected


@pytest.mark.slow
def test_killed_promotion_leaves_a_champion_that_loads(store, model_uris, run_promote):
    assert run_promote(model_uris["huber"]).status == 0
    begun = time.monotonic()
    command = (sys.executable, PROJECT / "promote.py")
    env = {"MLFLOW_TRACKING_URI": store_uri(store)}
    timed = run_command(*command, model_uris["main"], NAME, "true", cwd=store, **env)
    seconds = time.monotonic() - begun
    assert timed.status == 0, timed.err
    with tracking_in(store):
        allowed = [
            mlflow.pyfunc.load_model(model_uris[name]).predict(WINES).tolist()
            for name in ("main", "huber")
        ]
    for number, share in enumerate((0.6, 0.7, 0.8, 0.9, 0.95)):
        uri = model_uris["huber" if number % 2 == 0 else "main"]
        with start_process(*command, uri, NAME, "true", cwd=store, **env) as promotion:
            time.sleep(share * seconds)
            if promotion.poll() is None:
                os.killpg(promotion.pid, signal.SIGKILL)
            promotion.communicate()
        assert champion_answers(store) in allowed
        assert set(aliases(store)) <= {"champion", "previous"}
    assert n_versions(store) == 2
    assert run_promote(model_uris["main"], "true").status == 0
    assert champion_answers(store) == allowed[0]
