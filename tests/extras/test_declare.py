"""Another table: what is proposed for it, and a copy of the project that is made for it."""

import sys

import numpy as np
import pandas as pd
import pytest

from extras import declare
from helpers import assert_one_line_error, copy_project, edit, git_commit, run_command
from wine import UserError

N = 400
RNG = np.random.default_rng(42)
NUMBERS = RNG.normal(size=N).round(3)
DAYS = pd.date_range("2020-01-01", periods=N).strftime("%d/%m/%Y")


def propose(folder, target, **columns):
    """Return the declarations for a table, the kinds of what they leave out, and what is said."""
    pd.DataFrame({"x": NUMBERS} | columns).to_csv(folder / "table.csv", index=False)
    declarations, left_out, said, _ = declare.propose(str(folder / "table.csv"), target)
    return declarations, {name: each.kind for name, each in left_out.items()}, "\n".join(said)


LEFT_OUT = [
    ("identifier", "row", range(N)),
    ("identifier", "order_id", RNG.permutation(10**6)[:N]),
    ("constant", "country", ["BR"] * N),
    ("date", "birth_date", DAYS),
    ("amount with signs", "price", [f"${n:,}" for n in range(900, 900 + N)]),
    ("amount with signs", "level", ["<0.1", *map(str, NUMBERS[1:])]),
    ("identifier, name or free text", "name", [f"w{n}" for n in range(N)]),
]


@pytest.mark.parametrize(("kind", "name", "values"), LEFT_OUT)
def test_column_that_is_no_feature_is_left_out(kind, name, values, tmp_path):
    declarations, left_out, _ = propose(tmp_path, "y", y=RNG.normal(size=N), **{name: values})
    assert left_out == {name: kind}
    assert declarations["FEATURES"] == ["x"]
    assert (declarations["GROUP"], declarations["TIME"]) == ("", "")


def test_texts_codes_and_missing_values_are_found(tmp_path):
    columns = {"zip": [f"{n % 9:05d}" for n in range(N)], "town": [f"t{n % 150}" for n in range(N)]}
    columns |= {"gap": ["?", "unknown", *NUMBERS[2:]], "blank": [" ", *NUMBERS[1:]]}
    columns |= {"icd": [*["428", "V57", "E909"] * 9, *["250.8"] * (N - 27)]}
    declarations, left_out, notes = propose(tmp_path, "x", **columns)
    assert left_out == {}
    assert declarations["CATEGORIES"] == ["town", "icd"]
    assert declarations["MISSING"] == ["", "?", "unknown"]
    assert "codes that are numbers, and taken as such: zip" in notes


def test_rows_of_a_person_and_times_decide_the_split(tmp_path):
    persons = [f"p{n % 90}" for n in range(N)]
    assert propose(tmp_path, "x", patient_id=persons, a=NUMBERS)[0]["GROUP"] == "patient_id"
    wafers = [n % 10 for n in range(N)]
    assert propose(tmp_path, "x", Wafer=wafers, a=NUMBERS)[0]["GROUP"] == "Wafer"
    declarations, _, _ = propose(tmp_path, "x", when=DAYS, a=NUMBERS)
    assert (declarations["TIME"], declarations["FEATURES"]) == ("when", ["a"])
    assert propose(tmp_path, "x", day=[n // 4 for n in range(N)], a=NUMBERS)[0]["TIME"] == "day"


def test_what_gives_the_target_away_is_named(tmp_path):
    a, b = RNG.normal(size=(2, N))
    assert "'cube' alone gives the target" in propose(tmp_path, "x", cube=NUMBERS**3, a=a)[2]
    assert "a sum of a, b gives the target" in propose(tmp_path, "y", y=2 * a + b, a=a, b=b)[2]
    labels = np.where(NUMBERS > 0, "yes", "no")
    assert "'code' alone" in propose(tmp_path, "y", y=labels, code=labels == "no")[2]
    assert "alone" not in propose(tmp_path, "y", y=RNG.permutation(labels))[2]


def test_target_decides_the_entry_point_and_its_oddities_are_said(tmp_path):
    declarations, _, notes = propose(tmp_path, "y", y=["none"] * (N - 9) + ["None"] * 9)
    assert (declarations["CATEGORIES"], declarations["MISSING"]) == (["y"], [])
    assert f"'None' is rare: 9 of {N} rows" in notes
    assert propose(tmp_path, "y", y=[n % 2 for n in range(N)])[0]["CATEGORIES"] == ["y"]
    assert "5 whole numbers" in propose(tmp_path, "y", y=[n % 5 for n in range(N)])[2]
    same, *_ = propose(tmp_path, "y", x=[n % 3 for n in range(N)], y=NUMBERS)
    assert same["IDENTICAL_ROWS_ARE_COPIES"] is False
    columns = {"when": DAYS, "same": ["x"] * N, "mark": ["a", "b", "None", "b"] * (N // 4)}
    unfit = {"z": "is missing in", "when": "date, 400 different", "same": "constant, 1 different"}
    for target, said in unfit.items():
        with pytest.raises(UserError, match=f"target: .*'{target}',? {said}"):
            propose(tmp_path, target, **columns)
    labels = ["None", *"ab" * (N // 2)][:N]
    assert (
        "'None' in y is a missing value elsewhere" in propose(tmp_path, "y", y=labels, **columns)[2]
    )


@pytest.fixture
def clone(tmp_path):
    """Return a clone of the project, with a table in it that is not committed."""
    git_commit(copy_project(tmp_path / "bikes"))
    table = pd.DataFrame({"id": range(N), "temp": NUMBERS, "sky": [*"abcd"] * (N // 4)})
    table["rentals"] = (9 * NUMBERS + RNG.normal(size=N)).round(1)
    table.to_csv(tmp_path / "bikes" / "hours.csv", index=False)
    return tmp_path / "bikes"


def run(clone, *flags):
    command = (sys.executable, "-m", "extras.declare", "hours.csv", "rentals", *flags)
    return run_command(*command, cwd=clone)


def test_written_twice_and_over_an_edited_file_nothing_is_lost(clone):
    block = clone / "wine" / "dataset.py"
    assert run(clone, "--write").err.endswith("mlflow run . -e boosting --env-manager local\n")
    assert (clone / "predict.csv").read_text().startswith("temp,sky\n")
    assert 'default: "hours.csv"' in (clone / "MLproject").read_text()
    written = block.read_text()
    assert ".bak" not in run(clone, "--write").err
    edit(block, ('NOUN = "row"', 'NOUN = "hour"'))
    edited = block.read_text()
    kept = run(clone, "--write").err.split("what stood there is in ")[1].split("\n")[0]
    assert (block.read_text(), (clone / "wine" / kept).read_text()) == (written, edited)
    assert_one_line_error(run(clone, "--copy"), "has changes; commit them first")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_copy_is_clean_and_its_tests_pass(clone):
    assert run(clone, "--write", "--copy").status == 0
    for name in ("wine-quality.csv", "docs", "benchmarks", "LEIAME.rst", "tests/extras"):
        assert not (clone / name).exists()
    for name in ("MLproject", "conda.yaml", "README.rst", ".devcontainer/devcontainer.json"):
        assert "wine-quality" not in (clone / name).read_text()
    tests = run_command(sys.executable, "-m", "pytest", "-n", "2", cwd=clone, timeout=500)
    assert tests.status == 0, tests.out
    assert run_command("ruff", "format", "--check", ".", cwd=clone).status == 0
