"""Train extra-trees that tell the good wines (1: quality 7 or more) from the others (0).

mlflow run . -e classifier -P n_estimators=100
python clf-train.py 100 12
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mlflow
from scipy.stats import randint

from wine import cli, dataset, evaluation, folds, model, plots, report, tracking

GOOD, TARGET_THRESHOLD = "good", 7  # A wine is good from this quality on.
PROBABILITY_THRESHOLD = 0.33  # With 0.5, most good wines are missed: benchmarks/classifier.py.
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]  # skops loads them only if they are named.
SEARCH = {"n_estimators": randint(40, 201), "max_depth": [8, 12, 16, 20, None]}


def build(n_estimators, max_depth):
    """Return the estimator, not fitted."""
    trees = ExtraTreesClassifier(
        n_estimators, criterion="entropy", max_depth=max_depth, min_samples_leaf=2, random_state=42
    )
    classifier = FixedThresholdClassifier(trees, threshold=PROBABILITY_THRESHOLD, pos_label=1)
    classifier = trees if dataset.HAS_LABELS else classifier
    # Trees would predict without a measurement. The step before them refuses, as regressors do.
    return dataset.pipeline(StandardScaler(), FunctionTransformer(validate=True), classifier)


def split(table):
    """Split the table for training and testing, with the classes 1 (good) and 0 to predict."""
    y = dataset.classes(table, TARGET_THRESHOLD, GOOD)
    return dataset.split(table, y, test_size=0.2, random_state=42)


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["n_estimators"], params["max_depth"])
    converged = evaluation.fit(estimator, split, hint="raise n_estimators")
    cv = folds.cross_validate(estimator, split)  # Models are chosen by it,
    result = evaluation.evaluate(estimator, split, cv)  # and reported by the test set.
    tracking.log_params(evaluation.get_params(estimator) | split.get_params() | params)
    test_set = tracking.log_inputs(split, params["data"])  # MLflow ties the metrics to it.
    tags = report.tags(estimator, params, split, result, converged)
    info = model.log_model(estimator, split, TRUSTED_TYPES, params["predict_fn"], tags=tags)
    mlflow.log_metrics(evaluation.flatten(result, split), dataset=test_set, model_id=info.model_id)
    for file_name, figure in plots.training(estimator, split, result).items():
        mlflow.log_figure(figure, file_name)
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
    """Read the parameters and the table, split it, and train in a run."""
    params = read_params()
    data_split = split(dataset.load(params["data"]))
    with tracking.start_run(evaluation.describe(ExtraTreesClassifier(), params)):
        train(params, data_split)


if __name__ == "__main__":
    process.run(main)
