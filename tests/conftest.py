"""Fixtures: trained models, stores, servers, and scripts that run in this process."""

import json
import os
import runpy
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from filelock import FileLock

from helpers import (
    ENTRY_POINTS,
    LOCAL,
    PROJECT,
    Result,
    client_of,
    copy_project,
    copy_store,
    environment,
    free_port,
    run_command,
    run_id_in,
    run_successfully,
    start_server,
    store_uri,
    tracking_in,
)

# A shell ignores SIGINT in what it starts in the background, and children inherit that. With
# Python's own handler in place, the processes that the tests start have SIGINT at its default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The start line of README.rst sets it for the terminal in which the tests may be started, too.
os.environ.pop("MLFLOW_TRACKING_URI", None)


def pytest_ignore_collect(collection_path, config):
    """Leave the tests of the wines unread where a copy has another table, as some read it first."""
    is_other = collection_path.suffix == ".py" and collection_path.name != "test_template.py"
    return True if is_other and config.getoption("markexpr") == "template" else None


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """Return a function that makes a folder once for all workers of pytest-xdist."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent

    def make_once(name, make):
        """Call `make(folder)` in the first worker, and return folder and result in all of them."""
        folder, result = root / name, root / f"{name}.json"
        with FileLock(f"{folder}.lock"):
            if not result.exists():
                folder.mkdir()
                result.write_text(json.dumps(make(folder)))
        return folder, json.loads(result.read_text())

    return make_once


@pytest.fixture(scope="session")
def empty_store(shared):
    """Return the path of a tracking database without runs; a copy of it spares the migrations."""

    def make(folder):
        client_of(folder).search_experiments()

    return shared("empty store", make)[0] / "mlflow.db"


@pytest.fixture
def new_store(empty_store, tmp_path):
    """Return this test's folder, with an empty store in it."""
    copy_store(empty_store, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained_project(shared, empty_store):
    """Return a copy of the project, and the Result of `mlflow run` for each entry point."""

    def train(folder, *names):
        command = ("mlflow", "run", ".", *LOCAL, "-e")
        return {name: run_command(*command, name, cwd=folder) for name in names}

    def make(folder):
        project = copy_project(folder / "wine project")
        copy_store(empty_store, project)  # MLflow does not lock a new database that it makes.
        with ThreadPoolExecutor() as pool:  # The regressors log the same datasets: not at once.
            regressors = pool.submit(train, project, "main", "huber")
            finished = train(project, "classifier") | regressors.result()
        assert all(done.status == 0 for done in finished.values()), finished
        return finished

    folder, finished = shared("trained", make)
    return folder / "wine project", {name: Result(*done) for name, done in finished.items()}


@pytest.fixture(scope="session")
def project(trained_project):
    """Return a copy of the project, in whose store are the three runs of `trained`."""
    return trained_project[0]


@pytest.fixture(scope="session")
def trained(trained_project):
    """Return the Result of a real `mlflow run` with defaults, for each entry point."""
    return trained_project[1]


@pytest.fixture(scope="session")
def run_ids(trained):
    """Return the run's ID for each entry point, taken from what is printed to be pasted."""
    return {name: run_id_in(done.out) for name, done in trained.items()}


@pytest.fixture(scope="session")
def model_uris(run_ids):
    """Return the URI of each model."""
    return {name: f"runs:/{run_id}/model" for name, run_id in run_ids.items()}


@pytest.fixture(scope="session")
def recorded(project, run_ids):
    """Return the run of each entry point, as the store has it."""
    return {name: client_of(project).get_run(run_id) for name, run_id in run_ids.items()}


@pytest.fixture(scope="session")
def models(project, model_uris):
    """Return each model, loaded in this process."""
    with tracking_in(project):
        return {name: mlflow.pyfunc.load_model(uri) for name, uri in model_uris.items()}


@pytest.fixture(scope="session")
def swept(shared, empty_store):
    """Return the folder of the store, and the output, of a sweep over twelve candidates."""

    def make(folder):
        copy_store(empty_store, folder)
        sweep = ("mlflow", "run", PROJECT, "-e", "sweep", *LOCAL, "-P", "trials=12", "-P", "jobs=2")
        return run_successfully(*sweep, cwd=folder)

    return shared("sweep", make)


# A worker of pytest-xdist gets all tests of one server, so that each server is started once.
@pytest.fixture(
    scope="session",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ENTRY_POINTS],
)
def served(request, project, model_uris, tmp_path_factory):
    """Return an entry point's name, and the URL of a real scoring server for its model."""
    port = free_port()
    with start_server(
        *("mlflow", "models", "serve", "-m", model_uris[request.param], *LOCAL, "--port", port),
        cwd=tmp_path_factory.mktemp("served"),
        env=environment(MLFLOW_TRACKING_URI=store_uri(project)),
        ready=f"http://127.0.0.1:{port}/ping",
    ):
        yield request.param, f"http://127.0.0.1:{port}/invocations"


@pytest.fixture
def run_script(tmp_path, monkeypatch, capfd):
    """Return a function that runs a script in this process, in the test's folder.

    It takes the name of a file, such as train.py, or of a module, such as extras.score.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    variables = dict(os.environ)

    def run(name, *arguments, store=tmp_path):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.delitem(sys.modules, name, raising=False)
        status = 0
        capfd.readouterr()
        try:
            with tracking_in(store):
                if name.endswith(".py"):
                    runpy.run_path(str(PROJECT / name), run_name="__main__")
                else:
                    runpy.run_module(name, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        if isinstance(status, str):  # Python prints the text and ends with status 1
            status, err = 1, f"{err}{status}\n"
        return Result(status, out, err)

    yield run
    os.environ.clear()
    os.environ.update(variables)
    for number, handler in handlers.items():
        signal.signal(number, handler)
