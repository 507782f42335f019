"""Plots: what the figures of a training show."""

import importlib

import mlflow
import pytest

from helpers import tracking_in
from wine import dataset, evaluation, folds, plots


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
    auc = result.scores.loc["roc_auc"]
    legend = figures["roc-curve.png"].axes[0].get_legend().get_texts()
    assert f"AUC = {auc['test']:.2f}" in legend[0].get_text()
    assert f"AUC = {auc['unseen']:.2f}" in legend[1].get_text()


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
    sampled = {"predicted-against-measured.png", "residuals.png", "importances.png"}
    for file_name, figure in draw(estimator, split).items():
        ax = figure.axes[0]
        assert ("\na sample of 500 wines" in ax.get_title()) == (file_name in sampled)
        assert "sample" not in whole[file_name].axes[0].get_title()
        if file_name in ("predicted-against-measured.png", "residuals.png"):
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
    assert {"recall", "precision", "F1", "0.33: chosen"} < set(lines)
    assert lines["recall"].get_ydata()[0] == pytest.approx(1)
    assert lines["0.33: chosen"].get_xdata() == [0.33, 0.33]


def draw(estimator, split):
    """Return the figures of a fitted estimator."""
    return plots.training(estimator, split, evaluation.evaluate(estimator, split))


def bars(figure):
    """Return the width of each bar of a plot by its name, from the lowest bar up."""
    (ax,) = figure.axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    return dict(zip(names, (bar.get_width() for bar in ax.patches), strict=True))
