"""Models: how one is saved with a run, loaded again, and what it predicts."""

import os
import shutil
from importlib.metadata import version
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sklearn.base import is_classifier
from sklearn.model_selection import FixedThresholdClassifier

import numpy as np
import pandas as pd

from wine import UserError

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # of a served model
DECILES = "deciles"  # the key in a model's metadata


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
    try:
        info = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=_signature(estimator, split.X_test.columns, predict_fn),
            input_example=split.X_test.head(2),
            metadata={DECILES: deciles(split.X_train)},
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


def _signature(estimator, columns, predict_fn):
    """Return the signature: all columns are numbers, by name, and so is what is predicted."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if predict_fn == "predict_proba":
        output = TensorSpec(np.dtype("float64"), (-1, len(estimator.classes_)))
    else:
        output = ColSpec("long" if is_classifier(estimator) else "double")
    inputs = Schema([ColSpec("double", column) for column in columns])
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
    """Describe the distribution of each measurement, for comparison with other tables.

    Parameters
    ----------
    X : DataFrame of float64, shape (n_rows, n_features)
        The training rows.

    Returns
    -------
    dict
        For each column its `edges`, which are the minimum, the nine deciles and the maximum, and
        the `shares` of the rows in the ten bins between them, which ties make unequal.
    """
    described = {}
    for name in X.columns:
        edges = np.quantile(X[name], np.linspace(0, 1, 11))
        shares = count_bins(X[name].to_numpy(), edges) / len(X)
        described[name] = {"edges": edges.tolist(), "shares": shares.round(6).tolist()}
    return described


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
    outputs : list of str
        The columns that scoring adds: `prediction` and, of a classifier, `probability`.
    threshold : float or None
        The probability from which on a FixedThresholdClassifier predicts 1.
    deciles : dict or None
        Those of the training rows, as `deciles` returns them.
    """

    uri: str
    model_id: str
    columns: list
    estimator: object
    outputs: list
    threshold: float | None
    deciles: dict | None


def load(uri, parameter="model"):
    """Load a model of this project.

    Parameters
    ----------
    uri : str
        Any that MLflow knows: runs:/, models:/ with a version or an alias, a path.
    parameter : str
        The parameter's name, for the error message.

    Returns
    -------
    Model

    Raises
    ------
    UserError
        If there is no such model, its files are damaged, or it does not know its columns by name.
    """
    import mlflow  # as in `log_model`

    try:
        info = mlflow.models.get_model_info(uri)
        estimator = mlflow.sklearn.load_model(uri)
        columns = info.signature.inputs.input_names()
    except Exception as error:  # MLflow, its storage clients and skops raise errors of any kind.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{parameter}: received {uri!r} ({reason}), allowed is a model of this project by "
            "runs:/<ID>/model, models:/<name>/<version>, models:/<name>@<alias> or its path"
        ) from error
    last_step = estimator[-1] if hasattr(estimator, "steps") else estimator
    is_thresholded = isinstance(last_step, FixedThresholdClassifier)
    threshold = last_step.threshold if is_thresholded else None
    outputs = ["prediction", "probability"] if is_classifier(estimator) else ["prediction"]
    known = (info.metadata or {}).get(DECILES)
    deciles = {name: known[name] for name in columns} if known else None
    return Model(uri, info.model_id, columns, estimator, outputs, threshold, deciles)


def predict(model, X):
    """Predict rows.

    Parameters
    ----------
    model : Model
        The model.
    X : ndarray of float64, shape (n_rows, n_columns)
        The measurements, all finite, in the order of the model's columns.

    Returns
    -------
    dict of ndarray, shape (n_rows,)
        For each of the model's outputs.
    """
    X = pd.DataFrame(X, columns=model.columns)
    if model.outputs == ["prediction"]:
        return {"prediction": model.estimator.predict(X)}
    # The classifier's own predict would compute the same probabilities once more.
    other, good = model.estimator.predict_proba(X).T
    is_good = good > other if model.threshold is None else good >= model.threshold
    return {"prediction": is_good.astype("int64"), "probability": good}
