"""Models: one is checked before it is used, and its files before any code of theirs runs."""

import contextlib
import logging
from typing import NamedTuple

from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import FixedThresholdClassifier

import mlflow
import numpy as np
import pandas as pd
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as ALLOW_PICKLE
from mlflow.exceptions import MlflowException

from extras import drift
from wine import UserError
from wine.model import DECILES, MISSING, TRUSTED_TYPES

COLUMN_TYPES = {"string", "double", "float", "long", "integer"}  # in a signature
ALLOWED = (
    "allowed is a scikit-learn regressor, or classifier with predict_proba, that skops has saved "
    "with columns of numbers and texts by name: runs:/<ID>/model, models:/<name>/<version>, "
    "models:/<name>@<alias> or its path"
)
# MLflow looks for a run's model in two places, and logs a line if there is nothing in one of them.
logging.getLogger("mlflow.store.artifact.artifact_repo").setLevel(logging.WARNING)


class Model(NamedTuple):
    """A model, loaded.

    Attributes
    ----------
    uri : str
        Where it was loaded from.
    model_id : str or None
        MLflow's ID of it; None if this store does not know it.
    columns : list of str
        The columns that go in, in the model's own order.
    texts : list of str
        Those of them that hold texts.
    missing : tuple of str
        The texts that stand for a missing value in each of them.
    estimator : scikit-learn regressor or classifier
        Fitted.
    outputs : list of str
        What `predict` returns: `prediction` and, of a classifier, the `probability` of the class 1
        if the classes are 0 and 1, otherwise `probability_<class>` for each of them.
    deciles : dict or None
        Those of the training rows, as `wine.model.deciles` returns them.
    """

    uri: str
    model_id: str | None
    columns: list
    texts: list
    missing: tuple
    estimator: object
    outputs: list
    deciles: dict | None


def load(uri, parameter="model"):
    """Load a scikit-learn model that was saved by skops, and whose signature names its columns.

    MLflow loads what a model's own files tell it to, and pickled files run any code. Here, only a
    model is loaded that brings no code, and holds no types but those that skops trusts by itself
    and `wine.model.TRUSTED_TYPES`. Who sets MLflow's own MLFLOW_ALLOW_PICKLE_DESERIALIZATION to
    true allows the rest, too.

    Parameters
    ----------
    uri : str
        Any that MLflow knows: runs:/, models:/ with a version or an alias, a path.
    parameter : str, optional
        The parameter's name, for the error message.

    Returns
    -------
    Model

    Raises
    ------
    UserError
        If there is no such model, its files are damaged, or it cannot be used.
    """
    try:
        path = mlflow.artifacts.download_artifacts(uri)
        described = mlflow.models.Model.load(path)
        inputs = described.signature.inputs.to_dict() if described.signature else []
        kinds = {column.get("name"): column["type"] for column in inputs}
        _check_files(described.flavors, kinds)
        estimator, metadata = mlflow.sklearn.load_model(path), described.metadata or {}
        texts = [name for name, kind in kinds.items() if kind == "string"]
        missing, deciles, model_id = tuple(metadata.get(MISSING, ())), metadata.get(DECILES), None
        with contextlib.suppress(MlflowException):  # A folder may come from another store.
            model_id = mlflow.get_logged_model(described.model_id).model_id
        outputs = _name_outputs(estimator)
        model = Model(uri, model_id, [*kinds], texts, missing, estimator, outputs, deciles)
        _try_out(model)
        return model
    except Exception as error:  # MLflow, its storage clients and skops raise errors of any kind.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{parameter}: received {uri!r} ({reason}), {ALLOWED}") from error


def _check_files(flavors, kinds):
    """Refuse files that would run code of their own, or whose columns are not known."""
    flavor, served = flavors.get("sklearn"), flavors.get("python_function", {})
    if not flavor:
        raise ValueError(f"it is a model of {', '.join(flavors)}")
    if not kinds or None in kinds:
        raise ValueError("it does not name its columns")
    if others := {*kinds.values()} - COLUMN_TYPES:
        raise ValueError(f"it takes columns of the type {min(others)}")
    form, loader = flavor.get("serialization_format", "pickle"), served.get("loader_module")
    dangers = [form] if form != "skops" else []
    if flavor.get("code") or served.get("code") or loader not in (None, "mlflow.sklearn"):
        dangers.append("code of its own")
    dangers += sorted({*(flavor.get("skops_trusted_types") or ())} - {*TRUSTED_TYPES})
    if dangers and not ALLOW_PICKLE.is_set():  # MLflow itself refuses all models if it is false.
        dangers = ", ".join(dangers)
        hint = f"{ALLOW_PICKLE.name}=true loads what you trust"
        raise ValueError(f"it may run any code when it is loaded: {dangers}; {hint}")


def _name_outputs(estimator):
    if is_regressor(estimator):
        return ["prediction"]
    if not (is_classifier(estimator) and hasattr(estimator, "predict_proba")):
        raise ValueError(f"it is a {type(estimator).__name__}")
    classes = np.asarray(estimator.classes_).tolist()
    names = ["probability"] if classes == [0, 1] else [f"probability_{each}" for each in classes]
    return ["prediction", *names]


def _try_out(model):
    """Refuse a model that cannot predict two rows, or that has no valid deciles."""
    if [*getattr(model.estimator, "feature_names_in_", ())] != model.columns:
        raise ValueError("it was not fitted on the columns that it names")
    known, row = model.deciles or {}, dict.fromkeys(model.columns, 0.0)
    for name in model.texts:  # An encoder may refuse a text that it has not seen.
        row[name] = [*known.get(name, {}).get("categories", ()), ""][0]
    X = pd.DataFrame([row] * 2)
    if any(np.shape(values) != (2,) for values in predict(model, X).values()):
        raise ValueError("it predicts several values for each row")
    n_counts = 2 + sum(len(each["shares"]) + 1 for each in known.values())
    if known and (known.keys() != row.keys() or len(drift.count(X, known)) != n_counts):
        raise ValueError("the deciles in its metadata are not those of its columns")


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
    probabilities = model.estimator.predict_proba(X)
    step = model.estimator[-1] if hasattr(model.estimator, "steps") else model.estimator
    # Where it is known how the classes follow from the probabilities, the estimator's own predict
    # would only compute these once more.
    if isinstance(step, (ExtraTreesClassifier, RandomForestClassifier)):
        predicted = step.classes_[np.argmax(probabilities, axis=1)]
    elif isinstance(step, FixedThresholdClassifier) and step.response_method != "decision_function":
        n = 1 if step.pos_label is None else step.classes_.tolist().index(step.pos_label)
        threshold = 0.5 if step.threshold == "auto" else step.threshold
        predicted = step.classes_[np.where(probabilities[:, n] >= threshold, n, 1 - n)]
    else:
        predicted = model.estimator.predict(X)
    shown = probabilities[:, 1:] if model.outputs[1] == "probability" else probabilities
    return dict(zip(model.outputs, [predicted, *shown.T], strict=True))
