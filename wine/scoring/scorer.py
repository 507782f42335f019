"""The contract of an engine that scores tables, and what a scoring has come to."""

import abc
import dataclasses

import numpy as np

from wine import UserError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BINS = 40


class Scorer(abc.ABC):
    """A table that is to be scored; used in a `with` block, which ends the engine in any case.

    Attributes
    ----------
    source : str
        The table's absolute path or URL.
    schema : pyarrow.Schema
        Its columns; those of a CSV file are all text.
    """

    @abc.abstractmethod
    def resolve_output(self, output, overwrite):
        """Return the absolute path of an output, or refuse one that cannot be made.

        Parameters
        ----------
        output : str
            Its path. The rejected rows go to the same path with `.rejected.csv` behind it.
        overwrite : bool
            Whether the two may be there already.

        Returns
        -------
        str

        Raises
        ------
        UserError
            If its name does not say its format, its folder is not there, it is there itself and
            must not be replaced, or one of the two is the input.
        """

    @abc.abstractmethod
    def score(self, model, output, overwrite):
        """Score the table into an output, and its invalid rows into `<output>.rejected.csv`.

        Both appear when they are complete, or not at all, whatever ends the scoring.

        Parameters
        ----------
        model : wine.scoring.model.Model
            `wine.scoring.rows.check_columns` has accepted the table for it.
        output : str
            As `resolve_output` returned it.
        overwrite : bool
            Whether an output that is there by now may be replaced.

        Returns
        -------
        Counts

        Raises
        ------
        UserError
            If the table cannot be read to its end, or the output cannot be written.
        """

    def close(self):  # noqa: B027 (most engines have nothing to end)
        """End the engine."""

    def __enter__(self):
        """Return the scorer itself."""
        return self

    def __exit__(self, *exception):
        """End the engine, whatever happened."""
        self.close()


@dataclasses.dataclass
class Counts:
    """What a scoring has come to.

    Attributes
    ----------
    scored, rejected : int
        Rows.
    rejected_lines : int
        Lines of the file that the rejected rows take: more than `rejected` where a quote that is
        not closed holds several lines together.
    edges, histogram : ndarray, shapes (n_bins + 1,) and (n_bins,), or None
        How often the last output had which value; what is beyond the edges is in the outer bins.
    drift : ndarray or int
        The sum of what `wine.scoring.drift.count` has returned; 0 for a model without deciles.
    """

    scored: int = 0
    rejected: int = 0
    rejected_lines: int = 0
    edges: np.ndarray | None = None
    histogram: np.ndarray | None = None
    drift: np.ndarray | int = 0

    def add(self, predictions):
        """Count predictions, as `wine.scoring.model.predict` returns them, for some rows."""
        values = list(predictions.values())[-1]
        if self.edges is None:
            self.edges = np.histogram_bin_edges(values, BINS)
            self.histogram = np.zeros(BINS, dtype="int64")
        self.scored += len(values)
        self.histogram += np.histogram(np.clip(values, *self.edges[[0, -1]]), self.edges)[0]


def suffix(parameter, path):
    """Return which of the possible suffixes a path has.

    Parameters
    ----------
    parameter : str
        The parameter's name.
    path : str
        What was received.

    Returns
    -------
    str
        One of `SUFFIXES`.

    Raises
    ------
    UserError
        If it is none of them.
    """
    found = [suffix for suffix in SUFFIXES if path.endswith(suffix)]
    if not found:
        raise UserError(
            f"{parameter}: received {path!r}, allowed is a name in {', '.join(SUFFIXES)}"
        )
    return found[0]


def refuse_existing(path):
    """Refuse an output, or its rejected rows, that is there already."""
    raise UserError(f"output: {path} is there already; overwrite=true replaces it")


def refuse_input(path):
    """Refuse an output, or its rejected rows, that would replace the input."""
    raise UserError(f"output: {path} is the input, allowed is another name")
