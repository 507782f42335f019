"""Compare classifiers that tell the good wines from the others, by quality and by latency."""

import time
from importlib import import_module

from sklearn import metrics
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import joblib
import numpy as np
import pandas as pd

from wine import dataset, folds

training = import_module("clf-train")

FOLDS = 5
# The threshold is chosen with some seeds, inside the training wines, and the classifiers are
# compared with others: what looks best with the seeds that chose it flatters itself.
CHOOSING_SEEDS, COMPARING_SEEDS = 0, 200
SCORES = {  # from the classes, the probabilities and the threshold
    "F1": lambda y, good, threshold: metrics.f1_score(y, good >= threshold),
    "ROC AUC": lambda y, good, threshold: metrics.roc_auc_score(y, good),
    "average precision": lambda y, good, threshold: metrics.average_precision_score(y, good),
    "Brier score": lambda y, good, threshold: metrics.brier_score_loss(y, good),
    "recall": lambda y, good, threshold: metrics.recall_score(y, good >= threshold),
    "precision": lambda y, good, threshold: metrics.precision_score(y, good >= threshold),
    "accuracy": lambda y, good, threshold: metrics.accuracy_score(y, good >= threshold),
}


def candidates():
    """Return each classifier that is compared, not fitted, with its thresholds."""
    default = training.PROBABILITY_THRESHOLD
    forest = RandomForestClassifier(200, random_state=42)
    boosting = HistGradientBoostingClassifier(random_state=42)
    return {
        "RandomForest 200": (make_pipeline(StandardScaler(), forest), (0.5, default)),
        "ExtraTrees 80": (training.build(80, None), (0.5, default)),
        "ExtraTrees 40": (training.build(40, None), (default,)),
        "HistGradientBoosting": (make_pipeline(StandardScaler(), boosting), (default,)),
    }


def probabilities(model, X, y, seeds):
    """Cross-validate a model's probabilities; wines with identical measurements share a fold.

    Parameters
    ----------
    model : scikit-learn classifier
        It knows the classes 0 and 1.
    X, y : DataFrame and Series, n_rows
        The measurements and the classes.
    seeds : range
        For each seed the rows are split into FOLDS folds.

    Returns
    -------
    list of (Series, ndarray)
        For each fold the classes of its rows and their probabilities of the class 1.
    """
    copies = X.groupby(list(X.columns)).ngroup()
    answers = []
    for seed in seeds:
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        for rows, others in splitter.split(X, y, copies):
            with joblib.parallel_config("threading", n_jobs=-1):
                fitted = clone(model).fit(X.iloc[rows], y.iloc[rows])
            answers.append((y.iloc[others], fitted.predict_proba(X.iloc[others])[:, 1]))
    return answers


def choose_threshold(seeds):
    """Choose the threshold of the script's classifier by cross-validating the training wines.

    Parameters
    ----------
    seeds : int
        How many times the training wines are split into FOLDS folds.

    Returns
    -------
    threshold : float
        As `wine.folds.choose_threshold` chooses it, from the folds of all seeds.
    scores : Series
        The F1 for each of `wine.folds.THRESHOLDS`.
    """
    split = training.split(dataset.load(dataset.DATA))
    params = training.read_params([])
    model = training.build(params["n_estimators"], params["max_depth"])
    seeds = range(CHOOSING_SEEDS, CHOOSING_SEEDS + seeds)
    answers = probabilities(model, split.X_train, split.y_train, seeds)
    y, good = (np.concatenate(each) for each in zip(*answers, strict=True))
    scores = folds.score_thresholds(y, good)["f1"]
    return folds.choose_threshold(scores), scores


def latencies(models, X):
    """Return the median milliseconds of `predict` for one wine, all models asked in turn."""
    seconds = {name: [] for name in models}
    for row in range(len(X)):
        for name, model in models.items():
            start = time.perf_counter()
            model.predict(X.iloc[[row]])
            seconds[name].append(time.perf_counter() - start)
    return {name: 1000 * np.median(values) for name, values in seconds.items()}


def compare(seeds):
    """Evaluate and time all candidates.

    Parameters
    ----------
    seeds : int
        How many times the wines are split into FOLDS folds.

    Returns
    -------
    DataFrame
        A column for each candidate and threshold, with the mean and the standard deviation of each
        of SCORES over the folds, the mean difference to the first column on the same folds with
        its standard error, and the milliseconds for one wine. The error allows for the training
        wines that folds share (Nadeau and Bengio, Machine Learning 52:239-281, 2003).
    """
    wines = dataset.load(dataset.DATA)
    X = wines[dataset.FEATURES]
    y = (wines[dataset.TARGET] >= training.TARGET_THRESHOLD).astype("int64")
    split = training.split(wines)

    columns, models, first = {}, {}, None
    for name, (model, thresholds) in candidates().items():
        answers = probabilities(model, X, y, range(COMPARING_SEEDS, COMPARING_SEEDS + seeds))
        models[name] = clone(model).fit(split.X_train, split.y_train)
        for threshold in thresholds:
            scores = np.array(
                [[score(*answer, threshold) for score in SCORES.values()] for answer in answers]
            )
            first = scores if first is None else first
            more = scores - first
            error = more.std(axis=0, ddof=1) * np.sqrt(1 / len(more) + 1 / (FOLDS - 1))
            column = columns[f"{name}, from {threshold:.2f}"] = {}
            for i, label in enumerate(SCORES):
                column[label] = f"{scores[:, i].mean():.3f} ±{scores[:, i].std(ddof=1):.3f}"
                column[f"{label}, more"] = f"{more[:, i].mean():+.4f} ±{error[i]:.4f}"
    for name, milliseconds in latencies(models, split.X_test.head(200)).items():
        for column in columns:
            if column.startswith(f"{name},"):
                columns[column]["one wine"] = f"{milliseconds:.1f} ms"
    return pd.DataFrame(columns)
