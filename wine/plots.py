"""Plots: every figure that is logged."""

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.inspection import permutation_importance
from sklearn.utils import resample

import joblib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, MaxNLocator
from scipy.stats import binomtest

from wine.dataset import NOUN, TARGET_SCALE
from wine.evaluation import (
    FOLDS,
    choose_threshold,
    final_step,
    is_binary,
    main_metric,
    name,
    threshold,
)

COLORS = "tab:gray", "tab:blue"  # of all test rows, and of the unseen ones
PERFECT = {"color": "black", "linestyle": "--", "label": "perfect"}
MAX_BARS = 20
MAX_GRADES = 20  # A target whose whole numbers are farther apart is drawn as dots.
MAX_ROWS = 10_000  # Of more rows, a plot that takes time for each of them shows a sample.


def new_figure(width=6.4, height=4.8, dpi=150):
    """Return an empty figure, of a size in inches, whose labels do not overlap."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


def training(estimator, split, result):
    """Draw the predictions on the test set, and what the model has learned.

    All test rows are shown beside the unseen ones, which have no identical copy in the training
    set. A linear model is shown by the effect of each measurement, other models by the permutation
    importance on the unseen rows.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted. The curves of a classifier are only drawn where it knows the classes 0 and 1.
    split : wine.dataset.Split
        The table, split.
    result : wine.evaluation.Evaluation
        What the estimator predicts for the test set and for the folds of the training set.

    Returns
    -------
    dict
        A matplotlib Figure for each file name.
    """
    figures = _draw(estimator, split, result)
    for figure in figures.values():
        for ax in figure.axes:  # These calls make the labels, which matplotlib does when it draws.
            ax.get_xticklabels(), ax.get_yticklabels()
        for text in figure.findobj(Text):  # A name may have a $ in it, which is no mathematics.
            text.set_parse_math(False)
    return figures


def _draw(estimator, split, result):
    subsets = _test_subsets(split, result.predicted)
    if is_classifier(estimator):
        figures = {"confusion-matrix.png": _confusion_matrix(estimator, subsets)}
        if is_binary(estimator):
            good, drawn = split.y_test.name, (estimator, subsets)
            roc = f"share of the others called {good}", f"share of the {good} that are found"
            recall = metrics.PrecisionRecallDisplay, "precision-recall curve"
            figures |= {
                "roc-curve.png": _curve(*drawn, metrics.RocCurveDisplay, "ROC curve", *roc),
                "precision-recall-curve.png": _curve(*drawn, *recall, "recall", "precision"),
                "calibration.png": _calibration(estimator, *subsets[-1]),
            }
            if result.cv:
                figures["threshold.png"] = _threshold(estimator, result.cv)
    else:
        figures = {
            "measured-against-predicted.png": _measured_against_predicted(estimator, subsets),
            "residuals.png": _residuals(estimator, subsets),
        }
    if hasattr(final_step(estimator), "coef_"):
        return figures | {"effects.png": _effects(estimator, split)}
    label, y, _ = subsets[-1]
    X = split.X_test.loc[y.index]
    return figures | {"importances.png": _importances(estimator, label, X, y)}


def _test_subsets(split, predicted):
    """Return label, target and predictions of all test rows, and of the unseen ones among them."""
    subsets = [(f"all {len(split.y_test)} test {NOUN}s", split.y_test, predicted)]
    y = split.y_test[split.unseen]
    if y.nunique() > 1:
        subsets.append((f"the {len(y)} unseen of them", y, predicted.select(split.unseen)))
    return subsets


def _new_plot(estimator, title, n_rows=0):
    """Return a figure and its axes; the title says whether only a sample of the rows is shown."""
    figure = new_figure()
    sample = f",\na sample of {MAX_ROWS:,} {NOUN}s" if n_rows > MAX_ROWS else ""
    title = f"{name(estimator)}: {title}{sample}"
    return figure, figure.subplots(subplot_kw={"title": title})


def _legend_below(ax):
    """Put the legend below the axes, where it covers nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize="small", ncols=2)


def _axis(label):
    """Return the label of an axis of the target's values, with their unit."""
    return f"{label}, {TARGET_SCALE}" if TARGET_SCALE else label


