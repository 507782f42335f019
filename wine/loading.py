"""Loading: a model is checked before it is used, and its files before any code of theirs runs."""

import logging
import numbers
import warnings

from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import FixedThresholdClassifier

import mlflow
import numpy as np
import pandas as pd
from mlflow.environment_variables import MLFLOW_ALLOW_PICKLE_DESERIALIZATION as ALLOW_PICKLE
from mlflow.types import DataType

from wine import UserError, trainings
from wine.model import DECILES, MISSING, MOST_PROBABLE, TEXT_TYPES, Model, Threshold, predict

NUMBERS = (DataType.double, DataType.float, DataType.long, DataType.integer)  # types of a column
# MLflow looks for a run's model in two places, and logs a line if there is nothing in one of them.
logging.getLogger("mlflow.store.artifact.artifact_repo").setLevel(logging.WARNING)
HINT = f"; {ALLOW_PICKLE.name}=true loads what you trust"


class UnfitModelError(Exception):
    """What is wrong with a model that is there: the rest of a sentence that begins with it."""


def load(uri, parameter="model"):
    """Load a model of this project, or another one that can be used like those.

    MLflow loads what a model's own files tell it to, and pickled files run any code. Here, only a
    model is loaded that is saved with skops, brings no code, and holds no types but those that
    skops trusts by itself and the `TRUSTED_TYPES` of the trainings. Who sets MLflow's own
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION to true allows the rest, too.

    Parameters
    ----------
    uri : str
        Any that MLflow knows: runs:/, models:/ with a version or an alias, a path.
    parameter : str
        The parameter's name, for the error message.

    Returns
    -------
    wine.model.Model

    Raises
    ------
    UserError
        If there is no such model, if its files are damaged, or if it cannot be used: its cause is
        an `UnfitModelError` then. A model has to be a regressor with one output, or a classifier
        that knows probabilities, with columns by name that hold numbers or texts.
    """
    try:
        mlflow.models.get_model_info(uri)  # Where nothing is there, a download would not say so.
        path = mlflow.artifacts.download_artifacts(uri)
        info = mlflow.models.get_model_info(path)
        _check_files(info)
        columns, texts = _columns(info)
        model = _describe(uri, info, columns, texts, mlflow.sklearn.load_model(path))
        _check_predictions(model)
    except UserError:  # A training script is faulty.
        raise
    except UnfitModelError as error:
        raise UserError(f"{parameter}: {uri} {error}") from error
    except Exception as error:  # MLflow, its storage clients and skops raise errors of any kind.
        raise UserError(
            f"{parameter}: received {uri!r} ({_first_line(error)}), allowed is a model of this "
            "project by runs:/<ID>/model, models:/<name>/<version>, models:/<name>@<alias> or its "
            "path"
        ) from error
    return model


def _first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


def _check_files(info):
    """Refuse files that would run code of their own when they are loaded or served."""
    flavor = info.flavors.get("sklearn")
    if flavor is None:
        raise UnfitModelError(
            f"is a model of {', '.join(info.flavors) or 'no library'}, allowed is one of "
            "scikit-learn"
        )
    if ALLOW_PICKLE.is_set():  # MLflow itself refuses all models if it is false.
        return
    form = flavor.get("serialization_format", "pickle")
    if form != "skops":
        raise UnfitModelError(
            f"is saved with {form}, which runs any code when it is loaded, allowed is skops{HINT}"
        )
    served = info.flavors.get("python_function", {})
    loader = served.get("loader_module", "mlflow.sklearn")
    if flavor.get("code") or served.get("code") or loader != "mlflow.sklearn":
        raise UnfitModelError(
            f"brings code of its own, allowed is a model that scikit-learn alone loads{HINT}"
        )
    named = set(flavor.get("skops_trusted_types") or ())
    if named and (unknown := named - _trusted_types()):
        raise UnfitModelError(
            f"holds the type {min(unknown)}, allowed are those that skops trusts by itself and the "
            f"TRUSTED_TYPES of the scripts in wine/trainings.py{HINT}"
        )


def _trusted_types():
    """Return the names of the types that models of this project may hold."""
    scripts = map(trainings.load, trainings.SCRIPTS)
    return set(TEXT_TYPES).union(*(getattr(script, "TRUSTED_TYPES", ()) for script in scripts))


