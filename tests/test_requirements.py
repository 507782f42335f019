"""The pins, and what is said where Python is too old."""

import re

import pytest

from helpers import PROJECT, run_command


def pins(name):
    return set(re.findall(r"^[\w-]+(?:\[\w+\])?==[\w.]+", (PROJECT / name).read_text(), re.M))


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-spark.txt", "tests/requirements.txt"]
)
def test_constraints_have_the_pins(name):
    bare = {re.sub(r"\[\w+\]", "", pin).lower() for pin in pins(name)}
    assert bare <= pins("constraints.txt")


@pytest.mark.parametrize(("python", "refused"), [("3.10", True), ("3.11", False), ("3.14", False)])
def test_python_that_is_too_old_is_refused_in_one_line(python, refused, tmp_path):
    _, guard, *_ = (PROJECT / "requirements.txt").read_text().splitlines()
    (tmp_path / "guard.txt").write_text(guard)  # the line that pip comes to first
    compile_pins = ("uv", "pip", "compile", "guard.txt", "--offline", "--quiet")
    done = run_command(*compile_pins, "--python-version", python, cwd=tmp_path)
    assert (done.status != 0) == refused
    assert ("this-project-needs-Python-3.11-or-newer" in done.err) == refused
