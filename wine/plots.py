"""Plots: every figure that is logged."""

import math
import numbers

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.calibration import CalibrationDisplay
from sklearn.inspection import permutation_importance
from sklearn.utils import resample

import joblib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator

from wine import folds
from wine.dataset import NOUN, TARGET_SCALE
from wine.evaluation import ASCENDING, final_step, is_binary, main_metric, name, threshold

COLORS = "tab:gray", "tab:blue"  # of all test rows, and of the unseen ones
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
    subsets = _test_subsets(split, result.predicted)
    if is_classifier(estimator):
        figures = {"confusion-matrix.png": _confusion_matrix(estimator, subsets)}
        if is_binary(estimator):
            figures |= {
                "roc-curve.png": _roc_curve(estimator, subsets),
                "precision-recall-curve.png": _precision_recall_curve(estimator, subsets),
                "calibration.png": _calibration(estimator, *subsets[-1]),
            }
            if result.cv:
                figures["threshold.png"] = _threshold(estimator, result.cv)
    else:
        figures = {
            "predicted-against-measured.png": _predicted_against_measured(estimator, subsets),
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
    return figure, figure.subplots(subplot_kw={"title": _title(estimator, title, n_rows)})


def _title(estimator, title, n_rows):
    sample = f",\na sample of {MAX_ROWS:,} {NOUN}s" if n_rows > MAX_ROWS else ""
    return f"{name(estimator)}: {title}{sample}"


def _legend_below(ax):
    """Put the legend below the axes, where it covers nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize="small", ncols=2)


def _axis(label):
    """Return the label of an axis of the target's values, with their unit."""
    return f"{label}, {TARGET_SCALE}" if TARGET_SCALE else label


def _axis_of_differences(label):
    """Return the label of an axis of differences: of a scale from 0 to 10, they are points."""
    if TARGET_SCALE.startswith("from "):
        return f"{label}, in points of the scale {TARGET_SCALE}"
    return f"{label}, in {TARGET_SCALE}" if TARGET_SCALE else label


def _confusion_matrix(estimator, subsets):
    figure = new_figure(width=4.8 * len(subsets), height=4.4)
    (axes,) = figure.subplots(1, len(subsets), squeeze=False)
    chosen, title = threshold(estimator), f"{name(estimator)}: confusion matrix"
    figure.suptitle(title if chosen is None else f"{title}, threshold {chosen:g}")
    classes, positive = estimator.classes_, subsets[0][1].name
    names = ["other", positive] if is_binary(estimator) else classes
    is_large = len(classes) > 10  # The numbers would not fit into the cells.
    for ax, (label, y, predicted) in zip(axes, subsets, strict=True):
        metrics.ConfusionMatrixDisplay.from_predictions(
            y,
            predicted.y_pred,
            labels=classes,
            display_labels=names,
            include_values=not is_large,
            values_format=",d",
            xticks_rotation="vertical" if is_large else "horizontal",
            colorbar=is_large,
            ax=ax,
        )
        ax.set(title=label, xlabel="predicted", ylabel="true")
    return figure


def _roc_curve(estimator, subsets):
    figure, ax = _new_plot(estimator, "ROC curve")
    _plot_curves(metrics.RocCurveDisplay, estimator, subsets, _false_positive_rate, _recall, ax)
    good = subsets[0][1].name
    ax.set(
        xlabel=f"share of the others called {good}", ylabel=f"share of the {good} that are found"
    )
    return figure


def _precision_recall_curve(estimator, subsets):
    figure, ax = _new_plot(estimator, "precision-recall curve")
    _plot_curves(metrics.PrecisionRecallDisplay, estimator, subsets, _recall, _precision, ax)
    ax.set(xlabel="recall", ylabel="precision")
    return figure


def _false_positive_rate(y, y_pred):
    return 1 - metrics.recall_score(y, y_pred, pos_label=0)


def _recall(y, y_pred):
    return metrics.recall_score(y, y_pred)


def _precision(y, y_pred):
    return metrics.precision_score(y, y_pred, zero_division=0)


def _plot_curves(display, estimator, subsets, x_metric, y_metric, ax):
    """Plot a curve for each subset, and the point on it of the classes that are predicted."""
    chosen = threshold(estimator)
    point = "predicted classes" if chosen is None else f"threshold {chosen:g}"
    for number, (label, y, (y_pred, probabilities)) in enumerate(subsets, start=1):
        is_last, y_score = number == len(subsets), probabilities[:, 1]
        display.from_predictions(y, y_score, name=label, plot_chance_level=is_last, ax=ax)
        label = point if is_last else None
        ax.plot(x_metric(y, y_pred), y_metric(y, y_pred), "ko", label=label)
    _legend_below(ax)


def _calibration(estimator, label, y, predicted):
    """Draw how often rows of about the same probability are in the class 1, and how many these are.

    This is the reliability diagram of DeGroot and Fienberg, The Statistician 32:12-22, 1983.
    """
    figure = new_figure(height=5.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    probability = predicted.probabilities[:, 1]
    display = CalibrationDisplay.from_predictions(y, probability, n_bins=10, ax=top)
    display.line_.set_label(f"{label.removesuffix(' of them')}, in bins")
    top.legend(loc="upper left")
    brier = metrics.brier_score_loss(y, probability)
    top.set(
        title=f"{name(estimator)}: calibration, Brier score {brier:.4f}",
        xlabel="",
        ylabel=f"share of {y.name} {NOUN}s in the bin",
    )
    counts, edges = np.histogram(probability, np.linspace(0, 1, 11))
    bars = bottom.bar(edges[:-1], counts, width=np.diff(edges), align="edge", edgecolor="white")
    bottom.bar_label(bars, fmt="{:,.0f}", fontsize="small")
    bottom.margins(y=0.25)
    bottom.set(xlabel=f"predicted probability of {y.name}", ylabel=f"{NOUN}s")
    return figure


def _threshold(estimator, cv):
    """Draw recall, precision and F1 over the threshold of the probability, from the folds."""
    figure, ax = _new_plot(estimator, f"threshold, by {folds.FOLDS} folds of the training {NOUN}s")
    scores = cv.score_thresholds()
    for column in scores:
        ax.plot(scores.index, scores[column], label="F1" if column == "f1" else column)
    best = folds.choose_threshold(scores["f1"])
    ax.axvline(best, color="tab:gray", linestyle=":", label=f"{best:g}: chosen by the folds")
    if (chosen := threshold(estimator)) is not None:
        ax.axvline(chosen, color="black", linestyle="--", label=f"{chosen:g}: this model's")
    ax.set(xlabel="threshold of the probability", ylabel="recall, precision and F1")
    _legend_below(ax)
    return figure


def _are_grades(y):
    """Tell whether a target is a few whole numbers close to each other, such as school grades."""
    return pd.api.types.is_integer_dtype(y) and np.ptp(y) <= MAX_GRADES


def _predicted_against_measured(estimator, subsets):
    y = subsets[0][1]
    measured = _axis(f"measured {y.name}")
    if _are_grades(y):
        figure, ax = _new_plot(estimator, "predictions for each measured value")
        _plot_boxes(subsets, ax)
        ax.set_ylabel(f"{measured} (test {NOUN}s)")
    else:
        figure, ax = _new_plot(estimator, "measured and predicted", len(y))
        _plot_errors("actual_vs_predicted", subsets, ax)
        for axis in (ax.xaxis, ax.yaxis):  # scikit-learn's are at odd numbers.
            axis.set_major_locator(AutoLocator())
        ax.set_ylabel(measured)
    ax.set_xlabel(_axis(f"predicted {y.name}"))
    _legend_below(ax)
    return figure


def _plot_boxes(subsets, ax):
    """Plot for each measured grade where the predictions are, as dots would cover each other."""
    offsets = (0.18, -0.18) if len(subsets) > 1 else (0,)
    for (label, y, predicted), offset, color in zip(subsets, offsets, COLORS, strict=False):
        grades = np.unique(y)
        ax.boxplot(
            [predicted.y_pred[y == grade] for grade in grades],
            positions=grades + offset,
            orientation="horizontal",
            widths=0.3,
            whis=(5, 95),
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": color, "alpha": 0.6},
            medianprops={"color": "black"},
            manage_ticks=False,
            label=f"{label}: box of a half, line of 90 %",
        )
    counts = subsets[0][1].value_counts().sort_index()
    ax.set_yticks(counts.index, [f"{grade} ({n:,})" for grade, n in counts.items()])
    ends = [counts.index[0], counts.index[-1]]
    ax.plot(ends, ends, "k--", label="perfect")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _residuals(estimator, subsets):
    figure = new_figure(width=8)
    ax, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    y = subsets[0][1]
    ax.set_title(_title(estimator, "residuals", len(y)))
    _plot_errors("residual_vs_predicted", subsets, ax)
    stripes = "\nEach stripe is one measured value." if _are_grades(y) else ""
    ax.set_xlabel(_axis(f"predicted {y.name}") + stripes)
    ax.set_ylabel("measured minus predicted")
    ax.legend(fontsize="small")
    errors = [y - predicted.y_pred for _, y, predicted in subsets]
    bins = np.histogram_bin_edges(errors[0], min(40, _n_bins(len(y))))
    for error, color in zip(errors, COLORS, strict=False):
        right.hist(error, bins, orientation="horizontal", color=color, alpha=0.6)
    right.set(title="how many", xlabel=f"test {NOUN}s")
    right.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def _plot_errors(kind, subsets, ax):
    for (label, y, predicted), color in zip(subsets, COLORS, strict=False):
        metrics.PredictionErrorDisplay.from_predictions(
            y,
            predicted.y_pred,
            kind=kind,
            subsample=MAX_ROWS,
            random_state=42,
            scatter_kwargs={"alpha": 0.3, "color": color, "label": label, "s": 12},
            ax=ax,
        )
    ax.plot([], [], "k--", label="perfect")  # scikit-learn has drawn the line, without a label.


def _effects(estimator, split):
    """Draw by how much one standard deviation of each measurement changes the prediction."""
    figure, ax = _new_plot(estimator, "effect of one standard deviation")
    # Coefficients belong to the units of their measurements, and cannot be compared.
    X, names = split.X_train, split.X_train.columns
    if hasattr(estimator, "steps"):
        X, names = estimator[:-1].transform(X), estimator[:-1].get_feature_names_out()
    effects = pd.Series(np.asarray(final_step(estimator).coef_ * np.std(X, axis=0)), names)
    effects = effects.sort_values(key=np.abs)
    ax.barh(effects.index, effects)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel(_axis_of_differences(f"change of the predicted {split.y_train.name}"))
    return figure


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
    order = np.argsort(drops.importances_mean)
    ax.barh(X.columns[order], drops.importances_mean[order], xerr=drops.importances_std[order])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xlabel(
        f"{metric.name} lost on {label.removesuffix(' of them')}, by 5 shuffles.\n"
        "Correlated measurements share their importance."
    )
    return figure


def predictions(counts, outputs):
    """Draw the histogram of the last output of a scoring, or how often each class was predicted.

    Parameters
    ----------
    counts : wine.scoring.counts.Counts
        Of at least one row that was scored.
    outputs : list of str
        The columns that were added.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure()
    ax = figure.subplots()
    if counts.histogram:
        ax.stairs(*_merge_bins(counts.histogram), fill=True)
        ax.set_xlabel(outputs[-1])
    else:
        ax.bar(*zip(*sorted(counts.classes.items()), strict=True))
        ax.set_xlabel("prediction")
    ax.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    ax.set(ylabel="rows", title=f"{counts.scored:,} rows scored")
    return figure


def _n_bins(n_rows):
    """Return how many bins of a histogram a number of rows can fill."""
    return max(5, round(2 * math.sqrt(n_rows)))


def _merge_bins(histogram):
    """Return the counts and the edges of a histogram, with wider bins if there are few rows."""
    step = math.ceil(len(histogram.counts) / _n_bins(histogram.counts.sum()))
    counts = np.add.reduceat(histogram.counts, range(0, len(histogram.counts), step))
    return counts, histogram.edges[0] + np.arange(len(counts) + 1) * step * histogram.width


def drift(metrics, limit, n_rows):
    """Draw the population stability index and the share outside of each measurement.

    Parameters
    ----------
    metrics : dict
        As `wine.scoring.drift.summarize` returns them.
    limit : float
        The index from which on a distribution counts as shifted.
    n_rows : int
        The number of rows that were scored.

    Returns
    -------
    matplotlib.figure.Figure
    """
    index = {key.removeprefix("psi_"): n for key, n in metrics.items() if key.startswith("psi_")}
    names, shifted = list(index), [name for name in index if index[name] > limit]
    figure = new_figure(9.6, max(4.8, 1.6 + 0.25 * len(names)))
    left, right = figure.subplots(1, 2, sharey=True)
    colors = ["tab:orange" if name in shifted else "tab:blue" for name in names]
    left.barh(names, list(index.values()), color=colors)
    left.axvline(limit, color="black", linestyle="--", label="counts as shifted")
    left.set_xlabel("population stability index")
    right.barh(names, [100 * metrics[f"outside_{name}"] for name in names])
    outside = f"{metrics['outside']:.1%} of the rows with a value outside"
    right.set(xlabel=f"% outside the range of the training {NOUN}s", title=outside)
    others = f" and {len(shifted) - 3} more" if len(shifted) > 3 else ""
    verdict = f"unlike the training {NOUN}s in {', '.join(shifted[:3])}{others}"
    verdict = verdict if shifted else f"distributed like the training {NOUN}s"
    figure.suptitle(f"{n_rows:,} rows, {verdict}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left")
    return figure


def candidates(params, scores, spreads, ylabel, defaults=None, best=None):
    """Draw the score of each candidate of a sweep against each parameter.

    Parameters
    ----------
    params : list of dict
        The parameters of each candidate, which may be of any type: numbers get an axis of numbers,
        anything else an axis of texts.
    scores, spreads : lists of float
        The mean score of each candidate, and its standard deviation.
    ylabel : str
        What the score is.
    defaults : int, optional
        The index of the candidate that has the defaults.
    best : int, optional
        The index of the best candidate.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(params[0])
    figure = new_figure(4.8 * len(names), 4.2, dpi=100)
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, key in zip(axes, names, strict=True):
        x = _scale(ax, [each[key] for each in params])
        ax.errorbar(x, scores, spreads, fmt="o", alpha=0.4, label="drawn")
        if defaults is not None:
            ax.plot(x[defaults], scores[defaults], "D", color="black", label="defaults")
        if best is not None:
            ax.plot(x[best], scores[best], "r*", markersize=15, zorder=3, label="best")
        ax.set_xlabel(key)
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    if best is not None:
        title = ", ".join(f"{key}={value}" for key, value in params[best].items())
        title = f"best {title}: {scores[best]:.4f}"
        title += "" if defaults is None else f"; defaults {scores[defaults]:.4f}"
        figure.suptitle(title, parse_math=False)
    return figure


def _scale(ax, values):
    """Choose the scale of the x axis for values of any type; return where each of them is."""
    if all(map(_is_number, values)):
        if min(values) > 0 and max(values) > 100 * min(values):
            ax.set_xscale("log")
        return values
    # Numbers come first, in their order; what is no number follows, in the order of its text.
    texts = {str(value): value for value in values}
    order = sorted(
        texts, key=lambda text: (0, texts[text]) if _is_number(texts[text]) else (1, text)
    )
    labels = [text[:20] for text in order]
    rotation = 30 if len("".join(labels)) > 40 else 0
    ax.set_xticks(range(len(labels)), labels, rotation=rotation, parse_math=False)
    return [order.index(str(value)) for value in values]


def _is_number(value):
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def comparison(scores, gains, metric, title):
    """Draw the metric of the challenger and of the champion, and the gain on the resamples.

    Parameters
    ----------
    scores : dict
        The metric of the `challenger` and of the `champion`, and the ends `gain_low` and
        `gain_high` of the gain's 95 % interval.
    gains : ndarray, shape (n_resamples,)
        The gain on each resample, positive where the challenger is better.
    metric : str
        The name of the metric.
    title : str
        Which two are compared.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    bars = left.bar(["challenger", "champion"], [scores["challenger"], scores["champion"]])
    left.bar_label(bars, fmt="%.4f")
    better = "lower" if metric in ASCENDING else "higher"
    left.set_ylabel(f"{metric} on the unseen {NOUN}s, {better} is better")
    right.hist(gains, bins=40 if np.ptp(gains) > 1e-9 else 1, color="tab:gray")
    right.axvline(0, color="black", label="no gain")
    right.axvspan(
        scores["gain_low"], scores["gain_high"], alpha=0.2, zorder=0, label="95 % interval"
    )
    right.set(xlabel=f"gain in {metric}: right of 0, the challenger is better", ylabel="resamples")
    right.legend()
    figure.suptitle(title)
    return figure
