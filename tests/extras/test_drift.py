"""A table unlike the training wines is noticed, and one like them is not."""

import mlflow
import numpy as np
import pandas as pd
import pytest

from extras import drift
from helpers import PROJECT, tracking_in
from wine import dataset, model

WHITE = pd.read_csv(PROJECT / "wine-quality.csv").drop(columns="quality")
# The means of the red wines: Cortez et al., Decision Support Systems 47:547-553, 2009, table 1.
RED = [8.3, 0.5, 0.3, 2.5, 0.08, 14, 46, 0.996, 3.3, 0.7, 10.4]
TENTHS = {"edges": [*range(11)], "shares": [0.1] * 10}


def red_wines(n_rows, seed=0):
    """Return rows like those of red wines."""
    noise = np.random.default_rng(seed).normal(1, 0.1, (n_rows, len(RED)))
    noise[:, dataset.FEATURES.index("density")] = 1
    return pd.DataFrame(RED * noise, columns=dataset.FEATURES)


@pytest.fixture(scope="module")
def split():
    return dataset.split_table(dataset.load(dataset.DATA))


@pytest.fixture(scope="module")
def reference(split):
    return model.deciles(split.X_train)


def compare(table, reference):
    return drift.compare(drift.count(table, reference), reference)


def warnings_of(table, reference):
    return [*drift.warnings(compare(table, reference), reference)]


def psi(p, q):
    return np.sum((p - q) * np.log(p / q))


@pytest.mark.parametrize("n_rows", [20, 120, 1000, 5000])
def test_fewer_than_one_random_sample_in_a_hundred_is_unlike_the_training_wines(
    split, reference, n_rows
):
    samples = (split.X_test.sample(n_rows, replace=True, random_state=n) for n in range(100))
    assert [warnings_of(sample, reference) for sample in samples] == [[]] * 100


@pytest.mark.parametrize("missing", [0, 0.5, 0.9, 0.99])
def test_chance_raises_no_alarm_in_columns_with_missing_values_or_of_any_number_of_texts(missing):
    """Nothing has changed, so that one table in a hundred may be said to be unlike at most."""
    draw = np.random.default_rng(0)

    def sample(n_rows):
        table = {f"x{n}": draw.normal(size=n_rows) for n in range(5)}
        table |= {f"t{n}": draw.integers(0, n, n_rows).astype(str) for n in (2, 20)}
        table = pd.DataFrame(table)
        return table.where(draw.random(table.shape) >= missing)

    reference = model.deciles(sample(20_000))
    alarms = [warnings_of(sample(1000), reference) for _ in range(300)]
    unlike = [said for said in alarms if any("stability" in words for words in said)]
    assert len(unlike) <= 3
    shifted = sample(4000)
    shifted["x0"] += 3
    assert "x0" in warnings_of(shifted, reference)[0]


@pytest.mark.parametrize("n_rows", [50, 200, 1599])
def test_red_wines_are_unlike_the_training_wines(reference, n_rows):
    for seed in range(20):
        (warning,) = warnings_of(red_wines(n_rows, seed), reference)
        assert warning.startswith("is unlike the training wines: ")
        assert "total sulfur dioxide" in warning


@pytest.mark.parametrize(("n_outside", "is_unlike"), [(3, False), (4, True)])
def test_rows_outside_are_said_where_they_are_more_than_one_in_a_hundred(n_outside, is_unlike):
    """Four or more of 80 rows are outside once in 115 times, if each is with probability 0.01."""
    table = pd.DataFrame({"a": [20.0] * n_outside + [n % 10 + 0.5 for n in range(80 - n_outside)]})
    assert bool(warnings_of(table, {"a": TENTHS})) == is_unlike


def test_stability_index_and_share_outside_are_those_of_the_formula():
    values = np.repeat(np.arange(10) + 0.5, [20, *[10] * 8, 0])
    rows = pd.DataFrame({"a": [*values, *[np.nan] * 900]})  # Missing values do not count.
    found = compare(rows, {"a": TENTHS}).columns.loc["a"]
    assert found["psi"] == pytest.approx(psi(np.array([0.2, *[0.1] * 8, 0.005]), 0.1))
    assert compare(pd.DataFrame({"a": [-1.0, 0.5, 11.0, 10.0]}), {"a": TENTHS}).outside == 0.5


def test_column_without_a_known_value_is_not_shifted():
    none = compare(pd.DataFrame({"a": [np.nan] * 9}), {"a": TENTHS})
    assert none.columns.loc["a", "psi"] == 0


def test_categories_count_by_themselves():
    known = model.deciles(pd.DataFrame({"a": ["x", "x", "y", np.nan], "b": [1.0, np.nan, 2, 3]}))
    assert known["a"] == {"categories": ["x", "y"], "shares": [0.666667, 0.333333]}
    table = pd.DataFrame({"a": ["x", "y", "z", np.nan], "b": [np.nan, 2.0, 9.0, 3.0]})
    found = compare(table, known)
    assert (found.outside, *found.columns["outside"]) == (0.25, 0.25, 0.25)
    assert found.columns.loc["a", "psi"] == pytest.approx(
        psi(np.array([0.5, 0.5]), np.array([0.666667, 0.333333]))
    )
    said = "has texts that training has not seen: a in 1 of 4 wines"
    assert warnings_of(table, known)[-1] == said
    assert warnings_of(table[2:3], known)[-1].endswith("a in 1 of 1 wine")


def test_each_column_has_metrics_of_its_own_in_mlflow(new_store):
    names = ["freq;", "freq!", "freq_", "freq_ 2", "ação", "a//b", "x" * 300, ""]
    columns = pd.DataFrame({"outside": 0.0, "psi": np.arange(8.0)}, names)
    with tracking_in(new_store), mlflow.start_run() as run:
        mlflow.log_metrics(drift.metrics(drift.Drift(10, 0.0, columns)))
        logged = mlflow.get_run(run.info.run_id).data.metrics
    indexes = {name: value for name, value in logged.items() if name.startswith("psi_")}
    assert sorted(indexes.values()) == [*range(8)]
    assert (indexes["psi_ação"], indexes["psi_freq_"]) == (4, 2)
