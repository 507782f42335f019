"""The image: its Dockerfile for each model and, where WINE_TEST_DOCKER=1, its answers."""

import contextlib
import json
import os
import urllib.request
from pathlib import Path

import mlflow.models.container
import pytest

from conftest import ENTRY_POINTS, PROJECT, command, free_port, process

MODELS = ("mlflow", "models")


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_dockerfile(entry_point, project, run_ids, tmp_path):
    done = command(
        *(*MODELS, "generate-dockerfile", "-m", f"runs:/{run_ids[entry_point]}/model"),
        *("-d", tmp_path / "image", "--env-manager", "local"),
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
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


def test_port_of_the_image():
    nginx = Path(mlflow.models.container.__file__).parent / "scoring_server/nginx.conf"
    assert "listen 8080" in nginx.read_text()


@pytest.mark.skipif(
    os.environ.get("WINE_TEST_DOCKER") != "1",
    reason="needs a Docker engine and the network: WINE_TEST_DOCKER=1 says that they are there",
)
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_image_answers_as_the_model(entry_point, project, run_ids):
    model, image = f"runs:/{run_ids[entry_point]}/model", f"wine-test-{entry_point}"
    local = ("--env-manager", "local")
    predicted = command(
        *(*MODELS, "predict", "-m", model, *local, "-t", "csv", "-i", "predict.csv"), cwd=project
    )
    built = command(
        *(*MODELS, "build-docker", "-m", model, "-n", image, *local), cwd=project, timeout=1800
    )
    assert built.returncode == 0, built.stderr
    port = free_port()
    with contextlib.ExitStack() as stack:
        stack.callback(command, "docker", "rm", "-f", image, cwd=project)
        stack.enter_context(
            process(
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
                json.loads(predicted.stdout)["predictions"], abs=1e-12
            )
