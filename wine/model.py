"""Models: how one is saved with a run, and what it predicts; `wine.loading` loads it again."""

import os
import shutil
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sklearn.base import is_classifier

import numpy as np
import pandas as pd

from wine import UserError, dataset

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # of a served model
DECILES, MISSING = "deciles", "missing"  # keys in a model's metadata
MOST_PROBABLE = "most probable"  # the class that a forest predicts
TEXT_TYPES = ("numpy.dtype",)  # The encoder of the texts keeps the type of its categories.


def log_model(estimator, split, trusted_types=(), predict_fn="predict", tags=None):
    """Log a scikit-learn model with its signature, as `mlflow.sklearn.log_model` does.

    There are three differences. The deciles of the training rows are kept in the model's metadata,
    by which a scoring notices a table unlike them. In a local store, the model's files are also put
    where MLflow 1 and 2 kept them, among the run's artifacts (mlflow/mlflow#16947), where the
    MLflow UI shows them. An error or Ctrl-C leaves no partial model behind.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; features go in as they were measured.
    split : wine.dataset.Split
        Its features are the model's inputs, and its first two test rows the example.
    trusted_types : sequence of str
        The types in the estimator that skops does not trust by itself.
    predict_fn : str
        The estimator's method that a server, `mlflow models predict` and an image call: predict
        or predict_proba, which returns the probability of each class, shape (n_rows, n_classes).
    tags : dict, optional
        Tags of the model.

    Returns
    -------
    mlflow.models.model.ModelInfo

    Raises
    ------
    UserError
        If the model's files cannot be put among the run's artifacts.
    """
    import mlflow  # Not above, as Spark's workers import this module to predict, without MLflow.

    legacy_path = _local_path(mlflow.get_artifact_uri("model"))
    metadata = {DECILES: deciles(split.X_train)}
    if dataset.MISSING:
        metadata[MISSING] = dataset.MISSING
    if texts_of(split.X_train):
        trusted_types = [*trusted_types, *TEXT_TYPES]
    try:
        info = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=_signature(estimator, split, predict_fn),
            input_example=split.X_test.head(2),
            metadata=metadata,
            # MLflow would spend three seconds to find these out.
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            serialization_format="skops",
            skops_trusted_types=list(trusted_types),
            pyfunc_predict_fn=predict_fn,
            tags=tags,
        )
        if legacy_path:
            _copy_folder(mlflow.artifacts.download_artifacts(info.model_uri), legacy_path)
    except BaseException:
        partial = mlflow.last_logged_model()
        if legacy_path and partial and partial.source_run_id == mlflow.active_run().info.run_id:
            shutil.rmtree(_local_path(partial.artifact_location), ignore_errors=True)
        raise
    return info


def texts_of(X):
    """Return the names of the columns that hold texts."""
    return [name for name in X.columns if not pd.api.types.is_numeric_dtype(X[name])]


def _signature(estimator, split, predict_fn):
    """Return the signature: the columns by name, and what is predicted."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if predict_fn == "predict_proba":
        output = TensorSpec(np.dtype("float64"), (-1, len(estimator.classes_)))
    else:
        kind = "long" if is_classifier(estimator) else "double"
        is_number = pd.api.types.is_numeric_dtype(split.y_train)
        output = ColSpec(kind if is_number else "string")
    texts = texts_of(split.X_train)
    inputs = Schema(
        [ColSpec("string" if name in texts else "double", name) for name in split.X_train.columns]
    )
    return ModelSignature(inputs=inputs, outputs=Schema([output]))


def _local_path(uri):
    """Return the path of an artifact URI on this machine, as MLflow reads it, or None."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return url2pathname(parts.path)
    # A scheme of one letter is a drive of Windows.
    return url2pathname(uri) if len(parts.scheme) < 2 else None


