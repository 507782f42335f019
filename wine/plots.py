"""Plots: every figure that is logged."""

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.inspection import permutation_importance

import joblib
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from wine import evaluation
from wine.dataset import NOUN, TARGET_SCALE, count

COLORS = {"test": "tab:gray", "unseen": "tab:blue"}
# The legend is below the axes, where it covers nothing.
LEGEND = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "fontsize": "small", "ncols": 2}
PERFECT = {"color": "black", "linestyle": "--", "label": "perfect"}
MAX_BARS = 20
MAX_ROWS = 10_000  # Of more rows, the importances are computed on evenly spaced ones.


def new_figure(width=6.4, height=4.8, dpi=150):
    """Return an empty figure, of a size in inches, whose labels do not overlap."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


@matplotlib.rc_context({"text.parse_math": False})  # A name may have a $ in it.
def training(estimator, split, result):
    """Draw the predictions on the test set, and what the model has learned.

    All test rows are shown beside the unseen ones, which have no identical copy in the training
    set. A linear regressor is shown by the effect of each measurement, other models by the
    permutation importance on the unseen rows. The curves of a classifier are only drawn where it
    knows the classes 0 and 1.

    Returns
    -------
    dict
        A matplotlib Figure for each file name.
    """
    subsets, target, figures = result.predicted, split.y_test.name, {}

    def new_plot(file_name, title):
        figures[file_name] = figure = new_figure()
        return figure.subplots(subplot_kw={"title": f"{evaluation.name(estimator)}: {title}"})

    if is_classifier(estimator):
        figures["confusion-matrix.png"] = _confusion_matrix(estimator, subsets, target)
    else:
        ax = new_plot("measured-against-predicted.png", "measured against predicted")
        _draw_measured_against_predicted(ax, subsets, target)
    if evaluation.is_binary(estimator):
        ax = new_plot("roc-curve.png", f"ROC curve, 1 is {target}")
        _draw_curves(ax, subsets, metrics.RocCurveDisplay)
        ax = new_plot("precision-recall-curve.png", f"precision-recall curve, 1 is {target}")
        _draw_curves(ax, subsets, metrics.PrecisionRecallDisplay)
        _draw_calibration(new_plot("calibration.png", "calibration"), subsets, target)
        if result.cv:
            ax = new_plot("threshold.png", f"threshold, by {evaluation.describe_folds(split)}")
            _draw_threshold(ax, estimator, result.cv.score_thresholds())
    if evaluation.is_linear(estimator):
        ax = new_plot("effects.png", "effect of one standard deviation")
        _draw_effects(ax, estimator, split)
    else:
        ax = new_plot("importances.png", "permutation importance")
        _draw_importances(ax, estimator, subsets, split.X_test)
    return figures


def _label(kind, rows):
    """Return in words which test rows are drawn."""
    return f"all {len(rows)} test {NOUN}s" if kind == "test" else f"the {len(rows)} unseen of them"


def _confusion_matrix(estimator, subsets, target):
    figure = new_figure(width=4.8 * len(subsets), height=4.4)
    (axes,) = figure.subplots(1, len(subsets), squeeze=False)
    classes, chosen = estimator.classes_, evaluation.threshold(estimator)
    limit = "" if chosen is None else f", threshold {chosen:g}"
    figure.suptitle(f"{evaluation.name(estimator)}: confusion matrix{limit}")
    names = ["other", target] if evaluation.is_binary(estimator) else classes
    options = {"values_format": ",d", "colorbar": False}
    if len(classes) > 10:  # The numbers would not fit into the cells.
        options = {"include_values": False, "xticks_rotation": "vertical"}
    for ax, (kind, rows) in zip(axes, subsets.items(), strict=True):
        answers = rows["y"], rows["y_pred"]
        shares = metrics.confusion_matrix(*answers, labels=classes, normalize="true")
        metrics.ConfusionMatrixDisplay.from_predictions(
            *answers, labels=classes, display_labels=names, ax=ax, **options
        )
        for cell, share in zip(ax.texts, shares.flat, strict=False):
            cell.set_text(f"{cell.get_text()}\n{share:.0%}")
        ax.set(title=_label(kind, rows), xlabel="predicted", ylabel="true (share of the row)")
    return figure


def _draw_curves(ax, subsets, display):
    for kind, rows in subsets.items():
        options = {"name": _label(kind, rows), "curve_kwargs": {"color": COLORS[kind]}}
        is_last = kind == [*subsets][-1]
        display.from_predictions(rows["y"], rows[1], ax=ax, plot_chance_level=is_last, **options)
    ax.legend(**LEGEND)


def _draw_calibration(ax, subsets, target):
    """Draw how often rows of about the same probability are in the class 1.

    This is the reliability diagram of DeGroot and Fienberg, The Statistician 32:12-22, 1983.
    """
    kind, rows = [*subsets.items()][-1]
    bins = rows.groupby(np.digitize(rows[1], np.linspace(0.1, 0.9, 9)))
    x, shares, counts = bins[1].mean(), bins["y"].mean(), bins["y"].agg(["sum", "size"])
    ends = [binomtest(*each).proportion_ci(method="wilson") for each in counts.to_numpy()]
    errors = np.abs(np.transpose(ends) - shares.to_numpy())
    label = f"{count(len(rows), kind)} in bins, their numbers and 95 % intervals"
    ax.errorbar(x, shares, errors, fmt="s-", color=COLORS[kind], label=label)
    for n, *position in zip(counts["size"], x, shares, strict=True):
        ax.annotate(f" {n:,}", position, va="top")
    ax.plot([0, 1], [0, 1], **PERFECT)
    ax.set(xlabel=f"predicted probability of {target}", ylabel=f"share of {target} {NOUN}s")
    ax.legend(**LEGEND)


def _draw_threshold(ax, estimator, scores):
    """Draw recall, precision and F1 over the threshold of the probability."""
    ax.plot(scores, label=["recall", "precision", "F1"])
    best, own = evaluation.choose_threshold(scores["f1"]), evaluation.threshold(estimator) or 0.5
    ax.axvline(best, color="tab:gray", linestyle=":", label=f"{best:.2f}: chosen by the folds")
    ax.axvline(own, color="black", linestyle="--", label=f"{own:g}: this model's")
    ax.set(xlabel="threshold of the probability", ylabel="recall, precision and F1")
    ax.legend(**LEGEND)


def _draw_measured_against_predicted(ax, subsets, target):
    y = subsets["test"]["y"]
    # Whole numbers, such as school grades, are spread so that no dot covers another.
    spread = 0.35 if pd.api.types.is_integer_dtype(y) else 0
    shift = pd.Series(np.random.default_rng(42).uniform(-spread, spread, len(y)), y.index)
    for kind, rows in subsets.items():
        options = {"color": COLORS[kind], "label": _label(kind, rows)}
        ax.scatter(rows["y_pred"], rows["y"] + shift[rows.index], s=12, alpha=0.3, **options)
    ax.plot([y.min(), y.max()], [y.min(), y.max()], **PERFECT)
    unit = f", {TARGET_SCALE}" if TARGET_SCALE else ""
    ax.set(xlabel=f"predicted {target}{unit}", ylabel=f"measured {target}{unit}")
    ax.legend(**LEGEND)


def _draw_effects(ax, estimator, split):
    """Draw by how much one standard deviation of each measurement changes the prediction."""
    # Coefficients belong to the units of their measurements, and cannot be compared.
    X, names = split.X_train, split.X_train.columns
    if hasattr(estimator, "steps"):
        X, names = estimator[:-1].transform(X), estimator[:-1].get_feature_names_out()
    effects = evaluation.final_step(estimator).coef_ * np.std(np.asarray(X), axis=0)
    _draw_bars(ax, pd.Series(effects, names))
    n_zero, label = np.count_nonzero(effects == 0), f"change of the predicted {split.y_train.name}"
    zero = f"\nThe penalty has made {n_zero} of {len(effects)} zero." if n_zero else ""
    ax.set_xlabel(f"{label}\nCorrelated measurements share their effect.{zero}")


def _draw_importances(ax, estimator, subsets, X):
    """Draw the permutation importances (Breiman, Machine Learning 45:5-32, 2001)."""
    kind, rows = [*subsets.items()][-1]
    rows = rows[:: 1 + (len(rows) - 1) // MAX_ROWS]
    metric = evaluation.main_metric(estimator)
    options = {"scoring": metric.scoring, "n_repeats": 5, "random_state": 42}
    with joblib.parallel_config("threading", n_jobs=-1):
        drops = permutation_importance(estimator, X.loc[rows.index], rows["y"], **options)
    _draw_bars(ax, pd.Series(drops.importances_mean, X.columns), drops.importances_std)
    lost = f"{metric.name} lost on {count(len(rows), kind)}, by 5 shuffles."
    ax.set_xlabel(f"{lost}\nCorrelated measurements share their importance.")


def _draw_bars(ax, values, errors=None):
    """Draw the largest values of a Series as bars, with their names."""
    order = np.argsort(np.abs(values))[-MAX_BARS:]
    shown = values.iloc[order]
    ax.barh(range(len(shown)), shown, xerr=None if errors is None else errors[order])
    ax.set_yticks(range(len(shown)), shown.index)
    ax.axvline(0, color="black", linewidth=0.8)
    if len(values) > MAX_BARS:
        ax.set_ylabel(f"the {MAX_BARS} largest, {len(values) - MAX_BARS} more are smaller")
