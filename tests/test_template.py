"""What a copy for another table keeps: its own table trains, predicts and is scored.

These tests know nothing of wine; they go by the declarations in wine/dataset.py.
"""

import csv
import importlib
import re

import pandas as pd
import pytest

from helpers import PROJECT, client_of, run_id_in, tracking_in
from tables import counts
from wine import UserError, dataset, evaluation, folds, loading, model, trainings

pytestmark = pytest.mark.template

FITTING = [
    name for name in trainings.SCRIPTS if name == "classifier" or not dataset.HAS_LABELS
]  # Labels are for the classifier.


@pytest.fixture(scope="module")
def table():
    return dataset.load(dataset.DATA)


def test_declarations_name_columns_of_the_table(table):
    assert [*table.columns] == [*dataset.FEATURES, dataset.TARGET]
    assert set(dataset.CATEGORIES) <= set(table.columns)
    assert table[dataset.TARGET].notna().all()


@pytest.mark.parametrize("entry_point", FITTING)
def test_training_is_better_than_its_baseline(entry_point, table):
    script = trainings.load(entry_point)
    split, estimator = script.split(table), script.build(**trainings.defaults(script))
    evaluation.fit(estimator, split, hint="")
    metric = evaluation.main_metric(estimator)
    scores = evaluation.evaluate(estimator, split, folds.cross_validate(estimator, split)).scores
    cv, baseline = scores.loc[metric.name, ["cv", "baseline"]]
    assert metric.sign * (cv - baseline) > 0


def test_regressors_refuse_labels(table):
    if not dataset.HAS_LABELS:
        pytest.skip("the target is a number")
    with pytest.raises(UserError, match="only a classifier predicts"):
        importlib.import_module("train").split(table)


@pytest.mark.parametrize("entry_point", FITTING)
def test_table_is_scored_by_the_model_that_was_trained_on_it(
    entry_point, table, run_script, new_store
):
    trained = run_script(f"{trainings.SCRIPTS[entry_point]}.py")
    assert trained.status == 0, trained.err
    run = client_of(new_store).get_run(run_id_in(trained.out))
    assert run.info.status == "FINISHED"
    uri = re.search(r"runs:/\w+/model", trained.out)[0]
    with tracking_in(new_store):
        loaded = loading.load(uri)
    table.to_csv("table.csv", index=False)
    scored = run_script("score.py", uri, "table.csv", "scored.csv")
    assert (scored.status, counts(scored.out)) == (0, (len(table), 0)), scored.err
    expected = model.predict(loaded, table[dataset.FEATURES])["prediction"]
    found = pd.read_csv("scored.csv", keep_default_na=False)["prediction"]
    assert (found.astype(str) == pd.Series(expected).astype(str)).mean() > 0.999


def test_rows_to_predict_have_the_features():
    with open(PROJECT / "predict.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert set(dataset.FEATURES) <= set(header)
