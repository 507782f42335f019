"""A promotion: a model becomes the champion of a name if it is better, and one champion loads."""

import os
import re

from sklearn.base import BaseEstimator, RegressorMixin

import mlflow
import numpy as np
import pandas as pd
import pytest

from extras import promote
from helpers import (
    MLFLOW_RUN,
    PROJECT,
    WINES,
    assert_one_line_error,
    client_of,
    run_command,
    run_id_in,
    runs_of,
    store_uri,
    tracking_in,
)
from wine import UserError, dataset, tracking

NAME = "wine-quality"


@pytest.fixture
def run_promote(run_script, store):
    """Return a function that promotes in this process."""

    def run(model, *arguments, name=NAME):
        return run_script("extras.promote", model, name, *arguments, store=store)

    return run


@pytest.fixture
def better(store, run_script):
    """Return the URI of an ElasticNet that is better than the one with the defaults."""
    done = run_script("train.py", 0.01, store=store)
    assert done.status == 0, done.err
    return f"runs:/{run_id_in(done.out)}/model"


def aliases(store):
    """Return the version that each alias of the registered model has."""
    found = client_of(store).get_registered_model(NAME).aliases
    return {alias: int(version) for alias, version in found.items()}


def test_alias_moves_to_a_better_model_and_by_force_and_back(
    run_promote, store, model_uris, better
):
    first = run_promote(model_uris["main"])
    assert "rmse on 845 unseen wines: challenger 0.8060, the baseline 0.8841\n" in first.out
    assert "\nPromoted: version 1 of wine-quality is the champion\n" in first.out
    assert aliases(store) == {"champion": 1}

    second = run_promote(better)
    assert "challenger 0.7449, version 1 of wine-quality 0.8060\n" in second.out
    assert "Gain of the challenger: +0.0611, 95 % interval +0.0436 to +0.0782\n" in second.out
    assert "version 2 of wine-quality is the champion, version 1 is the previous one" in second.out
    assert aliases(store) == {"champion": 2, "previous": 1}

    for force, said in (
        ("false", "\nNot promoted"),
        ("true", "2 of wine-quality is the champion\n"),
    ):
        assert said in run_promote(better, force).out  # It is the champion already.
        assert aliases(store) == {"champion": 2, "previous": 1}

    worse = run_promote(model_uris["main"])
    assert (worse.status, aliases(store)) == (3, {"champion": 2, "previous": 1})
    assert worse.out.endswith("or is none; force=true promotes in any case\n")
    title = "Promotion of ElasticNet to wine-quality, not promoted"
    assert runs_of(store)[0].info.run_name == title

    forced = run_promote(model_uris["main"], "true")
    assert (forced.status, aliases(store)) == (0, {"champion": 1, "previous": 2})
    assert "\nPromoted by force=true: version 1 of wine-quality is the champion" in forced.out

    back = run_promote(f"models:/{NAME}@previous", "true")
    assert (back.status, aliases(store)) == (0, {"champion": 2, "previous": 1})
    # A model is registered once.
    assert len(client_of(store).search_model_versions(f"name = '{NAME}'")) == 2


def test_run_records_both_models_the_figures_and_a_plot(run_promote, store, model_uris, better):
    first = run_promote(model_uris["main"]).out
    second = run_promote(better).out
    run, before, *_ = runs_of(store)
    assert run.data.params.items() >= {"model": better, "name": NAME, "force": "false"}.items()
    found = run.data.metrics
    assert found["rmse_gain"] == found["rmse_champion"] - found["rmse_challenger"]
    assert 0 < found["rmse_gain_low"] < found["rmse_gain"] < found["rmse_gain_high"]
    assert "the baseline 0.8841" in before.data.tags["mlflow.note.content"]
    version = client_of(store).get_model_version_by_alias(NAME, "champion")
    assert version.description == run.data.tags["mlflow.note.content"]
    assert version.description.startswith("rmse on 845 unseen wines: challenger 0.7449, version 1")
    assert version.description.endswith(f"ElasticNet {better}")
    assert "quality" in client_of(store).get_registered_model(NAME).description
    inputs = client_of(store).get_run(run.info.run_id).inputs
    (judges,) = inputs.dataset_inputs
    assert '"num_rows": 845' in judges.dataset.profile
    assert len(inputs.model_inputs) == 2
    (artifact,) = client_of(store).list_artifacts(run.info.run_id)
    assert artifact.path == "comparison.png"
    for each, printed in ((before, first), (run, second)):
        assert f"/runs/{each.info.run_id}/artifacts/comparison.png?" in printed


def test_classifiers_are_compared_by_average_precision(run_promote, model_uris):
    done = run_promote(model_uris["classifier"])
    assert "average_precision on 672 unseen wines: challenger 0.6469, the baseline 0.21" in done.out


def test_models_of_two_tables_are_judged_by_what_neither_has_seen(
    run_promote, run_script, store, model_uris, tmp_path
):
    """A month later the table has grown, and is split in another way."""
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    added = wines.head(600).assign(density=lambda rows: rows["density"] + 0.00007)
    pd.concat([wines, added]).to_csv(tmp_path / "grown.csv", index=False)
    assert run_promote(model_uris["main"]).status == 0
    done = run_script("train.py", 0.01, 0.1, "grown.csv", store=store)
    assert done.status == 0, done.err
    done = run_promote(f"runs:/{run_id_in(done.out)}/model", "false", "grown.csv")
    assert done.status == 0, done.err

    trained = [dataset.split_table(dataset.load(data)) for data in (dataset.DATA, "grown.csv")]
    seen = {row for split in trained for row in split.X_train.itertuples(index=False, name=None)}
    different = {*trained[1].X_test.itertuples(index=False, name=None)}
    assert f"rmse on {len(different - seen)} unseen wines: " in done.out
    assert len(different - seen) not in (0, 845)
    assert aliases(store) == {"champion": 2, "previous": 1}


