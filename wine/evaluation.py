"""Evaluation: fit a model and report its warnings, compute metrics beside a baseline's."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import FixedThresholdClassifier

import joblib
import numpy as np
import pandas as pd

from wine import UserError
from wine.dataset import DATA

ASCENDING = ("rmse", "mae", "brier")  # Of these metrics, the lowest is the best.
# The names in MLflow of a metric in each column of what `evaluate` returns.
METRIC_NAMES = {"cv": "cv_{}", "test": "{}", "unseen": "{}_unseen", "baseline": "{}_baseline"}


def final_step(estimator):
    """Return the estimator itself, or the last step of a Pipeline, without its threshold."""
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    if isinstance(step, FixedThresholdClassifier):
        return getattr(step, "estimator_", step.estimator)  # estimator_ is the one that was fitted
    return step


def threshold(estimator):
    """Return the probability from which on a classifier predicts 1, or None if it has none."""
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    return step.threshold if isinstance(step, FixedThresholdClassifier) else None


def name(estimator):
    """Return the name of the estimator's class, or of that of a Pipeline's last step."""
    return type(final_step(estimator)).__name__


def describe(estimator, params):
    """Return a name for a run that is short enough for the first column of MLflow's table.

    Parameters
    ----------
    estimator : scikit-learn estimator
        The estimator.
    params : dict
        The script's parameters. Of those of the estimator, the values are named; of the table, the
        name if it is not the default one.

    Returns
    -------
    str

    Examples
    --------
    >>> from sklearn.linear_model import HuberRegressor
    >>> describe(HuberRegressor(), {"alpha": 0.1, "epsilon": 1.35, "data": DATA})
    'Huber 0.1, 1.35'
    >>> describe(HuberRegressor(), {"alpha": 0.1, "epsilon": 1.35, "data": "wines/red.csv"})
    'Huber 0.1, 1.35 on red'
    """
    kind = name(estimator)
    for suffix in ("Regressor", "Classifier"):
        kind = kind.removesuffix(suffix)
    values = ", ".join(map(str, own_params(estimator, params).values()))
    data = params.get("data", DATA)
    return f"{kind} {values}".strip() + ("" if data == DATA else f" on {Path(data).stem}")


def own_params(estimator, params):
    """Return those of a script's parameters that are parameters of its estimator.

    Parameters
    ----------
    estimator : scikit-learn estimator
        The estimator, or a Pipeline.
    params : dict
        The script's parameters.

    Returns
    -------
    dict
    """
    known = get_params(estimator)
    return {key: value for key, value in params.items() if key in known}


def get_params(estimator):
    """Return the parameters of an estimator, or of all steps of a Pipeline, by their short names.

    Parameters
    ----------
    estimator : scikit-learn estimator
        No two steps have a parameter of the same name.

    Returns
    -------
    dict

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> params = get_params(make_pipeline(StandardScaler(), Ridge(alpha=2.0)))
    >>> params["with_mean"], params["alpha"]
    (True, 2.0)
    """
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    return {
        key.removeprefix("estimator__"): value
        for step in steps
        if not isinstance(step, ColumnTransformer)  # Its parameters are lists of columns.
        for key, value in step.get_params().items()
        if key != "estimator"  # Of a threshold's classifier, only the parameters are shown.
    }


class Metric(NamedTuple):
    """The metric by which models of a kind are compared.

    Attributes
    ----------
    name : str
        Its name in MLflow.
    ascending : bool
        Whether the lowest is the best.
    scoring : str or callable
        scikit-learn's scorer for it, of which the highest score is the best.
    """

    name: str
    ascending: bool
    scoring: str | Callable

    @property
    def sign(self):
        """The factor between a score of scikit-learn's and the metric: -1 if ascending, else 1."""
        return -1 if self.ascending else 1


def main_metric(estimator):
    """Return the metric by which estimators of this kind are compared.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It says of which kind.

    Returns
    -------
    Metric

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> main_metric(Ridge())
    Metric(name='rmse', ascending=True, scoring='neg_root_mean_squared_error')
    """
    if is_classifier(estimator):
        kind, scoring = "average_precision", _score_average_precision
    else:
        kind, scoring = "rmse", "neg_root_mean_squared_error"
    return Metric(kind, kind in ASCENDING, scoring)


