"""The evaluation: published results, folds, metrics beside their baseline, and thresholds."""

import importlib
import re

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import average_precision_score, get_scorer, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score

import numpy as np
import pandas as pd
import pytest

from helpers import runs_of
from wine import UserError, dataset, evaluation

REGRESSOR = ("rmse", "mae", "r2")
CLASSIFIER = ("accuracy", "recall", "precision", "f1", "roc_auc", "average_precision", "brier")


@pytest.fixture(scope="module")
def wines():
    return dataset.load("wine-quality.csv")


@pytest.fixture(scope="module")
def small_classifier():
    script = importlib.import_module("clf-train")
    split, estimator = script.load_split(dataset.DATA), script.build(10, 8)
    evaluation.fit(estimator, split, {})
    return estimator, split


@pytest.mark.parametrize(
    ("alpha", "l1_ratio", "rmse", "mae", "r2"),
    [  # as MLflow's own tutorials print them for this table
        (0.5, 0.5, 0.82224284975954, 0.6278761410160691, 0.12678721972772689),
        (0.42, 0.1, 0.7917149365733894, 0.6177463381374034, 0.19042414117747397),
    ],
)
def test_published_results_are_reproduced(wines, alpha, l1_ratio, rmse, mae, r2):
    estimator = importlib.import_module("train").build(alpha, l1_ratio)
    split = dataset.split_table(wines)
    assert evaluation.fit(estimator, split, {})
    scores = evaluation.evaluate(estimator, split).scores
    assert scores["test"].to_dict() == pytest.approx({"rmse": rmse, "mae": mae, "r2": r2}, abs=1e-9)


@pytest.mark.parametrize(
    ("entry_point", "names", "measured"),
    [
        ("main", REGRESSOR, {"rmse": 0.81074, "cv_rmse": 0.81392, "n_unseen": 845, "n_test": 1225}),
        ("huber", REGRESSOR, {"rmse": 0.74482, "mae": 0.57882, "r2": 0.28350, "n_unseen": 845}),
        ("classifier", CLASSIFIER, {"brier_unseen": 0.11483, "n_unseen": 672, "n_train": 3918}),
    ],
)
def test_metrics_of_the_defaults_are_those_measured(recorded, entry_point, names, measured):
    found = recorded[entry_point].data.metrics
    assert {name: found[name] for name in measured} == pytest.approx(measured, abs=5e-6)
    kinds = ("{}", "{}_unseen", "{}_baseline", "cv_{}")
    expected = {kind.format(name) for name in names for kind in kinds}
    main = "average_precision" if entry_point == "classifier" else "rmse"
    assert set(found) == expected | {f"cv_{main}_std", "n_train", "n_test", "n_unseen"}


@pytest.fixture
def eight():
    """Return four wines to train on, whose quality is the alcohol less four, and four to test."""
    X = pd.DataFrame({"alcohol": [8.0, 9.0, 11.0, 12.0, 8.0, 10.0, 11.5, 13.0]})
    y = pd.Series([4, 5, 7, 8, 4, 6, 6, 8], name="quality")
    unseen = np.array([False, True, True, True])
    return dataset.Split(X[:4], X[4:], y[:4], y[4:], pd.Series(range(8)), unseen, {})


