"""Plots: what the figures of a training show."""

import importlib

import mlflow
import numpy as np
import pandas as pd
import pytest

from helpers import tracking_in
from wine import dataset, evaluation, folds, plots
from wine.scoring.counts import Counts, Histogram


@pytest.fixture(scope="module")
def wine_split():
    return dataset.split(dataset.load(dataset.DATA))


def test_plots_show_the_unseen_wines_beside_all_test_wines(project, model_uris, wine_split):
    with tracking_in(project):
        main = mlflow.sklearn.load_model(model_uris["main"])
        classifier = mlflow.sklearn.load_model(model_uris["classifier"])
    split = importlib.import_module("clf-train").split(dataset.load(dataset.DATA))
    for estimator, each, labels in (
        (main, wine_split, ("all 1225 test wines", "the 845 unseen of them")),
        (classifier, split, ("all 980 test wines", "the 672 unseen of them")),
    ):
        result = evaluation.evaluate(estimator, each)
        figures = plots.training(estimator, each, result)
        two = [file for file in figures if "residuals" in file or "curve" in file]
        assert two
        for file in two:
            legend = [text.get_text() for text in figures[file].axes[0].get_legend().get_texts()]
            assert [text[: len(label)] for text, label in zip(legend, labels, strict=False)] == [
                *labels
            ]
            assert evaluation.name(estimator) in figures[file].axes[0].get_title()
    for axes, n in zip(figures["confusion-matrix.png"].axes, (980, 672), strict=True):
        assert sum(int(text.get_text()) for text in axes.texts) == n
    assert figures["confusion-matrix.png"].get_suptitle().endswith("threshold 0.33")
    auc = result.scores.loc["roc_auc"]
    legend = figures["roc-curve.png"].axes[0].get_legend().get_texts()
    assert f"AUC = {auc['test']:.2f}" in legend[0].get_text()
    assert f"AUC = {auc['unseen']:.2f}" in legend[1].get_text()
    assert legend[-1].get_text() == "threshold 0.33"


def test_grades_get_boxes_and_other_numbers_dots(wine_split):
    estimator = importlib.import_module("train").build(0.001, 0.5)
    evaluation.fit(estimator, wine_split, hint="")
    (ax,) = draw(estimator, wine_split)["predicted-against-measured.png"].axes
    counts = wine_split.y_test.value_counts().sort_index()
    ticks = [label.get_text() for label in ax.get_yticklabels()]
    assert ticks == [f"{grade} ({n})" for grade, n in counts.items()]
    predicted = pd.Series(estimator.predict(wine_split.X_test), wine_split.y_test.index)
    drawn = [(np.mean(line.get_xdata()), round(np.mean(line.get_ydata()))) for line in ax.lines]
    for grade, median in predicted.groupby(wine_split.y_test).median().items():
        assert (pytest.approx(median), grade) in drawn

    y = wine_split.y_test + 0.5
    (ax,) = draw(estimator, wine_split._replace(y_test=y))["predicted-against-measured.png"].axes
    assert [len(dots.get_offsets()) for dots in ax.collections] == [1225, 845]
    assert "perfect" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_histogram_of_the_residuals_counts_all_rows_beside_a_sample(wine_split, monkeypatch):
    monkeypatch.setattr(plots, "MAX_ROWS", 500)
    estimator = importlib.import_module("train").build(0.001, 0.5)
    evaluation.fit(estimator, wine_split, hint="")
    dots, bars = draw(estimator, wine_split)["residuals.png"].axes
    assert sum(bar.get_width() for bar in bars.patches) == 1225 + 845
    assert "stripe" in dots.get_xlabel()


@pytest.mark.parametrize(
    ("scale", "ending"),
    [
        ("from 0 to 10", ", in points of the scale from 0 to 10"),
        ("grams", ", in grams"),
        ("", "predicted quality"),
    ],
)
def test_effects_are_in_the_unit_of_the_target(wine_split, monkeypatch, scale, ending):
    monkeypatch.setattr(plots, "TARGET_SCALE", scale)
    estimator = importlib.import_module("train").build(0.001, 0.5)
    evaluation.fit(estimator, wine_split, hint="")
    figures = draw(estimator, wine_split)
    assert figures["effects.png"].axes[0].get_xlabel().endswith(ending)
    values = f"predicted quality, {scale}" if scale else "predicted quality"
    assert figures["predicted-against-measured.png"].axes[0].get_xlabel() == values


def test_few_scored_rows_get_few_bins():
    for n_rows, most in ((1, 5), (20, 9), (10_000, 80)):
        values = np.random.default_rng(0).normal(6, 0.5, n_rows)
        counts = Counts(scored=n_rows, histogram=Histogram.of(values))
        (ax,) = plots.predictions(counts, ["prediction"]).axes
        (bins,) = ax.patches
        heights, edges, _ = bins.get_data()
        assert len(heights) <= most
        assert [*heights] == [*np.histogram(values, edges)[0]]


