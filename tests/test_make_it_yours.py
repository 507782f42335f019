"""Copies of the project, made as docs/make-it-yours.rst says: for other tables and models."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

from helpers import LOCAL, PROJECT, copy_project, run_successfully

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DECLARATIONS = {
    "NOUN": "penguin",
    "DATA": "table.csv",
    "FEATURES": ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"],
    "TARGET": "species",
    "CATEGORIES": ["species"],
    "MISSING": ["", "NA"],
    "IDENTICAL_ROWS_ARE_COPIES": False,
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the project for a table, the table, and what its classifier has printed.

    The table has three labels, and missing numbers; a person has changed one line for each name.
    """
    folder = copy_project(tmp_path_factory.mktemp("copy") / "project")
    path = folder / "wine" / "dataset.py"
    declared = path.read_text()
    for name, value in DECLARATIONS.items():
        pattern = rf"^{name} = (\[.*?\]|[^#\n]*)"
        declared, n = re.subn(pattern, f"{name} = {value!r}", declared, flags=re.M | re.S)
        assert n == 1
    path.write_text(declared)
    table = pd.read_csv(PROJECT / "docs/penguins.csv")[[*DECLARATIONS["FEATURES"], "species"]]
    table.to_csv(folder / "table.csv", index=False)
    table[DECLARATIONS["FEATURES"]].head(20).to_csv(folder / "predict.csv", index=False)
    return folder, table, run_successfully(sys.executable, "clf-train.py", cwd=folder)


def test_training_speaks_of_no_wine_and_its_model_predicts(copy):
    folder, table, printed = copy
    assert "wine" not in printed.replace(str(folder), "").lower()
    model = ("-m", re.search(r"runs:/\w+/model", printed)[0], *LOCAL)
    predict = ("mlflow", "models", "predict", *model, "-t", "csv", "-i", "predict.csv")
    answers = json.loads(run_successfully(*predict, cwd=folder))["predictions"]
    assert len(answers) == 20
    assert set(answers) <= set(table["species"])


@pytest.mark.skipif(not (PROJECT / "extras").exists(), reason="extras/ was deleted")
def test_table_is_scored_promoted_and_swept(copy):
    folder, table, printed = copy
    model = re.search(r"runs:/\w+/model", printed)[0]

    def run(name, *arguments):
        return run_successfully(sys.executable, "-m", f"extras.{name}", *arguments, cwd=folder)

    assert f"{len(table)} rows scored into" in run("score", model, "table.csv", "scored.csv")
    scored = pd.read_csv(folder / "scored.csv")
    assert [*scored.columns[: len(table.columns)]] == [*table.columns]
    assert (scored["prediction"] == table["species"]).mean() > 0.9
    probabilities = scored[[f"probability_{each}" for each in np.unique(table["species"])]]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert "Promoted: version 1" in run("promote", model, "champion")
    assert "Best of 2 candidates" in run("sweep", "classifier", 2)


def test_tests_of_a_copy_pass_in_it(copy):
    run_tests = (sys.executable, "-m", "pytest", "-n", "0", "-m", "template", "-q")
    printed = run_successfully(*run_tests, cwd=copy[0], timeout=600)
    assert re.search(r"^\d+ passed", printed, re.M)
