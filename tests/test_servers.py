"""What this project adds to MLflow's servers: of models, images, and of the UI in a browser."""

import contextlib
import json
import os
import re

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


@contextlib.contextmanager
def start_ui(folder, **variables):
    """Start a real `mlflow ui` over the store of a folder, and give its address."""
    address = f"http://127.0.0.1:{free_port()}"
    # MLflow would start eight more processes, for traces and judges.
    env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **variables)
    ui = ("mlflow", "ui", "--workers", "1", "--port", address.rpartition(":")[2])
    with start_server(*ui, cwd=folder, ready=f"{address}/health", env=env):
        yield address


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
    address = f"127.0.0.1:{port}"
    container = ("docker", "run", "--rm", "--name", image, "-p", f"{address}:8080", image)
    try:
        with start_server(*container, cwd=project, ready=f"http://{address}/ping"):
            status, answer = post(f"http://{address}/invocations", split(WINES))
    finally:
        run_command("docker", "rm", "-f", image, cwd=project)
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
    variables = {key: value for key, value in codespace["remoteEnv"].items() if key != "PATH"}
    with start_ui(new_store, **variables) as ui:
        here, forwarded = ui.removeprefix("http://"), "fuzzy-disco-7rvx-5050.app.github.dev"
        for host in (here, forwarded, "wine.example"):
            for origin in (ui, f"https://{forwarded}", "https://wine.example"):
                url, runs = f"{ui}/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}
                status, _ = post(url, runs, Host=host, Origin=origin)
                assert status == (403 if "wine.example" in host + origin else 200)


def open_page(ui, printed, pattern, expected, more=""):
    """Open an address that was printed; return the page as soon as the expected texts are on it."""
    path = re.search(rf"http://127.0.0.1:5050(/{pattern})", printed)[1]
    with start_browser() as page:  # A browser remembers its last view.
        size = {"width": 1280, "height": 1800, "deviceScaleFactor": 1, "mobile": False}
        page.send("Emulation.setDeviceMetricsOverride", **size)
        page.open(ui + path + more)
        html = "document.documentElement.outerHTML"
        page.wait_for(f"{json.dumps(expected)}.every((text) => {html}.includes(text))")
        return page.ask(html)


def test_address_of_a_training_opens_all_and_their_charts(project, trained):
    # Beside the Assistant, MLflow draws as many columns as there is room for.
    columns = [f'col-id="metrics.`{name}`"' for name in ("cv_rmse", "rmse_unseen")]
    both, printed = ["ElasticNet 1.0", "matching runs"], trained["main"].out
    with start_ui(project) as ui:
        page = open_page(ui, printed, r"\S+", [*both, "Huber 0.0001", "l1_ratio", *columns])
        charts = [*both, "Charts", "Parallel Coordinates"]
        charts = open_page(ui, printed, r"\S+", charts, "&compareRunsMode=CHART")
    names = re.findall(r">((?:ElasticNet|Huber) [\d.][^<]*)<", page)
    assert (names[0], names[-1]) == ("Huber 0.0001, 1.35, 100", "ElasticNet 1.0, 0.1")
    assert "ExtraTrees" not in page  # It has no rmse.
    assert "rmse_baseline" not in page
    assert "n_train" not in charts


@pytest.mark.skipif(not (PROJECT / "extras").exists(), reason="extras/ was deleted")
def test_addresses_of_a_sweep_open_its_picture_and_its_candidates_the_best_first(swept):
    folder, printed = swept
    picture = ["candidates.csv", 'alt="candidates.png"']
    with start_ui(folder) as ui:
        open_page(ui, printed, r"\S+candidates.png\S+", picture)
        page = open_page(ui, printed, r"\S+CHART\S+", ["Parallel Coordinates", "matching runs"])
    candidates = re.findall(r">(ElasticNet \d[^<]*)<", page)
    children = [run for run in runs_of(folder) if "trial" in run.data.tags]
    best = min(children, key=lambda run: run.data.metrics["cv_rmse"])
    assert candidates[0] == best.info.run_name
    assert set(candidates) == {run.info.run_name for run in children}
