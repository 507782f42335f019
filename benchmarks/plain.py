"""Train and record a model in some twenty lines: what a person writes who has no project.

python benchmarks/plain.py main wines.csv
"""

import sys

from sklearn.base import is_classifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import ElasticNet, HuberRegressor
from sklearn.metrics import classification_report, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlflow
import pandas as pd

trees = {"criterion": "entropy", "min_samples_leaf": 2, "random_state": 42, "n_jobs": -1}
estimator = {
    "main": ElasticNet(l1_ratio=0.1),
    "huber": make_pipeline(StandardScaler(), HuberRegressor()),
    "classifier": ExtraTreesClassifier(80, **trees),
}[sys.argv[1]]
X = pd.read_csv(sys.argv[2])
y = X.pop("quality")
y = y >= 7 if is_classifier(estimator) else y
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=42)
with mlflow.start_run():
    estimator.fit(X_train, y_train)
    y_pred = estimator.predict(X_test)
    if is_classifier(estimator):
        scores = classification_report(y_test, y_pred, output_dict=True)["True"]
    else:
        scores = {"rmse": root_mean_squared_error(y_test, y_pred)}
    mlflow.log_metrics(scores)
    mlflow.log_params(estimator.get_params())
    trusted = ["sklearn.tree._tree.Tree"]
    mlflow.sklearn.log_model(estimator, name="model", skops_trusted_types=trusted)
