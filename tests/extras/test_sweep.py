"""A sweep: its candidates, how they are evaluated, and what it leaves in the store."""

import importlib
import multiprocessing
import os
import re
import signal
import sys
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.stats import randint, uniform

from extras import sweep
from helpers import (
    MLFLOW_RUN,
    PROJECT,
    assert_one_line_error,
    client_of,
    copy_store,
    models_of,
    runs_of,
    start_process,
)

COMMAND = (sys.executable, "-m", "extras.sweep")
INTERRUPTED = re.compile(r"sweep.py: interrupted(?:; \d+ of \d+ candidates are recorded)?\n")


def sweep_in(folder):
    """Return the run of the sweep in the store of a folder, and the runs of its candidates."""
    (parent,) = [run for run in runs_of(folder) if "trials" in run.data.params]
    children = [run for run in runs_of(folder) if run.info.run_id != parent.info.run_id]
    return parent, children


def candidates(folder):
    """Return the table of the candidates as a sweep has recorded it, without the times."""
    parent, _ = sweep_in(folder)
    uri = f"{parent.info.artifact_uri}/candidates.csv"
    listed = pd.read_csv(mlflow.artifacts.download_artifacts(uri), index_col="trial")
    return listed.drop(columns="fit_time")


def test_every_candidate_is_a_child_and_a_row_of_the_table(swept):
    parent, children = sweep_in(swept[0])
    listed = candidates(swept[0])
    assert listed.index.tolist() == list(range(12))
    assert listed.loc[0, ["alpha", "l1_ratio"]].tolist() == [1.0, 0.1]
    assert sorted(int(run.data.tags["trial"]) for run in children) == list(range(12))
    for run in children:
        row = listed.loc[int(run.data.tags["trial"])]
        assert run.data.metrics["cv_rmse"] == row["cv_rmse"]
        assert float(f"{row['alpha']:.3g}") == row["alpha"]  # It is easy to type.
        assert run.data.params == {name: str(row[name]) for name in ("alpha", "l1_ratio")}
        assert set(run.data.metrics) == {"cv_rmse", "cv_rmse_std", "fit_time"}
        assert (run.info.status, run.data.tags["converged"]) == ("FINISHED", "true")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.run_name == f"ElasticNet {', '.join(run.data.params.values())}"
    assert parent.info.run_name == "Sweep of ElasticNet"


def test_best_candidate_is_trained_as_a_single_run_would_be(swept, run_script, new_store):
    folder, printed = swept
    parent, _ = sweep_in(folder)
    listed = candidates(folder)
    best = listed.loc[listed["cv_rmse"].idxmin()]
    scores = ["{cv_rmse:.4f} ±{cv_rmse_std:.4f}".format(**row) for row in (best, listed.loc[0])]
    said = "Best of 12 candidates by 5 folds of the training wines: rmse"
    assert printed.splitlines()[0] == f"{said} {scores[0]}, with the defaults {scores[1]}"
    assert float(parent.data.params["alpha"]) == best["alpha"]
    assert parent.data.metrics["cv_rmse"] == best["cv_rmse"]
    alone = run_script("train.py", best["alpha"], best["l1_ratio"])
    assert alone.out.split("Serve")[0] in printed
    (single,) = runs_of(new_store)
    assert single.data.metrics.items() <= parent.data.metrics.items()
    logged = {item.path for item in client_of(folder).list_artifacts(parent.info.run_id)}
    assert {"candidates.csv", "candidates.png", "effects.png"} <= logged


def test_same_seed_same_results_however_many_jobs(run_script, empty_store, tmp_path_factory):
    tables, printed = [], []
    for jobs in (1, 2):
        copy_store(empty_store, folder := tmp_path_factory.mktemp("sweep"))
        result = run_script("extras.sweep", "huber", 3, 7, jobs, store=folder)
        assert result.status == 0, result.err
        tables.append(candidates(folder))
        printed.append(result.out.split("Serve")[0])
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert printed[0] == printed[1]


VALUES = {
    "texts of numpy": (np.array(["a", "b"]), ["a", "b"]),
    "one and True": ([1, True, None], [1, True, None]),
    "lists and tuples": ([[50], (50, 50)], [[50], (50, 50)]),
    "whole numbers": (randint(1, 4), [1, 2, 3]),
}


@pytest.mark.parametrize(("values", "expected"), VALUES.values(), ids=VALUES)
def test_every_value_that_can_be_sampled_is_drawn_once_and_as_it_is(values, expected):
    first, *drawn = sweep.sample_candidates({"x": "default"}, {"x": values}, 100, 42)
    assert first == {"x": "default"}
    assert sorted(repr(candidate["x"]) for candidate in drawn) == sorted(map(repr, expected))


def test_sweep_ends_where_there_are_no_more_candidates(run_script, new_store, monkeypatch):
    script = importlib.import_module("huber-train")
    monkeypatch.setattr(script, "SEARCH", {"epsilon": [1.1, 1.35], "max_iter": [99, 100]})
    result = run_script("extras.sweep", "huber", 9)
    assert result.status == 0, result.err
    assert result.out.startswith("Best of 4 candidates")
    listed = candidates(new_store)
    assert listed["alpha"].tolist() == [0.0001] * 4
    drawn = {*zip(listed["epsilon"], listed["max_iter"], strict=True)}
    assert drawn == {(1.1, 99), (1.1, 100), (1.35, 99), (1.35, 100)}


@pytest.fixture
def when_a_trial_begins(monkeypatch):
    """Return a function that lets another one be called when the run of the trial 3 is there."""

    def arrange(action):
        create_run = mlflow.MlflowClient.create_run

        def create(client, experiment_id, start_time=None, tags=None, run_name=None):
            run = create_run(client, experiment_id, start_time, tags, run_name)
            if (tags or {}).get("trial") == 3:
                action()
            return run

        monkeypatch.setattr(mlflow.MlflowClient, "create_run", create)

    return arrange


