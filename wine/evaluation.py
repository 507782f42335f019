"""Evaluation: fit, cross-validate, and compute metrics beside those of a baseline."""

import collections
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from sklearn import metrics, model_selection
from sklearn.base import clone, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import resample

import joblib
import numpy as np
import pandas as pd

from wine import UserError, dataset

FOLDS = 5  # of a cross-validation
MAX_FOLD_ROWS = 20_000  # Of more training rows, a sample is cross-validated.
F1_TOLERANCE = 0.005  # Of two thresholds that are about as good, the higher is more precise.

# The metric by which models of a kind are compared: its name in MLflow, whether the lowest is the
# best, and its scorer in scikit-learn.
Metric = collections.namedtuple("Metric", "name ascending scoring")
# Training rows, divided for a cross-validation: the features X and the target y of all training
# rows, or of a sample of them, and for each fold the positions to fit on and those to judge by.
Folds = collections.namedtuple("Folds", "X y rows")
# How good an estimator is: by folds to choose it by, on the test set to report. scores: a DataFrame
# with a row for each metric that `compute` returns, and four columns. cv is the mean over the folds
# of the training set, or NaN without a cross-validation. test is computed on the whole test set,
# unseen on the different test rows without an identical copy in the training set; it is NaN if
# fewer than two different values are left, as the metrics are not defined then. baseline is the
# metric of a model that always predicts the mean or the majority of the training set, on the unseen
# rows; if these have no metrics, on the whole test set. predicted: what `predict` returns for the
# rows "test" and, if they have metrics, "unseen". cv: a CrossValidation or None.
Evaluation = collections.namedtuple("Evaluation", "scores predicted cv")


def _steps(estimator):
    """Return the steps of a Pipeline, or the estimator itself as the only step."""
    return [step for _, step in getattr(estimator, "steps", [("", estimator)])]


def final_step(estimator):
    """Return the estimator itself, or the last step of a Pipeline.

    Of a FixedThresholdClassifier, it is the classifier inside, which is never fitted itself.
    """
    step = _steps(estimator)[-1]
    return step if threshold(estimator) is None else step.estimator


def threshold(estimator):
    """Return the probability from which on a classifier predicts 1, or None if it has none."""
    return getattr(_steps(estimator)[-1], "threshold", None)


