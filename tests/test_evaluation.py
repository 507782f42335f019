"""The evaluation: published results, metrics beside their baseline, and warnings of the fit."""

import importlib
import re

from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import get_scorer

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import PROJECT, runs_of, tracking_in
from wine import UserError, dataset, evaluation

REGRESSOR = ("rmse", "mae", "r2")
CLASSIFIER = ("accuracy", "recall", "precision", "f1", "roc_auc", "average_precision", "brier")


@pytest.fixture(scope="module")
def wines():
    return dataset.load("wine-quality.csv")


@pytest.mark.parametrize(
    ("alpha", "l1_ratio", "rmse", "mae", "r2"),
    [  # as MLflow's own tutorials print them for this table
        (0.5, 0.5, 0.82224284975954, 0.6278761410160691, 0.12678721972772689),
        (0.2, 0.2, 0.7859129997062342, 0.6155290394093894, 0.20224631822892092),
        (0.1, 0.1, 0.7792546522251949, 0.6112547988118587, 0.2157063843066196),
        (0.42, 0.1, 0.7917149365733894, 0.6177463381374034, 0.19042414117747397),
    ],
)
def test_published_results_are_reproduced(wines, alpha, l1_ratio, rmse, mae, r2):
    main = importlib.import_module("train")
    split = main.split(wines)
    estimator = main.build(alpha, l1_ratio)
    assert evaluation.fit(estimator, split, hint="")
    scores = evaluation.evaluate(estimator, split).scores
    assert scores["test"].to_dict() == pytest.approx({"rmse": rmse, "mae": mae, "r2": r2}, abs=1e-9)


@pytest.fixture
def split():
    """Return four wines to train on and four to evaluate with, the first of these a copy."""
    X = pd.DataFrame({"alcohol": [8.0, 9.0, 11.0, 12.0, 8.0, 10.0, 11.5, 13.0]})
    y = pd.Series([4, 5, 6, 7, 4, 6, 6, 8], name="quality")
    unseen = np.array([False, True, True, True])
    return dataset.Split(X[:4], X[4:], y[:4], y[4:], unseen, y.value_counts(), 0.5, 0)


class Line(RegressorMixin, BaseEstimator):
    """Predict the alcohol less four."""

    def predict(self, X):
        return X["alcohol"].to_numpy() - 4


