"""A sweep: its candidates, how they are evaluated, and what it leaves in the store."""

import importlib
import itertools
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
from scipy.stats import randint, uniform

import sweep
from helpers import (
    MLFLOW_RUN,
    PROJECT,
    assert_one_line_error,
    client_of,
    copy_store,
    environment,
    models_of,
    runs_of,
    start_process,
)
from wine import dataset, plots, trainings

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


def test_every_candidate_is_a_child(swept):
    parent, children = sweep_in(swept[0])
    assert len(children) == 12
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert set(run.data.params) == {"alpha", "l1_ratio"}
        assert set(run.data.metrics) == {"cv_rmse", "cv_rmse_std", "fit_time"}
        assert run.data.tags["converged"] == "true"
        assert run.data.tags["mlflow.source.name"] == parent.data.tags["mlflow.source.name"]
        assert run.info.end_time >= run.info.start_time >= parent.info.start_time
        params = ", ".join(run.data.params[name] for name in ("alpha", "l1_ratio"))
        assert run.info.run_name == f"ElasticNet {params}"
    assert {run.data.tags["trial"] for run in children} == {str(number) for number in range(12)}
    assert parent.info.run_name == "Sweep of ElasticNet"


def test_table_of_candidates_says_what_their_runs_say(swept):
    _, children = sweep_in(swept[0])
    listed = candidates(swept[0])
    assert listed.index.tolist() == list(range(12))
    assert listed.loc[0, ["alpha", "l1_ratio"]].tolist() == [1.0, 0.1]
    for run in children:
        row = listed.loc[int(run.data.tags["trial"])]
        assert run.data.metrics["cv_rmse"] == row["cv_rmse"]
        assert float(run.data.params["alpha"]) == row["alpha"]


def test_best_candidate_is_trained_as_a_single_run_would_be(swept, run_script, new_store):
    folder, printed = swept
    parent, _ = sweep_in(folder)
    best = candidates(folder).sort_values("cv_rmse").iloc[0]
    assert float(parent.data.params["alpha"]) == best["alpha"]
    assert parent.data.metrics["cv_rmse"] == best["cv_rmse"]
    alone = run_script("train.py", best["alpha"], best["l1_ratio"])
    assert alone.out.split("Serve")[0] in printed

    (single,) = runs_of(new_store)
    assert single.data.metrics.items() <= parent.data.metrics.items()
    assert single.data.params.items() <= parent.data.params.items()
    assert single.data.tags["mlflow.note.content"] == parent.data.tags["mlflow.note.content"]
    of_sweep, of_training = (
        {item.path for item in client_of(each).list_artifacts(run.info.run_id)}
        for each, run in ((folder, parent), (new_store, single))
    )
    assert of_sweep - of_training == {"candidates.csv", "candidates.png"}
    assert of_training <= of_sweep


def test_screen_shows_the_best_score_beside_that_of_the_defaults(swept):
    listed = candidates(swept[0])
    (best, best_std), (defaults, defaults_std) = (
        listed.loc[number, ["cv_rmse", "cv_rmse_std"]] for number in (listed["cv_rmse"].idxmin(), 0)
    )
    assert swept[1].splitlines()[0] == (
        f"Best of 12 candidates by 5 folds of the training wines: rmse {best:.4f} ±{best_std:.4f}, "
        f"with the defaults {defaults:.4f} ±{defaults_std:.4f}"
    )


@pytest.mark.parametrize("model", ["huber", pytest.param("classifier", marks=pytest.mark.slow)])
def test_same_seed_same_results_however_many_jobs(model, run_script, empty_store, tmp_path):
    tables, printed = [], []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        folder.mkdir()
        copy_store(empty_store, folder)
        result = run_script("sweep.py", model, 3, 7, jobs, store=folder)
        assert result.status == 0, result.err
        tables.append(candidates(folder))
        printed.append(result.out.split("Serve")[0])
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert printed[0] == printed[1]


