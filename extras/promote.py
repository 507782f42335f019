"""Promote a model: make it the champion of a name, if it is better than today's champion.

mlflow run . --env-manager local -e promote -P model=runs:/<ID>/model -P name=wine-quality
python -m extras.promote models:/wine-quality@previous wine-quality true
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import argparse
import contextlib
import functools
import re
import sys

from sklearn import metrics
from sklearn.base import is_classifier

import mlflow
import numpy as np
import pandas as pd

from extras import figures, trainings
from extras.models import load
from extras.process import uninterrupted
from wine import UserError, cli, dataset, evaluation, report, tracking

NOT_PROMOTED = 3  # exit status
N_RESAMPLES = 1000
MIN_ROWS = 30  # With fewer, an interval by resampling them is worth little.


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
    y, rows, rng = y.to_numpy(), np.arange(len(y)), np.random.default_rng(42)
    predict, score, sign = "predict", metrics.root_mean_squared_error, -1
    if is_classifier(challenger):
        predict, sign = "predict_proba", 1
        score = functools.partial(evaluation.average_precision, challenger)
    answers = [getattr(estimator, predict)(X) for estimator in (challenger, champion)]

    def gain(rows):
        # Rows of one class cannot tell a classifier from another.
        if is_classifier(challenger) and len(np.unique(y[rows])) == 1:
            return 0.0
        scores = [score(y[rows], answer[rows]) for answer in answers]
        return sign * (scores[0] - scores[1]) + 0.0  # no -0.0

    gains = np.array([gain(rng.choice(rows, len(rows))) for _ in range(N_RESAMPLES)])
    low, high = np.percentile(gains, [2.5, 97.5])
    scores = {"challenger": score(y, answers[0]), "champion": score(y, answers[1])}
    scores |= {"gain": gain(rows), "gain_low": low, "gain_high": high}
    return {key: float(value) for key, value in scores.items()}, gains


def load_split(estimator, data):
    """Return the split of a table by the first script that trains models of an estimator's kind."""
    for script in map(trainings.load, trainings.SCRIPTS):
        if is_classifier(script.build(**trainings.defaults(script))) == is_classifier(estimator):
            return script.load_split(data)
    raise UserError(f"model: no script trains a model of the kind of {evaluation.name(estimator)}")


def load_hashes(model, parameter, task):
    """Return the hashes of the rows that a model was trained on.

    Models are compared at one task, which is a list of columns and one of classes: a model of
    another task is refused. The classes of a regressor are none.
    """
    said = f"{parameter}: {model.uri}"
    own = model.columns, np.asarray(getattr(model.estimator, "classes_", [])).tolist()
    for kind, received, allowed in zip(("columns", "classes"), own, task, strict=True):
        if received != allowed:
            raise UserError(f"{said} has the {kind} {received}, allowed are {allowed}")
    try:  # The model, its run or the artifact may be deleted, or in another store.
        run_id = mlflow.get_logged_model(model.model_id).source_run_id
        file = f"runs:/{run_id}/{tracking.TRAINING_ROWS}"
        return np.load(mlflow.artifacts.download_artifacts(file))
    except (mlflow.MlflowException, OSError) as error:
        unknown = f"was trained on {dataset.NOUN}s that nobody knows: its run has no"
        raise UserError(f"{said} {unknown} {tracking.TRAINING_ROWS} in this store") from error


def select_unseen(split, seen, classes, data):
    """Return the rows of a table without those that were seen in training, and without copies.

    Parameters
    ----------
    split : wine.dataset.Split
        The table. The test rows come first, so that a model of this split is judged by its unseen
        test rows.
    seen : ndarray of uint64
        The hashes of the rows that were seen.
    classes : list
        Those that a classifier knows; empty for a regressor.
    data : str
        The table's path or URL, for the error message.

    Returns
    -------
    X : DataFrame, shape (n_unseen, n_features)
    y : Series, shape (n_unseen,)
    """
    X, y = pd.concat([split.X_test, split.X_train]), pd.concat([split.y_test, split.y_train])
    unseen = dataset.find_unseen(split.groups[X.index], seen)
    X, y = X[unseen], y[unseen]
    received = f"data: received {dataset.count(len(y), 'unseen')} in {data}"
    if len(y) < MIN_ROWS:
        raise UserError(f"{received}, allowed are {MIN_ROWS} different ones or more to judge by")
    if len(classes) and y.nunique() == 1:
        raise UserError(f"{received}, all of the class {y.iloc[0]}, allowed are two or more")
    return X, y


def find_champion(name):
    """Return the version that is the champion of a name, or None."""
    found = mlflow.MlflowClient().search_registered_models(f"name = '{name}'")
    version = found[0].aliases.get("champion") if found else None
    return version and str(version)


