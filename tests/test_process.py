"""Processes: signals and missing packages end a script with one line; output cannot fail it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from helpers import (
    LOCAL,
    PROJECT,
    assert_one_line_error,
    models_of,
    run_command,
    runs_of,
    start_process,
)

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
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + FINISHES_ITS_RECORD
    with start_process(sys.executable, "-c", ignoring, cwd=PROJECT) as script:
        assert script.stdout.readline() == "started\n"
        script.send_signal(signal.SIGINT)
        script.send_signal(signal.SIGTERM)
        assert script.stdout.read().endswith("recorded\n-c: interrupted\n")


DIRECTLY = (sys.executable, PROJECT / "clf-train.py", "20000")
BY_MLFLOW = ("mlflow", "run", PROJECT, "-e", "classifier", *LOCAL, "-P", "n_estimators=20000")


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
    assert (run.info.status, models_of(new_store)) == (status, [])
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


@pytest.mark.parametrize(
    ("shell", "printed"),
    [
        ('PYTHONIOENCODING=ascii python -c "$PRINTS"', "vinho de S\\xe3o Paulo\n"),
        ('python -c "$PRINTS" | true; exit ${PIPESTATUS[0]}', ""),
    ],
    ids=["not encodable", "closed by its reader"],
)
def test_text_that_cannot_be_printed_is_no_error(shell, printed):
    done = run_command("bash", "-c", shell, cwd=PROJECT, PRINTS=PRINTS)
    assert done == (0, printed, "")
