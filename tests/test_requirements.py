"""The pins, and what is said and what helps where Python is too old."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from documents import commands
from helpers import PROJECT, run_command

FILES = ("requirements.txt", "requirements-spark.txt", "tests/requirements.txt")


def pins(name):
    return set(re.findall(r"^[\w-]+(?:\[\w+\])?==[\w.]+", (PROJECT / name).read_text(), re.M))


@pytest.mark.parametrize("name", FILES)
def test_constraints_have_the_pins(name):
    bare = {re.sub(r"\[\w+\]", "", pin).lower() for pin in pins(name)}
    assert bare <= pins("constraints.txt")


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.14"])
def test_older_python_is_refused_in_one_line(python, tmp_path):
    _, guard, *_ = (PROJECT / "requirements.txt").read_text().splitlines()
    (tmp_path / "guard.txt").write_text(guard)  # the line that pip comes to first
    done = run_command(
        *("uv", "pip", "compile", "guard.txt", "--offline", "--quiet", "--python-version", python),
        cwd=tmp_path,
    )
    assert (done.status != 0) == (python == "3.10")
    assert ("this-project-needs-Python-3.11-or-newer" in done.err) == (python == "3.10")


def test_environment_of_another_python_is_replaced_as_troubleshooting_says(tmp_path):
    cure = next(c.text for c in commands("docs/troubleshooting.rst") if " -m venv " in c.text)
    name, *options = cure.split()
    assert name == "python3.12"
    ours = Path(sys.executable).resolve()
    made = tmp_path / ".venv/bin/python"
    names = ("/usr/bin/python3", *(f"python3.{minor}" for minor in range(9, 16)))
    for other in filter(shutil.which, names):
        run_command(other, "-m", "venv", "--without-pip", ".venv", cwd=tmp_path)
        if made.exists() and made.resolve() != ours:
            break
        shutil.rmtree(tmp_path / ".venv", ignore_errors=True)
    else:
        pytest.skip("needs a second Python")
    kept = [option for option in options if option != "--clear"]
    for arguments, replaced in ((kept, False), (options, True)):
        done = run_command(ours, *arguments, "--without-pip", cwd=tmp_path)
        assert done.status == 0, done.err
        assert (made.resolve() == ours) == replaced
