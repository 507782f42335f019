"""Plots: every figure that is logged."""

import collections

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
from wine.dataset import NOUN, TARGET_SCALE

COLORS = "tab:gray", "tab:blue"  # of all test rows, and of the unseen ones
PERFECT = {"color": "black", "linestyle": "--", "label": "perfect"}
DOTS = {"s": 12, "alpha": 0.3}
MAX_BARS = 20
MAX_GRADES = 20  # A target whose whole numbers are farther apart is drawn as dots.
MAX_ROWS = 10_000  # Of more rows, a plot that takes time for each of them shows a sample.


# Test rows that are drawn in one color: what is predicted for them, and what they are.
Subset = collections.namedtuple("Subset", "rows label color")


def new_figure(width=6.4, height=4.8, dpi=150):
    """Return an empty figure, of a size in inches, whose labels do not overlap."""
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained")


@matplotlib.rc_context({"text.parse_math": False})  # A name may have a $ in it.
def training(estimator, split, result):
    """Draw the predictions on the test set, and what the model has learned.

    All test rows are shown beside the unseen ones, which have no identical copy in the training
    set. A linear model is shown by the effect of each measurement, other models by the permutation
    importance on the unseen rows.
    The curves of a classifier are only drawn where it knows the classes 0 and 1.

    Returns
    -------
    dict
        A matplotlib Figure for each file name.
    """
    rows = result.predicted
    subsets = [Subset(rows, f"all {len(rows)} test {NOUN}s", COLORS[0])]
    if result.scores["unseen"].notna().any():
        rows = rows[split.unseen]
        subsets.append(Subset(rows, f"the {len(rows)} unseen of them", COLORS[1]))
    drawn = estimator, subsets, split.y_test.name
    if not is_classifier(estimator):
        figures = {"measured-against-predicted.png": _measured_against_predicted(*drawn)}
    else:
        figures = {"confusion-matrix.png": _confusion_matrix(*drawn)}
        if evaluation.is_binary(estimator):
            figures |= {
                "roc-curve.png": _curve(*drawn, metrics.RocCurveDisplay),
                "precision-recall-curve.png": _curve(*drawn, metrics.PrecisionRecallDisplay),
                "calibration.png": _calibration(*drawn),
            }
            figures |= {"threshold.png": _threshold(estimator, result.cv)} if result.cv else {}
    if hasattr(evaluation.final_step(estimator), "coef_"):
        return figures | {"effects.png": _effects(estimator, split)}
    return figures | {"importances.png": _importances(estimator, subsets[-1], split.X_test)}


def _new_plot(estimator, title, n_rows=0):
    """Return a figure and its axes; the title says whether only a sample of the rows is shown."""
    figure, title = new_figure(), f"{evaluation.name(estimator)}: {title}"
    sample = f",\na sample of {MAX_ROWS:,} {NOUN}s" if n_rows > MAX_ROWS else ""
    return figure, figure.subplots(subplot_kw={"title": title + sample})


def _sample(rows):
    return rows.sample(MAX_ROWS, random_state=42) if len(rows) > MAX_ROWS else rows


def _legend_below(ax):
    """Put the legend below the axes, where it covers nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize="small", ncols=2)


def _axis(label):
    """Return the label of an axis of the target's values, with their unit."""
    return f"{label}, {TARGET_SCALE}" if TARGET_SCALE else label


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
    for ax, (rows, label, _) in zip(axes, subsets, strict=True):
        answers = rows["y"], rows["y_pred"]
        shares = metrics.confusion_matrix(*answers, labels=classes, normalize="true")
        display = metrics.ConfusionMatrixDisplay.from_predictions(
            *answers, labels=classes, display_labels=names, ax=ax, **options
        )
        for cell, share in zip(np.ravel(display.text_), np.ravel(shares), strict=False):
            if cell:
                cell.set_text(f"{cell.get_text()}\n{share:.0%}")
        ax.set(title=label, xlabel="predicted", ylabel="true (share of the row)")
    return figure


def _curve(estimator, subsets, target, display):
    """Draw a curve for each subset, and the point on it of the classes that are predicted."""
    is_roc = display is metrics.RocCurveDisplay
    figure, ax = _new_plot(estimator, "ROC curve" if is_roc else "precision-recall curve")
    chosen = evaluation.threshold(estimator)
    point = "predicted classes" if chosen is None else f"threshold {chosen:g}"
    for rows, label, color in subsets:
        y, y_pred, is_last = rows["y"], rows["y_pred"], label == subsets[-1].label
        options = {"plot_chance_level": is_last, "curve_kwargs": {"color": color}, "ax": ax}
        display.from_predictions(y, rows[1], name=label, **options)
        recall, precision = y_pred[y == 1].mean(), y[y_pred == 1].mean()
        at = (y_pred[y == 0].mean(), recall) if is_roc else (recall, precision)
        ax.plot(*at, "ko", label=point if is_last else None)
    roc = f"share of the others called {target}", f"share of the {target} that are found"
    xlabel, ylabel = roc if is_roc else ("recall", "precision")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _legend_below(ax)
    return figure


