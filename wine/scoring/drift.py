"""Drift: how unlike the training rows the rows of a scored table are."""

import numpy as np
from scipy.stats import binom, ncx2

from wine.dataset import NOUN
from wine.model import count_bins, count_categories

N_BINS = 10
# From this population stability index on, a distribution counts as shifted (Siddiqi, Credit Risk
# Scorecards, 2006), and from this share of rows outside their range on, a table does.
SHIFTED, MAX_OUTSIDE = 0.25, 0.01
FALSE_ALARMS = 0.01  # the most that chance alone may raise among tables at these two borders
MIN_ROWS = 0.5  # in an empty bin, whose logarithm would be infinite


def count(X, reference):
    """Count rows in the bins of the training rows, and those outside their range.

    Parameters
    ----------
    X : DataFrame, shape (n_rows, n_columns)
        The columns of the reference.
    reference : dict
        As `wine.model.deciles` returns it.

    Returns
    -------
    ndarray of int64
        The number of rows and that of the rows with any value outside; and for each column the
        rows in each bin, or of each category, and those outside: below or above the range, or of
        a category that training has not seen. Missing values are in no bin and not outside.
    """
    any_outside, counts = np.zeros(len(X), dtype=bool), []
    for name, known in reference.items():
        if "edges" in known:
            values, edges = X[name].to_numpy(), known["edges"]
            outside = (values < edges[0]) | (values > edges[-1])
            counts += [*count_bins(values[~np.isnan(values)], edges)]
        else:
            outside = (X[name].notna() & ~X[name].isin(known["categories"])).to_numpy()
            counts += [*count_categories(X[name], known["categories"])]
        counts.append(np.count_nonzero(outside))
        any_outside |= outside
    return np.array([len(X), np.count_nonzero(any_outside), *counts], dtype="int64")


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
        Metrics: `outside`, the share of the rows with any value outside what training has seen;
        and for each column its own share, `outside_<name>`, and its population stability index,
        `psi_<name>`: the sum over the bins of (p - q) ln(p / q), with the shares p of these rows
        and q of the training rows.
    """
    n_rows, n_outside, *rest = counts.tolist()
    metrics = {"outside": n_outside / n_rows}
    for name, known in reference.items():
        n_bins = len(known["shares"])
        bins, outside, rest = np.array(rest[:n_bins]), rest[n_bins], rest[n_bins + 1 :]
        n_known = max(bins.sum(), 1)
        p = np.maximum(bins, MIN_ROWS) / n_known
        q = np.maximum(known["shares"], MIN_ROWS / n_known)
        metrics[f"outside_{name}"] = outside / n_rows
        metrics[f"psi_{name}"] = float(np.sum((p - q) * np.log(p / q)))
    return metrics


def unknown_texts(metrics, reference, n_rows):
    """Return one line about the texts that training has not seen, otherwise an empty text.

    Parameters
    ----------
    metrics : dict
        As `summarize` returns them.
    reference : dict
        As `wine.model.deciles` returns it.
    n_rows : int
        The number of rows.
    """
    texts = [name for name, known in reference.items() if "categories" in known]
    found = {name: round(metrics[f"outside_{name}"] * n_rows) for name in texts}
    parts = [f"{name} in {n} of {n_rows} rows" for name, n in found.items() if n]
    return f"has texts that training has not seen: {', '.join(parts)}" if parts else ""


def psi_limit(metrics, n_rows):
    """Return the index above which the rows prove that a distribution is shifted.

    Chance alone makes the index of few rows large. Its product with their number follows a
    chi-squared distribution with `N_BINS` - 1 degrees of freedom where there is no shift (B.
    Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University,
    2018); with a shift, a noncentral one, whose noncentrality is the rows' number times the index
    of all rows there could be. The limit is the far end of that of an index of `SHIFTED`, so far
    that one in a hundred such tables passes it in any of its columns (Bonferroni's correction).
    That the training rows are a sample, too, adds little where they are some hundred or more.

    Parameters
    ----------
    metrics : dict
        As `summarize` returns them.
    n_rows : int
        The number of rows.

    Returns
    -------
    float
    """
    n_columns = sum(name.startswith("psi_") for name in metrics)
    return ncx2.isf(FALSE_ALARMS / n_columns, N_BINS - 1, n_rows * SHIFTED) / n_rows


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
    # Among rows that are outside with this probability, their number has a binomial distribution.
    if round(metrics["outside"] * n_rows) > binom.isf(FALSE_ALARMS, n_rows, MAX_OUTSIDE):
        shares = _largest(metrics, "outside_", 0)
        shares = ", ".join(f"{name} {share:.1%}" for name, share in shares)
        parts.append(f"{metrics['outside']:.1%} of the rows are outside their range ({shares})")
    if shifted := _largest(metrics, "psi_", psi_limit(metrics, n_rows)):
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