class Fixed(RegressorMixin, BaseEstimator):
    """A regressor that knows the answers but for some noise."""

    def __init__(self, y, noise, seed):
        self.answers = y + np.random.default_rng(seed).normal(scale=noise, size=len(y))

    def predict(self, X):
        return self.answers


def test_gain_that_may_be_chance_is_none():
    y = dataset.load(dataset.DATA)["quality"].head(300)
    scores, _ = promote.compare(Fixed(y, 0.7, 0), Fixed(y, 0.7, 1), None, y)
    assert scores["gain_low"] < 0 < scores["gain_high"]
    scores, _ = promote.compare(Fixed(y, 0.5, 2), Fixed(y, 0.9, 3), None, y)
    assert 0.2 < scores["gain_low"] < scores["gain"] < scores["gain_high"] < 0.6


def test_too_few_unseen_rows_or_classes_are_refused(store, model_uris, tmp_path):
    wines = dataset.load(dataset.DATA)
    y = dataset.classes(wines, 7, "good")
    split = dataset.split_table(wines, y, test_size=0.2, random_state=42)
    seen, unseen = wines.loc[split.X_train.index], wines.loc[split.X_test.index[split.unseen]]
    bad, good = unseen[unseen["quality"] < 7], unseen[unseen["quality"] >= 7]

    def count_unseen(*rows):
        pd.concat([seen, *rows]).to_csv(tmp_path / "few.csv", index=False)
        return len(promote.load_unseen(models, str(tmp_path / "few.csv")).y_test)

    with tracking_in(store):
        models = {"model": promote.load(model_uris["classifier"])}
        with pytest.raises(
            UserError, match="data: received 29 unseen wines with 2 values of good in"
        ):
            count_unseen(bad[:28], good[:1])
        with pytest.raises(
            UserError, match="data: received 40 unseen wines with 1 values of good in"
        ):
            count_unseen(bad[:40])
        assert count_unseen(bad[:29], good[:1]) == 30


def forget_rows(store, uri):
    run = client_of(store).get_run(uri.split("/")[1])
    os.remove(f"{run.info.artifact_uri.removeprefix('file://')}/{tracking.TRAINING_ROWS}")


def test_model_whose_rows_nobody_knows_is_refused_even_by_force(
    run_promote, store, model_uris, better
):
    assert run_promote(better).status == 0
    forget_rows(store, better)
    said = "was trained on wines that nobody knows: its run has no training-rows"
    refused = run_promote(model_uris["main"], "true")
    assert_one_line_error(refused, f"champion: models:/{NAME}/1 {said}", status=1)
    refused = run_promote(better, "true", name="another")
    assert_one_line_error(refused, f"model: {better} {said}", status=1)
    assert aliases(store) == {"champion": 1}


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "'"])
def test_name_that_fits_into_no_address_is_refused(run_promote, model_uris, store, name):
    refused = run_promote(model_uris["main"], name=name)
    assert_one_line_error(refused, f"name: received {name!r}, allowed are letters", status=1)
    assert client_of(store).search_registered_models() == []


def test_model_of_another_task_is_refused(store, model_uris):
    with tracking_in(store):
        model = promote.load(model_uris["classifier"])
    for kind, task in (("columns", (["pH"], [0, 1])), ("classes", (model.columns, ["bad"]))):
        with pytest.raises(UserError, match=f"^model: runs:/[^ ]* has the {kind} .*, allowed are"):
            promote.load_hashes(model, "model", task)


def test_another_champion_meanwhile_is_not_overwritten(store, model_uris):
    with tracking_in(store):
        ids = {k: mlflow.models.get_model_info(uri).model_id for k, uri in model_uris.items()}
        assert promote.find_champion(NAME) is None
        assert promote.register(ids["main"], NAME, None, "first") == 1
        assert promote.register(ids["huber"], NAME, 1, "second") == 2
        assert promote.find_champion(NAME) == 2
        client_of(store).update_registered_model(NAME, "Ask Ana.")
        with pytest.raises(UserError, match="another champion meanwhile; promote again"):
            promote.register(ids["main"], NAME, 1, "")
    assert aliases(store) == {"champion": 2, "previous": 1}
    assert client_of(store).get_registered_model(NAME).description == "Ask Ana."


def test_real_run_promotes_and_the_printed_command_names_the_champion(store, model_uris, models):
    params = ("-P", f"model={model_uris['huber']}", "-P", f"name={NAME}")
    env = {"MLFLOW_TRACKING_URI": store_uri(store)}
    done = run_command(*MLFLOW_RUN, "-e", "promote", *params, cwd=store, **env)
    assert done.status == 0, done.err
    assert f"#/models/{NAME}?workflowType=machine_learning\n" in done.out
    uri = re.search(r"^mlflow models serve -m (\S+) --env-manager local", done.out, re.M)[1]
    with tracking_in(store):
        champion = mlflow.pyfunc.load_model(uri)
    assert champion.predict(WINES).tolist() == models["huber"].predict(WINES).tolist()
