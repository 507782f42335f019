"""The judgement: fitting with open eyes, metrics beside their baseline, and plots."""

import sys
import warnings

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from wine import Refusal


def final_step(estimator):
    """Return the estimator itself, or the last step of a Pipeline."""
    return estimator[-1] if hasattr(estimator, "steps") else estimator


def fit(estimator, split, remedy):
    """Fit an estimator on the training wines and say each of its warnings in one line.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Fitted in place.
    split : wine.table.Split
        The wines.
    remedy : str
        What to change when the fit does not converge.

    Returns
    -------
    bool
        Whether the fit converged.

    Raises
    ------
    Refusal
        If the estimator cannot be fitted at all.
    """
    name = type(final_step(estimator)).__name__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator.fit(split.X_train, split.y_train)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise Refusal(f"{name} cannot be fitted ({reason}): {remedy}") from error
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            print(f"{name}: {str(warning.message).splitlines()[0]}", file=sys.stderr)
    if not converged:
        print(f"{name} has not converged: {remedy}", file=sys.stderr)
    return converged


def scores(estimator, split):
    """Judge a fitted estimator by the test wines.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; a classifier knows the classes 0 and 1.
    split : wine.table.Split
        The wines.

    Returns
    -------
    DataFrame
        A row for each metric (rmse, mae, r2; or accuracy, recall, precision, f1, roc_auc,
        average_precision) and the columns `test` (all test wines), `unseen` (those without an
        identical copy among the training wines) and `baseline` (the mean or the majority of the
        training wines, judged by all test wines). `unseen` is NaN where a metric is not defined:
        with no two different values among these wines.
    """
    X, y, unseen = split.X_test, split.y_test, split.unseen
    if is_classifier(estimator):
        judge, baseline = _classifier_scores, DummyClassifier(strategy="most_frequent")
    else:
        judge, baseline = _regressor_scores, DummyRegressor(strategy="mean")
    baseline.fit(split.X_train, split.y_train)
    columns = {"test": judge(estimator, X, y)}
    if y[unseen].nunique() > 1:
        columns["unseen"] = judge(estimator, X[unseen], y[unseen])
    columns["baseline"] = judge(baseline, X, y)
    return pd.DataFrame(columns, columns=["test", "unseen", "baseline"])


def _regressor_scores(estimator, X, y):
    y_pred = estimator.predict(X)
    return {
        "rmse": metrics.root_mean_squared_error(y, y_pred),
        "mae": metrics.mean_absolute_error(y, y_pred),
        "r2": metrics.r2_score(y, y_pred),
    }


def _classifier_scores(estimator, X, y):
    y_score = estimator.predict_proba(X)[:, 1]
    y_pred = estimator.predict(X)
    return {
        "accuracy": metrics.accuracy_score(y, y_pred),
        "recall": metrics.recall_score(y, y_pred),
        "precision": metrics.precision_score(y, y_pred, zero_division=0),
        "f1": metrics.f1_score(y, y_pred),
        "roc_auc": metrics.roc_auc_score(y, y_score),
        "average_precision": metrics.average_precision_score(y, y_score),
    }


def figures(estimator, split):
    """Draw what the numbers do not show, on the test wines.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted.
    split : wine.table.Split
        The wines.

    Returns
    -------
    dict
        A matplotlib Figure for each file name.
    """
    X, y = split.X_test, split.y_test
    drawn = {}

    def axes(file_name, title):
        drawn[file_name] = Figure(figsize=(6.4, 4.8), layout="constrained")
        return drawn[file_name].subplots(subplot_kw={"title": title})

    if is_classifier(estimator):
        y_score = estimator.predict_proba(X)[:, 1]
        name = type(final_step(estimator)).__name__
        metrics.ConfusionMatrixDisplay.from_predictions(
            y, estimator.predict(X), ax=axes("confusion-matrix.png", "Confusion matrix")
        )
        metrics.RocCurveDisplay.from_predictions(
            y, y_score, name=name, plot_chance_level=True, ax=axes("roc-curve.png", "ROC curve")
        )
        metrics.PrecisionRecallDisplay.from_predictions(
            y,
            y_score,
            name=name,
            plot_chance_level=True,
            ax=axes("precision-recall-curve.png", "Precision-recall curve"),
        )
    else:
        y_pred = estimator.predict(X)
        for kind, file_name, title in (
            ("actual_vs_predicted", "predicted-against-measured.png", "Measured and predicted"),
            ("residual_vs_predicted", "residuals.png", "Residuals"),
        ):
            metrics.PredictionErrorDisplay.from_predictions(
                y,
                y_pred,
                kind=kind,
                subsample=None,
                scatter_kwargs={"alpha": 0.2},
                ax=axes(file_name, title),
            )

    weights = {
        "coefficients": getattr(final_step(estimator), "coef_", None),
        "importances": getattr(final_step(estimator), "feature_importances_", None),
    }
    for name, values in weights.items():
        if values is not None:
            ax = axes(f"{name}.png", name.capitalize())
            order = np.argsort(np.abs(values))
            ax.barh(X.columns[order], np.asarray(values)[order])
            ax.axvline(0, color="black", linewidth=0.8)
            into = "raw" if final_step(estimator) is estimator else "transformed"
            ax.set_xlabel(f"{name} of the {into} measurements")
    return drawn
