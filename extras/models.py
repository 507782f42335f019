"""Models: one is checked before it is used, and its files before any code of theirs runs."""

import contextlib
from collections import namedtuple

from sklearn.base import is_regressor
from sklearn.model_selection import FixedThresholdClassifier

import mlflow
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as ALLOW_PICKLE
from mlflow.types import DataType

from wine import UserError
from wine.model import DECILES, MISSING, TRUSTED_TYPES

ALLOWED = (
    "allowed is a scikit-learn regressor, or classifier with predict_proba, that skops has saved "
    "with named columns: runs:/<ID>/model, models:/<name>/<version>, models:/<name>@<alias>, a path"
)
# A model, loaded. uri: where from. model_id: MLflow's ID of it, None if this store has no such one.
# columns: the names of those that go in, in the model's own order; texts: those of them that hold
# texts; missing: a tuple of the texts that stand for a missing value in each of them. estimator: a
# regressor or classifier of scikit-learn's, fitted. outputs: the names of what `predict` returns,
# which are `prediction` and, of a classifier, the `probability` of the class 1 if the classes are 0
# and 1, otherwise `probability_<class>` for each of them. deciles: those of the training rows, as
# `wine.model.deciles` returns them; empty if they are not known.
Model = namedtuple("Model", "uri model_id columns texts missing estimator outputs deciles")


def load(uri, parameter="model"):
    """Load a scikit-learn model that was saved by skops, and whose signature names its columns.

    MLflow loads what a model's own files tell it to, and pickled files run any code. Here, only a
    model is loaded that brings no code, and holds no types but those that skops trusts by itself
    and `wine.model.TRUSTED_TYPES`. MLflow's own variable MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true
    allows the rest, too.

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
        _check_files(described.flavors)
        schema, metadata = described.get_input_schema(), described.metadata or {}
        if not schema or not schema.has_input_names():
            raise ValueError("it does not name its columns")
        columns, estimator = schema.input_dict(), mlflow.sklearn.load_model(path)
        texts = [name for name, column in columns.items() if column.type == DataType.string]
        missing, model_id = tuple(metadata.get(MISSING, ())), None
        with contextlib.suppress(mlflow.MlflowException):  # A folder may come from another store.
            model_id = mlflow.get_logged_model(described.model_id).model_id
        if [*getattr(estimator, "feature_names_in_", ())] != [*columns]:
            raise ValueError("it was not fitted on the columns that it names")
        outputs, deciles = _name_outputs(estimator), metadata.get(DECILES, {})
        return Model(uri, model_id, [*columns], texts, missing, estimator, outputs, deciles)
    except Exception as error:  # MLflow, its storage clients and skops raise errors of any kind.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{parameter}: received {uri!r} ({reason}), {ALLOWED}") from error


def _check_files(flavors):
    """Refuse a model that is not scikit-learn's, or whose files would run code of their own."""
    if "sklearn" not in flavors:
        raise ValueError(f"it is a model of {', '.join(flavors)}")
    flavor, served = flavors["sklearn"], flavors.get("python_function", {})
    dangers = {flavor.get("serialization_format", "pickle"), served.get("loader_module")}
    dangers |= {flavor.get("code"), served.get("code"), *(flavor.get("skops_trusted_types") or ())}
    dangers -= {"skops", "mlflow.sklearn", *TRUSTED_TYPES, None}
    if dangers and not ALLOW_PICKLE.is_set():  # MLflow itself refuses all models if it is false.
        what = f"it may run any code when it is loaded: {', '.join(sorted(dangers))}"
        raise ValueError(f"{what}; {ALLOW_PICKLE.name}=true loads what you trust")


def _name_outputs(estimator):
    if is_regressor(estimator):
        return ["prediction"]
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(f"it is a {type(estimator).__name__}")
    classes = estimator.classes_.tolist()
    names = ["probability"] if classes == [0, 1] else [f"probability_{each}" for each in classes]
    return ["prediction", *names]


def predict(model, X):
    """Return the predictions of rows: for each of the model's outputs an array, shape (n_rows,).

    X is a DataFrame with the model's columns, in its order.
    """
    estimator, outputs = model.estimator, model.outputs
    if outputs == ["prediction"]:
        predicted = estimator.predict(X)
        if predicted.ndim > 1:
            raise UserError(f"model: {model.uri} predicts several values for each row")
        return {"prediction": predicted}
    probabilities, is_binary = estimator.predict_proba(X), outputs[1] == "probability"
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    is_fixed = isinstance(step, FixedThresholdClassifier) and step.response_method == "auto"
    if is_binary and is_fixed and step.pos_label == 1 and step.threshold != "auto":
        # Its own predict would only compute the probabilities once more.
        predicted = step.classes_[(probabilities[:, 1] >= step.threshold).astype(int)]
    else:
        predicted = estimator.predict(X)
    shown = probabilities[:, 1:] if is_binary else probabilities
    return dict(zip(outputs, [predicted, *shown.T], strict=True))
