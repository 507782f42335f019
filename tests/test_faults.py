"""What goes wrong around a training ends with one line, and never with half a model."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import pytest

from conftest import PROJECT, command, environment, free_port

LOCAL = ("--env-manager", "local")


def start(*arguments, cwd, **env):
    """Start a command in a process group of its own, with its output as text in a pipe."""
    return subprocess.Popen(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def store(folder):
    """Return a client of the store in a folder."""
    return mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")


# Signals


FINISHES_ITS_RECORD = """
import time
from wine import command_line

def main():
    print("started", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupting", flush=True)
        time.sleep(2)
        print("recorded", flush=True)
        raise

command_line.run(main)
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
    with start(sys.executable, "-c", FINISHES_ITS_RECORD, cwd=PROJECT) as script:
        assert script.stdout.readline() == "started\n"
        script.send_signal(first)
        assert script.stdout.readline() == "interrupting\n"
        script.send_signal(then)
        said = script.stdout.read()
    assert said == ("recorded\n" if recorded else "") + "-c: interrupted\n"
    assert script.returncode == 130


def test_ignored_ctrl_c_stays_ignored():
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + FINISHES_ITS_RECORD
    with start(sys.executable, "-c", ignoring, cwd=PROJECT) as script:
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
def test_mlflow_run_interrupted_while_it_trains(tmp_path, number, status):
    arguments = ("mlflow", "run", PROJECT, "-e", "classifier", *LOCAL, "-P", "n_estimators=20000")
    with start(*arguments, cwd=tmp_path) as training:
        # the imports take some three seconds of it: then it grows its forest
        while training.poll() is None and seconds_of_cpu(training.pid, "python\0clf-train") < 10:
            time.sleep(0.2)
        os.killpg(training.pid, number)
        said = training.stdout.read()
    assert training.returncode != 0
    assert said.count("clf-train.py: interrupted\n") == 1
    (run,) = store(tmp_path).search_runs(["0"])
    assert (run.info.status, store(tmp_path).search_logged_models(["0"])) == (status, [])


# The tracking server


@pytest.fixture
def silent_server():
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def accept():
            try:
                while True:
                    accepted.append(listener.accept()[0])
            except OSError:  # closed
                return

        threading.Thread(target=accept).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()


def test_server_that_is_away(tmp_path):
    uri = f"http://127.0.0.1:{free_port()}"
    one_line_within_half_a_minute(tmp_path, uri, "Connection refused")


def test_server_that_never_answers(tmp_path, silent_server):
    one_line_within_half_a_minute(tmp_path, silent_server, "Read timed out")


def one_line_within_half_a_minute(folder, uri, reason):
    begun = time.monotonic()
    done = command(sys.executable, PROJECT / "train.py", cwd=folder, MLFLOW_TRACKING_URI=uri)
    assert time.monotonic() - begun < 30
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    for part in ("train.py: MLflow cannot record: ", uri, reason, "; MLFLOW_TRACKING_URI names"):
        assert part in done.stderr
    assert list(folder.iterdir()) == []