def _copy_folder(source, target):
    """Copy to a partial folder, then rename it: a reader never sees a partial model."""
    partial = f"{target}.part"
    try:
        shutil.copytree(source, partial)
        os.rename(partial, target)
    except OSError as error:
        raise UserError(f"MLflow cannot record: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def deciles(X):
    """Describe the distribution of each column, for comparison with other tables.

    Parameters
    ----------
    X : DataFrame, shape (n_rows, n_features)
        The training rows.

    Returns
    -------
    dict
        For each column of numbers its `edges`, which are the minimum, the nine deciles and the
        maximum, and the `shares` of the rows in the ten bins between them, which ties make unequal.
        For each column of texts its `categories` and their `shares`. Missing values do not count.
    """
    described = {}
    for name, column in X.items():
        known = column.dropna()
        if pd.api.types.is_numeric_dtype(known):
            edges = np.quantile(known, np.linspace(0, 1, 11)) if len(known) else np.zeros(11)
            described[name] = {"edges": edges.tolist()}
            counts = count_bins(known.to_numpy(), edges)
        else:
            described[name] = {"categories": sorted(known.unique())}
            counts = count_categories(known, described[name]["categories"])
        described[name]["shares"] = (counts / max(len(known), 1)).round(6).tolist()
    return described


def count_categories(texts, categories):
    """Count the texts in each category; those in none of them do not count.

    Parameters
    ----------
    texts : Series of texts
        NaN where one is missing.
    categories : list of str
        The categories.

    Returns
    -------
    ndarray of int64, shape (n_categories,)

    Examples
    --------
    >>> count_categories(pd.Series(["a", "c", "b", "a"]), ["a", "b"])
    array([2, 1])
    """
    return texts.value_counts().reindex(categories, fill_value=0).to_numpy()


def count_bins(values, edges):
    """Count the values between edges; those outside count in the first or the last bin.

    Parameters
    ----------
    values : ndarray of float64, shape (n_values,)
        Finite; it is fastest where it is contiguous.
    edges : sequence of float, length n_bins + 1
        From the lowest to the highest. A value that is one of them is in the bin above it.

    Returns
    -------
    ndarray of int64, shape (n_bins,)

    Examples
    --------
    >>> count_bins(np.array([-1.0, 0.5, 1.0, 9.0]), [0, 1, 2, 3])
    array([2, 1, 1])
    """
    # For few edges, nine comparisons of all values are some twenty times as fast as the search
    # for each value's bin in np.searchsorted and np.histogram.
    above = [np.count_nonzero(values >= edge) for edge in edges[1:-1]]
    return -np.diff([len(values), *above, 0])


class Threshold(NamedTuple):
    """The rule by which a FixedThresholdClassifier predicts one of two classes.

    Attributes
    ----------
    value : float
        The probability from which on the class is predicted.
    position : int
        Where the class is in the estimator's `classes_`: 0 or 1.
    """

    value: float
    position: int


class Model(NamedTuple):
    """A model of this project, loaded.

    Attributes
    ----------
    uri : str
        Where it was loaded from.
    model_id : str or None
        MLflow's ID of it; None if it was saved without a run.
    columns : list of str
        The columns that go in, in the model's own order.
    texts : list of str
        Those of them that hold texts.
    missing : list of str
        The texts that stand for a missing value in each of them.
    estimator : scikit-learn regressor or classifier
        Fitted.
    outputs : list of str
        The columns that scoring adds: `prediction` and, of a classifier, the `probability` of the
        class 1 if the classes are 0 and 1, otherwise `probability_<class>` for each of them.
    rule : Threshold, MOST_PROBABLE or None
        How the classes follow from the probabilities; None if only the estimator knows.
    deciles : dict or None
        Those of the training rows, as `deciles` returns them.
    """

    uri: str
    model_id: str | None
    columns: list
    texts: list
    missing: list
    estimator: object
    outputs: list
    rule: object
    deciles: dict | None


def predict(model, X):
    """Predict rows.

    Parameters
    ----------
    model : Model
        The model.
    X : DataFrame, shape (n_rows, n_columns)
        The model's columns, in its order.

    Returns
    -------
    dict of ndarray, shape (n_rows,)
        For each of the model's outputs.
    """
    if model.outputs == ["prediction"]:
        return {"prediction": model.estimator.predict(X).astype("float64", copy=False)}
    probabilities, classes = model.estimator.predict_proba(X), model.estimator.classes_
    # Where the rule is known, the classifier's own predict would only compute the same
    # probabilities once more.
    if isinstance(model.rule, Threshold):
        value, position = model.rule
        is_above = probabilities[:, position] >= value
        predicted = classes[np.where(is_above, position, 1 - position)]
    elif model.rule == MOST_PROBABLE:
        predicted = classes[np.argmax(probabilities, axis=1)]
    else:
        predicted = model.estimator.predict(X)
    shown = (
        probabilities[:, 1:] if model.outputs == ["prediction", "probability"] else probabilities
    )
    return dict(zip(model.outputs, [predicted, *shown.T], strict=True))