def _confusion_matrix(estimator, subsets):
    figure = new_figure(width=4.8 * len(subsets), height=4.4)
    (axes,) = figure.subplots(1, len(subsets), squeeze=False)
    chosen, title = threshold(estimator), f"{name(estimator)}: confusion matrix"
    figure.suptitle(title if chosen is None else f"{title}, threshold {chosen:g}")
    classes, positive = estimator.classes_, subsets[0][1].name
    names = ["other", positive] if is_binary(estimator) else classes
    is_large = len(classes) > 10  # The numbers would not fit into the cells.
    options = {"include_values": not is_large, "values_format": ",d", "colorbar": is_large}
    options["xticks_rotation"] = "vertical" if is_large else "horizontal"
    for ax, (label, y, predicted) in zip(axes, subsets, strict=True):
        display = metrics.ConfusionMatrixDisplay.from_predictions(
            y, predicted.y_pred, labels=classes, display_labels=names, ax=ax, **options
        )
        shares = display.confusion_matrix / display.confusion_matrix.sum(axis=1, keepdims=True)
        for cell, share in zip(np.ravel(display.text_), np.ravel(shares), strict=False):
            if cell:
                cell.set_text(f"{cell.get_text()}\n{share:.0%}")
        ax.set(title=label, xlabel="predicted", ylabel="true (share of the row)")
    return figure


def _curve(estimator, subsets, display, title, xlabel, ylabel):
    """Draw a curve for each subset, and the point on it of the classes that are predicted."""
    figure, ax = _new_plot(estimator, title)
    chosen, n_left = threshold(estimator), len(subsets)
    point = "predicted classes" if chosen is None else f"threshold {chosen:g}"
    for (label, y, (y_pred, probabilities)), color in zip(subsets, COLORS, strict=False):
        n_left -= 1
        options = {"name": label, "plot_chance_level": not n_left, "ax": ax}
        options["curve_kwargs"] = {"color": color}
        display.from_predictions(y, probabilities[:, 1], **options)
        recall = metrics.recall_score(y, y_pred)
        if display is metrics.RocCurveDisplay:
            x, y = 1 - metrics.recall_score(y, y_pred, pos_label=0), recall
        else:
            x, y = recall, metrics.precision_score(y, y_pred, zero_division=0)
        ax.plot(x, y, "ko", label=None if n_left else point)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _legend_below(ax)
    return figure


