"""A table unlike the training wines is noticed, and one like them is not."""

import numpy as np
import pandas as pd
import pytest

from helpers import PROJECT, client_of, runs_of, tracking_in
from wine import dataset, model
from wine.scoring import drift

WHITE = pd.read_csv(PROJECT / "wine-quality.csv").drop(columns="quality")
# The means of the red wines: Cortez et al., Decision Support Systems 47:547-553, 2009, table 1.
RED = [8.3, 0.5, 0.3, 2.5, 0.08, 14, 46, 0.996, 3.3, 0.7, 10.4]


def red_wines(n_rows, seed=0):
    noise = np.random.default_rng(seed).normal(1, 0.1, (n_rows, len(RED)))
    noise[:, dataset.FEATURES.index("density")] = 1
    return pd.DataFrame(RED * noise, columns=dataset.FEATURES)


@pytest.fixture(scope="module")
def split():
    return dataset.split(dataset.load(dataset.DATA))


@pytest.fixture(scope="module")
def reference(split):
    return model.deciles(split.X_train)


def warning_of(table, reference):
    metrics = drift.summarize(drift.count(table, reference), reference)
    return drift.warning(metrics, len(table))


@pytest.mark.parametrize("n_rows", [20, 50, 120, 299, 1000, 5000])
def test_fewer_than_one_random_sample_in_a_hundred_is_unlike_the_training_wines(
    split, reference, n_rows
):
    samples = (split.X_test.sample(n_rows, replace=True, random_state=n) for n in range(100))
    assert [warning_of(sample, reference) for sample in samples] == [""] * 100


@pytest.mark.parametrize("n_rows", [20, 30, 50, 75, 100, 120, 150, 200, 1000, 4898])
def test_first_wines_are_like_the_training_wines(reference, n_rows):
    """They are not drawn at random: neighbours in the table are alike."""
    assert warning_of(WHITE.head(n_rows), reference) == ""


@pytest.mark.parametrize("n_rows", [50, 60, 100, 200, 1599])
def test_red_wines_are_unlike_the_training_wines(reference, n_rows):
    for seed in range(20):
        warning = warning_of(red_wines(n_rows, seed), reference)
        assert warning.startswith("unlike the training wines: ")
        assert "total sulfur dioxide" in warning


@pytest.mark.parametrize(("n_outside", "is_unlike"), [(3, False), (4, True)])
def test_rows_outside_are_said_where_they_are_more_than_one_in_a_hundred(n_outside, is_unlike):
    """Four or more of 80 rows are outside once in 115 times, if each is with probability 0.01."""
    metrics = {"outside": n_outside / 80, "outside_a": n_outside / 80, "psi_a": 0.0}
    assert bool(drift.warning(metrics, 80)) == is_unlike


def test_stability_index_of_a_known_shift_is_that_of_the_formula():
    reference = {"a": {"edges": list(range(11)), "shares": [0.1] * 10}}
    rows = np.repeat(np.arange(10) + 0.5, [20, *[10] * 8, 0])
    rows = pd.DataFrame({"a": rows})
    found = drift.summarize(drift.count(rows, reference), reference)
    p = np.array([0.2, *[0.1] * 8, 0.005])
    assert found["psi_a"] == pytest.approx(np.sum((p - 0.1) * np.log(p / 0.1)))
    outside = pd.DataFrame({"a": [-1.0, 0.5, 11.0, 10.0]})
    assert drift.summarize(drift.count(outside, reference), reference)["outside_a"] == 0.5


def test_every_row_counts_whatever_batch_it_is_in():
    """Three of four rows are shifted, one after the other; or all of the last ones."""
    known = {"a": {"edges": list(range(11)), "shares": [0.1] * 10}}
    like, shifted = np.arange(20_000) % 10 + 0.5, np.full(20_000, 9.5)
    interleaved = np.where(np.arange(20_000) % 4 == 0, like, shifted)
    for rows in (interleaved, np.concatenate([like, like, like, shifted[:9_000]])):
        whole, first, last = (
            drift.count(pd.DataFrame({"a": part}), known) for part in (rows, rows[:7], rows[7:])
        )
        assert (first + last).tolist() == whole.tolist()
        assert (whole[0], whole[2:12].sum()) == (len(rows), len(rows))
        p = np.maximum(np.bincount(rows.astype(int), minlength=10), 0.5) / len(rows)
        found = drift.summarize(whole, known)["psi_a"]
        assert found == pytest.approx(np.sum((p - 0.1) * np.log(p / 0.1)))


def test_scoring_records_and_says_the_drift(score, store, model_uris):
    red_wines(500).to_csv("red.csv", index=False)
    done = score(model_uris["huber"], "red.csv", "scored.csv")
    assert (done.status, "input: red.csv is unlike the training wines: " in done.err) == (0, True)
    run = runs_of(store)[0]
    assert {f"psi_{name}" for name in dataset.FEATURES} < set(run.data.metrics)
    assert run.data.metrics["psi_total sulfur dioxide"] > 1
    assert 0 < run.data.metrics["outside"] <= 1
    with tracking_in(store):
        assert "drift.png" in [
            item.path for item in client_of(store).list_artifacts(run.info.run_id)
        ]
    WHITE.sample(frac=0.5, random_state=0).to_csv("white.csv", index=False)
    done = score(model_uris["huber"], "white.csv", "white-scored.csv")
    assert done.status == 0
    assert "unlike" not in done.err


def test_categories_count_by_themselves():
    known = model.deciles(pd.DataFrame({"a": ["x", "x", "y", np.nan], "b": [1.0, np.nan, 2, 3]}))
    assert known["a"] == {"categories": ["x", "y"], "shares": [0.666667, 0.333333]}
    table = pd.DataFrame({"a": ["x", "y", "z", np.nan], "b": [np.nan, 2.0, 9.0, 3.0]})
    metrics = drift.summarize(drift.count(table, known), known)
    assert (metrics["outside_a"], metrics["outside_b"], metrics["outside"]) == (0.25, 0.25, 0.25)
    p, q = np.array([1, 1]) / 2, np.array([0.666667, 0.333333])
    assert metrics["psi_a"] == pytest.approx(np.sum((p - q) * np.log(p / q)))
    said = drift.unknown_texts(metrics, known, len(table))
    assert said == "has texts that training has not seen: a in 1 of 4 rows"
