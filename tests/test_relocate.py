"""A folder that was moved or copied: a training notices, and one command mends its addresses."""

import contextlib
import os
import shutil

import mlflow
import pytest

from helpers import (
    WINES,
    assert_one_line_error,
    client_of,
    copy_store,
    models_of,
    predictions_of,
    run_id_in,
    runs_of,
    tracking_in,
)


def move(old, new):
    os.rename(old, new)


def copy(old, new):
    shutil.copytree(old, new)


@pytest.fixture(params=[move, copy])
def moved(request, empty_store, run_script, tmp_path, monkeypatch):
    """Return the old and the new folder of a store with a champion, and what this predicts."""
    old, new = tmp_path / "talk", tmp_path / "other disk"
    old.mkdir()
    copy_store(empty_store, old)
    run_id = run_id_in(run_script("train.py", store=old).out)
    with tracking_in(old), contextlib.redirect_stdout(None):
        mlflow.register_model(f"runs:/{run_id}/model", "wine")
        client_of(old).set_registered_model_alias("wine", "champion", "1")
    predicted = predictions_of(old, runs_of(old)[0])
    request.param(old, new)
    monkeypatch.chdir(new)
    return old, new, predicted


def test_training_in_it_is_refused_and_writes_nothing_into_the_old_folder(run_script, moved):
    old, new, _ = moved
    before = sorted(old.rglob("*"))
    result = run_script("train.py", store=new)
    refused = f"sqlite:///{new}/mlflow.db was moved or copied, and the run's artifacts would go to"
    assert_one_line_error(result, refused, f"{old}/mlruns/0; python -m wine.relocate", status=1)
    assert sorted(old.rglob("*")) == before
    assert [run.info.status for run in runs_of(new)] == ["FAILED", "FINISHED"]


def test_relocated_store_has_its_models_and_takes_new_ones(run_script, moved):
    old, new, predicted = moved
    result = run_script("wine/relocate.py", store=new)
    assert result == (0, f"{old}/mlruns/0 is {new}/mlruns/0 now\n", "")
    shutil.rmtree(old, ignore_errors=True)
    assert predictions_of(new, runs_of(new)[0]) == predicted
    with tracking_in(new):
        champion = mlflow.pyfunc.load_model("models:/wine@champion")
    assert champion.predict(WINES).tolist() == predicted
    result = run_script("train.py", store=new)
    assert result.status == 0, result.err
    assert len(models_of(new)) == len(list(new.glob("mlruns/0/models/*"))) == 2
    assert not old.exists()
    again = run_script("wine/relocate.py", store=new)
    assert again == (0, f"sqlite:///{new}/mlflow.db was not moved: nothing to relocate\n", "")


def test_link_to_the_new_folder_is_enough(run_script, moved):
    old, new, _ = moved
    shutil.rmtree(old, ignore_errors=True)
    old.symlink_to(new)
    assert run_script("train.py", store=new).status == 0
    assert len(list(new.glob("mlruns/0/models/*"))) == 2


def test_artifacts_that_a_user_has_put_elsewhere_stay_there(run_script, new_store, monkeypatch):
    elsewhere = new_store / "artifacts" / "of wines"
    client_of(new_store).create_experiment("elsewhere", str(elsewhere))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    assert run_script("train.py").status == 0
    assert list(elsewhere.glob("models/*"))


def test_server_has_no_folder_to_relocate(run_script, monkeypatch):
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://127.0.0.1:9")
    result = run_script("wine/relocate.py")
    assert_one_line_error(result, "received http://127.0.0.1:9 to relocate, allowed is", status=1)
