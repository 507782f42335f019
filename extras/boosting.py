"""Train boosted trees to predict a wine's quality: a model for tables that are not linear.

mlflow run . -e boosting --env-manager local -P learning_rate=0.05
python -m extras.boosting 0.05 200
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.preprocessing import FunctionTransformer

import mlflow
from scipy.stats import loguniform, randint

from wine import cli, dataset, evaluation, model, plots, report, tracking

SEARCH = {"learning_rate": loguniform(0.02, 0.3), "max_iter": randint(50, 400)}  # for a sweep


def build(learning_rate, max_iter):
    """Return the estimator, not fitted."""
    boosting = HistGradientBoostingRegressor(
        learning_rate=learning_rate, max_iter=max_iter, random_state=42
    )
    # Trees take a missing value; where none is declared, the step before them refuses it.
    check = FunctionTransformer(validate=not dataset.MISSING)
    return dataset.pipeline(check, boosting, takes_missing=True)


def load_split(data):
    """Read the table and split it; the target is predicted as it is."""
    return dataset.split_table(dataset.load(data))


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["learning_rate"], params["max_iter"])
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
        options = model.options(estimator, split)
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
    parser.add("learning_rate", cli.finite_float(1e-4, 1), 0.1, "share of each tree that counts")
    parser.add("max_iter", cli.integer(1), 100, "number of trees")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the parameters and the table, and train in a run."""
    params = read_params()
    split = load_split(params["data"])
    name = evaluation.describe(HistGradientBoostingRegressor(), params)
    with tracking.recording(), mlflow.start_run(run_name=tracking.run_name(name)):
        train(params, split)


if __name__ == "__main__":
    process.run(main)