def _calibration(estimator, subsets, target):
    """Draw how often rows of about the same probability are in the class 1.

    This is the reliability diagram of DeGroot and Fienberg, The Statistician 32:12-22, 1983.
    """
    rows, label, color = subsets[-1]
    brier = metrics.brier_score_loss(rows["y"], rows[1])
    figure, ax = _new_plot(estimator, f"calibration, Brier score {brier:.4f}")
    bins = rows.groupby(np.digitize(rows[1], np.linspace(0.1, 0.9, 9)))
    shares, counts = bins["y"].mean(), bins["y"].agg(["sum", "size"]).to_numpy()
    ends = [binomtest(*each).proportion_ci(method="wilson") for each in counts]
    errors = np.abs(np.transpose(ends) - shares.to_numpy())
    label = f"{label.removesuffix(' of them')} in bins of so many, 95 % intervals"
    ax.errorbar(bins[1].mean(), shares, errors, fmt="s-", color=color, label=label)
    ax.plot([0, 1], [0, 1], **PERFECT)
    for x, share, (_, n) in zip(bins[1].mean(), shares, counts, strict=True):
        ax.annotate(f" {n:,}", (x, share), va="top")
    ax.set(xlabel=f"predicted probability of {target}", ylabel=f"share of {target} {NOUN}s")
    ax.legend(loc="upper left")
    return figure


def _threshold(estimator, cv):
    """Draw recall, precision and F1 over the threshold of the probability, from the folds."""
    folds = f"{evaluation.FOLDS} folds of the training {NOUN}s"
    figure, ax = _new_plot(estimator, f"threshold, by {folds}")
    scores = cv.score_thresholds()
    ax.plot(scores, label=["recall", "precision", "F1"])
    best, chosen = evaluation.choose_threshold(scores["f1"]), evaluation.threshold(estimator)
    ax.axvline(best, color="tab:gray", linestyle=":", label=f"{best:.2f}: chosen by the folds")
    if chosen is not None:
        ax.axvline(chosen, color="black", linestyle="--", label=f"{chosen:g}: this model's")
    ax.set(xlabel="threshold of the probability", ylabel="recall, precision and F1")
    _legend_below(ax)
    return figure


def _measured_against_predicted(estimator, subsets, target):
    y = subsets[0].rows["y"]
    figure, ax = _new_plot(estimator, "measured against predicted", len(y))
    # A few whole numbers, such as school grades, are spread so that no dot covers another.
    are_grades = pd.api.types.is_integer_dtype(y) and np.ptp(y) <= MAX_GRADES
    spread = 0.35 if are_grades else 0
    shift = pd.Series(np.random.default_rng(42).uniform(-spread, spread, len(y)), y.index)
    for rows, label, color in subsets:
        rows = _sample(rows)
        ax.scatter(rows["y_pred"], rows["y"] + shift[rows.index], color=color, label=label, **DOTS)
    if are_grades:
        counts = y.value_counts().sort_index()
        ax.set_yticks(counts.index, [f"{grade} ({n:,})" for grade, n in counts.items()])
    ax.plot([y.min(), y.max()], [y.min(), y.max()], **PERFECT)
    ax.set(xlabel=_axis(f"predicted {target}"), ylabel=_axis(f"measured {target}"))
    _legend_below(ax)
    return figure


def _effects(estimator, split):
    """Draw by how much one standard deviation of each measurement changes the prediction."""
    figure, ax = _new_plot(estimator, "effect of one standard deviation")
    # Coefficients belong to the units of their measurements, and cannot be compared.
    X, names = split.X_train, split.X_train.columns
    if hasattr(estimator, "steps"):
        X, names = estimator[:-1].transform(X), estimator[:-1].get_feature_names_out()
    coefficients = evaluation.final_step(estimator).coef_
    effects = pd.Series(coefficients * np.std(np.asarray(X), axis=0), names)
    _plot_bars(ax, effects)
    n_zero, label = np.count_nonzero(effects == 0), f"change of the predicted {split.y_train.name}"
    label = label if TARGET_SCALE.startswith("from") else _axis(label)
    zero = f"\nThe penalty has made {n_zero} of {len(effects)} zero." if n_zero else ""
    ax.set_xlabel(f"{label}\nCorrelated measurements share their effect.{zero}")
    return figure


def _importances(estimator, subset, X):
    """Draw the permutation importances (Breiman, Machine Learning 45:5-32, 2001)."""
    figure, ax = _new_plot(estimator, "permutation importance", len(subset.rows))
    rows, metric = _sample(subset.rows), evaluation.main_metric(estimator)
    options = {"scoring": metric.scoring, "n_repeats": 5, "random_state": 42}
    with joblib.parallel_config("threading", n_jobs=-1):
        drops = permutation_importance(estimator, X.loc[rows.index], rows["y"], **options)
    _plot_bars(ax, pd.Series(drops.importances_mean, X.columns), drops.importances_std)
    ax.set_xlabel(
        f"{metric.name} lost on {subset.label.removesuffix(' of them')}, by 5 shuffles.\n"
        "Correlated measurements share their importance."
    )
    return figure


def _plot_bars(ax, values, errors=None):
    """Plot the largest values of a Series as bars, with their names."""
    order = np.argsort(np.abs(values))[-MAX_BARS:]
    shown = values.iloc[order]
    ax.barh(range(len(shown)), shown, xerr=None if errors is None else errors[order])
    ax.set_yticks(range(len(shown)), shown.index)
    ax.axvline(0, color="black", linewidth=0.8)
    if len(values) > MAX_BARS:
        ax.set_ylabel(f"the {MAX_BARS} largest, {len(values) - MAX_BARS} more are smaller")
