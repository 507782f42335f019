"""Plots: what the figures of a training show."""

import importlib
import io
import re

from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier

import numpy as np
import pandas as pd
import pytest

from wine import dataset, evaluation, plots


def fitted(name, **params):
    """Return the estimator of a script, fitted on the wines, and the split."""
    script = importlib.import_module(name)
    split, estimator = script.load_split(dataset.DATA), script.build(**params)
    evaluation.fit(estimator, split, params)
    return estimator, split


@pytest.fixture(scope="module")
def elastic_net():
    return fitted("train", alpha=0.01, l1_ratio=0.1)


@pytest.fixture(scope="module")
def classifier():
    return fitted("clf-train", n_estimators=10, max_depth=8)


def draw(estimator, split, cv=None):
    """Return the figures of a fitted estimator."""
    return plots.training(estimator, split, evaluation.evaluate(estimator, split, cv))


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def bars(figure):
    """Return the width of each bar of a plot by its name, from the lowest bar up."""
    (ax,) = figure.axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in ax.patches), strict=True))


def test_matrix_counts_each_wine_once_by_what_it_is_and_is_called(classifier):
    estimator, split = classifier
    figure = draw(estimator, split)["confusion-matrix.png"]
    assert figure.get_suptitle().endswith("threshold 0.33")
    for ax, rows in zip(figure.axes, (slice(None), split.unseen), strict=True):
        y, called = split.y_test[rows], estimator.predict(split.X_test[rows])
        counts = pd.crosstab(y, called)
        shares = counts.div(counts.sum(axis=1), axis=0)
        cells = zip(np.ravel(counts), np.ravel(shares), strict=True)
        assert [text.get_text() for text in ax.texts] == [f"{n:,}\n{s:.0%}" for n, s in cells]


def test_curves_show_the_areas(classifier):
    estimator, split = classifier
    scores = evaluation.evaluate(estimator, split).scores
    figures = draw(estimator, split)
    for name, metric in (("roc-curve", "roc_auc"), ("precision-recall-curve", "average_precision")):
        test, unseen, chance = legend(figures[f"{name}.png"])
        assert re.fullmatch(rf"all 980 test wines .* = {scores.loc[metric, 'test']:.2f}\)", test)
        assert re.fullmatch(rf"the 672 unseen .* = {scores.loc[metric, 'unseen']:.2f}\)", unseen)
        assert f"= {scores.loc[metric, 'baseline']:.2g})" in chance


def test_each_wine_is_a_dot_at_its_prediction_and_near_its_grade(elastic_net):
    estimator, split = elastic_net
    predicted = estimator.predict(split.X_test)
    for y, spread in ((split.y_test, 0.35), (split.y_test + 0.5, 0)):  # The second are no grades.
        figure = draw(estimator, split._replace(y_test=y))["measured-against-predicted.png"]
        for dots, rows in zip(figure.axes[0].collections, (slice(None), split.unseen), strict=True):
            x, shown = np.asarray(dots.get_offsets()).T
            assert x == pytest.approx(predicted[rows])
            assert 0.9 * spread <= abs(shown - y[rows]).max() <= spread
        assert legend(figure) == ["all 1225 test wines", "the 845 unseen of them", "perfect"]


def test_axes_are_in_the_unit_of_the_target(elastic_net, monkeypatch):
    for scale, label in (("grams", "predicted quality, grams"), ("", "predicted quality")):
        monkeypatch.setattr(plots, "TARGET_SCALE", scale)
        (ax,) = draw(*elastic_net)["measured-against-predicted.png"].axes
        assert ax.get_xlabel() == label


def test_effects_are_those_of_one_standard_deviation_of_each_measurement(elastic_net):
    """In ElasticNet's own units volatile acidity comes first, by its effect alcohol does."""
    huber = fitted("huber-train", alpha=0.0001, epsilon=1.35, max_iter=100)
    for estimator, split in (elastic_net, huber):
        ranked = bars(draw(estimator, split)["effects.png"])
        for name in dataset.FEATURES:
            after = split.X_train.copy()
            after[name] += after[name].std(ddof=0)
            change = estimator.predict(after) - estimator.predict(split.X_train)
            assert ranked[name] == pytest.approx(change.mean())
        assert [*ranked] == sorted(ranked, key=lambda name, ranked=ranked: abs(ranked[name]))
    assert [*bars(draw(*elastic_net)["effects.png"])][-1] == "alcohol"


def test_plots_show_the_largest_of_many_names_and_dollars_as_they_are(monkeypatch):
    names = [f"$_{number}_$" for number in range(50)]
    monkeypatch.setattr(dataset, "FEATURES", names)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(100, 50)), columns=names)
    y = (table @ np.arange(50.0)).rename("$p_x$") * 10**12
    split = dataset.split_table(table.assign(quality=y.round().astype("int64")), y)
    estimator = LinearRegression().fit(split.X_train, split.y_train)
    figures = draw(estimator, split)
    for figure in figures.values():
        figure.savefig(io.BytesIO())  # Here, matplotlib would fail to read its mathematics.
    assert len(bars(figures["effects.png"])) == 20
    assert "30 more are smaller" in figures["effects.png"].axes[0].get_ylabel()


def test_a_model_that_is_not_linear_shows_what_it_loses_without_a_measurement(classifier):
    lost = bars(draw(*classifier)["importances.png"])
    assert [*lost] == sorted(lost, key=lost.get)
    assert [*lost][-1] == "alcohol"
    assert set(lost) == set(dataset.FEATURES)


def test_importances_of_many_rows_are_computed_on_some_of_them(classifier, monkeypatch):
    monkeypatch.setattr(plots, "MAX_ROWS", 300)
    label = draw(*classifier)["importances.png"].axes[0].get_xlabel()
    assert label.startswith("average_precision lost on 224 unseen wines")  # every third of 672


def test_coefficients_of_a_classifier_are_no_effects():
    script = importlib.import_module("clf-train")
    split, linear = script.load_split(dataset.DATA), LogisticRegression(max_iter=10_000)
    for estimator in (linear, FixedThresholdClassifier(linear, threshold=0.33)):
        figures = draw(estimator.fit(split.X_train, split.y_train), split)
        assert {"importances.png", "effects.png"} & set(figures) == {"importances.png"}


def test_calibration_counts_each_unseen_wine_once(classifier):
    estimator, split = classifier
    (ax,) = draw(estimator, split)["calibration.png"].axes
    good = estimator.predict_proba(split.X_test[split.unseen])[:, 1]
    counts = [int(text.get_text()) for text in ax.texts]
    assert sum(counts) == len(good) == 672
    assert counts[0] == (good < 0.1).sum()
    dots, _, (intervals,) = ax.containers[0]
    share, (low, high) = dots.get_ydata()[0], intervals.get_segments()[0][:, 1]
    assert 0 < low < share < high < 1
    assert share == pytest.approx(split.y_test[split.unseen][good < 0.1].mean())


def test_threshold_of_the_model_is_marked_beside_the_one_that_the_folds_choose(classifier):
    cv = evaluation.cross_validate(*classifier)
    (ax,) = draw(*classifier, cv)["threshold.png"].axes
    lines = {line.get_label(): line for line in ax.lines}
    best = evaluation.choose_threshold(cv.score_thresholds()["f1"])
    for label, x in (("0.33: this model's", 0.33), (f"{best:.2f}: chosen by the folds", best)):
        assert lines[label].get_xdata() == [x, x]
    recall = lines["recall"]
    assert recall.get_ydata()[recall.get_xdata() == best] == cv.score_thresholds()["recall"][best]