def is_linear(estimator):
    """Tell whether an estimator is a regressor with a coefficient for each column."""
    return not is_classifier(estimator) and hasattr(final_step(estimator), "coef_")


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
    """
    params = {}
    for step in _steps(estimator):
        if not isinstance(step, ColumnTransformer):  # Its parameters are lists of columns.
            params |= step.get_params()
    params.pop("estimator", None)  # Of a threshold's classifier, only the parameters are shown.
    return {key.removeprefix("estimator__"): value for key, value in params.items()}


def main_metric(estimator):
    """Return the `Metric` by which regressors, or classifiers, are compared."""
    if is_classifier(estimator):
        return Metric("average_precision", False, _score_average_precision)
    return Metric("rmse", True, "neg_root_mean_squared_error")


def fit(estimator, split, params):
    """Fit an estimator in place on the training set, and return whether the fit converged.

    Each warning is printed in one line, with the parameters that the script received.

    Raises
    ------
    UserError
        If the estimator cannot be fitted at all.
    """
    received = f"received {join(own_params(estimator, params))}"
    with warnings.catch_warnings(record=True, action="always") as caught:
        try:
            with joblib.parallel_config("threading", n_jobs=-1):  # Trees grow on all cores.
                estimator.fit(split.X_train, split.y_train)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{name(estimator)} cannot be fitted: {received}; {reason}") from error
    others = [each for each in caught if not issubclass(each.category, ConvergenceWarning)]
    for each in others:
        print(f"{name(estimator)}: {str(each.message).splitlines()[0]}", file=sys.stderr)
    converged = len(others) == len(caught)
    if not converged:
        print(f"{name(estimator)} has not converged: {received}", file=sys.stderr)
    return converged


def make_folds(split, classifier):
    """Divide the training rows into folds, the same for all estimators.

    Identical rows, or those of a `dataset.GROUP`, are in the same fold, so that no model is judged
    by rows that it was fitted on. The folds of a classifier have about the same share of each
    class. With `dataset.TIME`, each fold is judged by models that were fitted on the rows before.

    Raises
    ------
    UserError
        If there are too few different rows, or if a class is not in every fold.
    """
    X, y = split.X_train, split.y_train
    if len(y) > MAX_FOLD_ROWS:
        options = {"n_samples": MAX_FOLD_ROWS, "stratify": y if classifier else None}
        X, y = resample(X, y, replace=False, random_state=42, **options)
    kind = model_selection.StratifiedKFold if classifier else model_selection.KFold
    splitter, groups = kind(FOLDS, shuffle=True, random_state=42), np.arange(len(X))
    if dataset.TIME:
        X, y, splitter = X.sort_index(), y.sort_index(), model_selection.TimeSeriesSplit(FOLDS)
    elif dataset.GROUP:
        groups = split.groups[X.index]
    elif dataset.IDENTICAL_ROWS_ARE_COPIES:
        groups = X.groupby([*X.columns], dropna=False).ngroup()
    # The first row of each group stands for it. scikit-learn's StratifiedGroupKFold takes several
    # seconds for this where there are many groups.
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    try:
        # scikit-learn only warns of a class that has fewer rows than there are folds.
        with warnings.catch_warnings(action="error", category=UserWarning):
            folds = [*splitter.split(first, y.iloc[first])]
        rows = [[np.flatnonzero(np.isin(groups, each)) for each in fold] for fold in folds]
        if classifier and any(y.iloc[judged].nunique() < y.nunique() for _, judged in rows):
            raise ValueError(f"not every fold has {dataset.NOUN}s of each class")
    except (ValueError, UserWarning) as error:
        received = f"{dataset.count(len(X), 'training')}, {len(first)} of them different"
        allowed = f"enough to judge by {FOLDS} folds: {error}"
        raise UserError(f"data: received {received}, allowed are {allowed}") from error
    return Folds(X, y, rows)


def describe_folds(split):
    """Return in words which rows are divided, for instance 5 folds of the training wines."""
    rows = f"a sample of {MAX_FOLD_ROWS:,}" if len(split.y_train) > MAX_FOLD_ROWS else "the"
    return f"{FOLDS} folds of {rows} training {dataset.NOUN}s"


class CrossValidation(NamedTuple):
    """How good an estimator is on the rows of each fold, when it was fitted on the other folds.

    `metric` is the one by which models of this kind are compared. `scores` has a row for each fold,
    with the metrics by name and `fit_time` in seconds. `predicted` is what `predict` returns for
    the rows of all folds.
    """

    metric: str
    scores: pd.DataFrame
    predicted: pd.DataFrame

    def summarize(self):
        """Return the mean and the standard deviation of the metric, by their names in MLflow."""
        scores = self.scores[self.metric]
        return {f"cv_{self.metric}": scores.mean(), f"cv_{self.metric}_std": scores.std(ddof=0)}

    def score_thresholds(self):
        """Return the recall, precision and f1 of the rows of all folds, indexed by threshold."""
        curve = metrics.precision_recall_curve(self.predicted["y"], self.predicted[1])
        scores = pd.DataFrame({"recall": curve[1], "precision": curve[0]})[:-1].set_axis(curve[2])
        return scores.assign(f1=2 / (1 / scores).sum(axis=1))


def score_folds(estimator, folds):
    """Return the `CrossValidation` of an estimator by `Folds`; copies of it are fitted.

    Raises
    ------
    ValueError
        If it cannot be fitted.
    """
    scores, predicted = [], []
    for rows, judged in folds.rows:
        start = time.perf_counter()
        fitted = clone(estimator).fit(folds.X.iloc[rows], folds.y.iloc[rows])
        seconds = time.perf_counter() - start
        with joblib.parallel_config("sequential"):  # Threads add the trees' votes in any order.
            predicted.append(predict(fitted, folds.X.iloc[judged], folds.y.iloc[judged]))
        scores.append(compute(fitted, predicted[-1]) | {"fit_time": seconds})
    metric = main_metric(estimator).name
    return CrossValidation(metric, pd.DataFrame(scores), pd.concat(predicted))


def cross_validate(estimator, split):
    """Return the `CrossValidation` on the training set; a line says why there is None."""
    # The fit on all training rows reports the warnings.
    with warnings.catch_warnings(action="ignore"), joblib.parallel_config("threading", n_jobs=-1):
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
    dummy = DummyClassifier(strategy="prior") if is_classifier(estimator) else DummyRegressor()
    return dummy.fit(split.X_train, split.y_train)


def predict(estimator, X, y):
    """Predict rows, once for all that is computed and drawn of them.

    The DataFrame has the true values `y`, the predicted ones `y_pred`, and the probability of each
    class of a classifier in columns 0, 1 and so on, in the order of its `classes_`.
    """
    probabilities = estimator.predict_proba(X) if is_classifier(estimator) else None
    return pd.DataFrame(probabilities, X.index).assign(y=y, y_pred=estimator.predict(X))


def evaluate(estimator, split, cv=None):
    """Predict the test set, and compute the metrics beside those by folds and of a baseline.

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
    rows = predict(estimator, split.X_test, split.y_test)
    predicted = {"test": rows}
    if split.y_test[split.unseen].nunique() > 1:
        predicted["unseen"] = rows = rows[split.unseen]
    constant = predict(baseline(estimator, split), split.X_test.loc[rows.index], rows["y"])
    judged = predicted | {"baseline": constant}
    columns = {column: compute(estimator, each) for column, each in judged.items()}
    columns |= {"cv": cv.scores.mean()} if cv else {}
    names = ["cv", "test", "unseen", "baseline"]
    scores = pd.DataFrame(columns, index=columns["test"], columns=names, dtype=float)
    return Evaluation(scores, predicted, cv)


