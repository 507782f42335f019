"""Train a HuberRegressor, which outliers hardly move, to predict a wine's quality.

mlflow run . -e huber -P epsilon=1.5
python huber-train.py 0.0001 1.5
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

from sklearn.linear_model import HuberRegressor
from sklearn.preprocessing import StandardScaler

import mlflow
from scipy.stats import loguniform, uniform

from wine import cli, dataset, evaluation, folds, model, plots, report, tracking

split = dataset.split  # The target is predicted as it is.
SEARCH = {"alpha": loguniform(1e-5, 1e3), "epsilon": uniform(1, 2)}


def build(alpha, epsilon, max_iter):
    """Return the estimator, not fitted."""
    regressor = HuberRegressor(alpha=alpha, epsilon=epsilon, max_iter=max_iter)
    return dataset.pipeline(StandardScaler(), regressor)


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["alpha"], params["epsilon"], params["max_iter"])
    converged = evaluation.fit(estimator, split, hint="raise max_iter")
    cv = folds.cross_validate(estimator, split)  # Models are chosen by it,
    result = evaluation.evaluate(estimator, split, cv)  # and reported by the test set.
    tracking.log_params(evaluation.get_params(estimator) | split.get_params() | params)
    test_set = tracking.log_inputs(split, params["data"])  # MLflow ties the metrics to it.
    tags = report.tags(estimator, params, split, result, converged)
    info = model.log_model(estimator, split, tags=tags)
    mlflow.log_metrics(evaluation.flatten(result, split), dataset=test_set, model_id=info.model_id)
    for file_name, figure in plots.training(estimator, split, result).items():
        mlflow.log_figure(figure, file_name)
    mlflow.set_tags(tags)  # MLflow shows one of them as the run's description.
    report.print_summary(estimator, params, split, result)


def read_params(argv=None):
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("alpha", cli.finite_float(0), 0.0001, "strength of the L2 penalty")
    parser.add(
        "epsilon", cli.finite_float(1, 1e100), 1.35, "from how many sigma on an error is outlying"
    )
    parser.add("max_iter", cli.integer(1), 100, "limit of the solver's iterations")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the parameters and the table, split it, and train in a run."""
    params = read_params()
    data_split = split(dataset.load(params["data"]))
    with tracking.start_run(evaluation.describe(HuberRegressor(), params)):
        train(params, data_split)


if __name__ == "__main__":
    process.run(main)
