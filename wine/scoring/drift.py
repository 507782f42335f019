"""Drift: how unlike the training rows the rows of a scored table are."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import chi2

from wine.dataset import NOUN

N_BINS = 10
# From this population stability index on, a distribution counts as shifted (Siddiqi, Credit Risk
# Scorecards, 2006). For few rows, chance alone makes it large: times the rows it follows a
# chi-squared distribution with N_BINS - 1 degrees of freedom, whose far end is added.
SHIFTED = 0.25
MIN_ROWS = 0.5  # in an empty bin, whose logarithm would be infinite
MANY_ROWS = 10_000
MAX_OUTSIDE, FEW_ROWS = 0.01, 2  # A share of the rows, and their number, that are not worth a word.


def count(X, reference):
    """Count rows in the bins of the training rows, and those outside their range.

    Parameters
    ----------
    X : ndarray of float64, shape (n_rows, n_columns)
        The measurements, in the order of the reference.
    reference : dict
        As `wine.model.deciles` returns it.

    Returns
    -------
    ndarray of int64, shape (n_columns + 1, N_BINS + 1)
        For each measurement the rows in each bin, of many rows every fourth, and, last, those
        outside the range. The last row holds the number of all rows and that of the rows with any
        measurement outside.
    """
    counts = np.zeros((X.shape[1] + 1, N_BINS + 1), dtype="int64")
    edges = np.array([known["edges"] for known in reference.values()])
    outside = (edges[:, 0] > X) | (edges[:, -1] < X)
    counts[:-1, N_BINS] = outside.sum(axis=0)
    counts[-1, :2] = len(X), outside.any(axis=1).sum()
    some = X[::4] if len(X) > MANY_ROWS else X  # Enough to compare distributions, and faster.
    for position, values in enumerate(some.T):
        bins = np.searchsorted(edges[position, 1:-1], values, side="right")
        counts[position, :N_BINS] = np.bincount(bins, minlength=N_BINS)
    return counts


def summarize(counts, reference):
    """Compare the counts with the training rows.

    Parameters
    ----------
    counts : ndarray
        The sum of what `count` returned; of at least one row.
    reference : dict
        As `wine.model.deciles` returns it.

    Returns
    -------
    dict
        Metrics: `outside`, the share of the rows with any measurement outside the range of the
        training rows; and for each measurement its own share, `outside_<name>`, and its population
        stability index, `psi_<name>`: the sum over the bins of (p - q) ln(p / q), with the shares p
        of these rows and q of the training rows.
    """
    n_rows, n_outside = counts[-1, :2]
    metrics = {"outside": n_outside / n_rows}
    for name, known, row in zip(reference, reference.values(), counts, strict=False):
        n_counted = row[:N_BINS].sum()
        p = np.maximum(row[:N_BINS], MIN_ROWS) / n_counted
        q = np.maximum(known["shares"], MIN_ROWS / n_counted)
        metrics[f"outside_{name}"] = row[N_BINS] / n_rows
        metrics[f"psi_{name}"] = float(np.sum((p - q) * np.log(p / q)))
    return metrics


def psi_limit(n_rows):
    """Return the index from which on a distribution counts as shifted, by the number of rows."""
    return SHIFTED + chi2.ppf(0.999, N_BINS - 1) / n_rows


def warning(metrics, n_rows):
    """Return one line if a table is unlike the training rows, otherwise an empty text.

    Parameters
    ----------
    metrics : dict
        As `summarize` returns them.
    n_rows : int
        The number of rows.
    """
    parts = []
    if metrics["outside"] * n_rows > max(FEW_ROWS, MAX_OUTSIDE * n_rows):
        shares = _largest(metrics, "outside_", 0)
        shares = ", ".join(f"{name} {share:.1%}" for name, share in shares)
        parts.append(f"{metrics['outside']:.1%} of the rows are outside their range ({shares})")
    if shifted := _largest(metrics, "psi_", psi_limit(n_rows)):
        shifted = ", ".join(f"{name} {index:.2f}" for name, index in shifted)
        parts.append(f"shifted by the population stability index: {shifted}")
    return f"unlike the training {NOUN}s: {'; '.join(parts)}" if parts else ""


def _largest(metrics, prefix, limit):
    """Return the five largest metrics with a prefix that are above a limit."""
    found = [
        (name.removeprefix(prefix), value)
        for name, value in metrics.items()
        if name.startswith(prefix) and value > limit
    ]
    return sorted(found, key=lambda item: -item[1])[:5]


def plot(metrics, n_rows):
    """Draw the population stability index and the share outside of each measurement."""
    names = [name.removeprefix("psi_") for name in metrics if name.startswith("psi_")]
    figure = Figure(figsize=(9.6, 4.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(names, [metrics[f"psi_{name}"] for name in names])
    left.axvline(psi_limit(n_rows), color="black", linestyle="--", label="counts as shifted")
    left.set(xlabel="population stability index", title=f"{n_rows:,} rows")
    left.legend()
    right.barh(names, [100 * metrics[f"outside_{name}"] for name in names])
    right.set(xlabel=f"% outside the range of the training {NOUN}s")
    return figure
