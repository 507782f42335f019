"""Models: one is checked before it is used, and its files before any code of theirs runs."""

import contextlib
import logging
from typing import NamedTuple

from sklearn.base import is_regressor

import mlflow
import numpy as np
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as ALLOW_PICKLE

from wine import UserError
from wine.model import DECILES, MISSING, TRUSTED_TYPES

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
        with contextlib.suppress(mlflow.MlflowException):  # A folder may come from another store.
            model_id = mlflow.get_logged_model(described.model_id).model_id
        outputs = _name_outputs(estimator)
        if [*getattr(estimator, "feature_names_in_", ())] != [*kinds]:
            raise ValueError("it was not fitted on the columns that it names")
        return Model(uri, model_id, [*kinds], texts, missing, estimator, outputs, deciles)
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
    dangers = {flavor.get("serialization_format", "pickle"), served.get("loader_module")}
    dangers |= {flavor.get("code"), served.get("code"), *(flavor.get("skops_trusted_types") or ())}
    dangers -= {"skops", "mlflow.sklearn", *TRUSTED_TYPES, None}
    if dangers and not ALLOW_PICKLE.is_set():  # MLflow itself refuses all models if it is false.
        dangers = ", ".join(sorted(dangers))
        hint = f"{ALLOW_PICKLE.name}=true loads what you trust"
        raise ValueError(f"it may run any code when it is loaded: {dangers}; {hint}")


def _name_outputs(estimator):
    if is_regressor(estimator):
        return ["prediction"]
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(f"it is a {type(estimator).__name__}")
    classes = np.asarray(estimator.classes_).tolist()
    names = ["probability"] if classes == [0, 1] else [f"probability_{each}" for each in classes]
    return ["prediction", *names]


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
    estimator, outputs = model.estimator, model.outputs
    if outputs == ["prediction"]:
        predicted = estimator.predict(X).astype("float64", copy=False)
        if predicted.ndim > 1:
            raise UserError(f"model: {model.uri} predicts several values for each row")
        return {"prediction": predicted}
    probabilities = estimator.predict_proba(X)
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    # With the classifier's own threshold, its predict would only compute these once more.
    has_threshold = getattr(step, "response_method", None) == "auto" and step.pos_label != 0
    if has_threshold and outputs[1] == "probability":
        threshold = 0.5 if step.threshold == "auto" else step.threshold
        predicted = step.classes_[(probabilities[:, 1] >= threshold).astype(int)]
    else:
        predicted = estimator.predict(X)
    shown = probabilities[:, 1:] if outputs[1] == "probability" else probabilities
    return dict(zip(outputs, [predicted, *shown.T], strict=True))
