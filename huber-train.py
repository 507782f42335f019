"""Train a HuberRegressor, which outliers hardly move, to predict a wine's quality.

mlflow run . -e huber -P epsilon=1.5
python huber-train.py 0.0001 1.5
"""

from wine import process  # isort: skip (Ctrl-C in the imports below ends with one line)

from sklearn.linear_model import HuberRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mlflow
from scipy.stats import loguniform, uniform

from wine import cli, dataset, evaluation, plots, report, tracking, views

# sweep.py samples its candidates from SEARCH. It calls read_params([]) for the defaults,
# split(table), build(**candidate) and, for the best candidate, train(params, split): a copy of this
# script has to keep these names.
SEARCH = {"alpha": loguniform(1e-5, 1e3), "epsilon": uniform(1, 2)}


def build(alpha, epsilon, max_iter):
    """Return the estimator, not fitted."""
    regressor = HuberRegressor(alpha=alpha, epsilon=epsilon, max_iter=max_iter)
    return make_pipeline(StandardScaler(), regressor)


def split(table):
    """Split the table for training and testing, as all regressors do."""
    return dataset.split(table)


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["alpha"], params["epsilon"], params["max_iter"])
    tracking.set_run_name(evaluation.describe(estimator, params))
    converged = evaluation.fit(estimator, split, hint="raise max_iter")
    # rmse, mae and r2 on the test set, on those of its rows that training has not seen, and of a
    # baseline that always predicts the mean.
    scores = evaluation.evaluate(estimator, split)

    # The parameters of both steps and of the split, then those of the command line.
    tracking.log_params(evaluation.get_params(estimator) | split.get_params() | params)

    training_set, test_set = tracking.datasets(split, params["data"])
    tracking.log_input(training_set, context="training")
    tracking.log_input(test_set, context="test")

    # Given a dataset and a model, MLflow shows the metrics beside the model, too.
    model_id = tracking.log_model(estimator, split).model_id
    mlflow.log_metrics({"n_train": len(split.y_train)}, dataset=training_set, model_id=model_id)
    sizes = {"n_test": len(split.y_test), "n_unseen": int(split.unseen.sum())}
    mlflow.log_metrics(sizes | evaluation.flatten(scores), dataset=test_set, model_id=model_id)

    # Predictions against measurements, residuals and coefficients, as PNG files.
    for file_name, figure in plots.training(estimator, split).items():
        mlflow.log_figure(figure, file_name)

    # MLflow shows this tag as the description, of the model and of the run.
    note = {"mlflow.note.content": report.description(estimator, params, split, scores)}
    mlflow.set_logged_model_tags(model_id, note)
    tags = {"estimator": evaluation.name(estimator), "converged": str(converged).lower()}
    mlflow.set_tags(tags | note)

    # The printed address opens this view of the experiment: the best of the trainings come first.
    view = views.store_trainings(estimator, params)
    report.print_summary(estimator, params, split, scores, view)


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
    with tracking.start_run():
        train(params, data_split)


if __name__ == "__main__":
    process.run(main)