def _columns(info):
    """Return the names of a model's columns, and of those that hold texts."""
    inputs = info.signature.inputs if info.signature else None
    if not inputs or inputs.is_tensor_spec() or not inputs.has_input_names():
        raise UnfitModelError(
            "does not name its columns, allowed is a model whose signature has columns by name"
        )
    kinds = inputs.input_types_dict()
    for name, kind in kinds.items():
        if kind not in (*NUMBERS, DataType.string):
            kind = getattr(kind, "name", kind)  # of a DataType
            raise UnfitModelError(
                f"takes the column {name!r} as {kind}, allowed are numbers and texts"
            )
    return [*kinds], [name for name, kind in kinds.items() if kind == DataType.string]


def _describe(uri, info, columns, texts, estimator):
    """Return the Model of an estimator."""
    metadata = info.metadata or {}
    deciles = metadata.get(DECILES)
    if deciles:
        deciles = {name: _check_deciles(deciles, name, name in texts) for name in columns}
    return Model(
        uri=uri,
        model_id=info.model_id,
        columns=columns,
        texts=texts,
        missing=[str(text) for text in metadata.get(MISSING, [])],
        estimator=estimator,
        outputs=["prediction", *_probabilities(estimator)],
        rule=_rule(estimator),
        deciles=deciles or None,
    )


def _check_deciles(deciles, name, is_text):
    """Return what a model's metadata says of a column, if it is what `wine.model.deciles` says."""
    try:
        n_shares = np.asarray(deciles[name]["shares"], dtype=float).size
        if is_text:
            fits = len(deciles[name]["categories"]) == n_shares
        else:
            fits = np.asarray(deciles[name]["edges"], dtype=float).size == n_shares + 1
    except (LookupError, TypeError, ValueError):
        fits = False
    if not fits:
        raise UnfitModelError(
            f"has deciles in its metadata, but no valid ones of the column {name!r}, allowed are "
            "those of all its columns, or none"
        )
    return deciles[name]


def _probabilities(estimator):
    """Return the names of the columns of a classifier's probabilities."""
    kind = type(estimator).__name__
    if is_regressor(estimator):
        return []
    if not is_classifier(estimator):
        raise UnfitModelError(f"is a {kind}, allowed is a regressor or a classifier")
    if not hasattr(estimator, "predict_proba"):
        raise UnfitModelError(
            f"is a {kind} without predict_proba, allowed are classifiers that know probabilities"
        )
    classes = np.asarray(estimator.classes_)
    are_texts = all(isinstance(each, str) for each in classes.tolist())
    if classes.ndim != 1 or len(classes) < 2 or not (are_texts or classes.dtype.kind in "biuf"):
        known = ", ".join(map(str, classes.tolist()))
        raise UnfitModelError(
            f"knows the classes {known}, allowed are two or more numbers or texts"
        )
    if classes.tolist() == [0, 1]:
        return ["probability"]
    return [f"probability_{each}" for each in classes]


def _rule(estimator):
    """Return how the classes follow from the probabilities, where scikit-learn documents it."""
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    if isinstance(step, (ExtraTreesClassifier, RandomForestClassifier)):
        return MOST_PROBABLE
    if not isinstance(step, FixedThresholdClassifier) or step.response_method != "predict_proba":
        return None
    if not isinstance(step.threshold, numbers.Real):
        return None
    classes = step.classes_.tolist()
    return Threshold(step.threshold, 1 if step.pos_label is None else classes.index(step.pos_label))


def _check_predictions(model):
    """Refuse a model that does not give one value for each output and row: two rows show it."""
    example = {
        name: _typical_value(model, name, (model.deciles or {}).get(name)) for name in model.columns
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # scikit-learn only warns if an estimator was fitted on columns without names.
            warnings.filterwarnings("error", "X has feature names")
            predictions = predict(model, pd.DataFrame([example] * 2))
    except Exception as error:  # An estimator may raise errors of any kind.
        raise UnfitModelError(f"cannot predict its columns: {_first_line(error)}") from error
    for name, values in predictions.items():
        if np.shape(values) != (2,):
            raise UnfitModelError(
                f"predicts an array of the shape {np.shape(values)} for two rows, allowed is one "
                f"{name} for each"
            )


def _typical_value(model, name, known):
    """Return a value that may stand in a column: the median of the training rows, or any text."""
    if name in model.texts:
        return known["categories"][0] if known and known["categories"] else ""
    return float(known["edges"][len(known["edges"]) // 2]) if known else 0.0
