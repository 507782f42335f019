"""promote.py: a model becomes the champion of a name if it is better, and one champion loads."""

import concurrent.futures
import os
import re
import signal
import sys
import time

from sklearn.base import BaseEstimator, RegressorMixin

import mlflow
import numpy as np
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


def test_first_better_not_better_forced_and_back(run_promote, store, model_uris, better):
    first = run_promote(model_uris["main"])
    assert first.status == 0, first.err
    assert "rmse on 886 unseen wines: challenger 0.8011, the baseline 0.8779\n" in first.out
    assert "\nPromoted: version 1 of wine-quality is the champion\n" in first.out
    assert aliases(store) == {"champion": 1}

    second = run_promote(better)
    assert second.status == 0, second.err
    assert "challenger 0.7402, version 1 of wine-quality 0.8011\n" in second.out
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
        f"rmse_{key}" for key in ("challenger", "champion", "gain", "gain_low", "gain_high")
    }
    assert found["rmse_gain"] == found["rmse_champion"] - found["rmse_challenger"]
    assert 0 < found["rmse_gain_low"] < found["rmse_gain"] < found["rmse_gain_high"]
    assert (run.data.tags["promoted"], run.data.tags["compared_with"]) == (
        "true",
        "version 1 of wine-quality",
    )
    assert first.data.tags["compared_with"] == "the baseline"
    inputs = client_of(store).get_run(run.info.run_id).inputs
    (logged,) = inputs.dataset_inputs
    assert logged.dataset.name == "wine-quality-test"
    assert len(inputs.model_inputs) == 2
    with tracking_in(store):
        artifacts = [item.path for item in client_of(store).list_artifacts(run.info.run_id)]
    assert artifacts == ["comparison.png"]


def test_classifier_by_average_precision(run_promote, store, model_uris):
    done = run_promote(model_uris["classifier"], name="good-wine")
    assert done.status == 0, done.err
    assert "average_precision on 694 unseen wines: challenger 0.6342, the baseline" in done.out
    done = run_promote(model_uris["classifier"])
    assert "is the champion" in done.out
    refused = run_promote(model_uris["main"])
    assert_one_line_error(refused, "model: received a regressor, allowed is a classifier", status=1)
    assert aliases(store) == {"champion": 1}


def test_gain_that_may_be_chance_is_none():
    rng = np.random.default_rng(0)
    y = promote.dataset.load(promote.dataset.DATA)["quality"].head(300)

    class Fixed(RegressorMixin, BaseEstimator):
        def __init__(self, noise):
            self.answers = y + rng.normal(scale=noise, size=len(y))

        def predict(self, X):
            return self.answers

    scores, gains = promote.compare(Fixed(0.7), Fixed(0.7), None, y)
    assert scores["gain_low"] < 0 < scores["gain_high"]
    assert np.allclose([scores["gain_low"], scores["gain_high"]], np.percentile(gains, [2.5, 97.5]))
    scores, _ = promote.compare(Fixed(0.5), Fixed(0.9), None, y)
    assert 0.2 < scores["gain_low"] < scores["gain"] < scores["gain_high"] < 0.6


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
def test_refusals(run_script, store, tmp_path, model_uris, arguments, parts, status):
    lines = (PROJECT / "wine-quality.csv").read_text().splitlines(keepends=True)
    (tmp_path / "half.csv").write_text("".join(lines[:2000]))
    arguments = [argument.format(**model_uris) for argument in arguments]
    before = len(runs_of(store))
    assert_one_line_error(run_script("promote.py", *arguments, store=store), *parts, status=status)
    assert len(runs_of(store)) == before
    assert client_of(store).search_registered_models() == []


def test_model_of_other_columns(run_promote, store, model_uris, monkeypatch):
    with tracking_in(store):
        estimator = mlflow.sklearn.load_model(model_uris["main"])
        with mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                estimator,
                name="model",
                signature=mlflow.models.infer_signature(WINES.rename(columns={"pH": "acidity"})),
                serialization_format="skops",
            )
    refused = run_promote(logged.model_uri)
    assert_one_line_error(refused, "model: ", "has the columns", "acidity", status=1)


def test_registry_that_cannot_be_reached(tmp_path):
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
    assert f"#/models/{NAME}\n" in done.out
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
def test_two_promotions_at_once(store, model_uris, run_promote):
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
    killed = 0
    for number, share in enumerate((0.6, 0.7, 0.8, 0.9, 0.95)):
        uri = model_uris["huber" if number % 2 == 0 else "main"]
        with start_process(*command, uri, NAME, "true", cwd=store, **env) as promotion:
            time.sleep(share * seconds)
            killed += promotion.poll() is None
            os.killpg(promotion.pid, signal.SIGKILL) if promotion.poll() is None else None
            promotion.communicate()
        assert champion_answers(store) in allowed
        assert set(aliases(store)) <= {"champion", "previous"}
    assert killed >= 3
    assert n_versions(store) == 2
    assert run_promote(model_uris["main"], "true").status == 0
    assert champion_answers(store) == allowed[0]
