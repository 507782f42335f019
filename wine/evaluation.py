"""Evaluation: fit, cross-validate, and compute metrics beside those of a baseline."""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sklearn import metrics
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    FixedThresholdClassifier,
    KFold,
    StratifiedKFold,
    TimeSeriesSplit,
)
from sklearn.utils import resample

import joblib
import numpy as np
import pandas as pd

from wine import UserError, dataset

ASCENDING = ("rmse", "mae", "brier")  # Of these metrics, the lowest is the best.
# The names in MLflow of a metric in each column of what `evaluate` returns.
METRIC_NAMES = {"cv": "cv_{}", "test": "{}", "unseen": "{}_unseen", "baseline": "{}_baseline"}
FOLDS = 5  # of a cross-validation
MAX_FOLD_ROWS = 20_000  # Of more training rows, a sample is cross-validated.
F1_TOLERANCE = 0.005  # Of two thresholds that are about as good, the higher is more precise.


def _last_step(estimator):
    return estimator[-1] if hasattr(estimator, "steps") else estimator


def final_step(estimator):
    """Return the estimator itself, or the last step of a Pipeline, without its threshold."""
    step = _last_step(estimator)
    if isinstance(step, FixedThresholdClassifier):
        return getattr(step, "estimator_", step.estimator)  # estimator_ is the one that was fitted
    return step


def threshold(estimator):
    """Return the probability from which on a classifier predicts 1, or None if it has none."""
    step = _last_step(estimator)
    return step.threshold if isinstance(step, FixedThresholdClassifier) else None


def name(estimator):
    """Return the name of the estimator's class, or of that of a Pipeline's last step."""
    return type(final_step(estimator)).__name__


def join(params):
    """Return parameters in words, for instance alpha=1.0, l1_ratio=0.1."""
    return ", ".join(f"{key}={value}" for key, value in params.items())


def describe(estimator, params):
    """Return a name for a run that is short enough for the first column of MLflow's table.

    Examples
    --------
    >>> from sklearn.linear_model import HuberRegressor
    >>> describe(HuberRegressor(), {"alpha": 0.1, "epsilon": 1.35, "data": dataset.DATA})
    'Huber 0.1, 1.35'
    >>> describe(HuberRegressor(), {"alpha": 0.1, "epsilon": 1.35, "data": "wines/red.csv"})
    'Huber 0.1, 1.35 on red'
    """
    kind = name(estimator).removesuffix("Regressor").removesuffix("Classifier")
    values = ", ".join(map(str, own_params(estimator, params).values()))
    data = params.get("data", dataset.DATA)
    return f"{kind} {values}".strip() + ("" if data == dataset.DATA else f" on {Path(data).stem}")


def own_params(estimator, params):
    """Return those of a script's parameters that are parameters of its estimator."""
    known = get_params(estimator)
    return {key: value for key, value in params.items() if key in known}


def get_params(estimator):
    """Return the parameters of an estimator, or of all steps of a Pipeline, by their short names.

    No two steps may have a parameter of the same name.

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
    """Return the `Metric` by which regressors, or classifiers, are compared.

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


def fit(estimator, split, params):
    """Fit an estimator in place on the training set, and print each of its warnings in one line.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Not fitted.
    split : wine.dataset.Split
        The table, split.
    params : dict
        The script's parameters, which a warning repeats.

    Returns
    -------
    bool
        Whether the fit converged.

    Raises
    ------
    UserError
        If the estimator cannot be fitted at all.
    """
    received = f"received {join(own_params(estimator, params))}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with joblib.parallel_config("threading", n_jobs=-1):  # Trees grow on all cores.
                estimator.fit(split.X_train, split.y_train)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{name(estimator)} cannot be fitted: {received}; {reason}") from error
    converged = True
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            converged = False
        else:
            print(f"{name(estimator)}: {str(warning.message).splitlines()[0]}", file=sys.stderr)
    if not converged:
        print(f"{name(estimator)} has not converged: {received}", file=sys.stderr)
    return converged


class Folds(NamedTuple):
    """Training rows, divided into folds for a cross-validation.

    Attributes
    ----------
    X : DataFrame, shape (n_rows, n_features)
        The rows: all training rows, or a sample of `MAX_FOLD_ROWS` of them.
    y : Series, shape (n_rows,)
        Their target.
    rows : list of tuple of ndarray
        For each fold, the positions of the rows to fit on and of those to judge by.
    """

    X: pd.DataFrame
    y: pd.Series
    rows: list


