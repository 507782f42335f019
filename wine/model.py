"""Stub."""

import numpy as np

from wine.scoring.model import Model, load, predict  # noqa


def count_bins(values, edges):
    above = [np.count_nonzero(values >= edge) for edge in edges[1:-1]]
    return -np.diff([len(values), *above, 0])
from wine.dataset import deciles  # noqa
