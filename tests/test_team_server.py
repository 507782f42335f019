"""A team's server: MLflow over HTTP, with PostgreSQL and its own artifact proxy behind it."""

import concurrent.futures
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
import pytest
import yaml

from helpers import (
    ENTRY_POINTS,
    LOCAL,
    LONG,
    PROJECT,
    WINES,
    copy_project,
    environment,
    free_port,
    run_command,
    run_id_in,
    run_successfully,
    start_process,
    start_server,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("team server")]

MLPROJECT = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
JSON = ("-H", "Content-Type: application/json")
RUNS = "SELECT run_uuid FROM runs"
FINISHED = f"{RUNS} WHERE status = 'FINISHED'"
RUN = ("mlflow", "run", ".", *LOCAL)
ADMIN, MEMBER = ("admin", secrets.token_hex()), ("ana", secrets.token_hex())


def curl(*arguments):
    """Ask as README.rst does; return the answer, or with `-o /dev/null` the HTTP status."""
    return run_successfully("curl", "-s", *arguments, cwd=PROJECT)


def status(address, *arguments):
    return int(curl("-o", os.devnull, "-w", "%{http_code}", *arguments, address))


def as_user(name, password):
    """Return the environment variables by which MLflow's clients say who they are."""
    return {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}


class Postgres(NamedTuple):
    """A running PostgreSQL: its programs, and how to reach it."""

    programs: Path
    password: str
    port: int
    pg_ctl: tuple

    def restart(self, seconds):
        """Stop it, and start it again after some seconds."""
        run_successfully(*self.pg_ctl, "stop", "-m", "fast", cwd="/")
        time.sleep(seconds)
        run_successfully(*self.pg_ctl, "start", cwd="/")

    def address(self, database):
        return f"postgresql://mlflow:{self.password}@127.0.0.1:{self.port}/{database}"

    def query(self, database, sql):
        return run_successfully(
            *(self.programs / "psql", self.address(database), "-Atc", sql), cwd=PROJECT
        ).split()


@pytest.fixture(scope="module")
def postgres():
    """A PostgreSQL of this module's own, on 127.0.0.1."""
    # Debian does not put the programs of a server on the PATH
    found = shutil.which("initdb") or max(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=""
    )
    if not found:
        reason = "needs PostgreSQL: initdb is neither on the PATH nor in /usr/lib/postgresql"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    programs = Path(found).resolve().parent
    password, port = secrets.token_hex(), free_port()
    with tempfile.TemporaryDirectory() as folder:  # pytest's folders are closed to other users
        Path(folder, "password").write_text(password)
        owner = ()
        if os.geteuid() == 0:  # PostgreSQL does not run as root
            shutil.chown(folder, "postgres", "postgres")
            owner = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        data = ("-D", f"{folder}/data")
        run_successfully(
            *(*owner, programs / "initdb", *data, "--no-sync", "--encoding", "UTF8"),
            *("-U", "mlflow", "--auth", "scram-sha-256", "--pwfile", f"{folder}/password"),
            cwd=folder,
        )
        options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
        pg_ctl = (*owner, programs / "pg_ctl", *data, "-w", "-l", f"{folder}/log", "-o", options)
        try:
            run_successfully(*pg_ctl, "start", cwd=folder)
            yield Postgres(programs, password, port, pg_ctl)
        finally:
            run_command(*pg_ctl, "stop", "-m", "fast", cwd=folder)


class Server(NamedTuple):
    """A running MLflow server: its address, its database and the folder of its artifacts."""

    address: str
    database: str
    artifacts: Path

    @property
    def client(self):
        return mlflow.MlflowClient(self.address)


