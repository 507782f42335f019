"""The histogram of the predictions is the same whatever the order and the parts."""

import numpy as np
import pytest

from wine.scoring.counts import MAX_BINS, Histogram


@pytest.mark.parametrize("seed", range(20))
def test_histogram_does_not_depend_on_the_order_and_the_division(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(scale=10), 10.0 ** rng.integers(-5, 5), size=1000)
    values = np.sort(values) if seed % 2 else values
    whole = Histogram.of(values)
    cuts = np.sort(rng.integers(1, 999, size=rng.integers(1, 9)))
    parts = [Histogram.of(part) for part in np.split(values, np.unique(cuts))]
    rng.shuffle(parts)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert (total.width, total.first) == (whole.width, whole.first)
    assert total.counts.tolist() == whole.counts.tolist()
    assert MAX_BINS / 2 - 1 <= len(whole.counts) <= MAX_BINS
    assert whole.counts.tolist() == np.histogram(values, whole.edges)[0].tolist()
    assert (whole.counts[0] > 0, whole.counts[-1] > 0) == (True, True)


@pytest.mark.parametrize("value", [0.0, 6.1, -1e30, 1e-300])
def test_histogram_of_one_value_has_one_bin(value):
    one = Histogram.of(np.full(3, value))
    assert one.counts.tolist() == [3]
    assert (one + Histogram.of(np.array([value, 5.0]))).counts.sum() == 5
