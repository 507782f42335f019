"""What a copy for another table keeps: its own table trains, and its models predict.

These tests know nothing of wine; they go by the declarations in wine/dataset.py.
"""

import csv
import importlib
import inspect

import mlflow
import pandas as pd
import pytest

from helpers import PROJECT, runs_of, tracking_in
from wine import UserError, dataset, evaluation

pytestmark = pytest.mark.template

SCRIPTS = sorted(path.stem for path in PROJECT.glob("*train.py"))


@pytest.fixture(scope="module")
def table():
    return dataset.load(dataset.DATA)


@pytest.fixture(params=SCRIPTS)
def script(request):
    """Return the module of each training that fits the target: labels are for classifiers."""
    script = importlib.import_module(request.param)
    if dataset.HAS_LABELS and "clf" not in request.param:
        with pytest.raises(UserError, match="only a classifier predicts"):
            script.load_split(dataset.DATA)
        pytest.skip(f"{request.param} refuses labels, as it should")
    return script


def test_training_is_better_than_its_baseline(script):
    params = script.read_params([])
    arguments = {name: params[name] for name in inspect.signature(script.build).parameters}
    split, estimator = script.load_split(dataset.DATA), script.build(**arguments)
    evaluation.fit(estimator, split, arguments)
    metric = evaluation.main_metric(estimator)
    cv = evaluation.cross_validate(estimator, split)
    scores = evaluation.evaluate(estimator, split, cv).scores.loc[metric.name]
    assert metric.sign * (scores["cv"] - scores["baseline"]) > 0


def test_recorded_model_predicts_the_rows_of_the_table(script, table, run_script, new_store):
    trained = run_script(f"{script.__name__}.py")
    assert trained.status == 0, trained.err
    (run,) = runs_of(new_store)
    assert run.info.status == "FINISHED"
    with tracking_in(new_store):
        model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    rows = table[dataset.FEATURES].head(50)
    expected = pd.Series(model.get_raw_model().predict(rows)).tolist()
    assert pd.Series(model.predict(rows)).tolist() == expected
    assert len(set(expected)) > 1


def test_rows_to_predict_have_the_features():
    with open(PROJECT / "predict.csv", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert set(dataset.FEATURES) <= set(header)
