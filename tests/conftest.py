"""A copy of the project, real runs in it, and processes that end with their test."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parent.parent
LEFT_BEHIND = (".git", ".venv", "mlruns", "mlflow.db*", "__pycache__", ".*_cache")
ENTRY_POINTS = ("main", "huber", "classifier")
LOCAL = ("--env-manager", "local")
WINES = pd.read_csv(PROJECT / "predict.csv")
LONG = bool(os.environ.get("WINE_TEST_LONG"))  # more bodies, more runs, more moments to be killed


def environment(**extra):
    """Return the environment of a user who just activated this Python's environment."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    return env | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"} | extra


def command(*arguments, cwd, timeout=300, **env):
    """Run a command to its end and return the CompletedProcess, with its output as text."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def copy_project(folder):
    """Copy the project, as a clone would have it, to a new folder."""
    return Path(shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND)))


def git_commit(folder):
    """Make a folder a git repository with one commit of all that it holds."""
    author = ("-c", "user.name=wine", "-c", "user.email=wine@localhost")
    for arguments in (("init", "-qb", "main"), ("add", "-A"), (*author, "commit", "-qm", "wine")):
        subprocess.run(["git", *arguments], cwd=folder, check=True)


def free_port():
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def tracking_in(folder):
    """Let MLflow look into the store in a folder."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


def ask(address, body, content_type="application/json"):
    """Post a body; return the status and the answer, a text unless the status is 200."""
    body = body if isinstance(body, (str, bytes)) else json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    headers = {} if content_type is None else {"Content-Type": content_type}
    server = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    with contextlib.closing(server):
        server.request("POST", urlsplit(address).path, body, headers)
        answer = server.getresponse()
        text = answer.read().decode()
    return answer.status, json.loads(text) if answer.status == 200 else text


@contextlib.contextmanager
def process(*arguments, cwd, ready, seconds=90, env=None):
    """Start a server, wait until the URL `ready` answers, and end the server and its children."""
    with open(Path(cwd) / "server.log", "w+") as log:
        server = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=cwd,
            env=env or environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + seconds
            while True:
                with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                    urllib.request.urlopen(ready, timeout=5).close()
                    break
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    pytest.fail(f"{arguments} did not answer at {ready}: {log.read()}")
                time.sleep(0.2)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project, with the three runs of `trained` in its store."""
    return copy_project(tmp_path_factory.mktemp("clone") / "wine project")


@pytest.fixture(scope="session")
def trained(project):
    """The CompletedProcess of a real `mlflow run` with defaults, for each entry point."""
    finished = {}
    for entry_point in ENTRY_POINTS:
        finished[entry_point] = command(
            *("mlflow", "run", ".", "-e", entry_point, "--env-manager", "local"), cwd=project
        )
        assert finished[entry_point].returncode == 0, finished[entry_point].stderr
    return finished


@pytest.fixture(scope="session")
def run_ids(trained):
    """The run's ID for each entry point, taken from what is printed to be pasted."""
    return {
        entry_point: finished.stdout.split("runs:/")[1].split("/")[0]
        for entry_point, finished in trained.items()
    }


@pytest.fixture(scope="session")
def swept(project, tmp_path_factory):
    """The folder of the store, and the output, of a sweep over twelve candidates for main."""
    folder = tmp_path_factory.mktemp("sweep")
    done = command(
        *("mlflow", "run", project, "-e", "sweep", "--env-manager", "local"),
        *("-P", "trials=12", "-P", "jobs=2"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="session")
def uris(run_ids):
    """The address of each model."""
    return {name: f"runs:/{run_id}/model" for name, run_id in run_ids.items()}


@pytest.fixture(scope="session")
def store(project, run_ids, tmp_path_factory):
    """The folder of a copy of the store with the three models, in which scorings may leave runs."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(project / "mlflow.db", folder)
    return folder


@pytest.fixture(scope="session")
def models(project, run_ids):
    """Each model, loaded in this process."""
    with tracking_in(project):
        return {name: mlflow.pyfunc.load_model(f"runs:/{run_ids[name]}/model") for name in run_ids}


@pytest.fixture(scope="session", params=ENTRY_POINTS)
def served(request, project, run_ids):
    """An entry point's name, and the address of a real scoring server for its model."""
    port = free_port()
    with process(
        *("mlflow", "models", "serve", "-m", f"runs:/{run_ids[request.param]}/model"),
        *(*LOCAL, "--port", port),
        cwd=project,
        ready=f"http://127.0.0.1:{port}/ping",
    ):
        yield request.param, f"http://127.0.0.1:{port}/invocations"


def pytest_terminal_summary(terminalreporter):
    """List every command of the documents as run or, with its reason, as not run."""
    outcomes = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if "test_command[" in report.nodeid:
                shown = "run" if outcome == "passed" else outcome
                if outcome == "skipped":
                    shown = f"not run: {report.longrepr[2].removeprefix('Skipped: ')}"
                outcomes[report.nodeid.split("test_command[")[1][:-1].split(" ", 1)[0]] = shown
    if outcomes:
        from documents import commands

        terminalreporter.section("commands of the documents")
        for pair in zip(commands("README.rst"), commands("LEIAME.rst"), strict=True):
            outcome = outcomes.get(f"{pair[0].document}:{pair[0].line}", "not selected")
            for command in pair:
                terminalreporter.write_line(f"{str(command)[:100]:100} {outcome}")
