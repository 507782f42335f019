"""What goes wrong around a training ends with one line, and never with half a model."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import mlflow
import pytest

from conftest import LOCAL, LONG, PROJECT, WINES, command, environment, free_port, tracking_in

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX's signals and permissions")


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
        while training.poll() is None and seconds_of_cpu(training.pid, "python\0clf-train") < 6:
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


# Many at once


FIRST_USE = """
import pathlib, sys, time, mlflow
pathlib.Path(f"ready-{sys.argv[1]}").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.001)
mlflow.search_experiments()
"""


def test_known_fault_of_mlflow_that_makes_a_store_twice_at_once(tmp_path):
    """MLflow 3.17.2 does not lock a new store while it makes its tables; see the next test."""
    users = [start(sys.executable, "-c", FIRST_USE, number, cwd=tmp_path) for number in range(4)]
    while len(list(tmp_path.glob("ready-*"))) < len(users):
        assert all(user.poll() is None for user in users)
        time.sleep(0.05)
    (tmp_path / "go").touch()
    said = "".join(user.communicate()[0] for user in users)
    assert any(user.returncode != 0 for user in users)
    assert any(reason in said for reason in ("already exists", "duplicate column", "no such table"))


def test_known_fault_of_mlflow_that_leaves_half_a_store(tmp_path):
    """MLflow 3.17.2 cannot finish a new store whose making was cut short: remove mlflow.db."""
    train = f'exec "{sys.executable}" "{PROJECT / "train.py"}"'
    short = command("bash", "-c", f"ulimit -f 120; {train}", cwd=tmp_path)  # of 120 kilobytes
    again = command("bash", "-c", train, cwd=tmp_path)
    for done, reason in ((short, "disk"), (again, "already exists")):
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"{PROJECT}/train.py: MLflow cannot record")
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    (tmp_path / "mlflow.db").unlink()
    assert command("bash", "-c", train, cwd=tmp_path).returncode == 0


def test_runs_at_once_in_a_store_that_is_there(tmp_path):
    made = command("mlflow", "db", "upgrade", "sqlite:///mlflow.db", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    many = 16 if LONG else 3
    trainings = [
        start("mlflow", "run", PROJECT, *LOCAL, "-P", f"alpha=0.{number}", cwd=tmp_path)
        for number in range(1, many + 1)
    ]
    for training in trainings:
        said = training.communicate()[0]
        assert training.returncode == 0, said
    runs = store(tmp_path).search_runs(["0"])
    assert len(runs) == many
    for run in runs:
        assert run.info.status == "FINISHED"
        assert (len(run.data.metrics), len(run.data.params)) == (12, 14)
        assert len(answers(tmp_path, run)) == len(WINES)


# Killed, or out of space


def answers(folder, run):
    """Return what a run's model answers, or None if no model is found; a broken one raises."""
    classic = Path(folder, "mlruns", "0", run.info.run_id, "artifacts", "model")
    try:
        with tracking_in(folder):
            model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    except mlflow.MlflowException as error:
        assert not classic.exists()
        if not any(said in str(error) for said in ("MLmodel", "Failed to download artifacts")):
            raise
        return None
    predicted = model.predict(WINES).tolist()
    if classic.exists():
        assert mlflow.pyfunc.load_model(str(classic)).predict(WINES).tolist() == predicted
    return predicted