def test_other_seed_gives_other_candidates():
    search = importlib.import_module("train").SEARCH
    defaults = {"alpha": 1.0, "l1_ratio": 0.1}
    drawn = [
        list(itertools.islice(sweep.sample_candidates(defaults, search, seed), 30))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == drawn[2][0] == defaults
    assert drawn[0][1:] != drawn[2][1:]
    assert all(len(f"{value:.3g}") >= len(str(value)) - 2 for value in drawn[0][5].values())


def test_classifier_has_805_candidates_and_none_comes_twice():
    search = importlib.import_module("clf-train").SEARCH
    defaults = {"n_estimators": 80, "max_depth": None}
    drawn = list(sweep.sample_candidates(defaults, search, 42))
    assert len(drawn) == len({tuple(candidate.values()) for candidate in drawn}) == 161 * 5


VALUES = {
    "texts": (["cyclic", "random"], ["cyclic", "random"]),
    "booleans": ([True, False], [True, False]),
    "booleans of numpy": (np.array([True, False]), [True, False]),
    "texts of numpy": (np.array(["a", "b"]), ["a", "b"]),
    "one and True": ([1, True, None], [1, True, None]),
    "lists and tuples": ([[50], (50, 50)], [[50], (50, 50)]),
    "listed floats": ([0.12345, 1 / 3], [0.12345, 1 / 3]),
    "whole numbers": (randint(1, 4), [1, 2, 3]),
}


@pytest.mark.parametrize(("values", "expected"), VALUES.values(), ids=VALUES)
def test_every_value_that_can_be_sampled_is_drawn_once_and_as_it_is(values, expected):
    drawn = sweep.sample_candidates({"x": "default"}, {"x": values}, 42)
    assert next(drawn) == {"x": "default"}
    drawn = [candidate["x"] for candidate in drawn]
    assert sorted(map(repr, drawn)) == sorted(map(repr, expected))


def test_floats_of_a_distribution_are_rounded():
    drawn = sweep.sample_candidates({"x": 0.5}, {"x": uniform(0, 1)}, 42)
    assert all(len(f"{candidate['x']:g}") <= 8 for candidate in itertools.islice(drawn, 20))


TEXTS = """
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeRegressor
import mlflow
from train import split

SEARCH = {
    "degree": [1, (0, 1)],
    "include_bias": [True, False],
    "criterion": ["squared_error", "poisson"],
    "max_features": [None, "sqrt", 3, 0.5],
}


def build(degree, include_bias, criterion, max_features):
    return make_pipeline(
        PolynomialFeatures(degree, include_bias=include_bias),
        DecisionTreeRegressor(
            criterion=criterion, max_features=max_features, max_depth=2, random_state=42
        ),
    )


def read_params(argv):
    return {
        "degree": 1, "include_bias": True, "criterion": "squared_error", "max_features": None
    }


def train(params, split):
    mlflow.log_params(params)
"""


def test_search_may_hold_texts_booleans_tuples_and_none(
    run_script, new_store, monkeypatch, tmp_path
):
    (tmp_path / "texts-train.py").write_text(TEXTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(trainings.SCRIPTS, "texts", "texts-train")
    result = run_script("sweep.py", "texts", 100)
    assert result.status == 0, result.err
    assert "texts has only 32 different candidates" in result.err
    parent, children = sweep_in(new_store)
    listed = candidates(new_store)
    assert set(map(str, listed["degree"])) == {"1", "(0, 1)"}
    assert set(listed["include_bias"]) == {True, False}
    assert set(listed["max_features"].fillna("None")) == {"None", "sqrt", "3", "0.5"}
    assert {run.data.params["include_bias"] for run in children} == {"True", "False"}
    best = listed.sort_values("cv_rmse").iloc[0]
    assert parent.data.params["criterion"] == best["criterion"]
    artifacts = client_of(new_store).list_artifacts(parent.info.run_id)
    assert {item.path for item in artifacts} == {"candidates.csv", "candidates.png"}


def draw(values):
    """Return the axis of a figure of candidates that have these values of one parameter."""
    n = len(values)
    figure = plots.candidates([{"x": value} for value in values], [0.5] * n, [0.1] * n, "score", 0)
    figure.canvas.draw()
    return figure.axes[0]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["random", "cyclic", "random"], ["cyclic", "random"]),
        ([True, False], ["False", "True"]),
        ([None, 20, 8, "sqrt", 0.5], ["0.5", "8", "20", "None", "sqrt"]),
        ([(1, 2), [3], "$x$"], ["$x$", "(1, 2)", "[3]"]),
    ],
)
def test_what_is_no_number_gets_an_axis_of_texts(values, labels):
    assert [label.get_text() for label in draw(values).get_xticklabels()] == labels


def test_numbers_get_an_axis_of_numbers_and_a_logarithmic_one_where_they_are_far_apart():
    assert draw([1, 5, 10]).get_xscale() == "linear"
    assert draw([-1, 5, 1000]).get_xscale() == "linear"
    assert draw([0.001, 0.1, 10]).get_xscale() == "log"


def test_error_in_build_ends_the_sweep(run_script, new_store, monkeypatch):
    script = importlib.import_module("train")
    build = script.build

    def fail_later(alpha, l1_ratio):
        if alpha != 1.0:
            raise KeyError("no such alpha")
        return build(alpha, l1_ratio)

    monkeypatch.setattr(script, "build", fail_later)
    with pytest.raises(KeyError, match="no such alpha"):
        run_script("sweep.py", "main", 20, 42, 2)
    parent, children = sweep_in(new_store)
    assert parent.info.status == "FAILED"
    assert {run.info.status for run in children} <= {"FINISHED"}