def flatten(result, split):
    """Return the metrics that are defined, and the numbers of rows, as MLflow takes them.

    The first dict is of the training set (cv_rmse, by folds, for instance), the second of the test
    set: rmse, rmse_unseen, rmse_baseline, n_test and n_unseen.
    """
    cv, test, unseen, baseline = (column.dropna() for _, column in result.scores.items())
    by_folds = cv.add_prefix("cv_").to_dict() | (result.cv.summarize() if result.cv else {})
    judged = pd.concat([test, unseen.add_suffix("_unseen"), baseline.add_suffix("_baseline")])
    n_rows = {"n_test": len(split.y_test), "n_unseen": int(split.unseen.sum())}
    return by_folds | {"n_train": len(split.y_train)}, judged.to_dict() | n_rows


def compute(estimator, predicted):
    """Compute the metrics, by name, of what a fitted estimator predicts, as `predict` returns it.

    Of several classes, recall, precision, f1, roc_auc and average_precision are the means over
    those of each class against the others.
    """
    y, y_pred = predicted["y"], predicted["y_pred"]
    if not is_classifier(estimator):
        return {
            "rmse": metrics.root_mean_squared_error(y, y_pred),
            "mae": metrics.mean_absolute_error(y, y_pred),
            "r2": metrics.r2_score(y, y_pred),
        }
    probabilities = predicted.drop(columns=["y", "y_pred"]).to_numpy()
    options = {"average": "binary" if is_binary(estimator) else "macro", "zero_division": 0}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, y_pred, **options)
    return {
        "accuracy": metrics.accuracy_score(y, y_pred),
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "roc_auc": _one_against_rest(metrics.roc_auc_score, estimator, y, probabilities),
        "average_precision": average_precision(estimator, y, probabilities),
        "brier": metrics.brier_score_loss(y, probabilities, labels=estimator.classes_),
    }


def is_binary(estimator):
    """Tell whether a fitted estimator knows the classes 0 and 1, of which 1 is sought."""
    return list(getattr(estimator, "classes_", [])) == [0, 1]


def _one_against_rest(metric, classifier, y, probabilities):
    """Compute a metric of the class 1; of other classes, the mean over those that are in `y`."""
    classes = classifier.classes_
    sought = classes == 1 if is_binary(classifier) else np.isin(classes, y)
    is_class = np.equal.outer(np.asarray(y), classes[sought])
    return metric(is_class, probabilities[:, sought])  # scikit-learn takes the mean over columns.


def average_precision(classifier, y, probabilities):
    """Compute the average precision of probabilities, shape (n_rows, n_classes)."""
    return _one_against_rest(metrics.average_precision_score, classifier, y, probabilities)


def _score_average_precision(classifier, X, y):
    """Score as scikit-learn's average_precision, which fails where a class is not in `y`."""
    return average_precision(classifier, y, classifier.predict_proba(X))