@contextlib.contextmanager
def mlflow_server(postgres, database, folder, *options, **env):
    """Start `mlflow server` on a database and the folder's artifacts."""
    port = free_port()
    server = Server(f"http://127.0.0.1:{port}", database, folder / "artifacts")
    env |= {
        "MLFLOW_BACKEND_STORE_URI": postgres.address(database),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes for traces and judges
    }
    with start_server(
        *("mlflow", "server", "--port", port, "--workers", 1),
        *("--artifacts-destination", server.artifacts, *options),
        cwd=folder,
        ready=f"{server.address}/health",
        env=environment(**env),
    ):
        yield server


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    with mlflow_server(postgres, "postgres", tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A member's copy of the project."""
    return copy_project(tmp_path_factory.mktemp("member") / "wine project")


@pytest.fixture(scope="module")
def trainings(server, clone):
    """What a real `mlflow run` printed for each entry point, all at the same time."""

    def run(entry_point):
        return run_successfully(
            *RUN, "-e", entry_point, cwd=clone, MLFLOW_TRACKING_URI=server.address
        )

    with concurrent.futures.ThreadPoolExecutor() as members:
        return dict(zip(ENTRY_POINTS, members.map(run, ENTRY_POINTS), strict=True))


def stored_model(server, run_id):
    """Return the folder of a run's model among the server's artifacts."""
    (model,) = server.client.search_logged_models(["0"], f"source_run_id = '{run_id}'")
    return server.artifacts / "0" / "models" / model.model_id / "artifacts"


def printed_command(printed, start):
    """Return the command that starts so among those printed to be pasted."""
    (line,) = (line for line in printed.splitlines() if line.startswith(start))
    return line


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_run_is_complete(entry_point, postgres, server, trainings):
    printed = trainings[entry_point]
    run = server.client.get_run(run_id_in(printed))
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.project.entryPoint"] == entry_point
    for name, parameter in MLPROJECT[entry_point]["parameters"].items():
        assert run.data.params[name] == str(parameter["default"])
    assert {"n_train", "n_test", "n_unseen"} < set(run.data.metrics)
    for name, value in run.data.metrics.items():
        assert (f"{value:.0f}" if name.startswith("n_") else f"{value:.4f}") in printed

    assert run.info.run_id in postgres.query(server.database, FINISHED)
    plots = list((server.artifacts / "0" / run.info.run_id / "artifacts").glob("*.png"))
    assert len(plots) >= 3
    assert all(plot.read_bytes().startswith(b"\x89PNG") for plot in plots)
    listed = {item.path for item in server.client.list_artifacts(run.info.run_id)}
    assert {plot.name for plot in plots} == listed - {"model"}


def test_nothing_is_left_where_the_run_was_started(server, clone, trainings):
    assert {path.name for path in clone.iterdir()} == {
        path.name for path in copy_project(clone.parent / "fresh").iterdir()
    }
    left = {path.name for path in server.artifacts.parent.iterdir()}
    assert left == {"artifacts", "server.log"}


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_printed_predict_gives_the_answers_of_the_model(entry_point, server, clone, trainings):
    line = printed_command(trainings[entry_point], "mlflow models predict")
    answers = run_successfully("bash", "-c", line, cwd=clone, MLFLOW_TRACKING_URI=server.address)
    model = mlflow.pyfunc.load_model(str(stored_model(server, run_id_in(trainings[entry_point]))))
    assert json.loads(answers)["predictions"] == pytest.approx(model.predict(WINES), abs=1e-12)


def test_printed_serve_gives_the_answers_of_the_model(server, clone, trainings, tmp_path):
    port = free_port()
    line = printed_command(trainings["classifier"], "mlflow models serve")
    with start_server(
        *("bash", "-c", f"exec {line}".replace("--port 5001", f"--port {port}")),
        cwd=tmp_path,
        ready=f"http://127.0.0.1:{port}/ping",
        env=environment(MLFLOW_TRACKING_URI=server.address),
    ):
        body = ("-H", "Content-Type: text/csv", "--data-binary", f"@{clone / 'predict.csv'}")
        answers = curl(*body, f"http://127.0.0.1:{port}/invocations")
    model = mlflow.pyfunc.load_model(str(stored_model(server, run_id_in(trainings["classifier"]))))
    assert json.loads(answers)["predictions"] == model.predict(WINES).tolist()


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_printed_address_is_the_servers(entry_point, server, trainings):
    address = f"{server.address}/#/experiments/0/runs?workflowType=machine_learning"
    assert any(line.startswith(address) for line in trainings[entry_point].splitlines())
    assert "mlflow ui" not in trainings[entry_point]
    assert "<title>MLflow</title>" in curl(address)


def test_promoted_model_is_the_champion_for_all_members(server, clone, trainings, tmp_path):
    uri = f"runs:/{run_id_in(trainings['huber'])}/model"
    given = ("-P", f"model={uri}", "-P", "name=wine-quality")
    out = run_successfully(
        *(*RUN, "-e", "promote", *given), cwd=clone, MLFLOW_TRACKING_URI=server.address
    )
    assert "Promoted: version 1 of wine-quality is the champion" in out
    assert (
        f"{server.address}/#/models/wine-quality?workflowType=machine_learning" in out.splitlines()
    )
    predict = ("-m", "models:/wine-quality@champion", "--env-manager", "local", "-t", "csv", "-i")
    answers = run_successfully(
        *("mlflow", "models", "predict", *predict, clone / "predict.csv"),
        cwd=tmp_path,
        MLFLOW_TRACKING_URI=server.address,
    )
    model = mlflow.pyfunc.load_model(str(stored_model(server, run_id_in(trainings["huber"]))))
    assert json.loads(answers)["predictions"] == pytest.approx(model.predict(WINES), abs=1e-12)


def test_foreign_host_is_refused(server):
    assert status(server.address) == 200
    assert status(server.address, "-H", "Host: wine.example") == 403


@pytest.fixture(scope="module")
def guarded(postgres, server, trainings, tmp_path_factory):
    """A server on the backup of the other one that asks who is there and knows its own name."""
    folder = tmp_path_factory.mktemp("guarded")
    source, backup = postgres.address(server.database), folder / "wine.dump"
    run_successfully(postgres.programs / "pg_dump", "-Fc", "-f", backup, source, cwd=folder)
    postgres.query(server.database, "CREATE DATABASE restored")
    target = postgres.address("restored")
    run_successfully(postgres.programs / "pg_restore", "-d", target, backup, cwd=folder)
    shutil.copytree(server.artifacts, folder / "artifacts")

    config = folder / "auth.ini"
    config.write_text(  # without a cache, each request hashes the password: 0.1 s
        "[mlflow]\ndefault_permission = EDIT\nadmin_username = admin\n"
        f"auth_cache_ttl_seconds = 60\ndatabase_uri = {postgres.address('restored')}\n"
    )
    with mlflow_server(
        *(postgres, "restored", folder),
        *("--app-name", "basic-auth", "--allowed-hosts", "wine.example,127.0.0.1:*"),
        *("--cors-allowed-origins", "https://wine.example"),
        MLFLOW_AUTH_CONFIG_PATH=str(config),
        MLFLOW_AUTH_ADMIN_PASSWORD=ADMIN[1],
        MLFLOW_FLASK_SERVER_SECRET_KEY=secrets.token_hex(),
    ) as guarded:
        name, password = MEMBER
        member = json.dumps({"username": name, "password": password})
        curl(
            *("-f", "-u", ":".join(ADMIN), *JSON, "-d", member),
            f"{guarded.address}/api/2.0/mlflow/users/create",
        )
        yield guarded


@pytest.mark.parametrize(
    ("start", "user"),
    [(RUN, {}), (("python", "train.py"), as_user("ana", "wrong"))],
    ids=["nobody", "wrong"],
)
def test_run_without_credentials_is_refused(start, user, postgres, guarded, clone):
    before = postgres.query(guarded.database, RUNS)
    done = run_command(*start, cwd=clone, MLFLOW_TRACKING_URI=guarded.address, **user)
    assert done.status != 0
    assert "You are not authenticated" in done.err.splitlines()[-1]
    if start[0] != "mlflow":  # which asks before the script does, and says it in its own way
        assert done.err.count("\n") == 1
    assert postgres.query(guarded.database, RUNS) == before


def test_sweep_records_its_candidates_on_the_server(server, clone, postgres):
    options = ("-e", "sweep", "-P", "trials=4", "-P", "jobs=2")
    printed = run_successfully(*RUN, *options, cwd=clone, MLFLOW_TRACKING_URI=server.address)
    search = f"tags.`mlflow.parentRunId` = '{run_id_in(printed)}'"
    children = server.client.search_runs(["0"], search)
    assert [run.info.status for run in children] == ["FINISHED"] * 4
    assert f"\n{server.address}/#/experiments/0/runs?" in printed
    artifacts = {item.path for item in server.client.list_artifacts(run_id_in(printed))}
    assert artifacts >= {"candidates.csv", "candidates.png"}


def test_scored_file_has_the_predictions_of_the_model(server, clone, trainings, tmp_path):
    model, output = f"runs:/{run_id_in(trainings['huber'])}/model", tmp_path / "scored.csv"
    options = ("-P", f"model={model}", "-P", "input=predict.csv", "-P", f"output={output}")
    run_successfully(*RUN, "-e", "score", *options, cwd=clone, MLFLOW_TRACKING_URI=server.address)
    line = printed_command(trainings["huber"], "mlflow models predict")
    answers = run_successfully("bash", "-c", line, cwd=clone, MLFLOW_TRACKING_URI=server.address)
    answers = json.loads(answers)["predictions"]
    assert pd.read_csv(output)["prediction"].tolist() == pytest.approx(answers, abs=1e-12)


def test_member_trains_on_a_server_with_passwords(postgres, guarded, clone):
    user = {"MLFLOW_TRACKING_URI": guarded.address, **as_user(*MEMBER)}
    printed = run_successfully(*RUN, cwd=clone, **user)
    assert run_id_in(printed) in postgres.query(guarded.database, FINISHED)


def test_backup_has_the_models(server, guarded, clone, trainings):
    line = printed_command(trainings["huber"], "mlflow models predict")
    user = {"MLFLOW_TRACKING_URI": guarded.address, **as_user(*MEMBER)}
    answers = run_successfully("bash", "-c", line, cwd=clone, **user)
    model = mlflow.pyfunc.load_model(str(stored_model(server, run_id_in(trainings["huber"]))))
    assert json.loads(answers)["predictions"] == pytest.approx(model.predict(WINES), abs=1e-12)


def test_member_deletes_nothing_of_others(guarded):
    deletion = (*JSON, "-d", '{"experiment_id": "0"}')
    address = f"{guarded.address}/api/2.0/mlflow/experiments/delete"
    assert status(address, *deletion, "-u", ":".join(MEMBER)) == 403
    assert status(address, *deletion) == 401


def test_server_answers_to_its_names_only(guarded):
    member = ("-u", ":".join(MEMBER))
    assert status(guarded.address, *member) == 200
    assert status(guarded.address, *member, "-H", "Host: wine.example") == 200
    for foreign in ("localhost", "192.168.1.1", "other.example"):
        assert status(guarded.address, *member, "-H", f"Host: {foreign}") == 403


def test_browser_may_ask_from_the_servers_own_pages_only(guarded):
    search = ("-u", ":".join(MEMBER), *JSON, "-d", '{"experiment_ids": ["0"]}')
    address = f"{guarded.address}/ajax-api/2.0/mlflow/runs/search"
    assert status(address, *search, "-H", "Origin: https://wine.example") == 200
    assert status(address, *search, "-H", "Origin: https://other.example") == 403


SWEEP = (sys.executable, PROJECT / "sweep.py", "main", "100")
TRAINING = (*RUN, "-e", "classifier")
BOTH = pytest.mark.skipif(not LONG, reason="WINE_TEST_LONG=1 tests it, too")


@pytest.mark.parametrize(
    ("command", "n_runs", "behind_a_server"),
    [
        pytest.param(TRAINING, 1, False, id="training, database"),
        pytest.param(TRAINING, 1, True, id="training, server", marks=BOTH),
        pytest.param(SWEEP, 101, False, id="sweep, database", marks=BOTH),
        pytest.param(SWEEP, 101, True, id="sweep, server"),
    ],
)
def test_restart_of_the_database_loses_nothing(
    command, n_runs, behind_a_server, postgres, clone, tmp_path
):
    database = f"outage_{secrets.token_hex(4)}"
    postgres.query("postgres", f"CREATE DATABASE {database}")
    run_successfully("mlflow", "db", "upgrade", postgres.address(database), cwd=tmp_path)
    # Not sooner: `mlflow run` itself does not wait for a database.
    begun = f"{RUNS} WHERE name LIKE 'ExtraTrees%'" if n_runs == 1 else FINISHED
    with contextlib.ExitStack() as stack:
        address = postgres.address(database)
        if behind_a_server:
            address = stack.enter_context(mlflow_server(postgres, database, tmp_path)).address
        running = start_process(*command, cwd=clone, MLFLOW_TRACKING_URI=address)
        while not postgres.query(database, begun) and running.poll() is None:
            time.sleep(0.1)
        postgres.restart(5)
        printed = running.communicate(timeout=300)[0]
    assert running.returncode == 0, printed
    assert len(postgres.query(database, FINISHED)) == len(postgres.query(database, RUNS)) == n_runs
    trials = "SELECT value FROM tags WHERE key = 'trial'"
    assert sorted(map(int, postgres.query(database, trials))) == [*range(n_runs - 1)]
    assert len(postgres.query(database, "SELECT model_id FROM logged_models")) == 1
