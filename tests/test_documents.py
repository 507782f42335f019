"""The documents are a contract: what they print is run, and prints what they show.

The commands of README.rst run one after the other in one copy of the project, each in the
environment that the one before left, exactly as printed but for <ID>, which is the ID of the run
before, and the ports. LEIAME.rst has to show the same.
"""

import contextlib
import re
import subprocess

import pytest

from documents import commands, sections, shows, tables
from helpers import copy_project, environment, free_port, git_commit, start_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("README")]

README, LEIAME = commands("README.rst"), commands("LEIAME.rst")
SERVERS = {"mlflow ui": "/health", "mlflow server": "/health", "mlflow models serve": "/ping"}


class Terminal:
    """A person who pastes commands into a terminal, and servers into further ones."""

    def __init__(self, folder):
        self.folder = folder
        self.env = environment()
        self.run_id = "<ID>"
        self.ports = {}  # as printed -> as used
        self.servers = {}  # by the port as printed

    def here(self, text):
        """Return a text of the document with the ports of this machine."""
        for printed, used in self.ports.items():
            text = re.sub(rf"(--port |127\.0\.0\.1:){printed}\b", rf"\g<1>{used}", text)
        return text

    def paste(self, command):
        """Run a command; return its exit status, its standard output and standard error."""
        text = command.text.replace("<ID>", self.run_id)
        server = next((name for name in SERVERS if text.startswith(name)), None)
        server = None if command.fails else server
        if server:
            port = re.search(r"--port (\d+)", text)[1]
            if port in self.servers:
                self.servers.pop(port).close()
            self.ports[port] = str(free_port())
        text = self.here(text)
        if server:
            ready = f"http://127.0.0.1:{self.ports[port]}{SERVERS[server]}"
            self.servers[port] = contextlib.ExitStack()
            self.servers[port].enter_context(
                start_server(
                    "bash", "-c", f"exec {text}", cwd=self.folder, ready=ready, env=self.env
                )
            )
            return 0, "", ""
        left = self.folder.parent / "environment"
        script = f"{text}\nstatus=$?; env -0 > '{left}'; exit $status"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        self.env = dict(pair.split("=", 1) for pair in left.read_text().split("\0") if pair)
        if found := re.search(r"runs:/([0-9a-f]{32})/model", done.stdout):
            self.run_id = found[1]
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    terminal = Terminal(copy_project(tmp_path_factory.mktemp("documents") / "wine"))
    git_commit(terminal.folder)
    yield terminal
    for server in terminal.servers.values():
        server.close()


@pytest.mark.parametrize("command", README, ids=str)
def test_command(command, terminal):
    if command.not_run:
        pytest.skip(command.not_run)
    status, stdout, stderr = terminal.paste(command)
    where = f"{command}\nstatus {status}\n{stdout}\n{stderr}"
    assert (status != 0) == command.fails, where
    if command.output is not None:
        output = terminal.here(command.output)
        assert shows(output, stdout) or shows(output, stderr), f"{where}\nshown:\n{output}"


def test_leiame_has_the_commands_and_outputs_of_the_readme():
    shown = [
        [(command.text, command.output, command.not_run is None, command.fails) for command in each]
        for each in (README, LEIAME)
    ]
    assert shown[0] == shown[1]


def test_leiame_has_the_sections_of_the_readme():
    assert sections("LEIAME.rst") == sections("README.rst")


@pytest.mark.parametrize("document", ["README.rst", "LEIAME.rst"])
def test_todays_form_of_each_classic_command_is_among_the_commands(document):
    _, *rows = tables(document)[1]
    assert len(rows) == 16
    for _, today in rows:
        assert any(shows(today[0], command.text) for command in README), today
