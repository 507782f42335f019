"""Folds: cross-validate a model on the training rows, by which models are compared."""

import sys
import time
import warnings
from typing import NamedTuple

from sklearn.base import clone, is_classifier
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import resample

import joblib
import numpy as np
import pandas as pd

from wine import UserError, dataset, evaluation

FOLDS = 5  # of a cross-validation
MAX_FOLD_ROWS = 20_000  # Of more training rows, a sample is cross-validated.
THRESHOLDS = np.arange(1, 100) / 100
F1_TOLERANCE = 0.005  # Of two thresholds that are about as good, the higher is more precise.


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


def make(split, classifier):
    """Divide the training rows into folds, the same for all estimators.

    Identical rows are in the same fold, so that no model is judged by rows that it was fitted on.
    The folds of a classifier have about the same share of each class.

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
    # Each fold gets some of the groups of identical rows. scikit-learn's StratifiedGroupKFold takes
    # several seconds for this where there are many groups.
    groups = dataset.group_identical(X).to_numpy()
    _, first = np.unique(groups, return_index=True)
    with warnings.catch_warnings():
        # scikit-learn only warns of a class that has fewer rows than there are folds.
        warnings.simplefilter("error", UserWarning)
        try:
            splitter = StratifiedKFold if classifier else KFold
            folds = splitter(FOLDS, shuffle=True, random_state=42).split(first, y.iloc[first])
            judged = [np.isin(groups, numbers) for _, numbers in folds]
            if classifier and any(y[mask].nunique() < y.nunique() for mask in judged):
                raise ValueError(f"not every fold has {dataset.NOUN}s of each class")
        except (ValueError, UserWarning) as error:
            raise UserError(
                f"data: received {dataset.count(len(X), 'training')}, {len(first)} of "
                f"them different, allowed are enough to judge by {FOLDS} folds: {error}"
            ) from error
    return Folds(X, y, [(np.flatnonzero(~mask), np.flatnonzero(mask)) for mask in judged])


def describe(split):
    """Return in words which rows `make` divides, for instance 5 folds of the training wines.

    Parameters
    ----------
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    str
    """
    is_sample = len(split.y_train) > MAX_FOLD_ROWS
    rows = f"a sample of {MAX_FOLD_ROWS:,}" if is_sample else "the"
    return f"{FOLDS} folds of {rows} training {dataset.NOUN}s"


class CrossValidation(NamedTuple):
    """What an estimator answers for the rows of each fold, when it was fitted on the other folds.

    Attributes
    ----------
    metric : str
        The metric by which models of this kind are compared.
    scores : DataFrame, shape (FOLDS, n_metrics)
        The metrics of each fold, by their names.
    answers : list of (Series, wine.evaluation.Predictions)
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
        """Score the thresholds of a classifier by all rows, as `score_thresholds` does."""
        targets, predictions = zip(*self.answers, strict=True)
        probabilities = [predicted.probabilities[:, 1] for predicted in predictions]
        return score_thresholds(np.concatenate(targets), np.concatenate(probabilities))


def score(estimator, folds):
    """Cross-validate an estimator by folds.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It stays as it is: copies of it are fitted, with all steps of a Pipeline.
    folds : Folds
        The rows.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError
        If the estimator cannot be fitted.
    """
    scores, answers, seconds = [], [], 0.0
    for rows, judged in folds.rows:
        start = time.perf_counter()
        fitted = clone(estimator).fit(folds.X.iloc[rows], folds.y.iloc[rows])
        seconds += time.perf_counter() - start
        y, predicted = folds.y.iloc[judged], evaluation.predict(fitted, folds.X.iloc[judged])
        scores.append(evaluation.compute(fitted, y, predicted))
        answers.append((y, predicted))
    metric = evaluation.main_metric(estimator).name
    return CrossValidation(metric, pd.DataFrame(scores), answers, seconds / len(answers))


def cross_validate(estimator, split):
    """Cross-validate an estimator on the training set, by the folds by which all are compared.

    Parameters
    ----------
    estimator : scikit-learn regressor or classifier
        It stays as it is.
    split : wine.dataset.Split
        The table, split.

    Returns
    -------
    CrossValidation or None
        None if the training set is too small; a line says so.
    """
    with warnings.catch_warnings(), joblib.parallel_config("threading", n_jobs=-1):
        warnings.simplefilter("ignore")  # The fit on all training rows reports them.
        try:
            return score(estimator, make(split, is_classifier(estimator)))
        except (UserError, ValueError) as error:
            reason = str(error).splitlines()[0]
    print(f"{evaluation.name(estimator)} is not cross-validated: {reason}", file=sys.stderr)
    return None


def score_thresholds(y, probability):
    """Compute recall, precision and F1 for each threshold of the probability.

    Parameters
    ----------
    y : array-like, shape (n_rows,)
        The true classes, 0 and 1.
    probability : array-like, shape (n_rows,)
        That of the class 1, by models that were not fitted on these rows.

    Returns
    -------
    DataFrame, shape (99, 3)
        `recall`, `precision` (NaN where no row is called 1) and `f1` in a row for each of
        `THRESHOLDS`.

    Examples
    --------
    >>> score_thresholds([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9]).loc[[0.4, 0.7]].round(2)
         recall  precision    f1
    0.4     1.0       0.67  0.80
    0.7     0.5       1.00  0.67
    """
    y, probability = np.asarray(y), np.asarray(probability)
    hits, n_called = (_count_above(each) for each in (probability[y == 1], probability))
    scores = {
        "recall": hits / np.count_nonzero(y),
        "precision": hits / np.where(n_called, n_called, np.nan),
        "f1": 2 * hits / (n_called + np.count_nonzero(y)),
    }
    return pd.DataFrame(scores, THRESHOLDS)


def _count_above(probability):
    """Return how many of the probabilities are each of the thresholds or more."""
    return len(probability) - np.searchsorted(np.sort(probability), THRESHOLDS)


def choose_threshold(f1):
    """Return the highest threshold whose F1 is at most `F1_TOLERANCE` below the best one.

    Parameters
    ----------
    f1 : Series, indexed by the thresholds
        As `score_thresholds` returns it.

    Returns
    -------
    float
    """
    return float(f1.index[f1 >= f1.max() - F1_TOLERANCE].max())
