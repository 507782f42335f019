"""Train extra-trees that tell the good wines (1: quality 7 or more) from the others (0).

mlflow run . -e classifier -P n_estimators=100
python clf-train.py 100 12
"""

from wine import process  # isort: skip (Ctrl-C in the imports below ends with one line)

from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import joblib
import mlflow
from scipy.stats import randint

from wine import cli, dataset, evaluation, plots, report, tracking, views

TARGET_THRESHOLD = 7  # From this quality on, a wine is good.
# From this probability on, a wine is called good: good wines are few, and with the usual 0.5 most
# of them are missed. benchmarks/classifier.py chooses it by cross-validating the training wines.
PROBABILITY_THRESHOLD = 0.33
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]  # skops loads them only if they are named.

# sweep.py samples its candidates from SEARCH. It calls read_params([]) for the defaults,
# split(table), build(**candidate) and, for the best candidate, train(params, split): a copy of this
# script has to keep these names.
SEARCH = {"n_estimators": randint(40, 201), "max_depth": [8, 12, 16, 20, None]}


def build(n_estimators, max_depth):
    """Return the estimator, not fitted."""
    trees = ExtraTreesClassifier(
        n_estimators, criterion="entropy", max_depth=max_depth, min_samples_leaf=2, random_state=42
    )
    # Trees would predict without a measurement. The step before them refuses, as regressors do.
    return make_pipeline(
        StandardScaler(),
        FunctionTransformer(validate=True),
        FixedThresholdClassifier(
            trees, threshold=PROBABILITY_THRESHOLD, pos_label=1, response_method="predict_proba"
        ),
    )


def split(table):
    """Split the table for training and testing, with the classes 1 (good) and 0 to predict."""
    good = (table[dataset.TARGET] >= TARGET_THRESHOLD).astype("int64").rename("good")
    return dataset.split(table, good, test_size=0.2, random_state=42)


def train(params, split):
    """Fit, evaluate and record one model in the active run."""
    estimator = build(params["n_estimators"], params["max_depth"])
    tracking.set_run_name(evaluation.describe(estimator, params))
    with joblib.parallel_config("threading", n_jobs=-1):  # The trees grow on all cores.
        converged = evaluation.fit(estimator, split, hint="raise n_estimators")
    # accuracy, recall, precision, f1, roc_auc and average_precision on the test set, on those of
    # its rows that training has not seen, and of a baseline that always predicts the majority.
    scores = evaluation.evaluate(estimator, split)

    # The parameters of all steps and of the split, then those of the command line.
    tracking.log_params(evaluation.get_params(estimator) | split.get_params() | params)

    training_set, test_set = tracking.datasets(split, params["data"])
    tracking.log_input(training_set, context="training")
    tracking.log_input(test_set, context="test")

    # Given a dataset and a model, MLflow shows the metrics beside the model, too.
    model_id = tracking.log_model(
        estimator, split, trusted_types=TRUSTED_TYPES, predict_fn=params["predict_fn"]
    ).model_id
    mlflow.log_metrics({"n_train": len(split.y_train)}, dataset=training_set, model_id=model_id)
    sizes = {"n_test": len(split.y_test), "n_unseen": int(split.unseen.sum())}
    mlflow.log_metrics(sizes | evaluation.flatten(scores), dataset=test_set, model_id=model_id)

    # Confusion matrix, ROC and precision-recall curves and importances, as PNG files.
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
    parser.add("n_estimators", cli.integer(1), 80, "number of trees")
    parser.add("max_depth", cli.integer(1, optional=True), None, "depth limit of a tree")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    parser.add("predict_fn", cli.choice("predict", "predict_proba"), "predict", "what it serves")
    return parser.read(argv)


def main():
    """Read the parameters and the table, split it, and train in a run."""
    params = read_params()
    data_split = split(dataset.load(params["data"]))
    with tracking.start_run():
        train(params, data_split)


if __name__ == "__main__":
    process.run(main)