def make_folds(split, classifier):
    """Divide the training rows into folds, the same for all estimators.

    Identical rows, or those of a `dataset.GROUP`, are in the same fold, so that no model is judged
    by rows that it was fitted on. The folds of a classifier have about the same share of each
    class. With `dataset.TIME`, each fold is judged by models that were fitted on the rows before.

    Parameters
    ----------
    split : wine.dataset.Split
        The table, split.
    classifier : bool
        Whether the target is a class.

    Returns
    -------
    Folds

    Raises
    ------
    UserError
        If there are too few different rows, or if a class is not in every fold.
    """
    X, y = split.X_train, split.y_train
    if len(y) > MAX_FOLD_ROWS:
        options = {"n_samples": MAX_FOLD_ROWS, "stratify": y if classifier else None}
        X, y = resample(X, y, replace=False, random_state=42, **options)
    groups = np.arange(len(X))
    if dataset.GROUP:
        _, groups = np.unique(split.groups[X.index], return_inverse=True)
    elif dataset.IDENTICAL_ROWS_ARE_COPIES and not dataset.TIME:
        groups = X.groupby([*X.columns], dropna=False).ngroup().to_numpy()
    # Each fold gets some of the groups of identical rows. scikit-learn's StratifiedGroupKFold takes
    # several seconds for this where there are many groups.
    _, first = np.unique(groups, return_index=True)
    splitter = (StratifiedKFold if classifier else KFold)(FOLDS, shuffle=True, random_state=42)
    if dataset.TIME:
        X, y, splitter = X.sort_index(), y.sort_index(), TimeSeriesSplit(FOLDS)
    with warnings.catch_warnings():
        # scikit-learn only warns of a class that has fewer rows than there are folds.
        warnings.simplefilter("error", UserWarning)
        try:
            rows = [
                [np.flatnonzero(np.isin(groups, numbers)) for numbers in fold]
                for fold in splitter.split(first, y.iloc[first])
            ]
            if classifier and any(y.iloc[each].nunique() < y.nunique() for _, each in rows):
                raise ValueError(f"not every fold has {dataset.NOUN}s of each class")
        except (ValueError, UserWarning) as error:
            raise UserError(
                f"data: received {dataset.count(len(X), 'training')}, {len(first)} of "
                f"them different, allowed are enough to judge by {FOLDS} folds: {error}"
            ) from error
    return Folds(X, y, rows)


def describe_folds(split):
    """Return in words which rows are divided, for instance 5 folds of the training wines."""
    is_sample = len(split.y_train) > MAX_FOLD_ROWS
    rows = f"a sample of {MAX_FOLD_ROWS:,}" if is_sample else "the"
    kept = f", each {dataset.GROUP} in one" if dataset.GROUP else ""
    kept = f", forward in {dataset.TIME}" if dataset.TIME else kept
    return f"{FOLDS} folds of {rows} training {dataset.NOUN}s{kept}"


class CrossValidation(NamedTuple):
    """What an estimator answers for the rows of each fold, when it was fitted on the other folds.

    Attributes
    ----------
    metric : str
        The metric by which models of this kind are compared.
    scores : DataFrame, shape (FOLDS, n_metrics)
        The metrics of each fold, by their names.
    answers : list of (Series, Predictions)
        For each fold, the target and the predictions.
    fit_time : float
        Seconds of a fit, the mean of all.
    """

    metric: str
    scores: pd.DataFrame
    answers: list
    fit_time: float

    def summarize(self):
        """Return the mean and the standard deviation of the metric, by their names in MLflow."""
        scores = self.scores[self.metric]
        return {f"cv_{self.metric}": scores.mean(), f"cv_{self.metric}_std": scores.std(ddof=0)}

    def score_thresholds(self):
        """Return the recall, precision and f1 of the rows of all folds, indexed by threshold."""
        targets, predictions = zip(*self.answers, strict=True)
        probability = np.concatenate([each.probabilities[:, 1] for each in predictions])
        curve = metrics.precision_recall_curve(np.concatenate(targets), probability)
        scores = pd.DataFrame({"recall": curve[1], "precision": curve[0]})[:-1].set_axis(curve[2])
        return scores.assign(f1=2 / (1 / scores).sum(axis=1))


def score_folds(estimator, folds):
    """Cross-validate an estimator by `Folds`; raise a ValueError if it cannot be fitted.

    The estimator stays as it is: copies of it are fitted, with all steps of a Pipeline.

    Returns
    -------
    CrossValidation
    """
    scores, answers, seconds = [], [], 0.0
    for rows, judged in folds.rows:
        start = time.perf_counter()
        fitted = clone(estimator).fit(folds.X.iloc[rows], folds.y.iloc[rows])
        seconds += time.perf_counter() - start
        y, predicted = folds.y.iloc[judged], predict(fitted, folds.X.iloc[judged])
        scores.append(compute(fitted, y, predicted))
        answers.append((y, predicted))
    metric = main_metric(estimator).name
    return CrossValidation(metric, pd.DataFrame(scores), answers, seconds / len(answers))


