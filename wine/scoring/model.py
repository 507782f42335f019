"""The model that scores: how it is loaded, and what it predicts."""

from typing import NamedTuple

from sklearn.base import is_classifier
from sklearn.model_selection import FixedThresholdClassifier

import pandas as pd

from wine import UserError


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
        Those of the training rows, as `wine.dataset.deciles` returns them.
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
    import mlflow  # Spark's workers unpickle a Model, and would import MLflow for nothing.

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
    known = (info.metadata or {}).get("deciles")
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
