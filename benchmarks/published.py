"""Compare the project's results with published ones, by the same protocols.

The classifier: https://github.com/ozyusuf/wine-quality-ml-project (December 2025) drops duplicates
of the white wines, calls those good whose quality is 7 or more, and tests on one fifth of them. Its
random forest has a ROC AUC of 0.8457 and an F1 of 0.604, its XGBoost of 0.8455 and 0.580.

The regressors: extra-trees beside least squares, by folds that keep identical wines together and by
folds that do not, as most published results of this table have it.
"""

from importlib import import_module

from sklearn import metrics
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, cross_val_score, train_test_split

import joblib
import pandas as pd

from wine import dataset

training = import_module("clf-train")


def classify(seeds):
    """Train and test the classifier by the published protocol, with several seeds.

    Parameters
    ----------
    seeds : sequence of int
        Of the splits.

    Returns
    -------
    DataFrame, shape (n_seeds, 2)
        `ROC AUC` and `F1` of each seed.
    """
    wines = dataset.load(dataset.DATA).drop_duplicates()
    X, y = wines[dataset.FEATURES], dataset.classes(wines, training.TARGET_THRESHOLD, training.GOOD)
    params = training.read_params([])
    scores = {}
    for seed in seeds:
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.2, stratify=y, random_state=seed
        )
        model = training.build(params["n_estimators"], params["max_depth"])
        with joblib.parallel_config("threading", n_jobs=-1):
            model.fit(X_train, y_train)
        good = model.predict_proba(X_test)[:, 1]
        scores[seed] = {
            "ROC AUC": metrics.roc_auc_score(y_test, good),
            "F1": metrics.f1_score(y_test, good >= training.PROBABILITY_THRESHOLD),
        }
    return pd.DataFrame.from_dict(scores, orient="index")


def regress(seeds):
    """Cross-validate two regressors by folds that keep identical wines together, and that do not.

    Parameters
    ----------
    seeds : sequence of int
        Of the shuffles; the wines are divided into five folds with each of them.

    Returns
    -------
    DataFrame, shape (2, 2)
        The mean rmse of `least squares` and `extra-trees`, by `grouped` and by `plain` folds.
    """
    wines = dataset.load(dataset.DATA)
    X, y = wines[dataset.FEATURES], wines[dataset.TARGET]
    regressors = {
        "least squares": LinearRegression(),
        "extra-trees": ExtraTreesRegressor(300, random_state=42),
    }
    groups = {"grouped": dataset.group_identical(X), "plain": range(len(X))}
    table = pd.DataFrame(0.0, regressors, groups)
    options = {"scoring": "neg_root_mean_squared_error"}
    with joblib.parallel_config("threading", n_jobs=-1):
        for seed in seeds:
            folds = GroupKFold(5, shuffle=True, random_state=seed)
            for name, numbers in groups.items():
                for label, model in regressors.items():
                    scores = cross_val_score(model, X, y, cv=folds, groups=numbers, **options)
                    table.loc[label, name] -= scores.mean() / len(seeds)
    return table
