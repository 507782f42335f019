"""Figures of the extras: what they show of a sweep, a promotion and a scoring."""

from collections import Counter
from types import SimpleNamespace

from sklearn.linear_model import Ridge

import numpy as np
import pandas as pd
import pytest

from extras import drift, figures
from wine import evaluation

RMSE = evaluation.main_metric(Ridge())


def table(scores, **params):
    """Return a table of candidates."""
    columns = {**params, "cv_rmse": scores, "cv_rmse_std": [0.03] * len(scores)}
    return pd.DataFrame({name: pd.Series(each, dtype=object) for name, each in columns.items()})


def axis_of(values):
    """Return the axis of a figure of candidates that have these values of one parameter."""
    found = table([0.5] * len(values), x=values)
    return figures.candidates(found, ["x"], RMSE, 0).axes[0]


@pytest.mark.parametrize(
    ("values", "labels"),
    [([None, 20, 8, 20], ["8", "20", "None"]), ([(1, 2), [3], "$x$"], ["$x$", "[3]", "(1, 2)"])],
)
def test_what_is_no_number_gets_an_axis_of_texts(values, labels):
    assert [label.get_text() for label in axis_of(values).get_xticklabels()] == labels


def test_numbers_get_an_axis_of_numbers_and_a_logarithmic_one_where_they_are_far_apart():
    assert axis_of([1, 5, 10]).get_xscale() == "linear"
    assert axis_of([-1, 5, 1000]).get_xscale() == "linear"
    assert axis_of([0.001, 0.1, 10]).get_xscale() == "log"


def test_best_candidate_is_marked_and_named():
    found = table([0.8139, 0.7592], alpha=[1.0, 0.01], l1_ratio=[0.1, 0.5])
    figure = figures.candidates(found, ["alpha", "l1_ratio"], RMSE, 1)
    best = "best rmse 0.7592 with alpha=0.01"
    assert figure.get_suptitle() == f"{best}, l1_ratio=0.5; 0.8139 with the defaults"
    for ax, value in zip(figure.axes, (0.01, 0.5), strict=True):
        (star,) = [line for line in ax.lines if line.get_marker() == "*"]
        assert (star.get_xdata(), star.get_ydata()) == ([value], [0.7592])
    without_defaults = figures.candidates(found.loc[[1]], ["alpha"], RMSE, 1)
    assert without_defaults.get_suptitle() == best


@pytest.mark.parametrize(("n_rows", "most"), [(1, 1), (20, 20), (10_000, 40)])
def test_few_scored_rows_get_few_bins_and_each_row_is_counted(n_rows, most):
    values = np.random.default_rng(0).normal(6, 0.5, n_rows).round(2)
    counts = SimpleNamespace(scored=n_rows, predictions=Counter(values.tolist()))
    (ax,) = figures.predictions(counts, ["prediction"]).axes
    assert ax.get_xlabel() == "prediction, from 0 to 10"
    assert len(ax.patches) <= most
    assert sum(bar.get_height() for bar in ax.patches) == n_rows


def test_shifted_columns_are_counted_and_coloured():
    columns = {"outside": [0.01, 0.02], "psi": [0.3, 0.5], "limit": [0.4, 0.4]}
    columns = pd.DataFrame(columns, ["pH", "alcohol"])
    left, right = figures.drift(drift.Drift(20, 0.05, columns)).axes
    assert left.get_title() == "1 of 2 shifted"
    assert right.get_title() == "5.0% of the rows with a value outside"
    assert left.patches[0].get_facecolor() != left.patches[1].get_facecolor()
