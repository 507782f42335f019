"""What this project adds to MLflow's servers: of models, images, and of the UI in a browser."""

import contextlib
import json
import os
import re
import urllib.error
import urllib.request

import pytest
import yaml
from click.testing import CliRunner
from mlflow.cli import cli

from browser import start_browser
from documents import commands
from helpers import (
    LOCAL,
    PROJECT,
    WINES,
    environment,
    free_port,
    post,
    run_command,
    run_successfully,
    runs_of,
    start_server,
    tracking_in,
)

# MLflow would start eight more processes, for traces and judges.
UI = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def split(wines):
    """Return a body of a request with a table of wines."""
    return {"dataframe_split": wines.to_dict(orient="split", index=False)}


def test_measurements_are_found_by_their_names_whatever_else_is_sent(served, models):
    entry_point, address = served
    whole = WINES.round().astype("int64")  # are measurements, too
    for sent in (WINES, WINES[sorted(WINES)], WINES.assign(colour="white", quality=5), whole):
        predicted = models[entry_point].predict(sent[[*WINES]].astype("float64")).tolist()
        for body in ((split(sent),), (sent.to_csv(index=False), "text/csv")):
            answer = {"predictions": pytest.approx(predicted, abs=1e-12)}
            assert post(address, *body) == (200, answer)


def test_wine_without_a_measurement_is_refused_by_every_model(served):
    _, address = served
    missing = WINES.head(2).astype(object)
    missing.loc[0, "pH"] = None
    for wines, said in (
        (WINES.drop(columns="fixed acidity"), "fixed acidity"),
        (missing, "NaN"),
        (missing.fillna("dry"), "pH"),
    ):
        status, answer = post(address, split(wines))
        assert (status, said in answer) == (400, True), answer
    assert post(address, split(WINES))[0] == 200


def test_image_gets_the_pins_of_the_model_and_no_more(project, model_uris, tmp_path):
    image = ("-m", model_uris["classifier"], "-d", str(tmp_path / "image"))
    with tracking_in(project):
        done = CliRunner().invoke(cli, ["models", "generate-dockerfile", *image, *LOCAL])
    assert done.exit_code == 0, done.output
    dockerfile = (tmp_path / "image" / "Dockerfile").read_text()
    assert re.match(r"(.*\n)*FROM python:3\.\d+\.\d+-slim\n", dockerfile)
    requirements = (tmp_path / "image/model_dir/model/requirements.txt").read_text().split()
    needed = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")
    pins = (PROJECT / "requirements.txt").read_text().split()
    assert {*requirements} == {pin for pin in pins if pin.split("==")[0] in needed}


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("WINE_TEST_DOCKER") != "1",
    reason="needs a Docker engine and the network: WINE_TEST_DOCKER=1 says that they are there",
)
def test_image_answers_as_the_model(project, model_uris, models):
    image, port = "wine-test", free_port()
    build = ("mlflow", "models", "build-docker", "-m", model_uris["classifier"], "-n", image)
    run_successfully(*build, *LOCAL, cwd=project, timeout=1800)
    with contextlib.ExitStack() as stack:
        stack.callback(run_command, "docker", "rm", "-f", image, cwd=project)
        container = ("docker", "run", "--rm", "--name", image, "-p", f"127.0.0.1:{port}:8080")
        ready = f"http://127.0.0.1:{port}/ping"
        stack.enter_context(start_server(*container, image, cwd=project, ready=ready))
        status, answer = post(f"http://127.0.0.1:{port}/invocations", split(WINES))
    predicted = models["classifier"].predict(WINES).tolist()
    assert (status, answer) == (200, {"predictions": pytest.approx(predicted, abs=1e-12)})


@pytest.fixture(scope="module")
def codespace():
    """Return the description of the machine on which a codespace runs."""
    return json.loads((PROJECT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))


