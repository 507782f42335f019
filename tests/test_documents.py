"""The documents are a contract: what they print is run, and prints what they show.

The commands of each English page run one after the other in a copy of the project of its own, each
in the environment that the one before left, exactly as printed but for the ports and for what
stands in angle brackets. The Portuguese pages, which do not run, have to show the same.
"""

import collections
import contextlib
import re
import subprocess

import pytest

from documents import PAGES, blocks, commands, links, setup, shows
from helpers import PROJECT, copy_project, environment, free_port, git_commit, start_server

PORTUGUESE = ["LEIAME.rst", *(f"docs/pt/{each.name}" for each in PROJECT.glob("docs/pt/*.rst"))]
SERVERS = {"mlflow ui": "/health", "mlflow models serve": "/ping"}
# What a reader takes from an output: the model to go on with, the newest run listed, a model's ID.
PLACEHOLDERS = {
    "<ID>": r"runs:/([0-9a-f]{32})/model",
    "<RUN_ID>": r"^\d{4}-\d\d-\d\d .* ([0-9a-f]{32})",
    "<MODEL_ID>": r"^(m-[0-9a-f]{32})$",
}


class Terminal:
    """A person who pastes commands into a terminal, and servers into further ones."""

    def __init__(self, folder):
        self.folder = folder
        # The UI would start eight more processes, for traces and judges.
        self.env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        self.found = {}  # placeholder -> what stands for it
        self.ports = {}  # as printed -> as used
        self.servers = collections.defaultdict(contextlib.ExitStack)  # by the port as printed

    def here(self, text):
        """Return a text of the document with the ports of this machine."""
        for printed, used in self.ports.items():
            text = re.sub(rf"(--port |127\.0\.0\.1:){printed}\b", rf"\g<1>{used}", text)
        return text

    def paste(self, text, fails=False):
        """Run a command; return its exit status, its standard output and standard error."""
        for placeholder, value in self.found.items():
            text = text.replace(placeholder, value)
        server = next((name for name in SERVERS if text.startswith(name)), None)
        if server and not fails:
            self.serve(text, SERVERS[server])
            return 0, "", ""
        left = self.folder.parent / "environment"
        script = f"{self.here(text)}\nstatus=$?; env -0 > '{left}'; exit $status"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        self.env = dict(pair.split("=", 1) for pair in left.read_text().split("\0") if pair)
        for placeholder, pattern in PLACEHOLDERS.items():
            if found := re.search(pattern, done.stdout, re.MULTILINE):
                self.found[placeholder] = found[1]
        return done.returncode, done.stdout, done.stderr

    def serve(self, text, health):
        """Start a server in place of the one on its port, and wait until it answers."""
        port = re.search(r"--port (\d+)", text)[1]
        self.servers[port].close()
        self.ports[port] = str(free_port())
        ready = f"http://127.0.0.1:{self.ports[port]}{health}"
        command = ("bash", "-c", f"exec {self.here(text)}")
        server = start_server(*command, cwd=self.folder, ready=ready, env=self.env)
        self.servers[port].enter_context(server)

    def close(self):
        for server in self.servers.values():
            server.close()


@pytest.fixture(scope="module")
def terminal(request, tmp_path_factory):
    """Return the terminal of a page, in a new clone."""
    folder = copy_project(tmp_path_factory.mktemp("documents") / "wine")
    git_commit(folder)
    terminal = Terminal(folder)
    for command in setup(request.param):
        status, *printed = terminal.paste(command)
        assert status == 0, f"{request.param} setup: {command}\n{printed}"
    yield terminal
    terminal.close()


def _cases():
    for page in PAGES:
        marks = [pytest.mark.xdist_group(page)]
        marks += [] if page == "README.rst" else [pytest.mark.slow]
        for command in commands(page):
            skip = [pytest.mark.skip(f"{command}: {command.not_run}")] if command.not_run else []
            yield pytest.param(page, command, marks=marks + skip, id=str(command))


@pytest.mark.parametrize(("terminal", "command"), _cases(), indirect=["terminal"], scope="module")
def test_command_prints_what_the_page_shows(terminal, command):
    status, stdout, stderr = terminal.paste(command.text, command.fails)
    where = f"{command}\nstatus {status}\n{stdout}\n{stderr}"
    assert (status != 0) == command.fails, where
    if command.output is not None:
        output = terminal.here(command.output)
        assert shows(output, stdout) or shows(output, stderr), f"{where}\nshown:\n{output}"


@pytest.mark.parametrize("page", PORTUGUESE)
def test_portuguese_page_shows_the_commands_and_outputs_of_the_english_one(page):
    english = "README.rst" if page == "LEIAME.rst" else page.replace("/pt/", "/")
    shown, same = ([block[1:3] for block in blocks(each)] for each in (page, english))
    assert shown == same  # languages and texts


@pytest.mark.parametrize("page", [*PAGES, *PORTUGUESE])
def test_page_says_to_stop_the_server_whose_port_the_next_one_takes(page):
    """Otherwise the next one ends with a traceback, and the old model answers."""
    lines = (PROJECT / page).read_text(encoding="utf-8").splitlines()
    started = {}
    servers = [each for each in commands(page) if each.text.startswith(tuple(SERVERS))]
    for command in (each for each in servers if not each.fails):
        port = re.search(r"--port (\d+)", command.text)[1]
        between = lines[started.get(port, command.line) : command.line]
        assert port not in started or "Ctrl-C" in "\n".join(between), command
        started[port] = command.line


@pytest.mark.parametrize("page", [*PAGES, *PORTUGUESE, "CONTRIBUTING.rst"])
def test_links_lead_to_files(page):
    targets = links(page)
    assert [name for name in targets if not (PROJECT / page).parent.joinpath(name).exists()] == []


def test_first_page_links_to_every_other_page():
    assert set(PAGES[1:]) <= set(links("README.rst"))


@pytest.mark.parametrize("page", ["docs/from-2019.rst", "docs/pt/from-2019.rst"])
def test_todays_form_of_each_classic_command_is_run_on_a_page(page):
    forms = re.findall(r"^     - ``(.+)``$", (PROJECT / page).read_text(encoding="utf-8"), re.M)
    run = [command.text for each in PAGES for command in commands(each)]
    assert len(forms) == 16
    assert [form for form in forms if not any(shows(form, text) for text in run)] == []