def _calibration(estimator, label, y, predicted):
    """Draw how often rows of about the same probability are in the class 1, and how many these are.

    This is the reliability diagram of DeGroot and Fienberg, The Statistician 32:12-22, 1983.
    """
    figure = new_figure(height=5.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    probability = predicted.probabilities[:, 1]
    counts, edges = np.histogram(probability, np.linspace(0, 1, 11))
    rows = pd.DataFrame({"x": probability, "y": y.to_numpy()})
    bins = rows.groupby(np.digitize(probability, edges[1:-1])).mean()
    found = rows["y"].groupby(np.digitize(probability, edges[1:-1]))
    ends = [binomtest(each.sum(), len(each)).proportion_ci(method="wilson") for _, each in found]
    errors = np.abs(np.transpose(ends) - bins["y"].to_numpy())
    label = f"{label.removesuffix(' of them')} in bins, 95 % intervals"
    top.errorbar(bins["x"], bins["y"], errors, fmt="s-", color=COLORS[-1], label=label)
    top.plot([0, 1], [0, 1], **PERFECT)
    top.legend(loc="upper left")
    brier = metrics.brier_score_loss(y, probability)
    top.set(
        title=f"{name(estimator)}: calibration, Brier score {brier:.4f}",
        ylabel=f"share of {y.name} {NOUN}s in the bin",
    )
    bars = bottom.bar(edges[:-1], counts, width=np.diff(edges), align="edge", edgecolor="white")
    bottom.bar_label(bars, fmt="{:,.0f}", fontsize="small")
    bottom.margins(y=0.25)
    bottom.set(xlabel=f"predicted probability of {y.name}", ylabel=f"{NOUN}s")
    return figure


def _threshold(estimator, cv):
    """Draw recall, precision and F1 over the threshold of the probability, from the folds."""
    figure, ax = _new_plot(estimator, f"threshold, by {FOLDS} folds of the training {NOUN}s")
    scores = cv.score_thresholds()
    for column in scores:
        ax.plot(scores.index, scores[column], label="F1" if column == "f1" else column)
    best = choose_threshold(scores["f1"])
    ax.axvline(best, color="tab:gray", linestyle=":", label=f"{best:.2f}: chosen by the folds")
    if (chosen := threshold(estimator)) is not None:
        ax.axvline(chosen, color="black", linestyle="--", label=f"{chosen:g}: this model's")
    ax.set(xlabel="threshold of the probability", ylabel="recall, precision and F1")
    _legend_below(ax)
    return figure


def _are_grades(y):
    """Tell whether a target is a few whole numbers close to each other, such as school grades."""
    return pd.api.types.is_integer_dtype(y) and np.ptp(y) <= MAX_GRADES


def _measured_against_predicted(estimator, subsets):
    y = subsets[0][1]
    if _are_grades(y):
        figure, ax = _new_plot(estimator, "predictions for each measured value")
        _plot_boxes(subsets, ax)
    else:
        figure, ax = _new_plot(estimator, "measured against predicted", len(y))
        _plot_errors("actual_vs_predicted", subsets, ax)
        for axis in (ax.xaxis, ax.yaxis):  # scikit-learn's are at odd numbers.
            axis.set_major_locator(AutoLocator())
    ax.set(xlabel=_axis(f"predicted {y.name}"), ylabel=_axis(f"measured {y.name}"))
    _legend_below(ax)
    return figure


def _plot_boxes(subsets, ax):
    """Plot for each measured grade where the predictions are, as dots would cover each other."""
    offsets = (0.18, -0.18) if len(subsets) > 1 else (0,)
    options = {"orientation": "horizontal", "widths": 0.3, "whis": (5, 95), "showfliers": False}
    options |= {"patch_artist": True, "manage_ticks": False, "medianprops": {"color": "black"}}
    for (label, y, predicted), offset, color in zip(subsets, offsets, COLORS, strict=False):
        grades = np.unique(y)
        ax.boxplot(
            [predicted.y_pred[y == grade] for grade in grades],
            **options,
            positions=grades + offset,
            boxprops={"facecolor": color, "alpha": 0.6},
            label=f"{label}: box of a half, line of 90 %",
        )
    counts = subsets[0][1].value_counts().sort_index()
    ax.set_yticks(counts.index, [f"{grade} ({n:,})" for grade, n in counts.items()])
    ends = [counts.index[0], counts.index[-1]]
    ax.plot(ends, ends, **PERFECT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _residuals(estimator, subsets):
    y = subsets[0][1]
    figure, ax = _new_plot(estimator, "residuals", len(y))
    _plot_errors("residual_vs_predicted", subsets, ax)
    stripes = "\nEach stripe is one measured value." if _are_grades(y) else ""
    ax.set_xlabel(_axis(f"predicted {y.name}") + stripes)
    ax.set_ylabel("measured minus predicted")
    ax.legend(fontsize="small")
    return figure


def _plot_errors(kind, subsets, ax):
    options = {"kind": kind, "subsample": MAX_ROWS, "random_state": 42, "ax": ax}
    for (label, y, predicted), color in zip(subsets, COLORS, strict=False):
        dots = {"alpha": 0.3, "color": color, "label": label, "s": 12}
        metrics.PredictionErrorDisplay.from_predictions(
            y, predicted.y_pred, scatter_kwargs=dots, **options
        )
    ax.plot([], [], **PERFECT)  # scikit-learn has drawn the line, without a label.


def _effects(estimator, split):
    """Draw by how much one standard deviation of each measurement changes the prediction."""
    figure, ax = _new_plot(estimator, "effect of one standard deviation")
    # Coefficients belong to the units of their measurements, and cannot be compared.
    X, names = split.X_train, split.X_train.columns
    if hasattr(estimator, "steps"):
        X, names = estimator[:-1].transform(X), estimator[:-1].get_feature_names_out()
    effects = pd.Series(np.asarray(final_step(estimator).coef_ * np.std(X, axis=0)), names)
    _plot_bars(effects, None, ax)
    n_zero, label = np.count_nonzero(effects == 0), f"change of the predicted {split.y_train.name}"
    label = label if TARGET_SCALE.startswith("from") else _axis(label)
    zero = f" The penalty has made {n_zero} of {len(effects)} zero." if n_zero else ""
    ax.set_xlabel(f"{label}\nCorrelated measurements share their effect.{zero}")
    return figure


def _plot_bars(values, errors, ax):
    """Plot the largest values of a Series as bars, with their names."""
    order = np.argsort(np.abs(values))[-MAX_BARS:]
    shown = values.iloc[order]
    ax.barh(range(len(shown)), shown, xerr=None if errors is None else errors[order])
    ax.set_yticks(range(len(shown)), shown.index)
    ax.axvline(0, color="black", linewidth=0.8)
    if len(values) > MAX_BARS:
        ax.set_ylabel(f"the {MAX_BARS} largest, {len(values) - MAX_BARS} more are smaller")


def _importances(estimator, label, X, y):
    """Draw the permutation importances (Breiman, Machine Learning 45:5-32, 2001)."""
    figure, ax = _new_plot(estimator, "permutation importance", len(y))
    metric = main_metric(estimator)
    if len(y) > MAX_ROWS:
        X, y = resample(X, y, replace=False, n_samples=MAX_ROWS, random_state=42)
    with joblib.parallel_config("threading", n_jobs=-1):
        drops = permutation_importance(
            estimator, X, y, scoring=metric.scoring, n_repeats=5, random_state=42
        )
    _plot_bars(pd.Series(drops.importances_mean, X.columns), drops.importances_std, ax)
    ax.set_xlabel(
        f"{metric.name} lost on {label.removesuffix(' of them')}, by 5 shuffles.\n"
        "Correlated measurements share their importance."
    )
    return figure
