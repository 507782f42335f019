"""Promote a model: make it the champion of a name, if it is better than today's champion.

mlflow run . -e promote -P model=runs:/<ID>/model -P name=wine-quality
python promote.py models:/wine-quality@previous wine-quality true
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import argparse
import importlib
import re
import sys

from sklearn import metrics
from sklearn.base import is_classifier

import mlflow
import numpy as np
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException
from scipy.stats import bootstrap

from wine import UserError, cli, dataset, evaluation, report, tracking
from wine.model import load

NOT_PROMOTED = 3
N_RESAMPLES = 1000


def compare(challenger, champion, X, y):
    """Compare two fitted estimators on the same rows, by a paired bootstrap over these rows.

    Parameters
    ----------
    challenger, champion : scikit-learn regressors, or classifiers that know the classes 0 and 1
        Fitted.
    X : DataFrame, shape (n_rows, n_features)
        Rows that neither has seen in training.
    y : Series, shape (n_rows,)
        Their target.

    Returns
    -------
    scores : dict
        The metric of the `challenger` and the `champion` (rmse, or the average precision), and the
        `gain`, which is positive where the challenger is better, with the ends `gain_low` and
        `gain_high` of its 95 % percentile interval (Efron and Tibshirani, An Introduction to the
        Bootstrap, 1993, chapter 13).
    gains : ndarray, shape (N_RESAMPLES,)
        The gain on each resample.
    """
    if is_classifier(challenger):
        answers = [estimator.predict_proba(X)[:, 1] for estimator in (challenger, champion)]
        score, sign = metrics.average_precision_score, 1
    else:
        answers = [estimator.predict(X) for estimator in (challenger, champion)]
        score, sign = metrics.root_mean_squared_error, -1

    def gain(y, a, b):
        return sign * (score(y, a) - score(y, b)) + 0.0  # which makes 0 of -0

    result = bootstrap(
        (y.to_numpy(), *answers),
        gain,
        paired=True,
        vectorized=False,
        n_resamples=N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(42),
    )
    low, high = result.confidence_interval
    scores = {"challenger": score(y, answers[0]), "champion": score(y, answers[1])}
    scores |= {"gain": gain(y, *answers), "gain_low": low, "gain_high": high}
    return {key: float(value) for key, value in scores.items()}, result.bootstrap_distribution


def training_digest(model):
    """Return the digest of the dataset on which a model was trained, or None if it is unknown."""
    if model.model_id is None:
        return None
    try:
        run = mlflow.get_run(mlflow.get_logged_model(model.model_id).source_run_id)
    except MlflowException:  # The run was deleted, or is in another store.
        return None
    for item in run.inputs.dataset_inputs:
        if any(tag.value == "training" for tag in item.tags):
            return item.dataset.digest
    return None


def check(model, parameter, split, digest, data):
    """Refuse a model that cannot be judged by these wines."""
    if sorted(model.columns) != sorted(split.X_test.columns):
        raise UserError(
            f"{parameter}: {model.uri} has the columns {', '.join(model.columns)}, "
            f"allowed are {', '.join(split.X_test.columns)}"
        )
    found = training_digest(model)
    if found != digest:
        raise UserError(
            f"{parameter}: {model.uri} was trained on another dataset (digest {found}) than the "
            f"training {dataset.NOUN}s of {data} (digest {digest})"
        )


def find_version(name, alias):
    """Return the registered version that has an alias, or None."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias).version
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def register(model, name):
    """Register a model and return its version; a model is registered only once."""
    client, source = mlflow.MlflowClient(), f"models:/{model.model_id}"

    def versions():
        found = client.search_model_versions(f"name = '{name}'")
        return sorted(int(version.version) for version in found if version.source == source)

    if not versions():
        version = int(mlflow.register_model(source, name).version)
        # Where two promotions register the same model at once, both keep the first version.
        if version != versions()[0]:
            client.delete_model_version(name, str(version))
    return versions()[0]


def move_aliases(name, version, champion):
    """Make a version the champion, and the version that was the champion the previous one.

    Whatever interrupts it, `champion` is one of the two: an alias moves at once, and moves last.
    """
    if find_version(name, "champion") != champion:
        raise UserError(
            f"name: {name} has got another champion meanwhile; promote again to be compared with it"
        )
    client = mlflow.MlflowClient()
    if champion is not None:
        client.set_registered_model_alias(name, "previous", champion)
    client.set_registered_model_alias(name, "champion", version)


