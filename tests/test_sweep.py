"""A sweep: its candidates, how they are judged, and what it leaves in the store."""

import importlib
import os
import signal
import subprocess
import sys
import time

import mlflow
import pandas as pd
import pytest

import sweep
from conftest import PROJECT, command, copy_project, environment
from wine import table

RUN = ("mlflow", "run", PROJECT, "-e", "sweep", "--env-manager", "local")


def store(folder):
    """Return the client of the store in a folder, its sweep's run and the runs below that."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs(["0"], max_results=1000)
    (parent,) = [run for run in runs if "trials" in run.data.params]
    children = [run for run in runs if run is not parent]
    return client, parent, children


def candidates(folder):
    """Return the table of the candidates as a sweep has recorded it, without the times."""
    client, parent, _ = store(folder)
    uri = f"{parent.info.artifact_uri}/candidates.csv"
    table = pd.read_csv(mlflow.artifacts.download_artifacts(uri), index_col="trial")
    return table.drop(columns="fit_time")


def test_every_candidate_is_a_child(swept):
    _, parent, children = store(swept[0])
    assert len(children) == 12
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED"
        assert set(run.data.params) == {"alpha", "l1_ratio"}
        assert set(run.data.metrics) == {"cv_rmse", "cv_rmse_std", "fit_time"}
        assert run.data.tags["converged"] == "true"
        assert run.data.tags["mlflow.source.name"] == parent.data.tags["mlflow.source.name"]
        assert run.info.end_time >= run.info.start_time >= parent.info.start_time
    names = {run.info.run_name for run in children}
    assert names == {"defaults", *(f"trial {number}" for number in range(1, 12))}


def test_candidates_as_recorded(swept):
    _, _, children = store(swept[0])
    listed = candidates(swept[0])
    assert listed.index.tolist() == list(range(12))
    assert listed.loc[0, ["alpha", "l1_ratio"]].tolist() == [1.0, 0.1]
    for run in children:
        row = listed.loc[int(run.info.run_name.replace("defaults", "0").split()[-1])]
        assert run.data.metrics["cv_rmse"] == row["cv_rmse"]
        assert float(run.data.params["alpha"]) == row["alpha"]


def test_best_candidate_is_trained_as_a_single_run_would_be(swept, tmp_path):
    folder, printed = swept
    client, parent, _ = store(folder)
    best = candidates(folder).sort_values("cv_rmse").iloc[0]
    assert float(parent.data.params["alpha"]) == best["alpha"]
    assert parent.data.metrics["cv_rmse"] == best["cv_rmse"]
    alone = command("python", PROJECT / "train.py", best["alpha"], best["l1_ratio"], cwd=tmp_path)
    assert alone.stdout.split("Serve")[0] == printed.split("Serve")[0]

    single = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["0"])[0]
    assert single.data.metrics.items() <= parent.data.metrics.items()
    assert single.data.params.items() <= parent.data.params.items()
    assert single.data.tags["mlflow.note.content"] == parent.data.tags["mlflow.note.content"]
    artifacts = [
        {item.path for item in each.list_artifacts(run.info.run_id)}
        for each, run in (
            (client, parent),
            (mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), single),
        )
    ]
    assert artifacts[0] - artifacts[1] == {"candidates.csv", "candidates.png"}
    assert artifacts[1] <= artifacts[0]


def test_score_beside_that_of_the_defaults(swept):
    listed = candidates(swept[0])["cv_rmse"]
    assert (
        f"Best of 12 candidates by 5 folds of the training wines: rmse {listed.min():.4f}, "
        f"with the defaults {listed[0]:.4f}\n"
    ) in swept[1]


@pytest.mark.parametrize("model", ["huber", "classifier"])
def test_same_seed_same_results_however_many_jobs(model, tmp_path):
    tables = []
    for jobs in (1, 2):
        (tmp_path / str(jobs)).mkdir()
        done = command("python", PROJECT / "sweep.py", model, 3, 7, jobs, cwd=tmp_path / str(jobs))
        assert done.returncode == 0, done.stderr
        tables.append((candidates(tmp_path / str(jobs)), done.stdout.split("Serve")[0]))
    pd.testing.assert_frame_equal(tables[0][0], tables[1][0], check_exact=True)
    assert tables[0][1] == tables[1][1]


def test_other_seed_other_candidates():
    search = importlib.import_module("train").SEARCH
    defaults = {"alpha": 1.0, "l1_ratio": 0.1}
    drawn = [sweep.draw(defaults, search, 30, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == drawn[2][0] == defaults
    assert drawn[0][1:] != drawn[2][1:]
    assert all(len(f"{value:.3g}") >= len(str(value)) - 2 for value in drawn[0][5].values())


@pytest.mark.parametrize("name", ["train", "huber-train", "clf-train"])
def test_identical_wines_are_in_one_fold(name):
    script = importlib.import_module(name)
    wines = script.split(table.read("wine-quality.csv"))
    classifier = name == "clf-train"
    folds = sweep.fold(wines.X_train, wines.y_train, classifier, seed=42)
    judged = []
    for fitted_on, judged_by in folds:
        sides = [set(map(tuple, wines.X_train.to_numpy()[rows])) for rows in (fitted_on, judged_by)]
        assert not sides[0] & sides[1]
        judged.extend(judged_by)
        if classifier:
            assert wines.y_train.iloc[judged_by].mean() == pytest.approx(0.21, abs=0.03)
    assert sorted(judged) == list(range(len(wines.X_train)))


def test_test_wines_do_not_touch_the_search(swept, tmp_path):
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    test = importlib.import_module("train").split(table.read("wine-quality.csv")).X_test.index
    wines.loc[test, "quality"] += 1
    wines.to_csv(tmp_path / "other-test.csv", index=False)
    done = command(
        *("python", PROJECT / "sweep.py", "main", 12, 42, "None", "other-test.csv"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("Serve")[0] != swept[1].split("Serve")[0]
    pd.testing.assert_frame_equal(candidates(tmp_path), candidates(swept[0]), check_exact=True)


def edited(folder, *changes):
    """Return a copy of the project with changes to train.py."""
    folder = copy_project(folder)
    text = (folder / "train.py").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (folder / "train.py").write_text(text)
    return folder


def test_candidate_that_fails_is_said_and_the_others_go_on(tmp_path):
    folder = edited(tmp_path / "wine", ('"l1_ratio": uniform(0, 1)', '"l1_ratio": uniform(0, 2)'))
    done = command("python", "sweep.py", "main", 8, cwd=folder)
    assert done.returncode == 0, done.stderr
    _, parent, children = store(folder)
    failed = [run for run in children if run.info.status == "FAILED"]
    assert 0 < len(failed) < 7
    assert all("l1_ratio" in run.data.tags["error"] for run in failed)
    assert parent.data.metrics["n_failed"] == len(failed)
    assert f"Best of {8 - len(failed)} candidates" in done.stdout
    assert f"{len(failed)} of 8 candidates failed" in done.stderr
    assert candidates(folder)["error"].notna().sum() == len(failed)


def test_all_candidates_fail(tmp_path):
    folder = edited(
        tmp_path / "wine", ("uniform(0, 1)", "uniform(2, 1)"), ("(0, 1), 0.1", "(0, 1), 7.0")
    )
    done = command("python", "sweep.py", "main", 3, cwd=folder)
    assert done.returncode == 1
    assert "sweep.py: model: none of the 3 candidates of main could be fitted: " in done.stderr
    assert "Traceback" not in done.stderr
    client, parent, children = store(folder)
    assert [run.info.status for run in (parent, *children)] == ["FAILED"] * 4
    assert client.search_logged_models(["0"]) == []


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
    ],
)
def test_refusals(arguments, said, tmp_path):
    wines = (PROJECT / "wine-quality.csv").read_text().splitlines()
    different = [wine[:-1] for wine in dict.fromkeys(wines[1:100])]
    few = [wines[0], *(wine + grade for wine, grade in zip(different, "565665", strict=False))]
    good = (0, 1, 2, 3, 19)  # the last one is a test wine
    rare = [wines[0], *(f"{different[n]}{8 if n in good else 5}" for n in range(40))]
    (tmp_path / "few.csv").write_text("\n".join(few))
    (tmp_path / "rare.csv").write_text("\n".join(rare))
    done = command("python", PROJECT / "sweep.py", *arguments, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("command_line", "status"),
    [
        ((sys.executable, PROJECT / "sweep.py", "classifier", "200"), "KILLED"),
        # MLflow 3.17.2 writes over it: it takes no status for a terminal one
        ((*RUN, "-P", "model=classifier", "-P", "trials=200"), "FAILED"),
    ],
    ids=["python", "mlflow run"],
)
def test_ctrl_c_keeps_what_is_finished(command_line, status, tmp_path):
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.search_runs(["0"]) == []  # which makes the store
    with subprocess.Popen(
        command_line,
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as sweeping:
        deadline = time.monotonic() + 120
        finished = []
        while len(finished) < 2 and time.monotonic() < deadline:
            time.sleep(1)
            finished = client.search_runs(["0"], "tags.converged = 'true'")
        os.killpg(sweeping.pid, signal.SIGINT)
        err = sweeping.communicate(timeout=60)[1]
    assert sweeping.returncode != 0
    assert err.count("sweep.py: interrupted\n") == 1
    assert "Traceback" not in err
    client, parent, children = store(tmp_path)
    assert parent.info.status == status
    assert {run.info.status for run in children} == {"FINISHED"}
    assert len(children) == len(candidates(tmp_path)) >= 2
    assert client.search_logged_models(["0"]) == []
