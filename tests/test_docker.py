"""The image: its Dockerfile for each model and, where WINE_TEST_DOCKER=1, its answers."""

import contextlib
import json
import os
import urllib.request
from pathlib import Path

import mlflow.models.container
import pytest
from click.testing import CliRunner
from mlflow.cli import cli

from helpers import ENTRY_POINTS, LOCAL, PROJECT, free_port, run_command, start_server, tracking_in

MODELS = ("mlflow", "models")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_dockerfile_installs_the_pins_of_the_model(entry_point, project, model_uris, tmp_path):
    image = ("-m", model_uris[entry_point], "-d", str(tmp_path / "image"))
    with tracking_in(project):
        done = CliRunner().invoke(cli, ["models", "generate-dockerfile", *image, *LOCAL])
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "image" / "Dockerfile").read_text().splitlines()
    python = next(line for line in lines if line.startswith("FROM"))
    assert python.startswith("FROM python:3.")
    assert python.endswith("-slim")
    pins = set((PROJECT / "requirements.txt").read_text().split())
    assert f"RUN pip install {next(pin for pin in pins if pin.startswith('mlflow'))}" in lines
    requirements = (tmp_path / "image/model_dir/model/requirements.txt").read_text().split()
    assert {pin.split("==")[0] for pin in requirements} == {
        *("mlflow", "scikit-learn", "skops", "pandas", "numpy")
    }
    assert pins.issuperset(requirements)


def test_image_listens_on_port_8080():
    nginx = Path(mlflow.models.container.__file__).parent / "scoring_server/nginx.conf"
    assert "listen 8080" in nginx.read_text()


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("WINE_TEST_DOCKER") != "1",
    reason="needs a Docker engine and the network: WINE_TEST_DOCKER=1 says that they are there",
)
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_image_answers_as_the_model(entry_point, project, model_uris):
    model, image = model_uris[entry_point], f"wine-test-{entry_point}"
    predicted = run_command(
        *(*MODELS, "predict", "-m", model, *LOCAL, "-t", "csv", "-i", "predict.csv"), cwd=project
    )
    built = run_command(
        *(*MODELS, "build-docker", "-m", model, "-n", image, *LOCAL), cwd=project, timeout=1800
    )
    assert built.status == 0, built.err
    port = free_port()
    with contextlib.ExitStack() as stack:
        stack.callback(run_command, "docker", "rm", "-f", image, cwd=project)
        stack.enter_context(
            start_server(
                *("docker", "run", "--rm", "--name", image, "-p", f"127.0.0.1:{port}:8080", image),
                cwd=project,
                ready=f"http://127.0.0.1:{port}/ping",
            )
        )
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            (project / "predict.csv").read_bytes(),
            {"Content-Type": "text/csv"},
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)["predictions"] == pytest.approx(
                json.loads(predicted.out)["predictions"], abs=1e-12
            )