def register(model_id, name, compared, description):
    """Register a model once, make it the champion, and the champion of before the previous one.

    Parameters
    ----------
    model_id : str
        MLflow's ID of the model.
    name : str
        The name of the registered model.
    compared : str or None
        The version of the champion that it was compared with. If there is another one meanwhile,
        nothing is moved, and a `UserError` says so.
    description : str
        What MLflow's UI shows with the version.

    Returns
    -------
    str
        The model's version.
    """
    client, source = mlflow.MlflowClient(), f"models:/{model_id}"
    with contextlib.suppress(mlflow.MlflowException):  # It is there, with its own description.
        about = f"These models predict {dataset.TARGET}. The one to serve is the champion"
        client.create_registered_model(name, None, f"{about}; previous was it before.")
    found = client.search_model_versions(f"name = '{name}'")
    found = [each.version for each in found if each.source == source]
    version = str(found[0] if found else mlflow.register_model(source, name).version)
    if find_champion(name) != compared:  # MLflow cannot move an alias on a condition.
        raise UserError(f"name: {name} has got another champion meanwhile; promote again")
    if compared:
        client.set_registered_model_alias(name, "previous", compared)
    client.set_registered_model_alias(name, "champion", version)
    client.update_model_version(name, version, description)
    return version


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


def load_both(params):
    """Return the challenger, the champion's version and the champion, and the rows to judge by.

    Without a champion, or where force=true replaces one that cannot be compared, the champion is
    None. The rows are the test rows of a split.
    """
    name, data, champion = params["name"], params["data"], None
    version, challenger = find_champion(name), load(params["model"])
    split = load_split(challenger.estimator, data)
    classes = sorted({*split.y_train}) if is_classifier(challenger.estimator) else []
    task = [*split.X_test], classes
    seen = load_hashes(challenger, "model", task)
    try:
        if version:
            found = load(f"models:/{name}/{version}", "champion")
            seen = np.append(seen, load_hashes(found, "champion", task))
            champion = found
    except UserError as error:
        if params["force"] == "false":
            raise UserError(f"{error}; force=true replaces it") from error
        print(error, file=sys.stderr)
    X, y = select_unseen(split, seen, classes, data)
    return challenger, version, champion, split._replace(X_test=X, y_test=y)


def main():
    """Compare the challenger with today's champion, move the aliases, record."""
    params = read_params()
    name = params["name"]
    with tracking.one_line_errors("name: MLflow's registry cannot be used"), tracking.fail_fast():
        challenger, version, champion, split = load_both(params)
    if champion and champion.model_id == challenger.model_id:
        process.print_text(f"Not promoted: it is the champion of {name} already")
        return

    estimator, X, y = challenger.estimator, split.X_test, split.y_test
    opponent = champion.estimator if champion else evaluation.baseline(estimator, split)
    scores, gains = compare(estimator, opponent, X, y)
    is_better = scores["gain_low"] > 0 and (champion or not version)
    is_promoted = is_better or params["force"] == "true"
    kind, metric = evaluation.name(estimator), evaluation.main_metric(estimator).name
    rival = f"version {version} of {name}" if champion else "the baseline"
    comparison = (
        f"{metric} on {dataset.count(len(y), 'unseen')}: challenger "
        "{challenger:.4f}, {rival} {champion:.4f}\nGain of the challenger: "
        "{gain:+.4f}, 95 % interval {gain_low:+.4f} to {gain_high:+.4f}\n"
    ).format(rival=rival, **scores)
    description = comparison.replace("\n", "\n\n") + f"{kind} {challenger.uri}"
    verdict = f"Promotion of {kind} to {name}" + ", not promoted" * (not is_promoted)
    with (
        tracking.recording(),
        mlflow.start_run(run_name=tracking.run_name(verdict)),
    ):
        mlflow.log_params(tracking.new_params(params))
        _, judges = tracking.datasets(split, params["data"])
        for model in filter(None, (challenger, champion)):
            logged = mlflow.entities.LoggedModelInput(model.model_id)
            mlflow.log_input(judges, "test", model=logged)
        mlflow.log_metrics({f"{metric}_{each}": value for each, value in scores.items()})
        figure = figures.comparison(scores, gains, metric, f"{verdict}\n{comparison}")
        mlflow.log_figure(figure, "comparison.png")
        mlflow.set_tag("mlflow.note.content", description)
        process.print_text(f"{comparison}See the gain: {report.artifact_url('comparison.png')}\n")
        if is_promoted:
            with uninterrupted():
                promoted = register(challenger.model_id, name, version, description)
    if not is_promoted:
        refused = "Not promoted: its gain may be chance, or is none"
        process.print_text(f"{refused}; force=true promotes in any case")
        sys.exit(NOT_PROMOTED)
    forced = "" if is_better else " by force=true"
    before = f", version {version} is the previous one" if version else ""
    process.print_text(
        f"Promoted{forced}: version {promoted} of {name} is the champion{before}\n\n"
        "Serve the champion, see the versions:\n\n"
        f"mlflow models serve -m models:/{name}@champion --env-manager local --port 5001\n\n"
        f"{report.start_command()}{report.model_url(name)}\n"
    )


if __name__ == "__main__":
    process.run(main)