def test_no_more_candidates_than_there_are(run_script, new_store, monkeypatch):
    search = {"alpha": [0.5, 1.0], "l1_ratio": [0.1, 0.2]}
    monkeypatch.setattr(importlib.import_module("train"), "SEARCH", search)
    result = run_script("sweep.py", "main", 9)
    assert result.status == 0, result.err
    said = "trials: received 9, but main has only 4 different candidates, which were all evaluated"
    assert result.err.splitlines().count(said) == 1
    assert "Best of 4 candidates" in result.out
    assert len(sweep_in(new_store)[1]) == 4


@pytest.fixture
def when_trial_begins(monkeypatch):
    """Return a function that lets another one be called as soon as the run of a trial is there."""

    def arrange(number, action):
        create_run = mlflow.MlflowClient.create_run

        def create(*arguments, **keywords):
            run = create_run(*arguments, **keywords)
            if keywords.get("tags", {}).get("trial") == str(number):
                action()
            return run

        monkeypatch.setattr(mlflow.MlflowClient, "create_run", create)

    return arrange


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_a_trial_is_logged_the_trial_is_finished(
    signum, run_script, new_store, when_trial_begins
):
    when_trial_begins(3, lambda: os.kill(os.getpid(), signum))
    result = run_script("sweep.py", "main", 2**31 - 1)  # so many are not drawn in advance
    parent, children = sweep_in(new_store)
    kept = f"sweep.py: interrupted; {len(children)} of {2**31 - 1} candidates are recorded\n"
    assert_one_line_error(result, kept, status=130)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == len(candidates(new_store)) >= 1
    assert "3" in {run.data.tags["trial"] for run in children}


def test_killed_process_ends_the_sweep_in_one_line(run_script, new_store, when_trial_begins):
    def kill_all():
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    when_trial_begins(3, kill_all)
    result = run_script("sweep.py", "main", 200, 42, 2)
    assert result.status == 1
    said = "sweep.py: jobs: one of 2 processes was killed, as happens when the memory is full; "
    assert result.err.count(said) == 1
    assert "Traceback" not in result.err
    parent, children = sweep_in(new_store)
    assert parent.info.status == "FAILED"
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == len(candidates(new_store)) >= 1


def test_no_more_processes_than_cores(run_script, new_store, when_trial_begins):
    processes = []
    when_trial_begins(0, lambda: processes.extend(multiprocessing.active_children()))
    result = run_script("sweep.py", "main", 5, 42, 64)
    assert result.status == 0, result.err
    assert len(processes) <= os.cpu_count()


def test_test_wines_do_not_touch_the_search(swept, run_script, new_store):
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    test = importlib.import_module("train").split(dataset.load("wine-quality.csv")).X_test.index
    wines.loc[test, "quality"] += 1
    wines.to_csv(new_store / "other-test.csv", index=False)
    result = run_script("sweep.py", "main", 12, 42, "None", "other-test.csv")
    assert result.status == 0, result.err
    assert result.out.split("Serve")[0] != swept[1].split("Serve")[0]
    pd.testing.assert_frame_equal(candidates(new_store), candidates(swept[0]), check_exact=True)


def test_candidate_that_fails_is_said_and_the_others_go_on(run_script, new_store, monkeypatch):
    search = importlib.import_module("train").SEARCH
    monkeypatch.setitem(search, "l1_ratio", uniform(0, 2))  # above 1 it is not allowed
    result = run_script("sweep.py", "main", 8)
    assert result.status == 0, result.err
    parent, children = sweep_in(new_store)
    failed = [run for run in children if run.info.status == "FAILED"]
    assert 0 < len(failed) < 7
    assert all("l1_ratio" in run.data.tags["error"] for run in failed)
    assert parent.data.metrics["n_failed"] == len(failed)
    assert f"Best of {8 - len(failed)} candidates" in result.out
    assert f"{len(failed)} of 8 candidates failed" in result.err
    assert candidates(new_store)["error"].notna().sum() == len(failed)