def fit(estimator, split, hint):
    """Fit an estimator on the training set and print each of its warnings in one line.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Fitted in place.
    split : wine.dataset.Split
        The table, split.
    hint : str
        What to change when the fit does not converge.

    Returns
    -------
    bool
        Whether the fit converged.

    Raises
    ------
    UserError
        If the estimator cannot be fitted at all.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with joblib.parallel_config("threading", n_jobs=-1):  # Trees grow on all cores.
                estimator.fit(split.X_train, split.y_train)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{name(estimator)} cannot be fitted ({reason}): {hint}") from error
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            print(f"{name(estimator)}: {str(warning.message).splitlines()[0]}", file=sys.stderr)
    if not converged:
        print(f"{name(estimator)} has not converged: {hint}", file=sys.stderr)
    return converged


def baseline(estimator, split):
    """Fit the baseline that always predicts the mean or the majority of the training set.

    The probabilities of a classifier's baseline are the shares of the classes in the training set.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It says which of the two is needed.
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    DummyRegressor or DummyClassifier
        Fitted.
    """
    if is_classifier(estimator):
        return DummyClassifier(strategy="prior").fit(split.X_train, split.y_train)
    return DummyRegressor(strategy="mean").fit(split.X_train, split.y_train)


class Predictions(NamedTuple):
    """What an estimator predicts for some rows.

    Attributes
    ----------
    y_pred : ndarray, shape (n_rows,)
        The numbers or the classes.
    probabilities : ndarray, shape (n_rows, n_classes), or None
        Those of a classifier, as `predict_proba` returns them.
    """

    y_pred: np.ndarray
    probabilities: np.ndarray | None

    def select(self, mask):
        """Return the predictions for those rows of which a mask is True."""
        return Predictions(*(None if each is None else each[mask] for each in self))


def predict(estimator, X):
    """Predict rows once for all that is computed and drawn of them.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted.
    X : DataFrame, shape (n_rows, n_features)
        The rows.

    Returns
    -------
    Predictions
    """
    probabilities = estimator.predict_proba(X) if is_classifier(estimator) else None
    return Predictions(estimator.predict(X), probabilities)


class Evaluation(NamedTuple):
    """How good an estimator is: by folds to choose it by, on the test set to report.

    Attributes
    ----------
    scores : DataFrame
        It has a row for each metric (rmse, mae, r2; or accuracy, recall, precision, f1, roc_auc,
        average_precision, brier; of recall, precision, f1, roc_auc and average_precision the macro
        averages where the classes are not 0 and 1) and four columns. `cv` is the mean over the
        folds of the training set, or NaN if there is no cross-validation.
        `test` is computed on the whole test set, `unseen` on the different test rows without an
        identical copy in the training set. `unseen` is NaN if fewer than two different values
        are left, as the metrics are not defined then. `baseline` is the metric of a model that
        always predicts the mean or the majority of the training set, on the unseen rows; if these
        have no metrics, on the whole test set.
    predicted : Predictions
        Those for the test set.
    cv : wine.folds.CrossValidation or None
        That of the training set.
    """

    scores: pd.DataFrame
    predicted: Predictions
    cv: tuple | None


def evaluate(estimator, split, cv=None):
    """Predict the test set, and compute the metrics beside those by folds and of a baseline.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted.
    split : wine.dataset.Split
        The table, split.
    cv : wine.folds.CrossValidation, optional
        Of the estimator on the training set.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from wine import dataset, folds
    >>> split = dataset.split(dataset.load(dataset.DATA))
    >>> model = LinearRegression().fit(split.X_train, split.y_train)
    >>> evaluate(model, split, folds.cross_validate(model, split)).scores.round(2)
            cv  test  unseen  baseline
    rmse  0.76  0.74    0.73      0.88
    mae   0.59  0.58    0.56      0.67
    r2    0.27  0.29    0.32     -0.00
    """
    X, y, predicted = split.X_test, split.y_test, predict(estimator, split.X_test)
    columns = {"cv": cv.scores.mean()} if cv else {}
    columns["test"] = compute(estimator, y, predicted)
    if y[split.unseen].nunique() > 1:
        X, y = X[split.unseen], y[split.unseen]
        columns["unseen"] = compute(estimator, y, predicted.select(split.unseen))
    columns["baseline"] = compute(estimator, y, predict(baseline(estimator, split), X))
    scores = pd.DataFrame(columns, index=columns["test"], columns=list(METRIC_NAMES), dtype=float)
    return Evaluation(scores, predicted, cv)


def flatten(result, split):
    """Return the metrics that are defined, and the numbers of rows, as MLflow takes them.

    Parameters
    ----------
    result : Evaluation
        The metrics.
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    dict
        For instance cv_rmse (by folds) and cv_rmse_std, rmse (on the test set), rmse_unseen and
        rmse_baseline; n_train, n_test and n_unseen, the numbers of rows.
    """
    metrics = {
        METRIC_NAMES[column].format(metric): value
        for (metric, column), value in result.scores.stack().dropna().items()
    }
    return (
        metrics
        | (result.cv.summarize() if result.cv else {})
        | {
            "n_train": len(split.y_train),
            "n_test": len(split.y_test),
            "n_unseen": int(split.unseen.sum()),
        }
    )


def compute(estimator, y, predicted):
    """Compute the metrics of predictions.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; it made the predictions.
    y : Series, shape (n_rows,)
        The true values.
    predicted : Predictions
        For the same rows.

    Returns
    -------
    dict
        The metrics by name: see `Evaluation`.
    """
    y_pred, probabilities = predicted
    if is_classifier(estimator):
        return _classifier_metrics(estimator, y, y_pred, probabilities)
    return {
        "rmse": metrics.root_mean_squared_error(y, y_pred),
        "mae": metrics.mean_absolute_error(y, y_pred),
        "r2": metrics.r2_score(y, y_pred),
    }


def _classifier_metrics(estimator, y, y_pred, probabilities):
    # Of several classes, the metrics of each against the others are averaged.
    average = {"pos_label": 1} if is_binary(estimator) else {"average": "macro"}
    options = average | {"zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(y, y_pred),
        "recall": metrics.recall_score(y, y_pred, **options),
        "precision": metrics.precision_score(y, y_pred, **options),
        "f1": metrics.f1_score(y, y_pred, **options),
        "roc_auc": one_against_rest(metrics.roc_auc_score, estimator, y, probabilities),
        "average_precision": average_precision(estimator, y, probabilities),
        "brier": metrics.brier_score_loss(y, probabilities, labels=estimator.classes_),
    }


def is_binary(classifier):
    """Tell whether a fitted classifier knows the classes 0 and 1, of which 1 is sought."""
    return list(classifier.classes_) == [0, 1]


def one_against_rest(metric, classifier, y, probabilities):
    """Compute a metric of probabilities: of the class 1, or the mean over other classes.

    Parameters
    ----------
    metric : callable
        Takes the true classes 0 and 1, and the probability of 1.
    classifier : scikit-learn classifier
        Fitted.
    y : array-like, shape (n_rows,)
        The true classes.
    probabilities : ndarray, shape (n_rows, n_classes)
        As `predict_proba` returns them.

    Returns
    -------
    float
        For other classes than 0 and 1, the mean of the metric of each class against the others,
        over the classes that are in `y`.
    """
    if is_binary(classifier):
        return metric(y, probabilities[:, 1])
    y = np.asarray(y)
    found = [
        metric(y == each, probability)
        for each, probability in zip(classifier.classes_, probabilities.T, strict=True)
        if 0 < np.count_nonzero(y == each) < len(y)
    ]
    return float(np.mean(found))


def average_precision(classifier, y, probabilities):
    """Compute the average precision of probabilities, as `one_against_rest` takes them."""
    return one_against_rest(metrics.average_precision_score, classifier, y, probabilities)


def _score_average_precision(classifier, X, y):
    """Score as scikit-learn's average_precision, which takes two classes only."""
    return average_precision(classifier, y, classifier.predict_proba(X))
