"""Processes: signals end a script with one line, and progress is shown as it can be read."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import (
    LOCAL,
    PROJECT,
    assert_one_line_error,
    environment,
    models_of,
    run_command,
    runs_of,
    start_process,
)
from wine import process

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX's signals and terminals")

# Signals

FINISHES_ITS_RECORD = """
import time
from wine import process

def main():
    try:
        print("started", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupting", flush=True)
        time.sleep(2)
        print("recorded", flush=True)
        raise

process.run(main)
"""


@pytest.mark.parametrize(
    ("first", "then", "recorded"),
    [
        (signal.SIGINT, signal.SIGTERM, True),
        (signal.SIGTERM, signal.SIGTERM, True),
        (signal.SIGTERM, signal.SIGINT, False),
        (signal.SIGINT, signal.SIGINT, False),
    ],
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


def seconds_of_cpu(group, name):
    """Return the processor time that a script has used which runs in a process group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = stat.read_text().rpartition(")")[2].split()
            if int(values[2]) == group and name in (stat.parent / "cmdline").read_text():
                return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:  # it has just ended
            continue
    return 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        # MLflow 3.17.2 means to leave alone a run that its script has ended, but compares the name
        # of the status with numbers (RunStatus.is_terminated("KILLED") is False): after Ctrl-C it
        # calls failed what the script had called killed
        (signal.SIGINT, "FAILED"),
        (signal.SIGTERM, "KILLED"),
    ],
)
def test_mlflow_run_interrupted_while_it_trains(new_store, number, status):
    arguments = ("mlflow", "run", PROJECT, "-e", "classifier", *LOCAL, "-P", "n_estimators=20000")
    with start_process(*arguments, cwd=new_store) as training:
        # the imports take some three seconds of it: then it grows its trees
        while training.poll() is None and seconds_of_cpu(training.pid, "python\0clf-train") < 6:
            time.sleep(0.2)
        os.killpg(training.pid, number)
        said = training.stdout.read()
    assert training.returncode != 0
    assert said.count("clf-train.py: interrupted\n") == 1
    (run,) = runs_of(new_store)
    assert (run.info.status, models_of(new_store)) == (status, [])


def test_ctrl_c_ends_with_one_line_and_a_killed_run(new_store):
    classifier = (sys.executable, PROJECT / "clf-train.py", "20000")
    with start_process(*classifier, cwd=new_store) as training:
        while training.poll() is None and not runs_of(new_store):
            time.sleep(0.2)
        os.killpg(training.pid, signal.SIGINT)
        printed = training.communicate()[0]
    assert training.returncode == 130
    assert printed.endswith("clf-train.py: interrupted\n")
    assert "Traceback" not in printed
    (run,) = runs_of(new_store)
    assert (run.info.status, models_of(new_store)) == ("KILLED", [])


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_ctrl_c_during_the_imports_ends_with_one_line(tmp_path):
    script = PROJECT / "train.py"
    with start_process(sys.executable, script, cwd=tmp_path) as training:
        maps = Path(f"/proc/{training.pid}/maps")
        while training.poll() is None and "scipy" not in maps.read_text():  # scikit-learn's first
            time.sleep(0.001)
        os.killpg(training.pid, signal.SIGINT)
        printed = training.communicate()[0]
    assert training.returncode != 0
    assert printed == f"{script}: interrupted\n"
    assert list(tmp_path.iterdir()) == []


# Output

PRINTS = "from wine import process; process.print_text('vinho de São Paulo')"


@pytest.mark.parametrize(
    ("shell", "printed"),
    [
        ('PYTHONIOENCODING=ascii python -c "$PRINTS"', "vinho de S\\xe3o Paulo\n"),
        ('python -c "$PRINTS" | true; exit ${PIPESTATUS[0]}', ""),
        ('python -c "$PRINTS" >&-', ""),
        ('python -c "$PRINTS" > /dev/full', ""),
    ],
    ids=["not encodable", "closed by its reader", "closed before", "full"],
)
def test_text_that_cannot_be_printed_is_no_error(shell, printed):
    done = run_command("bash", "-c", shell, cwd=PROJECT, PRINTS=PRINTS)
    assert done == (0, printed, "")


# Progress


@pytest.mark.parametrize("script", sorted(PROJECT.glob("*.py")), ids=lambda path: path.name)
def test_python_without_the_packages_is_one_line_that_says_what_helps(script, tmp_path):
    """It is what a script meets where the environment is not active: -S hides the packages."""
    done = run_command(sys.executable, "-S", script, cwd=tmp_path)
    said = f"{script.name}: No module named '", f"in {sys.executable}; activate the project's env"
    assert_one_line_error(done, *said, status=1)


def test_progress_is_a_line_each_tenth_where_there_is_no_terminal(capsys):
    assert list(process.progress(range(40), 40, "trials")) == list(range(40))
    percents = [f"trials: {percent} %" for percent in range(10, 101, 10)]
    assert capsys.readouterr().err.splitlines() == percents


def test_progress_counts_the_sizes_of_items(capsys):
    items = [5, 90, 5]
    assert list(process.progress(items, 100, "scored", size=lambda item: item)) == items
    assert capsys.readouterr().err.splitlines() == ["scored: 95 %", "scored: 100 %"]


SHOWS_PROGRESS = """
import time
from wine import process

for _ in process.progress(range(20), 20, "trials"):
    time.sleep(0.1)
"""


def test_progress_is_a_bar_on_a_terminal():
    reader, terminal = pty.openpty()
    env = environment(COLUMNS="80")
    child = subprocess.Popen(
        [sys.executable, "-c", SHOWS_PROGRESS], cwd=PROJECT, env=env, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the child has closed the terminal
        while more := os.read(reader, 65536):
            shown += more
    os.close(reader)
    assert child.wait() == 0
    assert shown.count(b"\r") > 2
    assert re.search(rb"100\s?%", shown)


def test_python_without_docstrings_is_refused_in_one_line():
    train = (sys.executable, PROJECT / "train.py")
    result = run_command(*train, cwd=PROJECT, PYTHONOPTIMIZE="2")
    assert_one_line_error(result, "PYTHONOPTIMIZE: received 2, allowed are 0 and 1", status=1)
