"""The model: what MLflow is told of it, and the distribution of what it was trained on."""

from importlib.metadata import version

from sklearn.base import is_classifier

import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from wine import dataset

REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")  # of a served model
# skops loads these only if they are named: the trees of scikit-learn, and what its imputers and
# encoders of a copy's texts keep.
TRUSTED_TYPES = [
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "numpy.dtype",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.model_selection._split.KFold",
]
DECILES, MISSING = "deciles", "missing"  # keys in a model's metadata


def options(estimator, split, predict_fn="predict"):
    """Return what `mlflow.sklearn.log_model` is told of a model besides its name and its tags.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; features go in as they were measured.
    split : wine.dataset.Split
        Its features are the model's inputs, and its first two test rows the example. The deciles of
        its training rows, in the metadata, are what other tables are compared with.
    predict_fn : str, optional
        The estimator's method that a server, `mlflow models predict` and an image call: predict
        or predict_proba, which returns the probability of each class, shape (n_rows, n_classes).

    Returns
    -------
    dict
    """
    return {
        "signature": _signature(estimator, split, predict_fn),
        "input_example": split.X_test.head(2),
        "metadata": {DECILES: deciles(split.X_train), MISSING: dataset.MISSING},
        # MLflow would spend three seconds to find these out.
        "pip_requirements": [f"{package}=={version(package)}" for package in REQUIREMENTS],
        "serialization_format": "skops",
        "skops_trusted_types": TRUSTED_TYPES,
        "pyfunc_predict_fn": predict_fn,
    }


def _signature(estimator, split, predict_fn):
    """Return the signature: the columns by name, and what is predicted."""
    X, y = split.X_train, split.y_train
    kinds = ["double" if pd.api.types.is_numeric_dtype(kind) else "string" for kind in X.dtypes]
    inputs = [ColSpec(kind, name) for kind, name in zip(kinds, X.columns, strict=True)]
    if predict_fn == "predict_proba":
        output = TensorSpec(np.dtype("float64"), (-1, len(estimator.classes_)))
    elif pd.api.types.is_numeric_dtype(y):
        output = ColSpec("long" if is_classifier(estimator) else "double")
    else:
        output = ColSpec("string")
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([output]))


def deciles(X):
    """Describe the distribution of each column of a DataFrame, for comparison with other tables.

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
    """Count the texts of a Series in each category; those in none of them do not count.

    Examples
    --------
    >>> count_categories(pd.Series(["a", "c", "b", "a"]), ["a", "b"])
    array([2, 1])
    """
    return texts.value_counts().reindex(categories, fill_value=0).to_numpy()


def count_bins(values, edges):
    """Count the values between edges; those outside count in the first or the last bin.

    The edges rise, and a value that is one of them is in the bin above it.

    Examples
    --------
    >>> count_bins(np.array([-1.0, 0.5, 1.0, 9.0]), [0, 1, 2, 3])
    array([2, 1, 1])
    """
    # For few edges, nine comparisons of all values are some twenty times as fast as the search
    # for each value's bin in np.searchsorted and np.histogram.
    above = [np.count_nonzero(values >= edge) for edge in edges[1:-1]]
    return -np.diff([len(values), *above, 0])
