"""A codespace: it starts with the line of the README, and MLflow answers where GitHub forwards it.

No codespace can be made here. What is tested is the file, by the specification and by what it
repeats, and a real `mlflow ui` in the environment that the file describes.
"""

import json
import re
import urllib.error
import urllib.request

import pytest
import yaml

from documents import commands
from helpers import PROJECT, environment, free_port, start_server

TEXT = (PROJECT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
CONFIG = json.loads(TEXT)
README = [command.text for command in commands("README.rst")]
# as https://containers.dev/implementors/json_schema/ has them, of the keys that are used
TYPES = {
    "name": str,
    "image": str,
    "postCreateCommand": str,
    "remoteEnv": dict,
    "forwardPorts": list,
    "portsAttributes": dict,
    "otherPortsAttributes": dict,
    "customizations": dict,
}
ON_AUTO_FORWARD = ("notify", "openBrowser", "openPreview", "silent", "ignore")
FORWARDED = "fuzzy-disco-7rvx-5050.app.github.dev"  # a name that GitHub gives


def test_file_follows_the_specification():
    assert {key: type(value) for key, value in CONFIG.items()} == TYPES
    assert all(isinstance(value, str) for value in CONFIG["remoteEnv"].values())
    assert all(0 <= port <= 65535 for port in CONFIG["forwardPorts"])
    for attributes in (*CONFIG["portsAttributes"].values(), CONFIG["otherPortsAttributes"]):
        assert set(attributes) <= {"label", "onAutoForward"}
        assert attributes["onAutoForward"] in ON_AUTO_FORWARD


def test_image_has_the_python_of_conda():
    python, *_ = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert CONFIG["image"].partition(":")[2] == python.removeprefix("python=")


def test_codespace_starts_with_the_first_line_of_the_readme():
    assert CONFIG["postCreateCommand"] == README[0]


def test_environment_of_the_first_line_is_active_in_terminals_and_notebooks():
    folder = re.search(r"\. (\S+)/activate ", README[0])[1]
    first = CONFIG["remoteEnv"]["PATH"].split(":")[0]
    assert first == f"${{containerWorkspaceFolder}}/{folder}"
    settings = CONFIG["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == f"${{workspaceFolder}}/{folder}/python"


def test_port_of_the_ui_alone_is_forwarded():
    (port,) = CONFIG["forwardPorts"]
    (label,) = (each["label"] for each in CONFIG["portsAttributes"].values())
    assert any(command.startswith(f"{label} --port {port}") for command in README)
    assert [*CONFIG["portsAttributes"]] == [str(port)]
    assert CONFIG["otherPortsAttributes"] == {"onAutoForward": "ignore"}


@pytest.mark.slow
def test_ui_answers_a_browser_under_the_address_that_github_forwards(new_store):
    """Whether GitHub passes the host and the origin on or rewrites them, and nobody else."""
    port = free_port()
    here, there = f"127.0.0.1:{port}", "wine.example"
    variables = {key: value for key, value in CONFIG["remoteEnv"].items() if key != "PATH"}

    def status(host, origin):
        url = f"http://{here}/ajax-api/2.0/mlflow/runs/search"
        headers = {"Host": host, "Origin": origin, "Content-Type": "application/json"}
        request = urllib.request.Request(url, b'{"experiment_ids": ["0"]}', headers)
        try:
            return urllib.request.urlopen(request, timeout=60).status
        except urllib.error.HTTPError as error:
            return error.code

    with start_server(
        *("mlflow", "ui", "--port", port, "--workers", "1"),
        cwd=new_store,
        ready=f"http://{here}/health",
        env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **variables),
    ):
        hosts = (here, f"localhost:{port}", FORWARDED)
        origins = (f"http://{here}", f"https://localhost:{port}", f"https://{FORWARDED}")
        assert {status(host, origin) for host in hosts for origin in origins} == {200}
        assert {status(there, origins[0]), status(here, f"https://{there}")} == {403}
