"""Figures: what a sweep, a promotion and a scoring show."""

import numpy as np
import pandas as pd

from wine.dataset import NOUN, TARGET_SCALE
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
        x = pd.Series(_scale(ax, table[name].tolist()), table.index)
        ax.errorbar(x, scores, spreads, fmt="o", alpha=0.4, label="drawn")
        if 0 in x:
            ax.plot(x[0], scores[0], "D", color="black", label="defaults")
        ax.plot(x[best], scores[best], "r*", markersize=15, zorder=3, label="best")
        ax.set_xlabel(name)
    better = "lower" if metric.ascending else "higher"
    axes[0].set_ylabel(f"{metric.name} ({better} is better),\nmean and spread of {FOLDS} folds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    params = ", ".join(f"{name}={table.loc[best, name]}" for name in names)
    defaults = f"; {scores[0]:.4f} with the defaults" if 0 in scores else ""
    title = f"best {metric.name} {scores[best]:.4f} with {params}{defaults}"
    figure.suptitle(title, parse_math=False)
    return figure


def _scale(ax, values):
    """Choose the scale of the x axis for values of any type; return where each of them is."""
    if pd.Series(values).dtype.kind in "iuf" and not pd.isna(values).any():
        if min(values) > 0 and max(values) > 100 * min(values):
            ax.set_xscale("log")
        return values
    texts = sorted({*map(str, values)}, key=lambda text: (len(text), text))  # 8, 12, 20, None
    ax.set_xticks(range(len(texts)), [text[:20] for text in texts], rotation=30, parse_math=False)
    return [texts.index(str(value)) for value in values]


def comparison(scores, gains, name, title):
    """Draw the gain of a challenger over a champion on the resamples.

    Parameters
    ----------
    scores : dict
        The ends `gain_low` and `gain_high` of the gain's 95 % interval.
    gains : ndarray, shape (n_resamples,)
        The gain on each resample, positive where the challenger is better.
    name : str
        Of the metric.
    title : str
        What came of it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure()
    ax = figure.subplots()
    ax.hist(gains, bins=40 if np.ptp(gains) > 1e-9 else 1, color="tab:gray")
    ax.axvline(0, color="black", label="no gain")
    ax.axvspan(scores["gain_low"], scores["gain_high"], alpha=0.2, zorder=0, label="95 % interval")
    ax.set(xlabel=f"gain in {name}: right of 0, the challenger is better", ylabel="resamples")
    ax.set_title(title, wrap=True)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
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
    label = "prediction" if len(outputs) > 2 else outputs[-1]
    if len(outputs) > 2:
        ax.bar(range(len(values)), rows)
        ax.set_xticks(range(len(values)), values, parse_math=False)
    else:
        ax.hist(values, min(40, len(values)), weights=rows)
    scale = f", {TARGET_SCALE}" if outputs == ["prediction"] and TARGET_SCALE else ""
    ax.set(xlabel=label + scale, ylabel="rows", title=f"{counts.scored:,} scored")
    return figure


def drift(found):
    """Draw the stability index and the share outside of each column of an `extras.drift.Drift`."""
    columns, y = found.columns, range(len(found.columns))
    is_shifted = columns["psi"] > columns["limit"]
    figure = new_figure(9.6, max(4.8, 1.6 + 0.25 * len(y)))
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(y, columns["psi"], color=np.where(is_shifted, "tab:orange", "tab:blue"))
    left.plot(columns["limit"], y, "k|", markersize=12, label="counts as shifted from here on")
    left.set(xlabel="population stability index", title=f"{is_shifted.sum()} of {len(y)} shifted")
    left.set_yticks(y, columns.index, parse_math=False)
    right.barh(y, 100 * columns["outside"])
    outside = f"{found.outside:.1%} of the rows with a value outside"
    right.set(xlabel=f"% outside the range of the training {NOUN}s", title=outside)
    figure.suptitle(f"{found.n_rows:,} scored beside the training {NOUN}s")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left")
    return figure
