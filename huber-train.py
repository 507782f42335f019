"""Train a HuberRegressor, which outliers hardly move, to predict a wine's quality.

mlflow run . -e huber --env-manager local -P epsilon=1.5
python huber-train.py 0.0001 1.5
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

from sklearn.linear_model import HuberRegressor
from sklearn.preprocessing import StandardScaler

import mlflow
from scipy.stats import loguniform, uniform

from wine import ask, cli, dataset, evaluation, model, plots, report, tracking

SEARCH = {"alpha": loguniform(1e-5, 1e3), "epsilon": uniform(1, 2)}  # what a sweep draws from


def build(alpha, epsilon, max_iter):
    """Return the estimator, not fitted."""
    regressor = HuberRegressor(alpha=alpha, epsilon=epsilon, max_iter=max_iter)
    return dataset.pipeline(StandardScaler(), regressor)


def load_split(data):
    """Read the table and split it; the target is predicted as it is."""
    return dataset.split_table(dataset.load(data))


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["alpha"], params["epsilon"], params["max_iter"])
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
    mlflow.log_text(ask.page(estimator, split, result), "ask.html")  # It predicts in a browser.
    tracking.log_training_rows(split)  # A promotion judges a model by other rows.
    mlflow.set_tags(tags)  # MLflow shows one of them as the run's description.
    report.print_summary(estimator, params, split, result)


def read_params(argv=None):
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("alpha", cli.finite_float(0), 0.0001, "strength of the L2 penalty")
    parser.add("epsilon", cli.finite_float(1, 1e100), 1.35, "sigma from which an error is outlying")
    parser.add("max_iter", cli.integer(1), 100, "limit of the solver's iterations")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the parameters and the table, and train in a run."""
    params = read_params()
    split = load_split(params["data"])
    name = evaluation.describe(HuberRegressor(), params)
    with tracking.recording(), mlflow.start_run(run_name=tracking.run_name(name)):
        train(params, split)


if __name__ == "__main__":
    process.run(main)
