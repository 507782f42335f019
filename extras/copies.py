"""A copy of the project for one table: what is about wines goes."""

import re
import subprocess
from pathlib import Path

from wine import UserError, tables

# The tests that stay know nothing of wines.
WINES = r"(docs|benchmarks)/.*|wine-quality\.csv|(LEIAME|CONTRIBUTING)\.rst|tests/(?!(conftest|"
WINES += r"helpers|test_template|test_cli|test_requirements)\.py|requirements\.txt).*"
NAMED = (
    *("MLproject", "conda.yaml", "pyproject.toml", "Makefile", "clf-train.py", "wine/dataset.py"),
    *(".devcontainer/devcontainer.json", ".github/workflows/readme.yml"),
)
EDITS = {  # what a copy changes in these files
    r"^name: wine-quality$": "name: {name}",
    "Wine quality with MLflow": "{name}",
    r"run \. --env": "run . -e {entry_point} --env",
    r"^testpaths = .*": 'testpaths = ["tests"]',
    r"(; see|:) docs/\S+": ".",
    r"^bench:\n.*\n\n|(?<= )bench ": "",
}


def git(*arguments):
    """Return what git says of the project, or raise `UserError` with the line that it says."""
    done = subprocess.run(["git", *arguments], cwd=tables.PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"--copy: git cannot keep what goes: {done.stderr.splitlines()[0]}")
    return done.stdout


def check():
    """Raise `UserError` if git could not bring back all that `make` deletes or changes."""
    git("ls-files", "--error-unmatch", "README.rst", "wine/dataset.py")
    if changed := git("status", "--porcelain", "--untracked-files=no"):
        raise UserError(f"--copy: {changed.splitlines()[0][3:]} has changes; commit them first")


def make(data, lines, entry_point):
    """Delete what is about wines, and give the rest the copy's name."""
    paths = [path for path in git("ls-files", "-z").split("\0") if re.fullmatch(WINES, path)]
    if paths := [path for path in paths if path != data]:
        git("rm", "-q", "--", *paths)
    words = {"name": re.sub(r"[^\w-]+", "-", tables.PROJECT.name), "entry_point": entry_point}
    for path in filter(Path.exists, map(tables.PROJECT.joinpath, NAMED)):
        text = path.read_text(encoding="utf-8")
        for pattern, new in EDITS.items():
            text = re.sub(pattern, new.format(**words), text, flags=re.M)
        path.write_text(text, encoding="utf-8", newline="\n")
    page = (tables.PROJECT / "extras" / "README-of-a-copy.rst").read_text(encoding="utf-8")
    block = lines.strip().replace("\n", "\n   ")
    page = page.format(line="=" * len(words["name"]), block=block, **words)
    (tables.PROJECT / "README.rst").write_text(page, encoding="utf-8", newline="\n")
