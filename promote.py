"""Promote a model: make it the champion of a name, if it is better than today's champion.

mlflow run . -e promote -P model=runs:/<ID>/model -P name=wine-quality
python promote.py models:/wine-quality@previous wine-quality true
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import argparse
import functools
import re
import sys

from sklearn import metrics
from sklearn.base import is_classifier

import mlflow
import numpy as np
from mlflow.entities import LoggedModelInput, ViewType
from mlflow.exceptions import MlflowException
from scipy.stats import bootstrap

from wine import UserError, cli, dataset, evaluation, plots, registry, report, tracking, trainings
from wine.loading import UnfitModelError, load

NOT_PROMOTED = 3
N_RESAMPLES = 1000
MIN_ROWS = 30  # With fewer, an interval by resampling them is worth little.
CHALLENGER = "challenger"  # tag of a promotion's run: the ID of the model that was judged


def compare(challenger, champion, X, y):
    """Compare two fitted estimators on the same rows, by a paired bootstrap over these rows.

    Parameters
    ----------
    challenger, champion : scikit-learn regressors, or classifiers that know the same classes
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
    y = y.to_numpy()
    if is_classifier(challenger):
        answers = [estimator.predict_proba(X) for estimator in (challenger, champion)]
        score, sign = functools.partial(evaluation.average_precision, challenger), 1
    else:
        answers = [estimator.predict(X) for estimator in (challenger, champion)]
        score, sign = metrics.root_mean_squared_error, -1

    def gain(rows):
        # Rows of one class cannot tell a classifier from another.
        if is_classifier(challenger) and len(np.unique(y[rows])) == 1:
            return 0.0
        scores = [score(y[rows], answer[rows]) for answer in answers]
        return sign * (scores[0] - scores[1]) + 0.0  # which makes 0 of -0

    rows = np.arange(len(y))
    result = bootstrap(
        (rows,),
        gain,
        vectorized=False,
        n_resamples=N_RESAMPLES,
        batch=1,  # By default, all resamples are in memory at once.
        method="percentile",
        rng=np.random.default_rng(42),
    )
    low, high = result.confidence_interval
    scores = {"challenger": score(y, answers[0]), "champion": score(y, answers[1])}
    scores |= {"gain": gain(rows), "gain_low": low, "gain_high": high}
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


def find_split(challenger, table, data):
    """Return the split of the script that trained a model, its training set and its test set.

    The script is found by the digest of the training set. If there is none, the split of the first
    script of the model's kind is returned, by which `find_fault` refuses the model.
    """
    digest, splits = training_digest(challenger), []
    for entry_point in trainings.SCRIPTS:
        script = trainings.load(entry_point)
        estimator = script.build(**trainings.defaults(script))
        if is_classifier(estimator) == is_classifier(challenger.estimator):
            split = script.split(table)
            splits.append((split, *tracking.datasets(split, data)))
            if splits[-1][1].digest == digest:
                return splits[-1]
    return splits[0]


def find_fault(model, split, digest, data):
    """Say why a model cannot be judged by these rows, or return None."""
    if model.columns != [*split.X_test.columns]:
        received, allowed = (", ".join(each) for each in (model.columns, split.X_test.columns))
        return f"has the columns {received}, allowed are {allowed}"
    if is_classifier(model.estimator):
        classes = model.estimator.classes_.tolist(), sorted(split.y_train.unique().tolist())
        if classes[0] != classes[1]:
            received, allowed = (", ".join(map(str, each)) for each in classes)
            return f"knows the classes {received}, allowed are {allowed}"
    found = training_digest(model)
    if found is None:
        return (
            f"was trained on {dataset.NOUN}s that nobody knows: its run or its record is not in "
            "this store, or not any more"
        )
    if found != digest:
        return (
            f"was trained on another dataset (digest {found}) than the training {dataset.NOUN}s "
            f"of {data} (digest {digest})"
        )
    return None


def check_rows(estimator, split, data):
    """Refuse unseen rows that are too few to judge a model by, or lack a class that it knows."""
    y = split.y_test[split.unseen]
    received = f"data: received {dataset.count(len(y), 'unseen')} in the test set of {data}"
    if len(y) < MIN_ROWS:
        raise UserError(f"{received}, allowed are {MIN_ROWS} different ones or more to judge by")
    if is_classifier(estimator) and (missing := set(estimator.classes_.tolist()) - set(y)):
        raise UserError(
            f"{received}, none of them of the class {min(missing)}, allowed are some of each class "
            "to judge by"
        )


def load_challenger(uri):
    """Load the logged model that an address leads to, as it is this one that is registered.

    The copy of a model among the artifacts of a run, or elsewhere, may be there without it.
    """
    found = load(uri)
    return load(f"models:/{found.model_id}")._replace(uri=uri) if found.model_id else found


