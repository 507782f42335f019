"""Drift: how unlike the training rows the rows of a scored table are."""

import re
from collections import namedtuple

import numpy as np
import pandas as pd
from scipy.stats import binom, ncx2

from wine import dataset
from wine.model import count_bins, count_categories

# From this population stability index on, a distribution counts as shifted (Siddiqi, Credit Risk
# Scorecards, 2006), and from this share of rows outside their range on, a table does.
SHIFTED, MAX_OUTSIDE = 0.25, 0.01
FALSE_ALARMS = 0.01  # the most that chance alone may raise among tables at these two borders
MIN_ROWS = 0.5  # in an empty bin, whose logarithm would be infinite
NOTHING = f"shows nothing unlike the training {dataset.NOUN}s; few rows show large differences only"


# How unlike the training rows a table is. outside: the share of its rows with any value outside
# what training has seen. columns: a DataFrame, indexed by the names of the columns, with `outside`,
# the share of the rows with such a value in this column; `psi`, the population stability index; and
# `limit`, the index above which it is no chance that the column is shifted.
Drift = namedtuple("Drift", "n_rows outside columns")


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


def compare(counts, reference):
    """Compare the sum of what `count` has returned with the training rows.

    The population stability index of a column is the sum over its bins of (p - q) ln(p / q), with
    the shares p of these rows and q of the training rows. Chance alone makes the index of few rows
    large. Its product with the number of known values follows a chi-squared distribution with one
    degree of freedom less than there are bins where there is no shift (B. Yurdakul, Statistical
    Properties of Population Stability Index, Western Michigan University, 2018); with a shift, a
    noncentral one, whose noncentrality is that number times the index of all rows there could be.
    The limit is the far end of that of an index of `SHIFTED`, so far that one in a hundred such
    tables passes it in any of its columns (Bonferroni's correction). That the training rows are a
    sample, too, adds little where they are some hundred or more.

    Parameters
    ----------
    counts : ndarray
        Of at least one row.
    reference : dict
        As `wine.model.deciles` returns it.

    Returns
    -------
    Drift
    """
    n_rows, n_outside, *rest = counts.tolist()
    columns = {}
    for name, known in reference.items():
        n_bins = len(known["shares"])
        bins, outside, rest = np.array(rest[:n_bins]), rest[n_bins], rest[n_bins + 1 :]
        n_known = max(bins.sum(), 1)
        p = np.maximum(bins, MIN_ROWS) / n_known
        q = np.maximum(known["shares"], MIN_ROWS / n_known)
        psi = np.sum((p - q) * np.log(p / q))
        far = ncx2.isf(FALSE_ALARMS / len(reference), max(n_bins - 1, 1), n_known * SHIFTED)
        columns[name] = {"outside": outside / n_rows, "psi": psi, "limit": far / n_known}
    return Drift(n_rows, n_outside / n_rows, pd.DataFrame.from_dict(columns, orient="index"))


def metrics(found):
    """Return a Drift as metrics; a sign that MLflow does not allow in a name becomes its code.

    Examples
    --------
    >>> columns = pd.DataFrame({"outside": [0.1, 0.2], "psi": [0.3, 0.4]}, ["pH (1)", "pH [1]"])
    >>> [*metrics(Drift(10, 0.2, columns))]
    ['outside', 'outside_pH _281_29', 'psi_pH _281_29', 'outside_pH _5b1_5d', 'psi_pH _5b1_5d']
    """
    named = {"outside": found.outside}
    for column, values in found.columns.iterrows():
        name = re.sub(r"[^\w. -]", lambda sign: f"_{ord(sign[0]):x}", column)[:200]
        named |= {f"{key}_{name}": values[key] for key in ("outside", "psi")}
    return named


def warnings(found, reference):
    """Yield what is unlike the training rows, each as the rest of a sentence on the table."""
    (n_rows, outside, columns), unlike = found, []
    # Among rows that are outside with this probability, their number has a binomial distribution.
    if round(outside * n_rows) > binom.isf(FALSE_ALARMS, n_rows, MAX_OUTSIDE):
        largest = _largest(columns["outside"], "{} {:.1%}")
        unlike.append(f"{outside:.1%} of the rows are outside their range ({largest})")
    if shifted := _largest(columns["psi"][columns["psi"] > columns["limit"]], "{} {:.2f}"):
        unlike.append(f"shifted by the population stability index: {shifted}")
    if unlike:
        yield f"is unlike the training {dataset.NOUN}s: {'; '.join(unlike)}"
    texts = columns["outside"][["categories" in known for known in reference.values()]]
    if unknown := _largest(texts * n_rows, f"{{}} in {{:.0f}} of {dataset.count(n_rows)}"):
        yield f"has texts that training has not seen: {unknown}"


def _largest(values, form):
    """Return the five largest values that are not zero, and whose they are, in words."""
    return ", ".join(form.format(*item) for item in values[values > 0].nlargest(5).items())