def cross_validate(estimator, split):
    """Cross-validate an estimator on the training set, by the folds by which all are compared.

    Returns
    -------
    CrossValidation or None
        None if the training set is too small; a line says so.
    """
    with warnings.catch_warnings(), joblib.parallel_config("threading", n_jobs=-1):
        warnings.simplefilter("ignore")  # The fit on all training rows reports them.
        try:
            return score_folds(estimator, make_folds(split, is_classifier(estimator)))
        except (UserError, ValueError) as error:
            reason = str(error).splitlines()[0]
    print(f"{name(estimator)} is not cross-validated: {reason}", file=sys.stderr)
    return None


def choose_threshold(f1):
    """Return the highest threshold, which is the index, whose F1 is almost the best one."""
    return f1.index[f1 >= f1.max() - F1_TOLERANCE].max()


def baseline(estimator, split):
    """Fit the baseline that always predicts the mean or the majority of the training set.

    The probabilities of a classifier's baseline are the shares of the classes in the training set.
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
    """Return the `Predictions` of rows, once for all that is computed and drawn of them."""
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
    cv : CrossValidation or None
        That of the training set.
    """

    scores: pd.DataFrame
    predicted: Predictions
    cv: CrossValidation | None


def evaluate(estimator, split, cv=None):
    """Predict the test set, and compute the metrics beside those by folds and of a baseline.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted.
    split : wine.dataset.Split
        The table, split.
    cv : CrossValidation, optional
        Of the estimator on the training set.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> split = dataset.split_table(dataset.load(dataset.DATA))
    >>> model = LinearRegression().fit(split.X_train, split.y_train)
    >>> evaluate(model, split, cross_validate(model, split)).scores.round(2)
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

    Returns
    -------
    training_metrics : dict
        Of the training set: cv_rmse (by folds), for instance, cv_rmse_std and n_train.
    test_metrics : dict
        Of the test set: rmse, rmse_unseen, rmse_baseline, n_test and n_unseen.
    """
    by_folds, values = {"n_train": len(split.y_train)}, {"n_test": len(split.y_test)}
    for (key, column), value in result.scores.stack().dropna().items():
        found = by_folds if column == "cv" else values
        found[METRIC_NAMES[column].format(key)] = value
    by_folds |= result.cv.summarize() if result.cv else {}
    return by_folds, values | {"n_unseen": int(split.unseen.sum())}


def compute(estimator, y, predicted):
    """Compute the metrics, by name, of the `Predictions` that a fitted estimator has made.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        Fitted; it made the predictions.
    y : Series, shape (n_rows,)
        The true values.
    predicted : Predictions
        For the same rows.
    """
    y_pred, probabilities = predicted
    if not is_classifier(estimator):
        return {
            "rmse": metrics.root_mean_squared_error(y, y_pred),
            "mae": metrics.mean_absolute_error(y, y_pred),
            "r2": metrics.r2_score(y, y_pred),
        }
    # Of several classes, the metrics of each against the others are averaged.
    options = {"average": "binary" if is_binary(estimator) else "macro", "zero_division": 0}
    return {
        "accuracy": metrics.accuracy_score(y, y_pred),
        "recall": metrics.recall_score(y, y_pred, **options),
        "precision": metrics.precision_score(y, y_pred, **options),
        "f1": metrics.f1_score(y, y_pred, **options),
        "roc_auc": _one_against_rest(metrics.roc_auc_score, estimator, y, probabilities),
        "average_precision": average_precision(estimator, y, probabilities),
        "brier": metrics.brier_score_loss(y, probabilities, labels=estimator.classes_),
    }


def is_binary(classifier):
    """Tell whether a fitted classifier knows the classes 0 and 1, of which 1 is sought."""
    return list(classifier.classes_) == [0, 1]


def _one_against_rest(metric, classifier, y, probabilities):
    """Compute a metric of the probability of the class 1; of other classes, the mean over each.

    The metric of a class is that against the others; a class that is not in `y` does not count.
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
    """Compute the average precision of probabilities, shape (n_rows, n_classes).

    Of other classes than 0 and 1 it is the mean over the classes that are in `y`.
    """
    return _one_against_rest(metrics.average_precision_score, classifier, y, probabilities)


def _score_average_precision(classifier, X, y):
    """Score as scikit-learn's average_precision, which takes two classes only."""
    return average_precision(classifier, y, classifier.predict_proba(X))
