"""Processes: signals and missing packages end a script with one line; output cannot fail it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from helpers import MLFLOW_RUN, PROJECT, assert_one_line_error, run_command, runs_of, start_process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX's signals")

FINISHES_ITS_RECORD = """
import time
from wine import process

def main():
    try:
        print("started", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupting", flush=True)
        time.sleep(1)
        print("recorded", flush=True)
        raise

process.run(main)
"""


@pytest.mark.parametrize(
    ("first", "then", "recorded"),
    [(signal.SIGINT, signal.SIGTERM, True), (signal.SIGTERM, signal.SIGINT, False)],
)
def test_first_signal_interrupts_and_only_ctrl_c_does_so_again(first, then, recorded):
    with start_process(sys.executable, "-c", FINISHES_ITS_RECORD, cwd=PROJECT) as script:
        assert script.stdout.readline() == "started\n"
        script.send_signal(first)
        assert script.stdout.readline() == "interrupting\n"
        script.send_signal(then)
        said = script.stdout.read()
    assert said == ("recorded\n" if recorded else "") + "-c: interrupted\n"
    assert script.returncode == 130


def test_ignored_ctrl_c_stays_ignored():
    ignoring = "import signal as s; from wine import process; s.signal(s.SIGINT, s.SIG_IGN)"
    ignoring += "; process.run(lambda: s.raise_signal(s.SIGINT))"
    assert run_command("python", "-c", ignoring, cwd=PROJECT) == (0, "", "")


DIRECTLY = (sys.executable, PROJECT / "clf-train.py", "20000")
BY_MLFLOW = (*MLFLOW_RUN, "-e", "classifier", "-P", "n_estimators=20000")


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        (DIRECTLY, signal.SIGINT, "KILLED"),
        pytest.param(BY_MLFLOW, signal.SIGTERM, "KILLED", marks=pytest.mark.slow),
        # MLflow 3.17.2 means to leave alone a run that its script has ended, but compares the name
        # of the status with numbers (RunStatus.is_terminated("KILLED") is False): after Ctrl-C it
        # calls failed what the script had called killed.
        pytest.param(BY_MLFLOW, signal.SIGINT, "FAILED", marks=pytest.mark.slow),
    ],
    ids=["Ctrl-C", "mlflow run, SIGTERM", "mlflow run, Ctrl-C"],
)
def test_interrupted_training_ends_with_one_line_and_without_a_model(
    new_store, command, number, status
):
    def is_fitting():
        return any("criterion" in run.data.params for run in runs_of(new_store))

    with start_process(*command, cwd=new_store) as training:
        while training.poll() is None and not is_fitting():
            time.sleep(0.2)
        os.killpg(training.pid, number)
        printed = training.stdout.read()
    assert training.returncode not in (0, None)
    assert printed.count("clf-train.py: interrupted\n") == 1
    (run,) = runs_of(new_store)
    assert (run.info.status, [*new_store.glob("mlruns/**/MLmodel")]) == (status, [])
    if command is DIRECTLY:
        assert (printed, training.returncode) == ("clf-train.py: interrupted\n", 130)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_ctrl_c_during_the_imports_ends_with_one_line(tmp_path):
    with start_process(sys.executable, PROJECT / "train.py", cwd=tmp_path) as training:
        maps = Path(f"/proc/{training.pid}/maps")
        while training.poll() is None and "scipy" not in maps.read_text():  # scikit-learn's first
            time.sleep(0.001)
        os.killpg(training.pid, signal.SIGINT)
        printed = training.communicate()[0]
    assert (printed, training.returncode) == ("train.py: interrupted\n", -signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["train.py", "huber-train.py", "clf-train.py"])
def test_python_without_the_packages_is_one_line_that_says_what_helps(script, tmp_path):
    """It is what a script meets where the environment is not active: -S hides the packages."""
    done = run_command(sys.executable, "-S", PROJECT / script, cwd=tmp_path)
    said = f"{script}: No module named '", f"in {sys.executable}; activate the project's env"
    assert_one_line_error(done, *said, status=1)


PRINTS = "from wine import process as p; p.run(lambda: p.print_text('vinho de São Paulo'))"


def test_text_that_cannot_be_printed_is_no_error():
    done = run_command("python", "-c", PRINTS, cwd=PROJECT, PYTHONIOENCODING="ascii")
    assert done == (0, "vinho de S\\xe3o Paulo\n", "")
    closed = 'python -c "$0" | true; exit ${PIPESTATUS[0]}'  # by its reader
    assert run_command("bash", "-c", closed, PRINTS, cwd=PROJECT) == (0, "", "")
