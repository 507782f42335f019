"""What the tests share: copies of the project, real commands in them, and requests to servers."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parent.parent
NOT_CLONED = (".git", ".venv", "mlruns", "mlflow.db*", "out", "__pycache__", ".*_cache")
ENTRY_POINTS = ("main", "huber", "classifier")
LOCAL = ("--env-manager", "local")
MLFLOW_RUN = ("mlflow", "run", PROJECT, *LOCAL)
WINES = pd.read_csv(PROJECT / "predict.csv")


class Result(NamedTuple):
    """What a script or a command ended with."""

    status: int
    out: str
    err: str


def environment(**extra):
    """Return the environment of a user who has just activated this Python's environment."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    env |= {"PATH": path, "VIRTUAL_ENV": sys.prefix, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return env | extra


def run_command(*arguments, cwd, timeout=300, **env):
    """Run a command to its end and return its Result."""
    options = {"cwd": cwd, "env": environment(**env), "timeout": timeout}
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, **options)
    return Result(done.returncode, done.stdout, done.stderr)


def run_successfully(*arguments, cwd, timeout=300, **env):
    """Run a command that has to succeed and return what it printed on standard output."""
    done = run_command(*arguments, cwd=cwd, timeout=timeout, **env)
    assert done.status == 0, f"{arguments}\n{done.out}\n{done.err}"
    return done.out


def as_a_user():
    """Return the words before a command that make root obey the permissions of files."""
    if os.name == "nt" or (os.geteuid() == 0 and not shutil.which("setpriv")):
        pytest.skip("nobody is refused a file here")
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def start_process(*arguments, cwd, stdout=subprocess.PIPE, **env):
    """Start a command in a process group of its own, its output and errors in one text pipe."""
    options = {"cwd": cwd, "env": environment(**env), "start_new_session": True, "text": True}
    output = {"stdout": stdout, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*map(str, arguments)], **output, **options)


@contextlib.contextmanager
def start_server(*arguments, cwd, ready, seconds=120, env=None):
    """Start a server, wait until the URL `ready` answers, and end the server and its children."""
    with open(Path(cwd) / "server.log", "w+") as log:
        server = start_process(*arguments, cwd=cwd, stdout=log, **(env or {}))
        try:
            deadline = time.monotonic() + seconds
            while True:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(ready, timeout=5).close()
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    pytest.fail(f"{arguments} did not answer at {ready}: {log.read()}")
                time.sleep(0.1)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def free_port():
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(url, body, content_type="application/json", **headers):
    """Post a body; return the status and the answer, which is a text unless the status is 200."""
    body = body if isinstance(body, str) else json.dumps(body)
    headers = {"Content-Type": content_type} | headers
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def copy_project(folder):
    """Copy the project, as a clone would have it, to a new folder."""
    return Path(shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*NOT_CLONED)))


def edit(path, *replacements):
    """Replace texts in a file; each of them has to be there."""
    text = path.read_text()
    for old, new in replacements:
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new)
    path.write_text(text)


def git_commit(folder):
    """Make a folder a git repository with one commit of all that it holds."""
    author = ("-c", "user.name=wine", "-c", "user.email=wine@localhost")
    for arguments in (("init", "-qb", "main"), ("add", "-A"), (*author, "commit", "-qm", "wine")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def store_uri(folder):
    """Return the tracking address of the store in a folder."""
    return f"sqlite:///{folder}/mlflow.db"


def client_of(folder):
    """Return a client of the store in a folder."""
    return mlflow.MlflowClient(store_uri(folder))


def runs_of(folder):
    """Return the runs of the default experiment in a folder's store, the last one first."""
    return client_of(folder).search_runs(["0"], max_results=1000)


def models_of(folder):
    """Return the logged models of the default experiment in a folder's store."""
    return client_of(folder).search_logged_models(["0"])


def copy_store(database, folder):
    """Copy an empty tracking database to a folder, to which its artifacts then go as well.

    MLflow takes seconds to make the tables of a new database, and writes its folder into it.
    """
    shutil.copy(database, folder)
    with contextlib.closing(sqlite3.connect(Path(folder, "mlflow.db"))) as connection:
        location = f"{folder}/mlruns/0"
        connection.execute("UPDATE experiments SET artifact_location = ?", (location,))
        connection.commit()


@contextlib.contextmanager
def tracking_in(folder):
    """Let MLflow in this process use the store in a folder."""
    mlflow.set_tracking_uri(store_uri(folder))
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


def run_id_in(printed):
    """Return the ID of the run among the commands that a training has printed."""
    return printed.split("runs:/")[1].split("/")[0]


def predictions_of(folder, run):
    """Return what a run's model predicts, or None if no model is found; a broken one raises."""
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


def assert_one_line_error(result, *parts, status=None):
    """Assert that a Result is a failure with one line that has all parts, and printed nothing."""
    assert result.status == status if status is not None else result.status in (1, 2), result
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    for part in parts:
        assert part in result.err
