"""A team's server: one real run over HTTP, with passwords, PostgreSQL and a proxy for files."""

import json
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import mlflow
import psycopg
import pytest

from helpers import (
    LOCAL,
    PROJECT,
    WINES,
    assert_one_line_error,
    copy_project,
    environment,
    free_port,
    run_command,
    run_id_in,
    run_successfully,
    start_server,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("team server")]

RUN = ("mlflow", "run", ".", *LOCAL)
RUNS = "SELECT run_uuid FROM runs"
ADMIN, MEMBER = secrets.token_hex(), secrets.token_hex()


@pytest.fixture(scope="module")
def postgres():
    """Start a PostgreSQL; return its address, and a function that asks it for a column."""
    debian = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default="")  # not on the PATH
    if not (found := shutil.which("initdb") or debian):
        reason = "needs PostgreSQL: initdb is neither on the PATH nor in /usr/lib/postgresql"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    programs = Path(found).resolve().parent
    password, port = secrets.token_hex(), free_port()
    with tempfile.TemporaryDirectory() as folder:  # pytest's folders are closed to other users.
        Path(folder, "password").write_text(password)
        owner = ()
        if os.geteuid() == 0:  # PostgreSQL does not run as root.
            shutil.chown(folder, "postgres", "postgres")
            owner = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        data = ("-D", f"{folder}/data")
        user = ("-U", "mlflow", "--auth", "scram-sha-256", "--pwfile", f"{folder}/password")
        initdb = (*owner, programs / "initdb", *data, "--no-sync", "--encoding", "UTF8")
        run_successfully(*initdb, *user, cwd=folder)
        options = f"-h 127.0.0.1 -p {port} -k {folder} -F"
        pg_ctl = (*owner, programs / "pg_ctl", *data, "-w", "-l", f"{folder}/log", "-o", options)
        try:
            run_successfully(*pg_ctl, "start", cwd=folder)
            address = f"postgresql://mlflow:{password}@127.0.0.1:{port}/postgres"
            with psycopg.connect(address, autocommit=True) as database:
                yield address, lambda sql: [value for (value,) in database.execute(sql)]
        finally:
            run_command(*pg_ctl, "stop", "-m", "fast", cwd=folder)


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    """Start `mlflow server` as docs/team-server.rst does; return its address and its folder."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    address = f"http://127.0.0.1:{port}"
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = EDIT\nadmin_username = admin\n"
        f"auth_cache_ttl_seconds = 60\ndatabase_uri = {postgres[0]}\n"
    )
    env = environment(
        MLFLOW_BACKEND_STORE_URI=postgres[0],
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_AUTH_ADMIN_PASSWORD=ADMIN,
        MLFLOW_FLASK_SERVER_SECRET_KEY=secrets.token_hex(),
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    )
    command = ("mlflow", "server", "--app-name", "basic-auth", "--port", port, "--workers", 1)
    command += ("--artifacts-destination", folder / "artifacts")
    with start_server(*command, cwd=folder, ready=f"{address}/health", env=env):
        member = json.dumps({"username": "ana", "password": MEMBER})
        create = ("curl", "-sf", "-u", f"admin:{ADMIN}", "--json", member)
        run_successfully(*create, f"{address}/api/2.0/mlflow/users/create", cwd=folder)
        yield address, folder


@pytest.fixture(scope="module")
def ana(server, tmp_path_factory):
    """Return ana's copy of the project, and the variables with which she uses the server."""
    user = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": MEMBER}
    clone = copy_project(tmp_path_factory.mktemp("ana") / "wine project")
    return {"cwd": clone, "MLFLOW_TRACKING_URI": server[0]} | user


@pytest.fixture(scope="module")
def printed(ana):
    """Return what ana's training has printed."""
    return run_successfully(*RUN, "-e", "huber", **ana)


@pytest.fixture(scope="module")
def stored(server, printed):
    """Return what the model among the files of the server predicts."""
    (model,) = (server[1] / "artifacts" / "0" / "models").glob("*/artifacts")
    return pytest.approx(mlflow.pyfunc.load_model(str(model)).predict(WINES), abs=1e-12)


def test_training_without_the_password_is_refused_in_one_line(postgres, ana):
    before = postgres[1](RUNS)
    done = run_command("python", "train.py", **ana | {"MLFLOW_TRACKING_PASSWORD": "wrong"})
    assert_one_line_error(done, "You are not authenticated", status=1)
    assert postgres[1](RUNS) == before


def test_run_is_complete_on_the_server_and_nothing_is_left_elsewhere(
    postgres, server, ana, printed, tmp_path
):
    run_id = run_id_in(printed)
    assert run_id in postgres[1](f"{RUNS} WHERE status = 'FINISHED'")
    sql = f"SELECT value FROM metrics WHERE run_uuid = '{run_id}' AND key = 'rmse_unseen'"
    assert f"{postgres[1](sql)[0]:.4f}" in printed
    plots = (server[1] / "artifacts" / "0" / run_id / "artifacts").glob("*.png")
    names = {"measured-against-predicted.png", "effects.png"}
    assert {path.name for path in plots} == names
    assert {*os.listdir(ana["cwd"])} == {*os.listdir(copy_project(tmp_path / "fresh"))}


def test_printed_commands_lead_to_the_server_and_its_model(server, ana, printed, stored):
    assert f"\n{server[0]}/#/experiments/0/runs?" in printed
    assert "mlflow ui" not in printed
    assert MEMBER not in printed
    (predict,) = re.findall("^mlflow models predict .*", printed, re.MULTILINE)
    answers = json.loads(run_successfully("bash", "-c", predict, **ana))
    assert answers["predictions"] == stored


@pytest.mark.skipif(not (PROJECT / "extras").exists(), reason="extras/ was deleted")
def test_model_is_promoted_for_all_members(server, ana, printed, stored):
    model = ("-P", f"model=runs:/{run_id_in(printed)}/model", "-P", "name=wine-quality")
    promoted = run_successfully(*RUN, "-e", "promote", *model, **ana)
    assert f"{server[0]}/#/models/wine-quality?workflowType=machine_learning" in promoted
    champion = ("-m", "models:/wine-quality@champion", *LOCAL, "-t", "csv", "-i", "predict.csv")
    admin = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN}
    answers = run_successfully("mlflow", "models", "predict", *champion, **ana | admin)
    assert json.loads(answers)["predictions"] == stored
