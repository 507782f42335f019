"""Evaluation: fit a model and report its warnings, compute metrics, draw plots."""

import sys
import warnings

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import FixedThresholdClassifier

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from wine import UserError

# The names in MLflow of a metric in each column of what `evaluate` returns.
METRIC_NAMES = {"test": "{}", "unseen": "{}_unseen", "baseline": "{}_baseline"}


def final_step(estimator):
    """Return the estimator itself, or the last step of a Pipeline, without its threshold."""
    step = estimator[-1] if hasattr(estimator, "steps") else estimator
    if isinstance(step, FixedThresholdClassifier):
        return getattr(step, "estimator_", step.estimator)  # estimator_ is the one that was fitted
    return step


def name(estimator):
    """Return the name of the estimator's class, or of that of a Pipeline's last step."""
    return type(final_step(estimator)).__name__


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
        for key, value in step.get_params().items()
        if key != "estimator"  # Of a threshold's classifier, only the parameters are shown.
    }


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
        return DummyClassifier(strategy="most_frequent").fit(split.X_train, split.y_train)
    return DummyRegressor(strategy="mean").fit(split.X_train, split.y_train)


def evaluate(estimator, split):
    """Compute the metrics of a fitted estimator on the test set, beside those of a baseline.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; a classifier knows the classes 0 and 1.
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    DataFrame
        It has a row for each metric (rmse, mae, r2; or accuracy, recall, precision, f1, roc_auc,
        average_precision) and three columns. `test` is computed on the whole test set, `unseen` on
        the test rows without an identical copy in the training set. `baseline` is the test metric
        of a model that always predicts the mean or the majority of the training set. `unseen` is
        NaN if fewer than two different values are left, as the metrics are not defined then.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from wine import dataset
    >>> split = dataset.split(dataset.load(dataset.DATA))
    >>> evaluate(LinearRegression().fit(split.X_train, split.y_train), split).round(2)
          test  unseen  baseline
    rmse  0.74    0.72      0.88
    mae   0.58    0.56      0.67
    r2    0.29    0.32     -0.00
    """
    X, y, unseen = split.X_test, split.y_test, split.unseen
    evaluate_on = _classifier_metrics if is_classifier(estimator) else _regressor_metrics
    columns = {"test": evaluate_on(estimator, X, y)}
    if y[unseen].nunique() > 1:
        columns["unseen"] = evaluate_on(estimator, X[unseen], y[unseen])
    columns["baseline"] = evaluate_on(baseline(estimator, split), X, y)
    return pd.DataFrame(columns, columns=list(METRIC_NAMES))


def flatten(scores):
    """Return the metrics that are defined as MLflow takes them: one number for each name.

    Parameters
    ----------
    scores : DataFrame
        The metrics as `evaluate` returns them.

    Returns
    -------
    dict
        For instance rmse (on the test set), rmse_unseen and rmse_baseline.

    Examples
    --------
    >>> flatten(pd.DataFrame({"test": [0.81], "unseen": [0.80], "baseline": [0.88]}, ["rmse"]))
    {'rmse': 0.81, 'rmse_unseen': 0.8, 'rmse_baseline': 0.88}
    """
    return {
        METRIC_NAMES[column].format(metric): value
        for (metric, column), value in scores.stack().dropna().items()
    }


def _regressor_metrics(estimator, X, y):
    y_pred = estimator.predict(X)
    return {
        "rmse": metrics.root_mean_squared_error(y, y_pred),
        "mae": metrics.mean_absolute_error(y, y_pred),
        "r2": metrics.r2_score(y, y_pred),
    }


def _classifier_metrics(estimator, X, y):
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


def plots(estimator, split):
    """Draw the predictions on the test set, and what the model has learned.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted.
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    dict
        A matplotlib Figure for each file name.
    """
    X, y = split.X_test, split.y_test
    figures = {}

    def axes(file_name, title):
        figures[file_name] = Figure(figsize=(6.4, 4.8), layout="constrained")
        return figures[file_name].subplots(subplot_kw={"title": title})

    if is_classifier(estimator):
        y_score = estimator.predict_proba(X)[:, 1]
        metrics.ConfusionMatrixDisplay.from_predictions(
            y, estimator.predict(X), ax=axes("confusion-matrix.png", "Confusion matrix")
        )
        metrics.RocCurveDisplay.from_predictions(
            y,
            y_score,
            name=name(estimator),
            plot_chance_level=True,
            ax=axes("roc-curve.png", "ROC curve"),
        )
        metrics.PrecisionRecallDisplay.from_predictions(
            y,
            y_score,
            name=name(estimator),
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
    for kind, values in weights.items():
        if values is not None:
            ax = axes(f"{kind}.png", kind.capitalize())
            order = np.argsort(np.abs(values))
            ax.barh(X.columns[order], np.asarray(values)[order])
            ax.axvline(0, color="black", linewidth=0.8)
            scale = "raw" if final_step(estimator) is estimator else "transformed"
            ax.set_xlabel(f"{kind} of the {scale} measurements")
    return figures