def load_champion(name, version, challenger, fault_of, force):
    """Load today's champion of a name; None if it cannot be compared and is replaced by force."""
    try:
        champion = load(f"models:/{name}/{version}", "champion")
    except UserError as error:
        unfit, reason = error.__cause__, str(error.__cause__ or error).partition("\n")[0]
        is_unfit = isinstance(unfit, UnfitModelError)
        champion, fault = None, reason if is_unfit else f"cannot be loaded ({reason})"
    else:
        classifier = is_classifier(challenger.estimator)
        if is_classifier(champion.estimator) != classifier:
            kinds = ("a classifier", "a regressor")
            received, allowed = kinds if classifier else reversed(kinds)
            raise UserError(
                f"model: received {received}, allowed is {allowed}, as the champion "
                f"of {name} is; another name takes another kind"
            )
        fault = fault_of(champion)
    if fault is None:
        return champion
    fault = f"champion: version {version} of {name} {fault}; force=true replaces it"
    if not force:
        raise UserError(fault)
    print(fault, file=sys.stderr)
    return None


def count_challengers(name, digest, challenger):
    """Count the other models that were challengers of a name, judged by the same test set.

    Parameters
    ----------
    name : str
        The name of the registered model.
    digest : str
        MLflow's digest of the test set.
    challenger : wine.model.Model
        Today's challenger, which does not count.

    Returns
    -------
    int
        By the runs of the promotions, of all experiments; deleted ones have judged, too.
    """
    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"params.name = '{name}' and dataset.digest = '{digest}'",
        run_view_type=ViewType.ALL,
        output_format="list",
    )
    models = {run.data.tags.get(CHALLENGER, run.data.params["model"]) for run in runs}
    return len(models - {challenger.model_id, challenger.uri})


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


def describe(scores, metric, n_rows, rival, name, n_before):
    """Return the metric of both models, the gain with its interval, and how often it was tried."""
    return (
        f"{metric} on {dataset.count(n_rows, 'unseen')}: challenger {scores['challenger']:.4f}, "
        f"{rival} {scores['champion']:.4f}\n"
        f"Gain of the challenger: {scores['gain']:+.4f}, 95 % interval {scores['gain_low']:+.4f} "
        f"to {scores['gain_high']:+.4f}\n"
        f"Challengers of {name} that these {dataset.NOUN}s have judged before: {n_before}\n"
    )


def print_promotion(name, version, previous, by_force):
    """Print which versions are the champion and the previous one, and the next commands."""
    process.print_text(
        f"{'Promoted by force=true' if by_force else 'Promoted'}: "
        f"version {version} of {name} is the champion"
        + (f", version {previous} is the previous one" if previous else "")
        + report.champion_commands(name)
    )


def main():
    """Compare the challenger with today's champion, move the aliases, record."""
    params = read_params()
    name, force = params["name"], params["force"] == "true"
    table = dataset.load(params["data"])
    with tracking.one_line_errors("name: MLflow's registry cannot be used"), tracking.fail_fast():
        version = registry.find_version(name, "champion")
        challenger = load_challenger(params["model"])
        # Both are judged by the test set of the script that trained them.
        split, training_set, test_set = find_split(challenger, table, params["data"])
        fault_of = functools.partial(
            find_fault, split=split, digest=training_set.digest, data=params["data"]
        )
        if fault := fault_of(challenger):
            raise UserError(f"model: {params['model']} {fault}")
        check_rows(challenger.estimator, split, params["data"])
        champion = load_champion(name, version, challenger, fault_of, force) if version else None
        n_before = count_challengers(name, test_set.digest, challenger)

    rival = f"version {version} of {name}" if champion else "the baseline"
    baseline = evaluation.baseline(challenger.estimator, split)
    opponent = champion.estimator if champion else baseline
    X, y = split.X_test[split.unseen], split.y_test[split.unseen]
    metric = evaluation.main_metric(challenger.estimator).name
    scores, gains = compare(challenger.estimator, opponent, X, y)
    is_champion = champion is not None and champion.model_id == challenger.model_id
    is_promoted = not is_champion and (force or scores["gain_low"] > 0)
    comparison = describe(scores, metric, len(y), rival, name, n_before)
    description = f"**{evaluation.name(challenger.estimator)}** {challenger.uri}\n\n" + (
        comparison.replace("\n", "\n\n")
    )

    with tracking.start_run(f"Promotion of {evaluation.name(challenger.estimator)} to {name}"):
        tracking.log_params(params)
        for model in filter(None, (challenger, champion)):
            tracking.log_input(test_set, "test", LoggedModelInput(model.model_id))
        mlflow.set_tag(CHALLENGER, challenger.model_id)
        mlflow.log_metrics({f"{metric}_{key}": value for key, value in scores.items()})
        mlflow.log_metric("challengers_before", n_before)
        title = f"{evaluation.name(challenger.estimator)} against {rival}"
        mlflow.log_figure(plots.comparison(scores, gains, metric, title), "comparison.png")
        if is_promoted:
            with process.uninterrupted():
                promoted_version = registry.promote(challenger.model_id, name, version, description)
        mlflow.set_tags({"promoted": str(is_promoted).lower(), "compared_with": rival})
        mlflow.set_tag("mlflow.note.content", description)  # The UI shows it as the description.

    process.print_text(comparison)
    if is_champion:
        process.print_text(f"Not promoted: it is the champion of {name} already")
    elif is_promoted:
        is_better = scores["gain_low"] > 0 and (champion or not version)
        print_promotion(name, promoted_version, version, by_force=not is_better)
    else:
        process.print_text(
            "Not promoted: its gain may be chance, or is none; force=true promotes in any case"
        )
        sys.exit(NOT_PROMOTED)


if __name__ == "__main__":
    process.run(main)
