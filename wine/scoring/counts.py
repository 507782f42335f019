"""The counts of a scoring: rows, the histogram of the predictions, and the bins of the drift."""

import collections
import dataclasses

import numpy as np

MAX_BINS = 80


@dataclasses.dataclass
class Histogram:
    """A histogram of numbers that come in parts, in any order.

    The width of its bins is a power of two, and they begin at its multiples: the smallest width
    with which at most `MAX_BINS` bins reach from the lowest number to the highest. Whatever the
    order of the parts, the histogram is the same.

    Attributes
    ----------
    width : float
        The width of a bin.
    first : float
        The lower edge of the first bin, in widths.
    counts : ndarray of int64, shape (n_bins,)
        How many numbers are in each bin.
    """

    width: float
    first: float
    counts: np.ndarray

    @classmethod
    def of(cls, values):
        """Make the histogram of an array with at least one number, all of them finite."""
        low, high = values.min(), values.max()
        width = 2.0 ** np.floor(np.log2(max((high - low) / MAX_BINS, np.spacing(abs(high)))))
        while np.floor(high / width) - np.floor(low / width) >= MAX_BINS:
            width *= 2
        first = np.floor(low / width)
        bins = (np.floor(values / width) - first).astype("int64")
        return cls(width, first, np.bincount(bins))

    def __add__(self, other):
        """Return the histogram of both, as wide as it has to be."""
        width = max(self.width, other.width)
        while True:
            parts = [each._widen(width) for each in (self, other)]
            first = min(each.first for each in parts)
            n_bins = int(max(each.first + len(each.counts) for each in parts) - first)
            if n_bins <= MAX_BINS:
                break
            width *= 2
        counts = np.zeros(n_bins, "int64")
        for each in parts:
            start = int(each.first - first)
            counts[start : start + len(each.counts)] += each.counts
        return Histogram(width, first, counts)

    def _widen(self, width):
        bins = self.first + np.arange(len(self.counts))
        bins = np.floor(bins * (self.width / width))
        counts = np.bincount((bins - bins[0]).astype("int64"), self.counts).astype("int64")
        return Histogram(width, bins[0], counts)

    @property
    def edges(self):
        """The edges of the bins, ndarray of shape (n_bins + 1,)."""
        return (self.first + np.arange(len(self.counts) + 1)) * self.width


@dataclasses.dataclass
class Counts:
    """What a scoring, or a part of it, has come to; parts are added.

    Attributes
    ----------
    scored, rejected : int
        Rows.
    rejected_lines : int
        Lines of the file that the rejected rows take: more than `rejected` where a quoted cell
        holds line ends.
    histogram : Histogram or None
        That of the model's last output; None without a scored row, or with several classes.
    classes : collections.Counter
        How often each class was predicted, if there are several.
    drift : ndarray or int
        The sum of what `wine.scoring.drift.count` has returned; 0 for a model without deciles.
    """

    scored: int = 0
    rejected: int = 0
    rejected_lines: int = 0
    histogram: Histogram | None = None
    classes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    drift: np.ndarray | int = 0

    def __add__(self, other):
        """Return the counts of both."""
        histograms = [each for each in (self.histogram, other.histogram) if each]
        return Counts(
            self.scored + other.scored,
            self.rejected + other.rejected,
            self.rejected_lines + other.rejected_lines,
            histograms[0] + histograms[1] if len(histograms) == 2 else next(iter(histograms), None),
            self.classes + other.classes,
            self.drift + other.drift,
        )
