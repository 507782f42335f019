"""Stub."""

from matplotlib.figure import Figure

from wine.dataset import NOUN


def predictions(histogram, name, n_rows):
    """Draw the histogram of the last output of a scoring.

    Parameters
    ----------
    histogram : wine.scoring.counts.Histogram
        Of the output.
    name : str
        The output's name.
    n_rows : int
        The number of rows that were scored.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(6.4, 4.8), dpi=150, layout="constrained")
    ax = figure.subplots()
    ax.stairs(histogram.counts, histogram.edges, fill=True)
    ax.set(xlabel=name, ylabel="rows", title=f"{n_rows:,} rows scored")
    return figure


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
    names = [name.removeprefix("psi_") for name in metrics if name.startswith("psi_")]
    figure = Figure(figsize=(9.6, 4.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(names, [metrics[f"psi_{name}"] for name in names])
    left.axvline(limit, color="black", linestyle="--", label="counts as shifted")
    left.set(xlabel="population stability index", title=f"{n_rows:,} rows")
    left.legend()
    right.barh(names, [100 * metrics[f"outside_{name}"] for name in names])
    right.set(xlabel=f"% outside the range of the training {NOUN}s")
    return figure