def test_codespace_starts_with_the_first_line_of_the_readme_and_uses_its_environment(codespace):
    first, *others = [each.text for each in commands("README.rst") if not each.not_run]
    assert codespace["postCreateCommand"] == first
    folder = re.search(r"\. (\S+)/activate ", first)[1]
    path = codespace["remoteEnv"]["PATH"].split(":")[0]
    assert path == f"${{containerWorkspaceFolder}}/{folder}"
    settings = codespace["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == f"${{workspaceFolder}}/{folder}/python"
    python, *_ = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert codespace["image"].partition(":")[2] == python.removeprefix("python=")
    (port,) = codespace["forwardPorts"]
    assert any(command.startswith(f"mlflow ui --port {port} ") for command in others)


@pytest.mark.slow
def test_ui_answers_under_the_address_that_github_forwards_and_no_other(codespace, new_store):
    """Whether GitHub passes the host and the origin on or rewrites them."""
    port = free_port()
    here, forwarded = f"127.0.0.1:{port}", "fuzzy-disco-7rvx-5050.app.github.dev"
    variables = {key: value for key, value in codespace["remoteEnv"].items() if key != "PATH"}

    def status(host, origin):
        url = f"http://{here}/ajax-api/2.0/mlflow/runs/search"
        headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
        request = urllib.request.Request(url, b'{"experiment_ids": ["0"]}', headers)
        try:
            return urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code

    ui, env = ("mlflow", "ui", "--port", port, "--workers", "1"), environment(**UI, **variables)
    with start_server(*ui, cwd=new_store, ready=f"http://{here}/health", env=env):
        for host in (here, forwarded):
            assert status(host, f"http://{here}") == status(host, f"https://{forwarded}") == 200
        assert status("wine.example", f"http://{here}") == 403
        assert status(here, "https://wine.example") == 403


@pytest.fixture(scope="module")
def open_page():
    """Return a function that opens an address in a real `mlflow ui` over the store of a folder.

    It returns the page as a person sees it, as soon as the expected texts are on it.
    """
    servers, addresses = contextlib.ExitStack(), {}

    def open_page(folder, printed, pattern, expected, more=""):
        address = re.search(rf"http://127.0.0.1:5050(/{pattern})", printed)[1] + more
        if folder not in addresses:
            port = free_port()
            addresses[folder] = f"http://127.0.0.1:{port}"
            ui = ("mlflow", "ui", "--port", port)
            ready, env = f"{addresses[folder]}/health", environment(**UI)
            servers.enter_context(start_server(*ui, cwd=folder, ready=ready, env=env))
        with start_browser() as page:  # A browser remembers its last view.
            size = {"width": 1280, "height": 1800, "deviceScaleFactor": 1, "mobile": False}
            page.send("Emulation.setDeviceMetricsOverride", **size)
            page.open(addresses[folder] + address)
            html = "document.documentElement.outerHTML"
            page.wait_for(f"{json.dumps(expected)}.every((text) => {html}.includes(text))")
            return page.ask(html)

    with servers:
        yield open_page


@pytest.mark.xdist_group("ui")
def test_address_of_a_training_opens_all_and_their_charts(open_page, project, trained):
    # Beside the Assistant, MLflow draws as many columns as there is room for.
    columns = [f'col-id="metrics.`{name}`"' for name in ("cv_rmse", "rmse_unseen")]
    shown = ["Huber 0.0001", "ElasticNet 1.0", "l1_ratio", "matching runs", *columns]
    page = open_page(project, trained["main"].out, r"\S+", shown)
    names = re.findall(r">((?:ElasticNet|Huber) [\d.][^<]*)<", page)
    assert (names[0], names[-1]) == ("Huber 0.0001, 1.35, 100", "ElasticNet 1.0, 0.1")
    assert "ExtraTrees" not in page  # It has no rmse.
    assert "rmse_baseline" not in page
    shown = ["Charts", "Parallel Coordinates", "ElasticNet 1.0", "matching runs"]
    charts = open_page(project, trained["main"].out, r"\S+", shown, "&compareRunsMode=CHART")
    assert "n_train" not in charts


@pytest.mark.xdist_group("ui")
@pytest.mark.skipif(not (PROJECT / "extras").exists(), reason="extras/ was deleted")
def test_addresses_of_a_sweep_open_its_picture_and_its_candidates_the_best_first(open_page, swept):
    folder, printed = swept
    open_page(folder, printed, r"\S+candidates.png\S+", ["candidates.csv", 'alt="candidates.png"'])
    shown = ["Parallel Coordinates", "matching runs"]
    page = open_page(folder, printed, r"\S+CHART\S+", shown)
    candidates = re.findall(r">(ElasticNet \d[^<]*)<", page)
    children = [run for run in runs_of(folder) if "trial" in run.data.tags]
    best = min(children, key=lambda run: run.data.metrics["cv_rmse"])
    assert candidates[0] == best.info.run_name
    assert set(candidates) == {run.info.run_name for run in children}