@pytest.mark.parametrize(
    ("limit", "title"),
    [
        (0.3, "20 rows, unlike the training wines in pH, alcohol"),
        (9, "20 rows, distributed like the training wines"),
    ],
)
def test_title_says_whether_a_table_is_like_the_training_wines(limit, title):
    names = ("density", "pH", "alcohol")
    metrics = {"outside": 0.05}
    for name, index in zip(names, (0.3, 0.4, 0.5), strict=True):
        metrics |= {f"psi_{name}": index, f"outside_{name}": 0.01}
    figure = plots.drift(metrics, limit, 20)
    assert figure.get_suptitle() == title
    assert figure.axes[1].get_title() == "5.0% of the rows with a value outside"


@pytest.mark.parametrize(("metric", "better"), [("rmse", "lower"), ("average_precision", "higher")])
def test_comparison_says_which_way_is_better(metric, better):
    scores = {"challenger": 0.7, "champion": 0.6, "gain_low": -0.1, "gain_high": 0.2}
    axes = plots.comparison(scores, np.linspace(-0.1, 0.2, 100), metric, "").axes
    assert axes[0].get_ylabel() == f"{metric} on the unseen wines, {better} is better"


def test_best_candidate_is_marked_and_named():
    params = [{"alpha": 1.0, "l1_ratio": 0.1}, {"alpha": 0.01, "l1_ratio": 0.5}]
    figure = plots.candidates(params, [0.8139, 0.7592], [0.03, 0.03], "rmse", defaults=0, best=1)
    title = "best alpha=0.01, l1_ratio=0.5: 0.7592; defaults 0.8139"
    assert figure.get_suptitle() == title
    for ax, value in zip(figure.axes, (0.01, 0.5), strict=True):
        (star,) = [line for line in ax.lines if line.get_marker() == "*"]
        assert (star.get_xdata(), star.get_ydata()) == ([value], [0.7592])


def test_effects_are_those_of_one_standard_deviation(wine_split):
    """In ElasticNet's own units volatile acidity comes first, by its effect alcohol does."""
    elastic_net = importlib.import_module("train").build(0.01, 0.1)
    evaluation.fit(elastic_net, wine_split, hint="")
    ranked = bars(draw(elastic_net, wine_split)["effects.png"])
    assert list(ranked)[-1] == "alcohol"
    before, after = wine_split.X_train, wine_split.X_train.copy()
    after["alcohol"] += before["alcohol"].std(ddof=0)
    change = elastic_net.predict(after) - elastic_net.predict(before)
    assert ranked["alcohol"] == pytest.approx(change.mean())

    huber = importlib.import_module("huber-train").build(0.0001, 1.35, 100)
    evaluation.fit(huber, wine_split, hint="")
    ranked = bars(draw(huber, wine_split)["effects.png"])
    change = huber.predict(after) - huber.predict(before)
    assert ranked["alcohol"] == pytest.approx(change.mean())


@pytest.mark.parametrize("name", ["train", "clf-train"])
def test_title_says_where_only_a_sample_is_shown(monkeypatch, name):
    script = importlib.import_module(name)
    split = script.split(dataset.load(dataset.DATA))
    estimator = script.build(*(1.0, 0.1) if name == "train" else (2, 3))
    evaluation.fit(estimator, split, hint="")
    whole = draw(estimator, split)
    monkeypatch.setattr(plots, "MAX_ROWS", 500)
    sampled = {"residuals.png", "importances.png"}
    for file_name, figure in draw(estimator, split).items():
        ax = figure.axes[0]
        assert ("\na sample of 500 wines" in ax.get_title()) == (file_name in sampled)
        assert "sample" not in whole[file_name].axes[0].get_title()
        if file_name == "residuals.png":
            assert [len(dots.get_offsets()) for dots in ax.collections] == [500, 500]


def test_calibration_counts_each_unseen_wine_once(project, model_uris):
    split = importlib.import_module("clf-train").split(dataset.load(dataset.DATA))
    with tracking_in(project):
        classifier = mlflow.sklearn.load_model(model_uris["classifier"])
    figure = draw(classifier, split)["calibration.png"]
    curve, counts = figure.axes
    good = classifier.predict_proba(split.X_test[split.unseen])[:, 1]
    heights = [bar.get_height() for bar in counts.patches]
    assert sum(heights) == len(good) == 672
    assert heights[0] == (good < 0.1).sum()
    (share, *_) = curve.lines[-1].get_ydata()
    assert share == pytest.approx(split.y_test[split.unseen][good < 0.1].mean())
    assert "Brier score 0.1148" in curve.get_title()


def test_threshold_that_is_chosen_is_marked_among_the_folds():
    script = importlib.import_module("clf-train")
    split = script.split(dataset.load(dataset.DATA))
    estimator = script.build(10, 8)
    evaluation.fit(estimator, split, hint="")
    cv = folds.cross_validate(estimator, split)
    figure = plots.training(estimator, split, evaluation.evaluate(estimator, split, cv))
    lines = {line.get_label(): line for line in figure["threshold.png"].axes[0].lines}
    assert {"recall", "precision", "F1", "0.33: this model's"} < set(lines)
    assert lines["recall"].get_ydata()[0] == pytest.approx(1)
    assert lines["0.33: this model's"].get_xdata() == [0.33, 0.33]


def draw(estimator, split):
    """Return the figures of a fitted estimator."""
    return plots.training(estimator, split, evaluation.evaluate(estimator, split))


def bars(figure):
    """Return the width of each bar of a plot by its name, from the lowest bar up."""
    (ax,) = figure.axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in ax.patches), strict=True))
