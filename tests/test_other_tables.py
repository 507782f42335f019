"""Copies of the project for public tables, made as docs/make-it-yours.rst says."""

import re
import sys

from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import numpy as np
import pandas as pd
import pytest

from helpers import PROJECT, assert_one_line_error, copy_project, run_command
from tables import counts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def labelled(bunch):
    """Return a table of scikit-learn's with the labels as texts."""
    return bunch.frame.assign(target=bunch.target_names[bunch.target])


def households(n_rows):
    """Return a table with texts, missing values and a target with a fraction."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "region": rng.choice(["north", "south", "east", "west"], n_rows),
            "heating": rng.choice(["gas", "wood", "heat pump"], n_rows, p=[0.6, 0.1, 0.3]),
            "area, m²": rng.gamma(20, 5, n_rows).round(1),
            "rooms": rng.integers(1, 8, n_rows),
        }
    )
    effects = table["heating"].map({"gas": 40.0, "wood": 90.0, "heat pump": 0.0})
    target = 30 + table["area, m²"] + effects + rng.normal(0, 10, n_rows)
    table = table.assign(energy=target.round(2))
    for name, share in (("heating", 0.1), ("area, m²", 0.2), ("energy", 0.01)):
        table[name] = table[name].mask(rng.random(n_rows) < share)
    return table


TABLES = {
    "diabetes": (
        lambda: load_diabetes(as_frame=True, scaled=False).frame,
        ["main", "classifier"],
        {"NOUN": "patient", "TARGET_SCALE": "units of the progression", "TARGET_THRESHOLD": 150},
    ),
    "iris": (
        lambda: labelled(load_iris(as_frame=True)),
        ["classifier"],
        {"NOUN": "flower", "CATEGORIES": ["target"]},
    ),
    "breast cancer": (
        lambda: labelled(load_breast_cancer(as_frame=True)),
        ["classifier"],
        {"NOUN": "patient", "CATEGORIES": ["target"], "IDENTICAL_ROWS_ARE_COPIES": False},
    ),
    "households": (
        lambda: households(50_000),
        ["huber", "classifier"],
        {
            **{"NOUN": "household", "TARGET": "energy", "TARGET_SCALE": "kWh a square metre"},
            **{"CATEGORIES": ["region", "heating"], "MISSING": ["", "NA"]},
            "TARGET_THRESHOLD": 200,
        },
    ),
}
SCRIPTS = {"main": "train.py", "huber": "huber-train.py", "classifier": "clf-train.py"}


def declare(folder, declarations):
    """Change declarations as a person does, and return how many lines that were."""
    edited = 0
    for path in (folder / "wine" / "dataset.py", folder / "clf-train.py"):
        text = path.read_text()
        for name, value in declarations.items():
            pattern = rf"^{name} = (\[.*?\]|[^#\n]*)"
            if name == "TARGET_THRESHOLD":
                pattern = r"^(GOOD, TARGET_THRESHOLD) = [^#\n]*"
                name, value = "GOOD, TARGET_THRESHOLD", ("high", value)
            line = f"{name} = {value!r}"
            text, n = re.subn(pattern, lambda _, line=line: line, text, flags=re.M | re.S)
            edited += n
        path.write_text(text)
    return edited


@pytest.fixture(scope="module", params=TABLES)
def copy(request, tmp_path_factory):
    """Return a copy of the project for a table, the table, and a function that runs in it."""
    make, entry_points, declarations = TABLES[request.param]
    table = make()
    folder = copy_project(tmp_path_factory.mktemp("copy") / "project")
    declarations = {
        "DATA": "table.csv",
        "FEATURES": [*table.columns[:-1]],
        "TARGET": "target",
    } | declarations
    assert declare(folder, declarations) == len(declarations) <= 8
    table.to_csv(folder / "table.csv", index=False)

    def run(script, *arguments, status=0):
        done = run_command(sys.executable, folder / script, *arguments, cwd=folder)
        assert done.status == status, done.err
        return done

    make_rows = "d.load(d.DATA)[d.FEATURES].head(20).to_csv('predict.csv', index=False)"
    run_command(sys.executable, "-c", f"from wine import dataset as d; {make_rows}", cwd=folder)
    return folder, table, run, entry_points


def test_table_is_trained_on_scored_promoted_and_swept(copy):
    folder, table, run, entry_points = copy
    for entry_point in entry_points:
        out = run(SCRIPTS[entry_point]).out
        assert "wine" not in out.replace(str(folder), "").lower()
        model = re.search(r"runs:/\w+/model", out)[0]
        metric = "average_precision" if entry_point == "classifier" else "rmse"
        cv, _, _, baseline = map(float, re.search(rf"^{metric} +(.*)$", out, re.M)[1].split())
        assert (cv - baseline) * (1 if entry_point == "classifier" else -1) > 0

    predict = ("mlflow", "models", "predict", "-m", model, "--env-manager", "local")
    done = run_command(*predict, "-t", "csv", "-i", "predict.csv", cwd=folder)
    assert done.out.count(",") == 19, done.err

    done = run("score.py", model, "table.csv", "scored.csv", "true")
    assert counts(done.out) == (len(table), 0)
    scored = pd.read_csv(folder / "scored.csv")
    assert [*scored.columns[: len(table.columns)]] == [*table.columns]
    if "probability" not in scored:
        assert (scored["prediction"] == table["target"]).mean() > 0.9
        probabilities = scored[[f"probability_{each}" for each in np.unique(table["target"])]]
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)

    if "heating" in table:
        unknown = table.head(100).assign(heating=["coal"] * 30 + ["gas"] * 70)
        unknown.to_csv(folder / "coal.csv", index=False)
        done = run("score.py", model, "coal.csv", "coal-scored.csv")
        assert counts(done.out) == (100, 0)
        said = "input: coal.csv has texts that training has not seen: heating in 30 of 100 rows\n"
        assert said in done.err

    assert "Promoted: version 1" in run("promote.py", model, "champion").out
    if len(table) < 1000:
        assert "Best of 2 candidates" in run("sweep.py", entry_point, 2).out


@pytest.mark.parametrize(
    ("declarations", "parts"),
    [
        ({"TARGET": "species"}, ["column 'species', row 1", "'Adelie'", "CATEGORIES"]),
        (
            {"TARGET": "species", "CATEGORIES": ["species"]},
            ["column 'bill_length_mm', row 4", "received ''", "2 of 344", "dropna"],
        ),
        (
            {"TARGET": "species", "CATEGORIES": ["species"], "MISSING": ["", "NA"]},
            ["'species' is in CATEGORIES, whose texts only a classifier predicts"],
        ),
        (
            {"TARGET": "body_mass_g", "CATEGORIES": ["bill_length_mm"], "MISSING": [""]},
            ["column 'bill_length_mm'", "has 164 different texts, allowed are up to 100"],
        ),
    ],
)
def test_declaration_that_does_not_fit_is_refused(declarations, parts, tmp_path):
    folder = copy_project(tmp_path / "penguins")
    table = PROJECT / "docs" / "penguins.csv"
    declare(folder, {"DATA": str(table), "FEATURES": ["bill_length_mm"]} | declarations)
    done = run_command(sys.executable, folder / "train.py", cwd=folder)
    assert_one_line_error(done, "data: ", *parts, status=1)


def test_command_of_the_refusal_leaves_out_the_rows_with_empty_cells(tmp_path):
    folder = copy_project(tmp_path / "penguins")
    names = ["bill_length_mm", "body_mass_g"]
    table = pd.read_csv(PROJECT / "docs" / "penguins.csv")[names]
    table.to_csv(folder / "penguins.csv", sep=";", decimal=",", index=False)
    declare(folder, {"DATA": "penguins.csv", "FEATURES": names[:1], "TARGET": names[1]})
    refused = run_command(sys.executable, folder / "train.py", cwd=folder)
    command = re.search(r'python -c ".*"$', refused.err.strip(), re.M)[0]
    assert run_command("bash", "-c", command, cwd=folder).status == 0
    trained = run_command(
        sys.executable, folder / "train.py", "1", "0.1", "complete.csv", cwd=folder
    )
    assert trained.status == 0, trained.err
    assert "256 training" in trained.out
