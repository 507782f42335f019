"""Figures: what a sweep, a promotion and a scoring show."""

import math
import numbers

import numpy as np
from matplotlib.ticker import MaxNLocator

from wine.dataset import NOUN
from wine.evaluation import FOLDS
from wine.plots import new_figure


def candidates(table, names, metric, best):
    """Draw the score of each candidate of a sweep against each parameter.

    Parameters
    ----------
    table : DataFrame, indexed by the numbers of the candidates, of which 0 are the defaults
        The parameters, which may be of any type: numbers get an axis of numbers, anything else an
        axis of texts. `cv_<metric>` and `cv_<metric>_std` are the scores and their spread.
    names : list of str
        The parameters to draw.
    metric : wine.evaluation.Metric
        The metric of the scores.
    best : int
        The number of the best candidate.

    Returns
    -------
    matplotlib.figure.Figure
    """
    scores, spreads = (table[f"cv_{metric.name}{end}"].astype(float) for end in ("", "_std"))
    figure = new_figure(4.8 * len(names), 4.2, dpi=100)
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes, names, strict=True):
        x = dict(zip(table.index, _scale(ax, table[name].tolist()), strict=True))
        ax.errorbar([*x.values()], scores, spreads, fmt="o", alpha=0.4, label="drawn")
        if 0 in x:
            ax.plot(x[0], scores[0], "D", color="black", label="defaults")
        ax.plot(x[best], scores[best], "r*", markersize=15, zorder=3, label="best")
        ax.set_xlabel(name)
    better = "lower" if metric.ascending else "higher"
    label = f"{metric.name} ({better} is better),\nmean and spread of {FOLDS} folds"
    axes[0].set_ylabel(label)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    title = ", ".join(f"{name}={table.loc[best, name]}" for name in names)
    title = f"best {title}: {scores[best]:.4f}"
    title += f"; defaults {scores[0]:.4f}" if 0 in scores else ""
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
    metric : wine.evaluation.Metric
        The metric of the scores.
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
    better = "lower" if metric.ascending else "higher"
    left.set_ylabel(f"{metric.name} on the unseen {NOUN}s, {better} is better")
    right.hist(gains, bins=40 if np.ptp(gains) > 1e-9 else 1, color="tab:gray")
    right.axvline(0, color="black", label="no gain")
    interval = scores["gain_low"], scores["gain_high"]
    right.axvspan(*interval, alpha=0.2, zorder=0, label="95 % interval")
    right.set_xlabel(f"gain in {metric.name}: right of 0, the challenger is better")
    right.set_ylabel("resamples")
    right.legend()
    figure.suptitle(title)
    return figure


def predictions(counts, outputs):
    """Draw the histogram of the last output of a scoring, or how often each class was predicted.

    Parameters
    ----------
    counts : extras.scoring.Counts
        Of at least one row that was scored.
    outputs : list of str
        The columns that were added.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure()
    ax = figure.subplots()
    values, rows = zip(*sorted(counts.predictions.items()), strict=True)
    if len(outputs) > 2:
        ax.bar(range(len(values)), rows)
        ax.set_xticks(range(len(values)), values, parse_math=False)
    else:
        # The values have three digits: each bin holds as many of them as the others.
        step = 10.0 ** (math.floor(math.log10(max(-values[0], values[-1], 1e-300))) - 2)
        n_steps = round((values[-1] - values[0]) / step) + 1
        width = math.ceil(n_steps / min(40, max(5, round(2 * math.sqrt(counts.scored)))))
        edges = values[0] + step * (width * np.arange(math.ceil(n_steps / width) + 1) - 0.5)
        ax.hist(values, edges, weights=rows)
    ax.yaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    shown = "prediction" if len(outputs) > 2 else outputs[-1]
    ax.set(xlabel=shown, ylabel="rows", title=f"{_count(counts.scored)} scored")
    return figure


def _count(n_rows):
    return f"{n_rows:,} row{'s' * (n_rows != 1)}"


def drift(found):
    """Draw the population stability index and the share outside of each column.

    Parameters
    ----------
    found : extras.drift.Drift
        Of at least one row that was scored.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns, names = found.columns, [*found.columns.index]
    shifted = [*columns.index[columns["psi"] > columns["limit"]]]
    figure = new_figure(9.6, max(4.8, 1.6 + 0.25 * len(names)))
    left, right = figure.subplots(1, 2, sharey=True)
    colors = ["tab:orange" if name in shifted else "tab:blue" for name in names]
    y = range(len(names))
    left.barh(y, columns["psi"], color=colors)
    left.plot(columns["limit"], y, "k|", markersize=12, label="counts as shifted from here on")
    left.set_xlabel("population stability index")
    left.set_yticks(y, names, parse_math=False)
    right.barh(y, 100 * columns["outside"])
    outside = f"{found.outside:.1%} of the rows with a value outside"
    right.set(xlabel=f"% outside the range of the training {NOUN}s", title=outside)
    others = f" and {len(shifted) - 3} more" if len(shifted) > 3 else ""
    verdict = f"unlike the training {NOUN}s in {', '.join(shifted[:3])}{others}"
    verdict = verdict if shifted else f"not shown to be unlike the training {NOUN}s"
    figure.suptitle(f"{_count(found.n_rows)}, {verdict}", parse_math=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left")
    return figure
