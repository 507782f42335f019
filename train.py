"""Train an ElasticNet that predicts a wine's quality from its raw measurements.

mlflow run . --env-manager local -P alpha=0.5 -P l1_ratio=0.1
python train.py 0.5 0.1
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

from sklearn.linear_model import ElasticNet

import mlflow
from scipy.stats import loguniform, uniform

from wine import ask, cli, dataset, evaluation, model, plots, report, tracking

SEARCH = {"alpha": loguniform(1e-4, 10), "l1_ratio": uniform(0, 1)}  # what a sweep draws from


def build(alpha, l1_ratio):
    """Return the estimator, not fitted."""
    return dataset.pipeline(ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=42))


def load_split(data):
    """Read the table and split it; the target is predicted as it is."""
    return dataset.split_table(dataset.load(data))


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["alpha"], params["l1_ratio"])
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
    parser.add("alpha", cli.finite_float(0), 1.0, "strength of the penalty on coefficients")
    parser.add("l1_ratio", cli.finite_float(0, 1), 0.1, "share of L1 in it, the rest is L2")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read(argv)


def main():
    """Read the parameters and the table, and train in a run."""
    params = read_params()
    split = load_split(params["data"])
    name = evaluation.describe(ElasticNet(), params)
    with tracking.recording(), mlflow.start_run(run_name=tracking.run_name(name)):
        train(params, split)


if __name__ == "__main__":
    process.run(main)