def plot(scores, gains, metric, title):
    """Draw the two metrics, and the challenger's gain on the resamples."""
    figure = Figure(figsize=(9.6, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2))
    bars = left.bar(["challenger", "champion"], [scores["challenger"], scores["champion"]])
    left.bar_label(bars, fmt="%.4f")
    left.set_ylabel(f"{metric} (unseen)")
    right.hist(gains, bins=40, color="tab:gray")
    right.axvline(0, color="black", label="no gain")
    right.axvspan(
        scores["gain_low"], scores["gain_high"], alpha=0.2, zorder=0, label="95 % interval"
    )
    right.set(xlabel=f"gain in {metric}: right of 0, the challenger is better", ylabel="resamples")
    right.legend()
    figure.suptitle(title)
    return figure


def model_name(text):
    """Convert the name of a registered model, which has to fit into an address."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", text):
        allowed = "letters, digits, '_', '.' and '-', at most 200"
        raise argparse.ArgumentTypeError(f"received {text!r}, allowed are {allowed}")
    return text


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "address of the challenger: runs:/ or models:/")
    parser.require("name", model_name, "name of the registered model")
    parser.add("force", cli.choice("false", "true"), "false", "promote it in any case?")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read()


def main():
    """Compare the challenger with today's champion, move the aliases, record."""
    params = read_params()
    name, force = params["name"], params["force"] == "true"
    table = dataset.load(params["data"])
    with tracking.one_line_errors("name: MLflow's registry cannot be used"), tracking.fail_fast():
        version = find_version(name, "champion")
        challenger = load(params["model"])
        classifier = is_classifier(challenger.estimator)
        # Both are judged by the test set of the script that trained them.
        script = importlib.import_module("clf-train" if classifier else "train")
        split = script.split(table)
        training_set, test_set = tracking.datasets(split, params["data"])
        check(challenger, "model", split, training_set.digest, params["data"])

        champion, opponent = None, evaluation.baseline(challenger.estimator, split)
        if version is not None:
            champion = load(f"models:/{name}/{version}", "name")
            if is_classifier(champion.estimator) != classifier:
                kinds = ("a classifier", "a regressor")
                received, allowed = kinds if classifier else reversed(kinds)
                raise UserError(
                    f"model: received {received}, allowed is {allowed}, as the champion "
                    f"of {name} is; another name takes another kind"
                )
            if not force:
                check(champion, "name", split, training_set.digest, params["data"])
            opponent = champion.estimator

    X, y = split.X_test[split.unseen], split.y_test[split.unseen]
    metric = evaluation.main_metric(challenger.estimator).name
    scores, gains = compare(challenger.estimator, opponent, X, y)
    rival = f"version {version} of {name}" if champion else "the baseline"
    is_champion = champion is not None and champion.model_id == challenger.model_id
    promoted = not is_champion and (force or scores["gain_low"] > 0)

    with tracking.start_run(f"Promotion of {evaluation.name(challenger.estimator)} to {name}"):
        tracking.log_params(params)
        for model in filter(None, (challenger, champion)):
            tracking.log_input(test_set, "test", LoggedModelInput(model.model_id))
        mlflow.log_metrics({f"{metric}_{key}": value for key, value in scores.items()})
        title = f"{evaluation.name(challenger.estimator)} against {rival}"
        mlflow.log_figure(plot(scores, gains, metric, title), "comparison.png")
        if promoted:
            promoted_version = register(challenger, name)
            with process.uninterrupted():
                move_aliases(name, promoted_version, version)
        mlflow.set_tags({"promoted": str(promoted).lower(), "compared_with": rival})

    process.print_text(
        f"{metric} on {dataset.count(len(y), 'unseen')}: challenger {scores['challenger']:.4f}, "
        f"{rival} {scores['champion']:.4f}\n"
        f"Gain of the challenger: {scores['gain']:+.4f}, 95 % interval {scores['gain_low']:+.4f} "
        f"to {scores['gain_high']:+.4f}\n"
    )
    if not promoted:
        reason = (
            f"it is the champion of {name} already"
            if is_champion
            else "its gain may be chance, or is none; force=true promotes in any case"
        )
        process.print_text(f"Not promoted: {reason}")
        sys.exit(0 if is_champion else NOT_PROMOTED)
    how = "Promoted" if scores["gain_low"] > 0 else "Promoted by force=true"
    process.print_text(
        f"{how}: version {promoted_version} of {name} is the champion"
        + (f", version {version} is the previous one" if champion else "")
        + report.champion_commands(name)
    )


if __name__ == "__main__":
    process.run(main)
