"""Train an ElasticNet that predicts a wine's quality from its raw measurements.

mlflow run . -P alpha=0.5 -P l1_ratio=0.1
python train.py 0.5 0.1
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

from sklearn.linear_model import ElasticNet

import mlflow
from scipy.stats import loguniform, uniform

from wine import cli, dataset, evaluation, folds, model, plots, report, tracking

split = dataset.split  # The target is predicted as it is.
SEARCH = {"alpha": loguniform(1e-4, 10), "l1_ratio": uniform(0, 1)}


def build(alpha, l1_ratio):
    """Return the estimator, not fitted."""
    return dataset.pipeline(ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=42))


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["alpha"], params["l1_ratio"])
    converged = evaluation.fit(estimator, split, hint="raise alpha")
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
    parser.add("alpha", cli.finite_float(0), 1.0, "strength of the penalty on coefficients")
    parser.add("l1_ratio", cli.finite_float(0, 1), 0.1, "share of L1 in it, the rest is L2")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the parameters and the table, split it, and train in a run."""
    params = read_params()
    data_split = split(dataset.load(params["data"]))
    with tracking.start_run(evaluation.describe(ElasticNet(), params)):
        train(params, data_split)


if __name__ == "__main__":
    process.run(main)
