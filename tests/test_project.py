"""The house: what stands in two places stands there alike, and the core stands by itself."""

import ast
import graphlib
import hashlib
import re
import sys

import pytest
import yaml

from helpers import PROJECT

MLPROJECT = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
SPARK = (PROJECT / "requirements-spark.txt").read_text().strip()
# after its first two lines, which stop pip where Python is too old, what conda.yaml repeats
PIP = (PROJECT / "requirements.txt").read_text().splitlines()[2:]
CONSTRAINTS, *PINS = PIP
CORE = ["train", "huber-train", "clf-train"]  # and what they import
OUTER = re.compile(
    r"(sweep|promote|score|wine\.(loading|registry|trainings|relocate|scoring(\..+)?))$"
)
MAX_LINES = {ast.FunctionDef: 60, ast.ClassDef: 120}  # docstrings not counted
# MLflow has no public way to know a random name, as the comment there says.
PRIVATE = {"wine.tracking": {"_GENERATOR_NOUNS", "_GENERATOR_PREDICATES"}}


def read_sources():
    """Return the syntax tree of each script and module by its name, for instance wine.cli."""
    paths = [*PROJECT.glob("*.py"), *PROJECT.glob("wine/**/*.py")]
    names = [".".join(path.relative_to(PROJECT).with_suffix("").parts) for path in paths]
    return {
        name.removesuffix(".__init__"): ast.parse(path.read_text())
        for name, path in zip(names, paths, strict=True)
    }


SOURCES = read_sources()


def imported_names(tree):
    """Return what a file imports, also inside its functions: modules, and names in modules."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


IMPORTS = {name: imported_names(tree) & set(SOURCES) for name, tree in SOURCES.items()}


def test_pins_of_conda_and_pip_are_the_same():
    *_, pip = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert pip["pip"] == PIP
    assert CONSTRAINTS == "-c constraints.txt"
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in PINS)


def test_every_package_that_is_imported_is_pinned():
    known = {"sklearn": "scikit-learn", "py4j": "pyspark"}
    imported = {name.split(".")[0] for tree in SOURCES.values() for name in imported_names(tree)}
    outside = imported - set(sys.stdlib_module_names) - {"wine"}
    assert {known.get(name, name) for name in outside} <= {
        pin.split("==")[0] for pin in (*PINS, SPARK)
    }


def test_core_imports_nothing_of_the_outer_circle():
    core, pending = set(), set(CORE)
    while pending:
        core |= pending
        pending = set().union(*(IMPORTS[name] for name in pending)) - core
    assert [name for name in core if OUTER.match(name)] == []


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(IMPORTS).prepare()  # It raises CycleError, which names them.


@pytest.mark.parametrize("name", SOURCES)
def test_private_names_are_those_of_the_file(name):
    nodes = list(ast.walk(SOURCES[name]))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own |= {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    own.add("_replace")  # A named tuple's, which is public.
    used = {part for each in imported_names(SOURCES[name]) for part in each.split(".")}
    used |= {node.attr for node in attributes}
    private = {each for each in used if re.match(r"_(?!_)", each)}
    assert private - own == PRIVATE.get(name, set())


def n_lines_of(node):
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("name", SOURCES)
def test_functions_and_classes_are_short(name):
    for node in ast.walk(SOURCES[name]):
        if type(node) in MAX_LINES:
            docstrings = [
                each.body[0]
                for each in ast.walk(node)
                if type(each) in MAX_LINES and ast.get_docstring(each)
            ]
            n_lines = n_lines_of(node) - sum(map(n_lines_of, docstrings))
            assert n_lines <= MAX_LINES[type(node)], node.name


@pytest.mark.parametrize("entry_point", MLPROJECT)
def test_defaults_of_mlproject_script_help_and_documents_are_the_same(entry_point, run_script):
    parameters = MLPROJECT[entry_point]["parameters"]
    words = MLPROJECT[entry_point]["command"].split()
    assert words[2:] == [f"{{{name}}}" for name in parameters]
    shown = run_script(words[1], "--help").out
    page = (PROJECT / "docs" / "entry-points.rst").read_text()
    for name, parameter in parameters.items():
        if "default" in parameter:
            default = parameter["default"]
            assert re.search(rf"^  {name} .*?\({re.escape(str(default))}\)$", shown, re.M | re.S)
        else:
            default = "must be given"
            assert re.search(rf"^  {name} ", shown, re.M)
        assert f"     - {name}\n     - {default}\n" in page


def test_wines_are_the_published_ones():
    digest = hashlib.sha256((PROJECT / "wine-quality.csv").read_bytes()).hexdigest()
    assert digest == "91e7afe85ee4f6ffb59934a0db693dd5590243b7a4bea3b2b25ad0e760103caa"


def test_wines_to_predict_have_the_columns_of_the_table_but_the_target():
    header, *rows = (PROJECT / "predict.csv").read_text().splitlines()
    assert f"{header},quality" == (PROJECT / "wine-quality.csv").read_text().splitlines()[0]
    assert len(set(rows)) == 20
    assert all("." in number for row in rows for number in row.split(","))


def test_ci_runs_the_commands_of_the_readme():
    script = (PROJECT / ".ci/run").read_text()
    for command in ("python -m pytest", "python -m pytest -m slow"):
        assert f'"$(grep -m1 "{command}" README.rst)"' in script


def test_workflow_pastes_lines_of_the_readme():
    workflow = (PROJECT / ".github/workflows/readme.yml").read_text()
    readme = (PROJECT / "README.rst").read_text()
    patterns = re.findall(r"(?:grep -m1|-Pattern) '([^']+)'", workflow)
    assert len(patterns) == 5
    assert [pattern for pattern in patterns if pattern not in readme] == []
