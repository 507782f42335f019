"""A saved model: what MLflow is told of it, and the deciles that it keeps."""

from sklearn.linear_model import LinearRegression

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import WINES
from wine import dataset, evaluation, model


@pytest.fixture(scope="module")
def split():
    return dataset.split_table(dataset.load(dataset.DATA))


def test_bins_are_those_of_searchsorted():
    random = np.random.default_rng(0)
    training, scored = random.normal(size=(2, 1000)).round(1)  # with many ties
    edges = np.quantile(training, np.linspace(0, 1, 11))
    bins = np.searchsorted(edges[1:-1], scored, side="right")
    assert model.count_bins(scored, edges).tolist() == np.bincount(bins, minlength=10).tolist()


def test_deciles_describe_known_numbers_and_texts():
    X = pd.DataFrame({"area": [*range(20), np.nan], "heating": [*["gas", "wood", "gas"] * 7]})
    described = model.deciles(X.assign(heating=X["heating"].mask(X["area"] > 17), empty=np.nan))
    assert described["area"]["edges"] == pytest.approx(np.linspace(0, 19, 11))
    assert described["area"]["shares"] == [0.1] * 10
    shares = {"categories": ["gas", "wood"], "shares": [0.684211, 0.315789]}  # 13 and 6 of 19
    assert described["heating"] == shares
    assert described["empty"] == {"edges": [0] * 11, "shares": [0] * 10}


def test_model_of_a_run_keeps_the_deciles_of_its_training_wines(models, split):
    metadata = models["main"].metadata.metadata
    assert metadata[model.DECILES] == model.deciles(split.X_train)


@pytest.mark.parametrize(
    ("entry_point", "output"), [("main", "double"), ("huber", "double"), ("classifier", "long")]
)
def test_signature_names_the_measurements_and_the_type_of_the_answer(models, entry_point, output):
    signature = models[entry_point].metadata.signature
    assert signature.inputs.input_names() == dataset.FEATURES
    assert {kind.name for kind in signature.inputs.input_types()} == {"double"}
    assert [kind.name for kind in signature.outputs.input_types()] == [output]


def test_served_classifier_can_answer_with_probabilities(run_script, new_store):
    result = run_script("clf-train.py", 5, 3, "wine-quality.csv", "predict_proba")
    assert result.status == 0, result.err
    served = mlflow.pyfunc.load_model(mlflow.last_logged_model().model_uri)
    expected = served.get_raw_model().predict_proba(WINES)
    assert np.asarray(served.predict(WINES)) == pytest.approx(expected)
    assert served.metadata.signature.outputs.inputs[0].shape == (-1, 2)


@pytest.mark.parametrize("texts", [[], ["heating"]])
def test_model_of_a_table_with_missing_values_is_saved_and_loaded(texts, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"area": rng.normal(70, 9, 99), "rooms": rng.normal(3, 1, 99)})
    table = table.mask(rng.random(table.shape) < 0.1).assign(heating=["gas", None, "wood"] * 33)
    names = ["area", "rooms", *texts]
    declared = {"FEATURES": names, "TARGET": "energy", "CATEGORIES": texts, "MISSING": [""]}
    for name, value in declared.items():
        monkeypatch.setattr(dataset, name, value)
    split = dataset.split_table(table[names].assign(energy=rng.normal(100, 9, 99)))
    estimator = dataset.pipeline(LinearRegression())
    evaluation.fit(estimator, split, {})
    mlflow.sklearn.save_model(estimator, tmp_path / "model", **model.options(estimator, split))
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert loaded.predict(split.X_test) == pytest.approx(estimator.predict(split.X_test))
    assert loaded.metadata.metadata[model.MISSING] == [""]
