"""Train extra-trees that tell the good wines (1: quality 7 or more) from the others (0).

mlflow run . -e classifier --env-manager local -P n_estimators=100
python clf-train.py 100 12
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mlflow
from scipy.stats import randint

from wine import cli, dataset, evaluation, model, plots, report, tracking

GOOD, TARGET_THRESHOLD = "good", 7  # A wine is good from this quality on.
PROBABILITY_THRESHOLD = 0.33  # With 0.5, most good wines are missed.
SEARCH = {"n_estimators": randint(40, 201), "max_depth": [8, 12, 16, 20, None]}  # for a sweep


def build(n_estimators, max_depth):
    """Return the estimator, not fitted."""
    options = {"criterion": "entropy", "min_samples_leaf": 2, "random_state": 42}
    trees = ExtraTreesClassifier(n_estimators, max_depth=max_depth, **options)
    classifier = FixedThresholdClassifier(trees, threshold=PROBABILITY_THRESHOLD, pos_label=1)
    classifier = trees if dataset.HAS_LABELS else classifier
    # Trees would predict without a measurement. The step before them refuses, as regressors do.
    return dataset.pipeline(StandardScaler(), FunctionTransformer(validate=True), classifier)


def load_split(data):
    """Read the table and split it, with the classes 1 (good) and 0 to predict."""
    table = dataset.load(data)
    y = dataset.classes(table, TARGET_THRESHOLD, GOOD)
    return dataset.split_table(table, y, test_size=0.2, random_state=42)


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["n_estimators"], params["max_depth"])
    all_params = evaluation.get_params(estimator) | split.params | params
    mlflow.log_params(tracking.new_params(all_params))
    training_set, test_set = tracking.datasets(split, params["data"])
    mlflow.log_input(training_set, context="training")
    mlflow.log_input(test_set, context="test")

    converged = evaluation.fit(estimator, split, params)
    cv = evaluation.cross_validate(estimator, split)  # Models are chosen by it,
    result = evaluation.evaluate(estimator, split, cv)  # and reported by the test set.

    tags = report.tags(estimator, params, split, result, converged)
    with tracking.whole_model():  # An error or Ctrl-C leaves no part of it.
        options = model.options(estimator, split, params["predict_fn"])
        info = mlflow.sklearn.log_model(estimator, name="model", tags=tags, **options)
    training_metrics, test_metrics = evaluation.flatten(result, split)
    mlflow.log_metrics(training_metrics, dataset=training_set, model_id=info.model_id)
    mlflow.log_metrics(test_metrics, dataset=test_set, model_id=info.model_id)
    for file_name, figure in plots.training(estimator, split, result).items():
        mlflow.log_figure(figure, file_name)
    tracking.log_training_rows(split)  # A promotion judges a model by other rows.
    mlflow.set_tags(tags)  # MLflow shows one of them as the run's description.
    report.print_summary(estimator, params, split, result)


def read_params(argv=None):
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("n_estimators", cli.integer(1), 80, "number of trees")
    parser.add("max_depth", cli.integer(1, optional=True), None, "depth limit of a tree")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    parser.add("predict_fn", cli.choice("predict", "predict_proba"), "predict", "what it serves")
    return parser.read(argv)


def main():
    """Read the parameters and the table, and train in a run."""
    params = read_params()
    split = load_split(params["data"])
    name = evaluation.describe(ExtraTreesClassifier(), params)
    with tracking.recording(), mlflow.start_run(run_name=tracking.run_name(name)):
        train(params, split)


if __name__ == "__main__":
    process.run(main)
