"""One source for each fact: what stands in two places stands there alike."""

import ast
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


def test_pins_of_conda_and_pip_are_the_same():
    *_, pip = yaml.safe_load((PROJECT / "conda.yaml").read_text())["dependencies"]
    assert pip["pip"] == PIP
    assert CONSTRAINTS == "-c constraints.txt"
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in PINS)


def test_every_package_that_is_imported_is_pinned():
    known = {"sklearn": "scikit-learn", "py4j": "pyspark"}
    imported = set()
    for path in [*PROJECT.glob("*.py"), *PROJECT.glob("wine/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"wine"}
    assert {known.get(name, name) for name in outside} <= {
        pin.split("==")[0] for pin in (*PINS, SPARK)
    }


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
