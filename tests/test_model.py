"""A saved model: the deciles that it keeps, and how values are counted in bins."""

import subprocess
import sys

import numpy as np
import pytest

from helpers import PROJECT, tracking_in
from wine import dataset, loading, model


@pytest.mark.parametrize("seed", range(5))
def test_bins_are_those_of_searchsorted(seed):
    random = np.random.default_rng(seed)
    training, scored = random.normal(size=(2, 1000)).round(1)  # with many ties
    edges = np.quantile(training, np.linspace(0, 1, 11))
    bins = np.searchsorted(edges[1:-1], scored, side="right")
    assert model.count_bins(scored, edges).tolist() == np.bincount(bins, minlength=10).tolist()


def test_no_values_are_in_no_bin():
    assert model.count_bins(np.array([]), range(11)).tolist() == [0] * 10


def test_model_keeps_the_deciles_of_its_training_wines(project, model_uris):
    with tracking_in(project):
        loaded = loading.load(model_uris["main"])
    X_train = dataset.split(dataset.load(dataset.DATA)).X_train
    assert loaded.deciles == model.deciles(X_train)
    alcohol = loaded.deciles["alcohol"]
    assert alcohol["edges"][::10] == [X_train["alcohol"].min(), X_train["alcohol"].max()]
    assert sum(alcohol["shares"]) == pytest.approx(1, abs=1e-5)


def test_predicting_does_not_import_mlflow():
    """Spark's workers unpickle a model, and would import MLflow for nothing."""
    code = "import sys, wine.model; assert 'mlflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
