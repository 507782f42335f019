"""Scoring: the model, what it wants of a table, and what a scoring has come to."""

import dataclasses
from typing import NamedTuple

from sklearn.base import is_classifier
from sklearn.model_selection import FixedThresholdClassifier

import joblib
import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException

from wine import UserError

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BINS = 40
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"  # alike for Arrow (RE2) and Spark (Java)


class Model(NamedTuple):
    """A model of this project, loaded.

    Attributes
    ----------
    uri : str
        Where it was loaded from.
    model_id : str
        MLflow's ID of it.
    columns : list of str
        The measurements that go in, in the model's own order.
    estimator : scikit-learn regressor, or classifier that knows the classes 0 and 1
        Fitted.
    answers : list of str
        The columns that scoring adds: `prediction` and, of a classifier, `probability`.
    threshold : float or None
        The probability from which on a FixedThresholdClassifier predicts 1.
    """

    uri: str
    model_id: str
    columns: list
    estimator: object
    answers: list
    threshold: float | None


@dataclasses.dataclass
class Counts:
    """What a scoring has come to.

    Attributes
    ----------
    scored, rejected : int
        Rows.
    edges, histogram : ndarray, shapes (n_bins + 1,) and (n_bins,), or None
        How often which last answer was given; what is beyond the edges is in the outer bins.
    """

    scored: int = 0
    rejected: int = 0
    edges: np.ndarray | None = None
    histogram: np.ndarray | None = None

    def add(self, answers):
        """Count the answers, as `answer` returns them, for some rows."""
        values = list(answers.values())[-1]
        if self.edges is None:
            self.edges = np.histogram_bin_edges(values, BINS)
            self.histogram = np.zeros(BINS, dtype="int64")
        self.scored += len(values)
        self.histogram += np.histogram(np.clip(values, *self.edges[[0, -1]]), self.edges)[0]


def load(uri):
    """Load a model of this project.

    Parameters
    ----------
    uri : str
        Any that MLflow knows: runs:/, models:/ with a version or an alias, a path.

    Returns
    -------
    Model

    Raises
    ------
    UserError
        If there is no such model, or it does not know its columns by name.
    """
    try:
        info = mlflow.models.get_model_info(uri)
        estimator = mlflow.sklearn.load_model(uri)
        columns = info.signature.inputs.input_names()
    except (MlflowException, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"model: received {uri!r} ({reason}), allowed is a model of this project by "
            "runs:/<ID>/model, models:/<name>/<version>, models:/<name>@<alias> or its path"
        ) from error
    last_step = estimator[-1] if hasattr(estimator, "steps") else estimator
    is_thresholded = isinstance(last_step, FixedThresholdClassifier)
    threshold = last_step.threshold if is_thresholded else None
    answers = ["prediction", "probability"] if is_classifier(estimator) else ["prediction"]
    return Model(uri, info.model_id, columns, estimator, answers, threshold)


def answer(model, X):
    """Score wines.

    Parameters
    ----------
    model : Model
        The model.
    X : ndarray of float64, shape (n, n_columns)
        The measurements, all finite, in the order of the model's columns.

    Returns
    -------
    dict of ndarray, shape (n,)
        For each of the model's answers.
    """
    X = pd.DataFrame(X, columns=model.columns)
    with joblib.parallel_config("threading", n_jobs=-1):  # Many wines are worth all cores.
        return _answer(model, X)


def _answer(model, X):
    if model.answers == ["prediction"]:
        return {"prediction": model.estimator.predict(X)}
    other, good = model.estimator.predict_proba(X).T  # predict would ask for the same once more
    is_good = good > other if model.threshold is None else good >= model.threshold
    return {"prediction": is_good.astype("int64"), "probability": good}


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


def check_columns(model, columns, data):
    """Refuse a table that the model cannot score.

    Parameters
    ----------
    model : Model
        Knows its columns.
    columns : list of str
        Those of the table.
    data : str
        The table's name, as the user typed it.

    Raises
    ------
    UserError
        If a column is missing or stands there more than once, or bears an answer's name.
    """
    if len(columns) == 1 and ";" in columns[0]:
        raise UserError(f"input: {data} is separated by ';', allowed is ','; received {columns[0]}")
    for column in dict.fromkeys([*model.columns, *columns]):
        if columns.count(column) != 1:
            wrong = "is missing" if column not in columns else "stands there more than once"
            raise UserError(
                f"input: column {column!r} {wrong} in {data}; received {', '.join(columns)}; "
                f"needed are {', '.join(model.columns)}"
            )
    for column in model.answers:
        if column in columns:
            raise UserError(f"input: column {column!r} is in {data} already, and would be added")
