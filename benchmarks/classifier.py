"""Compare classifiers that tell the good wines from the others, by quality and by latency."""

import time
from importlib import import_module

from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.model_selection import StratifiedGroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import numpy as np
import pandas as pd

from wine import dataset

FOLDS = 5
METRICS = {"ROC AUC": "roc_auc", "average precision": "average_precision"}
CANDIDATES = {
    "RandomForest 200": RandomForestClassifier(200, random_state=42),
    "RandomForest 100": RandomForestClassifier(100, random_state=42),
    "ExtraTrees 100": ExtraTreesClassifier(
        100, criterion="entropy", min_samples_leaf=2, random_state=42
    ),
    "HistGradientBoosting": HistGradientBoostingClassifier(random_state=42),
}


def evaluate(model, wines, good, seeds):
    """Return the METRICS of each fold, shape (seeds * FOLDS, 2); copies of a wine share a fold."""
    X, copies = wines[dataset.FEATURES], wines.groupby(dataset.FEATURES).ngroup()
    scores = []
    for seed in range(10, 10 + seeds):
        cv = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        result = cross_validate(
            model, X, good, groups=copies, cv=cv, scoring=list(METRICS.values())
        )
        scores.append([result[f"test_{metric}"] for metric in METRICS.values()])
    return np.concatenate(scores, axis=1).T


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
        For each candidate the mean and the standard deviation of the metrics over the folds, the
        mean difference to the first candidate on the same folds with its standard error, and the
        milliseconds for one wine. The error allows for the training wines that folds share (Nadeau
        and Bengio, Machine Learning 52:239-281, 2003); the naive one is 2.7 times smaller.
    """
    training = import_module("clf-train")
    wines = dataset.load(dataset.DATA)
    good = (wines[dataset.TARGET] >= training.TARGET_THRESHOLD).astype("int64")
    split = training.split(wines)

    rows, models, first = {}, {}, None
    for name, classifier in CANDIDATES.items():
        model = make_pipeline(StandardScaler(), classifier)
        scores = evaluate(model, wines, good, seeds)
        first = scores if first is None else first
        better = scores - first
        error = better.std(axis=0, ddof=1) * np.sqrt(1 / len(better) + 1 / (FOLDS - 1))
        rows[name] = {}
        for i, metric in enumerate(METRICS):
            rows[name] |= {
                metric: f"{scores[:, i].mean():.4f} ±{scores[:, i].std(ddof=1):.4f}",
                f"{metric}, more": f"{better[:, i].mean():+.4f} ±{error[i]:.4f}",
            }
        models[name] = model.fit(split.X_train, split.y_train)
    for name, milliseconds in latencies(models, split.X_test.head(200)).items():
        rows[name]["one wine"] = f"{milliseconds:.1f} ms"
    return pd.DataFrame(rows).T
