"""The house: what stands in two places stands there alike, and the core stands by itself."""

import ast
import graphlib
import re
import shutil
import sys

import pytest
import yaml

from helpers import LOCAL, PROJECT, copy_project, run_successfully

MLPROJECT = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
SPARK = (PROJECT / "requirements-spark.txt").read_text().strip()
# After its first two lines, which stop pip where Python is too old, what conda.yaml repeats.
PIP = (PROJECT / "requirements.txt").read_text().splitlines()[2:]
CONSTRAINTS, *PINS = PIP
MAX_LINES = {ast.FunctionDef: 60, ast.ClassDef: 120}  # docstrings not counted


PATHS = [*PROJECT.glob("*.py"), *PROJECT.glob("wine/*.py"), *PROJECT.glob("extras/*.py")]
SOURCES = {  # the syntax tree of each script and module by its name, for instance wine.cli
    ".".join(path.relative_to(PROJECT).with_suffix("").parts): ast.parse(path.read_text())
    for path in PATHS
}


def imported_names(tree):
    """Return what a file imports, also inside its functions: modules, and names in modules."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


IMPORTS = {name: imported_names(tree) for name, tree in SOURCES.items()}


def test_pins_of_conda_and_pip_are_the_same():
    *_, pip = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert pip["pip"] == PIP
    assert CONSTRAINTS == "-c constraints.txt"
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in PINS)


def test_every_package_that_is_imported_is_pinned():
    known = {"sklearn": "scikit-learn", "py4j": "pyspark"}
    imported = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    outside = imported - set(sys.stdlib_module_names) - {"wine", "extras"}
    pinned = {pin.split("==")[0] for pin in (*PINS, SPARK)}
    assert {known.get(name, name) for name in outside} <= pinned


def test_core_imports_nothing_of_extras():
    core = {name: names for name, names in IMPORTS.items() if not name.startswith("extras")}
    assert {"train", "huber-train", "clf-train", "wine.dataset"} < set(core)
    assert {name for names in core.values() for name in names if name.startswith("extras")} == set()


def test_no_modules_import_each_other_in_a_circle():
    own = {name: names & set(SOURCES) for name, names in IMPORTS.items()}
    graphlib.TopologicalSorter(own).prepare()  # It raises CycleError, which names them.


def test_functions_and_classes_are_short():
    for name, tree in SOURCES.items():
        for node in ast.walk(tree):
            if type(node) in MAX_LINES:
                parts = [each for each in ast.walk(node) if type(each) in MAX_LINES]
                docstrings = [part.body[0] for part in parts if ast.get_docstring(part)]
                lines = [each.end_lineno - each.lineno + 1 for each in (node, *docstrings)]
                code = lines[0] - sum(lines[1:])
                assert code <= MAX_LINES[type(node)], f"{name}.{node.name}"


@pytest.mark.parametrize("entry_point", MLPROJECT)
def test_defaults_of_mlproject_help_and_documents_are_the_same(entry_point, run_script):
    parameters = MLPROJECT[entry_point]["parameters"]
    words = MLPROJECT[entry_point]["command"].removeprefix("python ").removeprefix("-m ").split()
    assert words[1:] == [f"{{{name}}}" for name in parameters]
    shown = run_script(words[0], "--help").out
    page = (PROJECT / "docs" / "entry-points.rst").read_text()
    for name, parameter in parameters.items():
        default = parameter.get("default", "must be given")
        value = rf".*?\({re.escape(str(default))}\)$" if "default" in parameter else ""
        assert re.search(rf"^  {name} {value}", shown, re.M | re.S)
        assert f"     - {name}\n     - {default}\n" in page


def test_ci_and_workflow_paste_lines_of_the_documents():
    pages = [(PROJECT / f"{name}.rst").read_text() for name in ("README", "CONTRIBUTING")]
    script = (PROJECT / ".ci/run").read_text()
    workflow = (PROJECT / ".github/workflows/readme.yml").read_text()
    for text, n_lines in ((script, 2), (workflow, 5)):
        patterns = re.findall(r"""(?:grep -m1|-Pattern|sed -n) ['"]/?([^'"/]+)['"/]""", text)
        assert len(patterns) == n_lines
        assert [each for each in patterns if not any(each in page for page in pages)] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_copy_without_the_extras_trains_and_passes_its_tests(tmp_path):
    copy = copy_project(tmp_path / "copy")
    for folder in ("extras", "tests/extras"):
        shutil.rmtree(copy / folder)
    for page in ("sweep", "promotion", "scoring"):
        (copy / "docs" / f"{page}.rst").unlink()
    menu = copy / "MLproject"
    kept = [part for part in menu.read_text().split("\n\n") if "-m extras." not in part]
    menu.write_text("\n\n".join(kept) + "\n")
    out = run_successfully("mlflow", "run", ".", *LOCAL, cwd=copy)
    assert "rmse 0.8139 0.8107" in out
    tests = ["wine", *(f"tests/test_{name}.py" for name in ("dataset", "cli", "project"))]
    run_successfully(sys.executable, "-m", "pytest", "-n", "0", *tests, cwd=copy)
