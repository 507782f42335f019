"""Every figure that is logged."""

import math
import numbers

from matplotlib.figure import Figure


def candidates(params, scores, spreads, ylabel, defaults=None):
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

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(params[0])
    figure = Figure(figsize=(4.8 * len(names), 4.2), layout="constrained")
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes, names, strict=True):
        x = _scale(ax, [each[name] for each in params])
        ax.errorbar(x, scores, spreads, fmt="o", alpha=0.4, label="drawn")
        if defaults is not None:
            ax.plot(x[defaults], scores[defaults], "D", color="black", label="defaults")
        ax.set_xlabel(name)
    axes[0].set_ylabel(ylabel)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
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
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    bars = left.bar(["challenger", "champion"], [scores["challenger"], scores["champion"]])
    left.bar_label(bars, fmt="%.4f")
    left.set_ylabel(f"{metric} (unseen)")
    right.hist(gains, bins=40, color="tab:gray")
    right.axvline(0, color="black", label="no gain")
    right.axvspan(
        scores["gain_low"], scores["gain_high"], alpha=0.2, zorder=0, label="95 % interval"
    )
    right.set(xlabel=f"gain in {metric}: right of 0, the challenger is better", ylabel="resamples")
    right.legend()
    figure.suptitle(title)
    return figure
