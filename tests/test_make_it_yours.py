"""What docs/make-it-yours.rst advises, done in a copy of the project."""

import re

import pytest
import yaml
from docutils import nodes

from documents import parse
from helpers import LOCAL, copy_project, edit, run_command, run_successfully

pytestmark = pytest.mark.slow
RUN = ("mlflow", "run", ".", *LOCAL)


def test_a_fourth_model(tmp_path):
    folder = copy_project(tmp_path / "wine")
    texts = {
        block["classes"][-1]: block.astext()
        for block in parse("docs/make-it-yours.rst").findall(nodes.literal_block)
    }
    run_successfully("bash", "-c", texts["bash"], cwd=folder)
    # A line without anything has lost the blank that marks it as unchanged.
    (tmp_path / "diff").write_text(re.sub(r"^$", " ", texts["diff"], flags=re.MULTILINE) + "\n")
    run_successfully("git", "apply", "-p0", tmp_path / "diff", cwd=folder)
    run_successfully("ruff", "check", "ridge-train.py", cwd=folder)
    snippet = texts["yaml"]
    project = yaml.safe_load((folder / "MLproject").read_text())
    project["entry_points"] |= yaml.safe_load(snippet)
    (folder / "MLproject").write_text(yaml.safe_dump(project))

    run = run_command(*RUN, "-e", "ridge", "-P", "alpha=2", cwd=folder)
    assert run.status == 0, run.err
    assert run.out.startswith("\nRidge: alpha=2.0, data=wine-quality.csv\n")

    edit(folder / "wine" / "trainings.py", ("SCRIPTS = {", 'SCRIPTS = {"ridge": "ridge-train", '))
    swept = run_command(*RUN, "-e", "sweep", "-P", "model=ridge", "-P", "trials=3", cwd=folder)
    assert swept.status == 0, swept.err
    assert "Best of 3 candidates" in swept.out
