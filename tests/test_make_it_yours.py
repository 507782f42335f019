"""What docs/make-it-yours.rst advises, done in a copy of the project."""

import pytest
import yaml

from documents import blocks, commands
from helpers import LOCAL, copy_project, edit, run_command, run_successfully

pytestmark = pytest.mark.slow
RUN = ("mlflow", "run", ".", *LOCAL)


def test_a_fourth_model(tmp_path):
    folder = copy_project(tmp_path / "wine")
    for command in commands("docs/make-it-yours.rst"):
        if "ridge-train.py" in command.text:
            run_successfully("bash", "-c", command.text, cwd=folder)
    run_successfully("ruff", "check", "ridge-train.py", cwd=folder)
    (snippet,) = (each.text for each in blocks("docs/make-it-yours.rst") if each.language == "yaml")
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