def test_sweep_whose_candidates_all_fail_trains_nothing(run_script, new_store, monkeypatch):
    script = importlib.import_module("train")
    defaults = {"alpha": 1.0, "l1_ratio": 7.0, "data": "wine-quality.csv"}
    monkeypatch.setattr(script, "read_params", lambda argv: defaults)
    monkeypatch.setitem(script.SEARCH, "l1_ratio", uniform(2, 1))
    result = run_script("sweep.py", "main", 3)
    assert result.status == 1
    assert "sweep.py: model: none of the 3 candidates of main could be fitted: " in result.err
    parent, children = sweep_in(new_store)
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 4
    assert models_of(new_store) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ridge"], "argument model: received 'ridge', allowed is main, huber, classifier"),
        (["main", "0"], "argument trials: received '0', allowed is a whole number from 1"),
        (["main", "5", "-1"], "argument seed: received '-1', allowed is a whole number from 0"),
        (["main", "5", "1", "0"], "argument jobs: received '0', allowed is a whole number from 1"),
        (
            ["main", "5", "1", "1", "few.csv"],
            "data: received 4 training wines, 4 of them different",
        ),
        (["classifier", "5", "1", "1", "rare.csv"], "data: received 32 training wines, 32 of them"),
        (
            ["classifier", "5", "1", "1", "same.csv"],
            "allowed are enough to judge by 5 folds: The least populated class in y has only 4",
        ),
    ],
)
def test_wrong_parameter_or_table_is_refused(arguments, said, run_script, tmp_path):
    wines = (PROJECT / "wine-quality.csv").read_text().splitlines()
    different = [wine[:-1] for wine in dict.fromkeys(wines[1:100])]
    few = [wines[0], *(wine + grade for wine, grade in zip(different, "565665", strict=False))]
    good = (0, 1, 2, 3, 19)  # the last one is a test wine
    rare = [wines[0], *(f"{different[n]}{8 if n in good else 5}" for n in range(40))]
    same = [*rare, *[f"{different[0]}8"] * 9]  # these are in one fold
    (tmp_path / "same.csv").write_text("\n".join(same))
    (tmp_path / "few.csv").write_text("\n".join(few))
    (tmp_path / "rare.csv").write_text("\n".join(rare))
    assert_one_line_error(run_script("sweep.py", *arguments), said)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command_line", "status"),
    [
        ((sys.executable, PROJECT / "sweep.py", "classifier", "200"), "KILLED"),
        # MLflow 3.17.2 writes over it: it takes no status for a terminal one
        ((*MLFLOW_RUN, "-e", "sweep", "-P", "model=classifier", "-P", "trials=200"), "FAILED"),
    ],
    ids=["python", "mlflow run"],
)
def test_ctrl_c_keeps_what_is_finished(command_line, status, new_store):
    client = client_of(new_store)
    with start_process(*command_line, cwd=new_store) as sweeping:
        finished = []
        while len(finished) < 2 and sweeping.poll() is None:
            time.sleep(0.5)
            finished = client.search_runs(["0"], "tags.converged = 'true'")
        os.killpg(sweeping.pid, signal.SIGINT)
        printed = sweeping.communicate(timeout=60)[0]
    assert sweeping.returncode != 0
    assert len(INTERRUPTED.findall(printed)) == 1
    assert "Traceback" not in printed
    parent, children = sweep_in(new_store)
    assert parent.info.status == status
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == len(candidates(new_store)) >= 2
    assert models_of(new_store) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX's terminals")
@pytest.mark.parametrize(
    ("command", "trials"),
    [
        *(
            ((sys.executable, PROJECT / "sweep.py", "main", "1000"), trials)
            for trials in (0, 1, 20)
        ),
        *(((*MLFLOW_RUN, "-e", "sweep", "-P", "trials=1000"), trials) for trials in (1, 20)),
    ],
)
def test_ctrl_c_in_a_terminal_ends_all_processes_with_one_line(command, trials, new_store):
    """The terminal sends SIGINT to all processes, when so many trials are logged."""
    import fcntl
    import pty
    import termios

    keyboard, terminal = pty.openpty()
    sweeping = subprocess.Popen(
        [str(argument) for argument in command],
        cwd=new_store,
        env=environment(),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    runs = []
    while not (len(runs) > trials and "trials" in runs[-1].data.params) and sweeping.poll() is None:
        time.sleep(0.01)
        runs = runs_of(new_store)
    os.write(keyboard, b"\x03")
    printed, patience = b"", time.monotonic() + 15
    try:
        while part := os.read(keyboard, 10_000):
            printed += part
            # In the moment in which its processes start, a sweep does not hear it.
            if time.monotonic() > patience and b"interrupted" not in printed:
                os.write(keyboard, b"\x03")
                patience = math.inf
    except OSError:  # nobody has the terminal any more
        os.close(keyboard)
    assert sweeping.wait(60) != 0
    printed = printed.decode().replace("\r\n", "\n")
    assert len(INTERRUPTED.findall(printed)) == 1
    for noise in ("Traceback", "Error", "Warning"):
        assert noise not in printed
    parent, children = sweep_in(new_store)
    assert parent.info.status in ("KILLED", "FAILED")
    assert {run.info.status for run in children} <= {"FINISHED"}
    assert len(children) >= trials
