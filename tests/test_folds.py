"""The folds: which rows judge, what is computed by them, and the threshold that they choose."""

import importlib

from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, cross_val_score

import numpy as np
import pandas as pd
import pytest

from wine import UserError, dataset, folds


@pytest.fixture(scope="module")
def wines():
    return dataset.load("wine-quality.csv")


@pytest.mark.parametrize("name", ["train", "huber-train", "clf-train"])
def test_identical_wines_are_in_one_fold(wines, name):
    split = importlib.import_module(name).split(wines)
    classifier = name == "clf-train"
    X, y, rows = folds.make(split, classifier)
    judged = []
    for fitted_on, judged_by in rows:
        sides = [set(map(tuple, X.to_numpy()[each])) for each in (fitted_on, judged_by)]
        assert not sides[0] & sides[1]
        judged.extend(judged_by)
        if classifier:
            assert y.iloc[judged_by].mean() == pytest.approx(0.21, abs=0.03)
    assert sorted(judged) == list(range(len(split.X_train)))


def test_scores_are_those_of_scikit_learn_by_the_same_folds(wines):
    split = dataset.split(wines)
    cv = folds.cross_validate(LinearRegression(), split)
    scores = -cross_val_score(
        LinearRegression(),
        split.X_train,
        split.y_train,
        groups=dataset.group_identical(split.X_train),
        cv=GroupKFold(5, shuffle=True, random_state=42),
        scoring="neg_root_mean_squared_error",
    )
    assert cv.scores["rmse"].to_numpy() == pytest.approx(scores)
    assert cv.summarize() == pytest.approx({"cv_rmse": scores.mean(), "cv_rmse_std": scores.std()})


def test_wines_that_are_not_copies_may_be_in_different_folds(wines, monkeypatch):
    monkeypatch.setattr(dataset, "IDENTICAL_ROWS_ARE_COPIES", False)
    split = dataset.split(wines)
    sizes = [len(judged) for _, judged in folds.make(split, classifier=False).rows]
    assert sizes == [735, 735, 735, 734, 734]


def test_sample_of_a_large_table_is_said(wines, monkeypatch):
    split = importlib.import_module("clf-train").split(wines)
    assert folds.describe(split) == "5 folds of the training wines"
    monkeypatch.setattr(folds, "MAX_FOLD_ROWS", 1000)
    X, y, rows = folds.make(split, classifier=True)
    assert len(X) == len(y) == sum(len(judged) for _, judged in rows) == 1000
    assert y.mean() == pytest.approx(split.y_train.mean(), abs=0.001)
    assert folds.describe(split) == "5 folds of a sample of 1,000 training wines"


def test_small_table_is_trained_on_without_folds(run_script, new_store, wines):
    """Three good wines cannot be in five folds; but they can be trained on."""
    good, others = wines[wines["quality"] >= 7], wines[wines["quality"] < 7]
    pd.concat([good.head(5), others.head(15)]).to_csv("few.csv", index=False)
    result = run_script("clf-train.py", 2, 3, "few.csv")
    assert result.status == 0, result.err
    assert "ExtraTreesClassifier is not cross-validated: data: received 16 training" in result.err
    assert "Choose by cv (none" not in result.out


def test_sweep_refuses_what_has_too_few_wines_for_folds(wines):
    split = dataset.split(wines.drop_duplicates().head(8), test_size=0.5)
    with pytest.raises(UserError, match="received 4 training wines, 4 of them different, allowed"):
        folds.make(split, classifier=False)


def test_thresholds_are_scored_as_by_hand():
    y, probability = [0, 0, 1, 1, 1], [0.1, 0.6, 0.4, 0.6, 0.9]
    scores = folds.score_thresholds(y, probability)
    assert scores.loc[0.6].to_list() == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert scores.loc[0.61].to_list() == pytest.approx([1 / 3, 1, 0.5])
    assert scores.loc[0.95, ["recall", "f1"]].to_list() == [0, 0]
    assert np.isnan(scores.loc[0.95, "precision"])


def test_highest_of_about_equally_good_thresholds_is_chosen():
    f1 = pd.Series([0.500, 0.590, 0.586, 0.580], [0.2, 0.3, 0.4, 0.5])
    assert folds.choose_threshold(f1) == 0.4
