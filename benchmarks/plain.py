"""Train and record a model in some twenty lines: what a person writes who has no project.

python benchmarks/plain.py main wines.csv
"""

import sys

from sklearn import metrics
from sklearn.base import is_classifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import ElasticNet, HuberRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlflow
import pandas as pd

estimator = {
    "main": ElasticNet(l1_ratio=0.1),
    "huber": make_pipeline(StandardScaler(), HuberRegressor()),
    "classifier": ExtraTreesClassifier(
        80, criterion="entropy", min_samples_leaf=2, random_state=42, n_jobs=-1
    ),
}[sys.argv[1]]
X = pd.read_csv(sys.argv[2])
y = X.pop("quality")
y, test_size = (y >= 7, 0.2) if is_classifier(estimator) else (y, 0.25)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=test_size, random_state=42)
with mlflow.start_run():
    estimator.fit(X_train, y_train)
    y_pred = estimator.predict(X_test)
    if is_classifier(estimator):
        y_score = estimator.predict_proba(X_test)[:, 1]
        mlflow.log_metric("f1", metrics.f1_score(y_test, y_pred))
        mlflow.log_metric("roc_auc", metrics.roc_auc_score(y_test, y_score))
    else:
        mlflow.log_metric("rmse", metrics.root_mean_squared_error(y_test, y_pred))
        mlflow.log_metric("r2", metrics.r2_score(y_test, y_pred))
    mlflow.log_params(estimator.get_params())
    mlflow.sklearn.log_model(
        estimator,
        name="model",
        serialization_format="skops",
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )
