"""Copies of the project, made as docs/make-it-yours.rst says: for other tables and models."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

from helpers import LOCAL, PROJECT, copy_project, run_command, run_successfully

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HAS_EXTRAS = (PROJECT / "extras").exists()


def declare(folder, declarations):
    """Change declarations as a person does: one line for each."""
    path = folder / "wine" / "dataset.py"
    for name, value in declarations.items():
        pattern = rf"^{name} = (\[.*?\]|[^#\n]*)"
        text, n = re.subn(pattern, f"{name} = {value!r}", path.read_text(), flags=re.M | re.S)
        assert n == 1
        path.write_text(text)


def penguins():
    """Return a table of three labels, with missing numbers and no text among the features."""
    declarations = {"NOUN": "penguin", "TARGET": "species", "CATEGORIES": ["species"]}
    declarations |= {"MISSING": ["", "NA"], "IDENTICAL_ROWS_ARE_COPIES": False}
    names = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "species"]
    return pd.read_csv(PROJECT / "docs/penguins.csv")[names], declarations


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the project for a table, the table, and what its classifier has printed."""
    table, declarations = penguins()
    folder = copy_project(tmp_path_factory.mktemp("copy") / "project")
    declare(folder, {"DATA": "table.csv", "FEATURES": [*table.columns[:-1]]} | declarations)
    table.to_csv(folder / "table.csv", index=False)
    make_rows = "d.load(d.DATA)[d.FEATURES].head(20).to_csv('predict.csv', index=False)"
    python = (sys.executable, "-c", f"from wine import dataset as d; {make_rows}")
    run_successfully(*python, cwd=folder)
    return folder, table, run_successfully(sys.executable, "clf-train.py", cwd=folder)


def test_training_speaks_of_no_wine_and_its_model_predicts(copy):
    folder, table, printed = copy
    assert "wine" not in printed.replace(str(folder), "").lower()
    model = ("-m", re.search(r"runs:/\w+/model", printed)[0], *LOCAL)
    predict = ("mlflow", "models", "predict", *model, "-t", "csv", "-i", "predict.csv")
    answers = json.loads(run_successfully(*predict, cwd=folder))["predictions"]
    assert len(answers) == 20
    assert set(answers) <= set(table["species"])


@pytest.mark.skipif(not HAS_EXTRAS, reason="extras/ was deleted")
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
    done = run_command(*run_tests, cwd=copy[0], timeout=600)
    assert done.status == 0, done.out
    assert re.search(r"^\d+ passed", done.out, re.M)
