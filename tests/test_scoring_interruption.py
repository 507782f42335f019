"""A scoring writes its whole output or none: interrupted, killed, on a full disk."""

import os
import shutil
import signal
import sys

import numpy as np
import pandas as pd
import pytest

from helpers import (
    PROJECT,
    run_command,
    runs_of,
    store_uri,
)
from tables import (
    MEASURED,
    counts,
    grow,
    predictions,
    start_scoring,
    wait_for_output,
)

pytestmark = pytest.mark.slow


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(*arguments, store, cwd):
    """Return the greatest memory (MB) of a scoring, started by a small process: Linux counts a
    child from the memory of its parent on.
    """
    done = run_command(
        *(sys.executable, "-c", PEAK, sys.executable, PROJECT / "score.py", *arguments),
        cwd=cwd,
        MLFLOW_TRACKING_URI=store_uri(store),
    )
    assert done.status == 0, done.err
    return int(done.out) / (2**20 if sys.platform == "darwin" else 2**10)


def test_memory_does_not_grow_with_the_table(model_uris, store, large, tmp_path):
    grow(tmp_path / "larger.csv", 1_600_000)
    used = [
        peak(model_uris["main"], path, "scored.csv", "true", store=store, cwd=tmp_path)
        for path in (large, tmp_path / "larger.csv")
    ]
    print(f"\n400,000 wines: {used[0]:.0f} MB, 1,600,000 wines: {used[1]:.0f} MB")
    with open(tmp_path / "scored.csv", "rb") as file:
        assert sum(1 for _ in file) == 1_600_001
    assert used[1] - used[0] < 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_scoring_leaves_nothing(number, model_uris, store, large, tmp_path):
    with start_scoring(
        model_uris["main"], large, "scored.csv", store=store, cwd=tmp_path
    ) as scoring:
        wait_for_output(tmp_path, scoring)
        os.killpg(scoring.pid, number)
        said = scoring.communicate(timeout=60)[0]
    assert scoring.returncode == 130
    assert said.endswith("score.py: interrupted\n")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []
    assert runs_of(store)[0].info.status == "KILLED"


def test_killed_scoring_can_be_started_again(model_uris, store, large, models, tmp_path):
    with start_scoring(
        model_uris["main"], large, "scored.csv", store=store, cwd=tmp_path
    ) as scoring:
        wait_for_output(tmp_path, scoring)
        os.killpg(scoring.pid, signal.SIGKILL)
        scoring.communicate()
    assert scoring.returncode == -signal.SIGKILL
    assert not (tmp_path / "scored.csv").exists()
    assert not (tmp_path / "scored.csv.rejected.csv").exists()
    with start_scoring(
        model_uris["main"], large, "scored.csv", store=store, cwd=tmp_path
    ) as scoring:
        said = scoring.communicate()[0]
    assert (scoring.returncode, counts(said)) == (0, (400_000, 0))
    scored = pd.read_csv(tmp_path / "scored.csv", dtype=str)
    whole = len(scored) // len(MEASURED) * len(MEASURED)
    answers = predictions(models["main"], MEASURED).ravel()
    found = scored["prediction"].astype(float).to_numpy()
    np.testing.assert_allclose(
        found[:whole].reshape(-1, len(MEASURED)), np.tile(answers, (81, 1)), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(found[whole:], answers[: len(found) - whole], rtol=0, atol=1e-12)


def test_two_scorings_at_once_do_not_disturb_each_other(model_uris, store, large, tmp_path):
    names = ("a.csv", "b.csv")
    together = [
        start_scoring(model_uris["main"], large, name, store=store, cwd=tmp_path) for name in names
    ]
    for scoring in together:
        said = scoring.communicate(timeout=120)[0]
        assert (scoring.returncode, counts(said)) == (0, (400_000, 0)), said
    assert sorted(os.listdir(tmp_path)) == [*names]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_full_disk_ends_with_one_line_and_no_output(suffix, model_uris, store, large, tmp_path):
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, which mounts a small disk for one process")
    mount = "mkdir full && mount -t tmpfs -o size=1m tmpfs full"
    isolated = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    tried = run_command(*isolated, mount, cwd=tmp_path)
    if tried.status != 0:
        pytest.skip(f"a small disk cannot be mounted here: {tried.err}")
    done = run_command(
        *isolated,
        'mount -t tmpfs -o size=1m tmpfs full; "$@"; echo status $?; ls -A full',
        *(
            "sh",
            sys.executable,
            PROJECT / "score.py",
            model_uris["main"],
            large,
            f"full/scored.{suffix}",
        ),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=store_uri(store),
    )
    assert done.out == "status 1\n", done.err
    assert "No space left on device" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert runs_of(store)[0].info.status == "FAILED"


def test_file_that_may_not_grow_ends_with_one_line_and_no_output(
    model_uris, store, large, tmp_path
):
    done = run_command(
        *("bash", "-c", 'ulimit -f 4096; exec "$@"', "bash", sys.executable),
        *(PROJECT / "score.py", model_uris["main"], large, "scored.csv"),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=store_uri(store),
    )
    assert done.status == 1, done.err
    assert "File too large" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert os.listdir(tmp_path) == []