def test_interrupted_while_a_trial_is_logged_the_trial_is_finished(
    run_script, new_store, when_a_trial_begins
):
    when_a_trial_begins(lambda: os.kill(os.getpid(), signal.SIGTERM))
    result = run_script("extras.sweep", "main", 200)
    parent, children = sweep_in(new_store)
    kept = f"sweep.py: interrupted; {len(children)} of 200 candidates are recorded\n"
    assert_one_line_error(result, kept, status=130)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children} == {"FINISHED"}
    assert "3" in {run.data.tags["trial"] for run in children}
    assert len(children) == len(candidates(new_store))
    assert models_of(new_store) == []


def test_killed_process_ends_the_sweep_in_one_line(run_script, new_store, when_a_trial_begins):
    def kill_all():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    when_a_trial_begins(kill_all)
    result = run_script("extras.sweep", "main", 200, 42, 2)
    said = "sweep.py: jobs: a process was killed, as happens when the memory is full; fewer than 2 "
    assert (result.status, result.err.count(said)) == (1, 1)
    assert "Traceback" not in result.err
    parent, children = sweep_in(new_store)
    assert parent.info.status == "FAILED"
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == len(candidates(new_store)) >= 1


def test_sweep_without_a_standard_error_ends_well(run_script, new_store, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    result = run_script("extras.sweep", "main", 5, 42, 64)  # no more processes than cores
    assert result.status == 0
    assert len(sweep_in(new_store)[1]) == 5


def test_test_wines_do_not_touch_the_search(swept, run_script, new_store):
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    test = importlib.import_module("train").load_split("wine-quality.csv").X_test.index
    wines.loc[test, "quality"] += 1
    wines.to_csv(new_store / "other-test.csv", index=False)
    result = run_script("extras.sweep", "main", 12, 42, "None", "other-test.csv")
    assert result.status == 0, result.err
    assert result.out.split("Serve")[0] != swept[1].split("Serve")[0]
    pd.testing.assert_frame_equal(candidates(new_store), candidates(swept[0]), check_exact=True)


def test_candidate_that_fails_is_said_and_the_others_go_on(run_script, new_store, monkeypatch):
    search = importlib.import_module("train").SEARCH
    monkeypatch.setitem(search, "l1_ratio", uniform(0, 2))  # above 1 it is not allowed
    result = run_script("extras.sweep", "main", 8)
    assert result.status == 0, result.err
    parent, children = sweep_in(new_store)
    failed = [run for run in children if run.info.status == "FAILED"]
    assert 0 < len(failed) < 7
    assert all("l1_ratio" in run.data.tags["error"] for run in failed)
    assert f"Best of {8 - len(failed)} candidates" in result.out
    assert f"; {len(failed)} failed: see candidates.csv\n" in result.out
    assert candidates(new_store)["error"].notna().sum() == len(failed)


@pytest.mark.parametrize("n_candidates", [2, 4])
def test_defaults_that_fail_are_not_compared(run_script, new_store, monkeypatch, n_candidates):
    script = importlib.import_module("train")
    defaults = {"alpha": 1.0, "l1_ratio": 7.0, "data": "wine-quality.csv"}  # too high a ratio
    monkeypatch.setattr(script, "read_params", lambda argv: defaults)
    monkeypatch.setitem(script.SEARCH, "l1_ratio", [8, 9, 0.5, 0.1][:n_candidates])
    result = run_script("extras.sweep", "main", 30)
    _, children = sweep_in(new_store)
    assert len(children) == 30
    if n_candidates == 2:
        assert result.status == 1
        assert "sweep.py: model: no candidate could be fitted: " in result.err
        assert {run.info.status for run in children} == {"FAILED"}
        assert models_of(new_store) == []
    else:
        assert result.status == 0, result.err
        assert re.match(r"Best of \d+ candidates by .*: rmse 0\.\d{4} ±0\.\d{4}; \d+ f", result.out)


def test_table_too_small_for_the_folds_is_refused(run_script, tmp_path):
    header, *wines = (PROJECT / "wine-quality.csv").read_text().splitlines()
    few = [f"{wine[:-1]}{grade}" for wine, grade in zip(wines, "565665", strict=False)]
    (tmp_path / "few.csv").write_text("\n".join([header, *few]))
    refused = run_script("extras.sweep", "main", 5, 1, 1, "few.csv")
    assert_one_line_error(refused, "allowed are enough to judge by 5 folds")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [(*COMMAND, "main", "1000"), (*MLFLOW_RUN, "-e", "sweep", "-P", "trials=1000")]
)
def test_ctrl_c_ends_all_processes_with_one_line(command, new_store):
    """A terminal sends SIGINT to all processes of a command."""
    with start_process(*command, cwd=new_store, PYTHONPATH=str(PROJECT)) as sweeping:
        while len(runs_of(new_store)) <= 20 and sweeping.poll() is None:
            time.sleep(0.05)
        os.killpg(sweeping.pid, signal.SIGINT)
        printed = sweeping.communicate(timeout=60)[0]
    assert sweeping.returncode != 0
    assert len(INTERRUPTED.findall(printed)) == 1, printed
    assert not re.search("Traceback|Error|Warning", printed)
    parent, children = sweep_in(new_store)
    # MLflow 3.17.2 writes FAILED over it: it takes no status for a terminal one.
    assert parent.info.status == ("KILLED" if command[0] == sys.executable else "FAILED")
    assert {run.info.status for run in children} <= {"FINISHED"}
    assert len(children) >= 20