def test_metrics_of_a_regressor_are_those_computed_by_hand(eight):
    line = LinearRegression().fit(eight.X_train, eight.y_train)
    scores = evaluation.evaluate(line, eight).scores
    errors = np.array([0.0, 0.0, 1.5, 1.0])  # 4, 6, 7.5 and 9 instead of 4, 6, 6 and 8
    assert list(scores.index) == list(REGRESSOR)
    assert scores.loc["rmse", "test"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert scores.loc["rmse", "unseen"] == pytest.approx(np.sqrt((errors[1:] ** 2).mean()))
    assert scores.loc["mae", "test"] == pytest.approx(errors.mean())
    # On the unseen wines, the baseline always answers 6, the mean of the training wines.
    assert scores.loc["mae", "baseline"] == pytest.approx((0 + 0 + 2) / 3)
    assert scores.loc["r2", "test"] == pytest.approx(1 - (errors**2).sum() / 8)


def test_baseline_is_judged_by_all_test_wines_where_the_unseen_are_alike(eight):
    eight = eight._replace(unseen=np.array([False, True, True, False]))
    line = LinearRegression().fit(eight.X_train, eight.y_train)
    scores = evaluation.evaluate(line, eight).scores
    assert scores["unseen"].isna().all()
    assert scores.loc["mae", "baseline"] == pytest.approx((2 + 0 + 0 + 2) / 4)


def test_metrics_that_are_not_defined_are_neither_logged_nor_invented(run_script, new_store, wines):
    pd.concat([wines.head(40)] * 30).to_csv("copies.csv", index=False)  # All test wines were seen.
    result = run_script("train.py", "0.1", "0.1", "copies.csv")
    assert result.status == 0, result.err
    assert "300 test wines, 0 unseen" in result.out
    assert re.search(r"^rmse +[\d.]+ +[\d.]+ +- +[\d.]+$", result.out, re.MULTILINE)
    (run,) = runs_of(new_store)
    assert {"rmse_unseen", "cv_rmse", "rmse_baseline"} - set(run.data.metrics) == {"rmse_unseen"}


def test_classifier_is_judged_by_probabilities_and_its_baseline_by_shares(small_classifier):
    estimator, split = small_classifier
    scores = evaluation.evaluate(estimator, split).scores
    good, share = split.y_test[split.unseen], split.y_train.mean()
    probability = estimator.predict_proba(split.X_test)[:, 1]
    assert scores.loc["brier", "test"] == pytest.approx(((split.y_test - probability) ** 2).mean())
    found = probability[split.y_test == 1] >= 0.33
    assert scores.loc["recall", "test"] == pytest.approx(found.mean())
    assert scores.loc["accuracy", "baseline"] == pytest.approx(1 - good.mean())
    assert scores.loc["brier", "baseline"] == pytest.approx(((good - share) ** 2).mean())
    for name in ("average_precision", "roc_auc"):
        assert scores.loc[name, "baseline"] < scores.loc[name, "unseen"] - 0.2


def test_main_metric_is_what_its_scorer_computes(small_classifier, wines):
    split = dataset.split_table(wines)
    regressor = LinearRegression().fit(split.X_train, split.y_train)
    for estimator, each in ((regressor, split), small_classifier):
        metric = evaluation.main_metric(estimator)
        score = get_scorer(metric.scoring)(estimator, each.X_test, each.y_test)
        scores = evaluation.evaluate(estimator, each).scores
        sign = -1 if metric.ascending else 1
        assert sign * score == pytest.approx(scores.loc[metric.name, "test"])


def test_metrics_of_several_classes_are_the_means_over_those_that_are_there(wines):
    table = wines[wines["quality"].between(5, 7)]
    split = dataset.split_table(table, table["quality"])
    estimator = ExtraTreesClassifier(10, random_state=0).fit(split.X_train, split.y_train)
    y_pred = estimator.predict(split.X_test)
    recalls = [(y_pred == grade)[split.y_test == grade].mean() for grade in (5, 6, 7)]
    scores = evaluation.evaluate(estimator, split).scores
    assert scores.loc["recall", "test"] == pytest.approx(np.mean(recalls))
    two = split.y_test < 7  # The class 7 is not among them.
    predicted = evaluation.predict(estimator, split.X_test[two], split.y_test[two])
    found = evaluation.compute(estimator, predicted)
    scorers = {"average_precision": average_precision_score, "roc_auc": roc_auc_score}
    for name, compute in scorers.items():
        each = [compute(predicted["y"] == grade, predicted[grade - 5]) for grade in (5, 6)]
        assert found[name] == pytest.approx(np.mean(each))


def test_estimator_that_cannot_be_fitted_is_refused(eight):
    params = {"alpha": -1, "epsilon": 1.35, "max_iter": 10}
    broken = importlib.import_module("huber-train").build(**params)
    refusal = r"^HuberRegressor cannot be fitted: received alpha=-1, epsilon=1.35, max_iter=10; "
    with pytest.raises(UserError, match=refusal):
        evaluation.fit(broken, eight, params | {"data": "wines.csv"})


def test_fit_that_does_not_converge_is_said_and_tagged(run_script, new_store):
    result = run_script("huber-train.py", 0.0001, 1.35, 1)
    assert result.status == 0
    said = "HuberRegressor has not converged: received alpha=0.0001, epsilon=1.35, max_iter=1\n"
    assert said in result.err
    (run,) = runs_of(new_store)
    assert run.data.tags["converged"] == "false"


@pytest.mark.parametrize("classifier", [False, True])
def test_identical_wines_are_in_one_fold_and_each_wine_is_judged_once(wines, classifier):
    y = dataset.classes(wines, 7, "good") if classifier else None
    split = dataset.split_table(wines, y)
    X, y, rows = evaluation.make_folds(split, classifier)
    for fitted_on, judged_by in rows:
        sides = [set(map(tuple, X.to_numpy()[each])) for each in (fitted_on, judged_by)]
        assert not sides[0] & sides[1]
        if classifier:
            assert y.iloc[judged_by].mean() == pytest.approx(0.21, abs=0.03)
    assert len(rows) == 5
    assert sorted(np.concatenate([judged_by for _, judged_by in rows])) == [*range(len(X))]


def test_scores_of_the_folds_are_those_of_scikit_learn(wines):
    split = dataset.split_table(wines)
    cv = evaluation.cross_validate(LinearRegression(), split)
    options = {"scoring": "neg_root_mean_squared_error"}
    options |= {"groups": split.X_train.groupby(dataset.FEATURES).ngroup()}
    options |= {"cv": GroupKFold(5, shuffle=True, random_state=42)}
    scores = -cross_val_score(LinearRegression(), split.X_train, split.y_train, **options)
    assert cv.scores["rmse"].to_numpy() == pytest.approx(scores)
    assert cv.summarize() == pytest.approx({"cv_rmse": scores.mean(), "cv_rmse_std": scores.std()})


def test_wines_that_are_not_copies_may_be_in_different_folds(wines, monkeypatch):
    monkeypatch.setattr(dataset, "IDENTICAL_ROWS_ARE_COPIES", False)
    rows = evaluation.make_folds(dataset.split_table(wines), classifier=False).rows
    assert [len(judged) for _, judged in rows] == [735, 735, 735, 734, 734]


def test_sample_of_a_large_table_is_said(monkeypatch):
    split = importlib.import_module("clf-train").load_split(dataset.DATA)
    assert evaluation.describe_folds(split) == "5 folds of the training wines"
    monkeypatch.setattr(evaluation, "MAX_FOLD_ROWS", 1000)
    X, y, rows = evaluation.make_folds(split, classifier=True)
    assert len(X) == len(y) == sum(len(judged) for _, judged in rows) == 1000
    assert y.mean() == pytest.approx(split.y_train.mean(), abs=0.001)
    assert evaluation.describe_folds(split) == "5 folds of a sample of 1,000 training wines"


def test_small_table_is_trained_on_without_folds(run_script, new_store, wines):
    """Three good wines cannot be in five folds; but they can be trained on."""
    good, others = wines[wines["quality"] >= 7], wines[wines["quality"] < 7]
    pd.concat([good.head(5), others.head(15)]).to_csv("few.csv", index=False)
    result = run_script("clf-train.py", 2, 3, "few.csv")
    assert result.status == 0, result.err
    assert "ExtraTreesClassifier is not cross-validated: data: received 16 training" in result.err
    assert "Choose by" not in result.out


def test_thresholds_are_scored_as_by_hand():
    predicted = pd.DataFrame({"y": [0, 0, 1, 1, 1], 1: [0.1, 0.6, 0.4, 0.6, 0.9]})
    scores = evaluation.CrossValidation("f1", None, predicted).score_thresholds()
    assert scores.loc[0.6].to_list() == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert scores.loc[0.9].to_list() == pytest.approx([1 / 3, 1, 0.5])


def test_highest_of_about_equally_good_thresholds_is_chosen():
    f1 = pd.Series([0.500, 0.590, 0.586, 0.580], [0.2, 0.3, 0.4, 0.5])
    assert evaluation.choose_threshold(f1) == 0.4