FOREST = (sys.executable, PROJECT / "clf-train.py", 30)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with a store and one finished run of the forest."""
    folder = tmp_path_factory.mktemp("workshop")
    done = command(*FOREST, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


APPEARS = {
    "the model": "mlruns/0/models/*/artifacts/*.skops",
    "the model beside its classic place": "mlruns/0/*/artifacts/model.part",
    "the model in its classic place": "mlruns/0/*/artifacts/model",
}
SHARES = [f"{share}%" for share in range(4, 100, 4)] if LONG else ["30%", "60%"]


@pytest.mark.parametrize("moment", [*SHARES, *APPEARS])
def test_killed_run(workshop, moment):
    """A killed run leaves a model that is right, or none; the next run works."""
    (finished, *_) = store(workshop).search_runs(["0"], "attributes.status = 'FINISHED'")
    seconds = (finished.info.end_time - finished.info.start_time) / 1000 + 3  # for the imports
    pattern = APPEARS.get(moment, "nothing")
    before, begun = len(list(workshop.glob(pattern))), time.monotonic()
    until = seconds * float(moment[:-1]) / 100 if moment.endswith("%") else 60
    with start(*FOREST, cwd=workshop) as training:
        while training.poll() is None and time.monotonic() - begun < until:
            if len(list(workshop.glob(pattern))) > before:
                break
            time.sleep(0.0005)
        assert training.poll() is None or moment in SHARES, "it ended before it could be killed"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(training.pid, signal.SIGKILL)
    expected = answers(workshop, finished)
    assert len(expected) == len(WINES)
    for run in store(workshop).search_runs(["0"], "attributes.status = 'RUNNING'"):
        try:
            assert answers(workshop, run) in (None, expected)
        except (zipfile.BadZipFile, FileNotFoundError):
            # MLflow 3.17.2 copies a model file by file into its store, where it is found meanwhile:
            # such a half model does not load, and there was no process left to remove it
            assert not list(workshop.glob(f"mlruns/0/{run.info.run_id}/artifacts/model"))


def test_run_after_the_killed_ones(workshop):
    done = command(*FOREST, cwd=workshop)
    assert done.returncode == 0, done.stderr
    first, *_, last = store(workshop).search_runs(["0"], "attributes.status = 'FINISHED'")
    assert answers(workshop, first) == answers(workshop, last) is not None


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 12 MB with a store and one finished run."""
    mounted = command("mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", tmp_path, cwd="/")
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    yield tmp_path
    assert command("umount", "-l", tmp_path, cwd="/").returncode == 0


@pytest.mark.skipif(not shutil.which("mount"), reason="cannot mount a small disk")
@pytest.mark.parametrize("kilobytes", [20, 100, 300, 700, 1500, 2500] if LONG else [100])
def test_full_disk(small_disk, kilobytes):
    assert command(sys.executable, PROJECT / "train.py", cwd=small_disk).returncode == 0
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - kilobytes * 1024))
    done = command(*FOREST, cwd=small_disk)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "clf-train.py: MLflow cannot record: " in done.stderr
    assert "full" in done.stderr or "No space left" in done.stderr
    filler.unlink()
    for run in store(small_disk).search_runs(["0"]):
        assert (answers(small_disk, run) is None) == (run.info.status != "FINISHED")
    assert not list(small_disk.glob("mlruns/0/*/artifacts/model.part"))


def as_a_user():
    """Return the words before a command that make root obey the permissions of files."""
    if os.name == "nt" or (os.geteuid() == 0 and not shutil.which("setpriv")):
        pytest.skip("nobody is refused a file here")
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    begun = time.monotonic()
    done = command(*as_a_user(), sys.executable, PROJECT / "train.py", cwd=tmp_path)
    assert time.monotonic() - begun < 30
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"received sqlite:///{tmp_path}/mlflow.db to record in, allowed is" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_read_only_store(tmp_path):
    assert command(sys.executable, PROJECT / "train.py", cwd=tmp_path).returncode == 0
    for name, said in (
        ("mlflow.db", "readonly database"),
        ("mlruns/0/models", "Permission denied"),
    ):
        writable = (tmp_path / name).stat().st_mode
        (tmp_path / name).chmod(writable & ~0o222)
        done = command(*as_a_user(), sys.executable, PROJECT / "train.py", cwd=tmp_path)
        (tmp_path / name).chmod(writable)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1, done.stderr
        assert "train.py: MLflow cannot record: " in done.stderr
        assert said in done.stderr
    for run in store(tmp_path).search_runs(["0"]):
        assert (answers(tmp_path, run) is None) == (run.info.status != "FINISHED")
