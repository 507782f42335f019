"""A copy of the project for one table: what is about wines goes."""

import re
import subprocess
from pathlib import Path

from wine import UserError, tables

WINES = ("docs", "benchmarks", "wine-quality.csv", "LEIAME.rst", "CONTRIBUTING.rst", "tests")
# The tests that stay know nothing of wines.
KEPT = ("conftest.py", "helpers.py", "test_template.py", "test_cli.py", "test_requirements.py")
EDITS = (  # a file, what a copy changes in it, and into what
    ("MLproject", r"^name: .*", "name: {name}"),
    ("conda.yaml", r"^name: .*", "name: {name}"),
    ("pyproject.toml", r"^testpaths = .*", 'testpaths = ["tests"]'),
    (".devcontainer/devcontainer.json", "Wine quality with MLflow", "{name}"),
    (".devcontainer/devcontainer.json", r"run \. --env", "run . -e {entry_point} --env"),
    (".github/workflows/readme.yml", r"run \. --env", "run . -e {entry_point} --env"),
)


def git(*arguments):
    """Return what git says of the project, or raise `UserError` with the line that it says."""
    done = subprocess.run(["git", *arguments], cwd=tables.PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"--copy: git cannot keep what goes: {done.stderr.splitlines()[0]}")
    return done.stdout


def make(data, lines, entry_point):
    """Delete what is about wines, and give the rest the copy's name.

    Raise `UserError` before that if git could not bring back all that goes.
    """
    git("ls-files", "--error-unmatch", "README.rst")
    if changed := git("status", "--porcelain", "--untracked-files=no"):
        raise UserError(f"--copy: {changed.splitlines()[0][3:]} has changes; commit them first")
    kept = [f"tests/{name}" for name in (*KEPT, "requirements.txt")]
    kept += [] if Path(data).is_absolute() else [data]
    git("rm", "-rq", "--ignore-unmatch", "--", *WINES, *(f":!{path}" for path in kept))
    words = {"name": re.sub(r"[^\w-]+", "-", tables.PROJECT.name), "entry_point": entry_point}
    for name, pattern, new in EDITS:
        if (path := tables.PROJECT / name).exists():
            text = re.sub(pattern, new.format(**words), path.read_text("utf-8"), flags=re.M)
            path.write_text(text, encoding="utf-8", newline="\n")
    page = (tables.PROJECT / "extras" / "README-of-a-copy.rst").read_text(encoding="utf-8")
    block = lines.strip().replace("\n", "\n   ")
    page = page.format(line="=" * len(words["name"]), block=block, **words)
    (tables.PROJECT / "README.rst").write_text(page, encoding="utf-8", newline="\n")
