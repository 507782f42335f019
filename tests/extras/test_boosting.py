"""The boosted trees: what they learn of the wines, and what they do with missing values."""

import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest

from documents import blocks
from extras import boosting
from helpers import LOCAL, PROJECT, client_of, run_successfully
from wine import dataset, evaluation


def test_trees_are_recorded_scored_and_better_than_lines(run_script, new_store):
    out = run_successfully("mlflow", "run", PROJECT, "-e", "boosting", *LOCAL, cwd=new_store)
    (run,) = client_of(new_store).search_runs(["0"])
    assert run.info.run_name == "HistGradientBoosting 0.1, 100"
    assert run.data.metrics["cv_rmse"] == pytest.approx(0.7177, abs=5e-5)
    assert run.data.metrics["rmse_unseen"] < 0.7  # The lines of main and huber come to 0.73.
    model = re.search(r"runs:/\w+/model", out)[0]
    scored = run_script("extras.score", model, "predict.csv", "scored.csv")
    assert "20 rows scored" in scored.out


def test_missing_value_is_taken_where_it_is_declared_and_refused_otherwise(monkeypatch):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"area": rng.normal(70, 9, 400), "heating": ["gas", "wood"] * 200})
    table["energy"] = np.where(table["area"] > 70, 9.0, 1.0)
    table.loc[::4, ["area", "energy"]] = np.nan, 5.0
    declared = {"FEATURES": ["area", "heating"], "TARGET": "energy", "CATEGORIES": ["heating"]}
    for name, value in (declared | {"MISSING": [""]}).items():
        monkeypatch.setattr(dataset, name, value)
    split, estimator = dataset.split_table(table), boosting.build(0.1, 100)
    evaluation.fit(estimator, split, {})
    asked = pd.DataFrame({"area": [60.0, 80.0, np.nan], "heating": ["gas"] * 3})
    assert estimator.predict(asked) == pytest.approx([1, 9, 5], abs=0.1)
    monkeypatch.setattr(dataset, "MISSING", [])
    estimator = boosting.build(0.1, 100).fit(asked.head(2), [1, 2])
    with pytest.raises(ValueError, match="contains NaN"):
        estimator.predict(asked)


@pytest.mark.skipif(os.name == "nt", reason="there is no diff")
@pytest.mark.parametrize("folder", ["docs", "docs/pt"])
def test_page_shows_the_difference_to_the_first_script(folder):
    files = ("train.py", "extras/boosting.py")
    labels = (each for file in files for each in ("--label", file))
    done = subprocess.run(["diff", "-U1", *labels, *files], cwd=PROJECT, capture_output=True)
    page = blocks(f"{folder}/make-it-yours.rst")
    (shown,) = (text for _, language, text, _ in page if language == "diff")
    assert [*map(str.rstrip, done.stdout.decode().splitlines())] == shown.splitlines()