def test_metrics_of_a_regressor_are_those_computed_by_hand(split):
    scores = evaluation.evaluate(Line(), split).scores
    errors = np.array([0.0, 0.0, 1.5, 1.0])  # 4, 6, 7.5 and 9 instead of 4, 6, 6 and 8
    assert list(scores.index) == list(REGRESSOR)
    assert scores.loc["rmse", "test"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert scores.loc["rmse", "unseen"] == pytest.approx(np.sqrt((errors[1:] ** 2).mean()))
    assert scores.loc["mae", "test"] == pytest.approx(errors.mean())
    # on the unseen wines, the baseline always answers 5.5, the mean of the training wines
    assert scores.loc["mae", "baseline"] == pytest.approx((0.5 + 0.5 + 2.5) / 3)
    assert scores.loc["r2", "test"] == pytest.approx(1 - (errors**2).sum() / 8)


@pytest.mark.parametrize("script", ["train", "clf-train"])
def test_main_metric_is_what_its_scorer_computes(wines, script):
    script = importlib.import_module(script)
    split = script.split(wines)
    params = script.read_params([])
    estimator = script.build(**{name: params[name] for name in script.SEARCH})
    estimator.fit(split.X_train, split.y_train)
    metric = evaluation.main_metric(estimator)
    score = get_scorer(metric.scoring)(estimator, split.X_test, split.y_test)
    scores = evaluation.evaluate(estimator, split).scores
    assert metric.sign * score == pytest.approx(scores.loc[metric.name, "test"])


def test_metrics_of_unseen_wines_need_two_different_values(split):
    split = split._replace(unseen=np.array([False, True, True, False]))
    scores = evaluation.evaluate(Line(), split).scores
    assert scores["unseen"].isna().all()
    # the baseline is judged by all test wines then
    assert scores.loc["mae", "baseline"] == pytest.approx((1.5 + 0.5 + 0.5 + 2.5) / 4)


def test_estimator_that_cannot_be_fitted_is_refused(split):
    broken = importlib.import_module("huber-train").build(alpha=-1, epsilon=1.35, max_iter=10)
    with pytest.raises(UserError, match=r"^HuberRegressor cannot be fitted \(.*\): raise alpha$"):
        evaluation.fit(broken, split, hint="raise alpha")


def test_fit_that_does_not_converge_is_said_and_tagged(run_script, new_store):
    result = run_script("huber-train.py", 0.0001, 1.35, 1)
    assert result.status == 0
    assert "HuberRegressor has not converged: raise max_iter\n" in result.err
    (run,) = runs_of(new_store)
    assert run.data.tags["converged"] == "false"


def test_no_metric_where_all_test_wines_were_seen(run_script, new_store):
    wines = pd.read_csv(PROJECT / "wine-quality.csv").head(40)
    pd.concat([wines] * 30).to_csv("copies.csv", index=False)
    result = run_script("train.py", "0.1", "0.1", "copies.csv")
    assert result.status == 0, result.err
    assert "300 test wines, 0 unseen" in result.out
    assert re.search(r"^rmse +[\d.]+ +[\d.]+ +- +[\d.]+$", result.out, re.MULTILINE)


def test_huber_is_as_good_as_measured_behind_a_scaler(recorded):
    metrics = recorded["huber"].data.metrics
    assert [round(metrics[name], 5) for name in REGRESSOR] == [0.74482, 0.57882, 0.28350]


def test_test_wines_seen_in_training_are_counted(recorded):
    metrics = {entry_point: run.data.metrics for entry_point, run in recorded.items()}
    assert metrics["main"]["n_test"] - metrics["main"]["n_unseen"] == 380
    assert metrics["classifier"]["n_test"] - metrics["classifier"]["n_unseen"] == 308


@pytest.mark.parametrize(
    ("entry_point", "names"),
    [("main", REGRESSOR), ("huber", REGRESSOR), ("classifier", CLASSIFIER)],
)
def test_metrics_stand_beside_unseen_and_baseline(recorded, entry_point, names):
    kinds = ("{}", "{}_unseen", "{}_baseline", "cv_{}")
    expected = {kind.format(name) for name in names for kind in kinds}
    main = "average_precision" if entry_point == "classifier" else "rmse"
    expected |= {f"cv_{main}_std", "n_train", "n_test", "n_unseen"}
    assert set(recorded[entry_point].data.metrics) == expected


def test_more_alcohol_never_lowers_the_grade_that_main_predicts(project, model_uris, wines):
    with tracking_in(project):
        main = mlflow.sklearn.load_model(model_uris["main"])
    X = wines[dataset.FEATURES]
    assert (main.predict(X.assign(alcohol=X["alcohol"] + 1)) >= main.predict(X)).all()


def test_classifier_knows_good_wines_from_others(project, model_uris, wines):
    with tracking_in(project):
        classifier = mlflow.sklearn.load_model(model_uris["classifier"])
    good = classifier.predict_proba(wines[dataset.FEATURES])[:, 1]
    assert good[wines["quality"] >= 8].mean() > 0.5 > good[wines["quality"] <= 5].mean()


def test_baseline_of_the_classifier_is_that_of_the_wines_beside_which_it_stands(recorded):
    """Most wines are in the class 0; its Brier score is that of the training wines' shares."""
    metrics = recorded["classifier"].data.metrics
    split = importlib.import_module("clf-train").split(dataset.load("wine-quality.csv"))
    good, share = split.y_test[split.unseen], split.y_train.mean()
    assert metrics["n_unseen"] == len(good) == 672
    assert metrics["accuracy_baseline"] == pytest.approx(1 - good.mean())
    assert metrics["brier_baseline"] == pytest.approx(((good - share) ** 2).mean())
    assert metrics["brier_unseen"] < metrics["brier_baseline"]
