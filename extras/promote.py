"""Promote a model: make it the champion of a name, if it is better than today's champion.

mlflow run . --env-manager local -e promote -P model=runs:/<ID>/model -P name=wine-quality
python -m extras.promote models:/wine-quality@previous wine-quality true
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

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

N_RESAMPLES, MIN_ROWS = 1000, 30  # With fewer rows, an interval is worth little.


def compare(challenger, champion, X, y):
    """Compare two fitted estimators on rows that neither has seen, by a bootstrap over these rows.

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
        if y[rows].min() == y[rows].max():  # Rows of one class tell no classifier from another.
            return 0.0
        scores = [score(y[rows], answer[rows]) for answer in answers]
        return sign * (scores[0] - scores[1]) + 0.0  # no -0.0

    gains = np.array([gain(rng.choice(rows, len(rows))) for _ in range(N_RESAMPLES)])
    low, high = np.percentile(gains, [2.5, 97.5])
    scores = {"challenger": score(y, answers[0]), "champion": score(y, answers[1])}
    return scores | {"gain": gain(rows), "gain_low": low, "gain_high": high}, gains


def load_hashes(model, parameter, task):
    """Return the hashes of the rows that a model was trained on.

    The task is the list of the columns and that of the classes, which are none for a regressor. A
    model of another task is refused, and one whose rows nobody knows.
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


def load_unseen(models, data):
    """Return the split of a table whose test rows are those that no model was trained on.

    `models` has each `extras.models.Model` under the name that an error line gives it. Rows that
    repeat are left out. The test rows of the training's own split come first, so that a model of
    this split is judged by its unseen test rows.
    """
    kind = "classifier" if is_classifier(models["model"].estimator) else "main"
    split = trainings.load(kind).load_split(data)
    task = [*split.X_test], sorted({*split.y_train}) if kind == "classifier" else []
    seen = np.concatenate([load_hashes(model, name, task) for name, model in models.items()])
    X, y = pd.concat([split.X_test, split.X_train]), pd.concat([split.y_test, split.y_train])
    unseen = dataset.find_unseen(split.groups[X.index], seen)
    X, y = X[unseen], y[unseen]
    if len(y) < MIN_ROWS or y.nunique() == 1:
        received = f"{dataset.count(len(y), 'unseen')} with {y.nunique()} values of {y.name}"
        allowed = f"{MIN_ROWS} or more, with two values or more"
        raise UserError(f"data: received {received} in {data}, allowed are {allowed}")
    return split._replace(X_test=X, y_test=y)


def find_champion(name):
    """Return the version that is the champion of a name, or None."""
    found = mlflow.MlflowClient().search_registered_models(f"name = '{name}'")
    return found[0].aliases.get("champion") if found else None


def register(model_id, name, compared, description):
    """Register a model once, make it the champion, and the champion of before the previous one.

    `compared` is the version of the champion that it was compared with, or None. If there is
    another one meanwhile, nothing is moved. Returns the model's version.
    """
    client, source = mlflow.MlflowClient(), f"models:/{model_id}"
    with contextlib.suppress(mlflow.MlflowException):  # It is there, with its own description.
        about = f"These models predict {dataset.TARGET}. The one to serve is the champion"
        client.create_registered_model(name, None, f"{about}; previous was it before.")
    found = client.search_model_versions(f"name = '{name}' and source_path = '{source}'")
    version = (found[0] if found else mlflow.register_model(source, name)).version
    if find_champion(name) != compared:  # MLflow cannot move an alias on a condition.
        raise UserError(f"name: {name} has got another champion meanwhile; promote again")
    if compared not in (None, version):
        client.set_registered_model_alias(name, "previous", compared)
    client.set_registered_model_alias(name, "champion", version)
    client.update_model_version(name, version, description)
    return version


def main():
    """Compare the challenger with today's champion, record that, move the aliases."""
    parser = cli.Parser(__doc__)
    parser.require("model", str, "address of the challenger: runs:/ or models:/")
    parser.require("name", str, "name of the registered model")
    parser.add("force", cli.choice("false", "true"), "false", "promote it in any case?")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    params = parser.read()
    if not re.fullmatch(r"\w[\w.-]*", name := params["name"]):  # It has to fit into an address.
        raise UserError(f"name: received {name!r}, allowed are letters, digits, '_', '.' and '-'")
    with tracking.recording():
        version, models = find_champion(name), {"model": load(params["model"])}
        if version:
            models["champion"] = load(f"models:/{name}/{version}", "champion")
        split = load_unseen(models, params["data"])
        estimator, rival = models["model"].estimator, "the baseline"
        opponent = evaluation.baseline(estimator, split)
        if version:
            opponent, rival = models["champion"].estimator, f"version {version} of {name}"
        scores, gains = compare(estimator, opponent, split.X_test, split.y_test)
        is_better = scores["gain_low"] > 0
        is_promoted = is_better or params["force"] == "true"
        kind, metric = evaluation.name(estimator), evaluation.main_metric(estimator).name
        comparison = (
            f"{metric} on {dataset.count(len(split.y_test), 'unseen')}: challenger "
            "{challenger:.4f}, {rival} {champion:.4f}\nGain of the challenger: "
            "{gain:+.4f}, 95 % interval {gain_low:+.4f} to {gain_high:+.4f}\n"
        ).format(rival=rival, **scores)
        description = comparison.replace("\n", "\n\n") + f"{kind} {params['model']}"
        verdict = f"Promotion of {kind} to {name}" + ", not promoted" * (not is_promoted)
        with mlflow.start_run(run_name=tracking.run_name(verdict)):
            mlflow.log_params(tracking.new_params(params))
            _, judges = tracking.datasets(split, params["data"])
            for model in models.values():
                logged = mlflow.entities.LoggedModelInput(model.model_id)
                mlflow.log_input(judges, "test", model=logged)
            mlflow.log_metrics({f"{metric}_{each}": value for each, value in scores.items()})
            figure = figures.comparison(scores, gains, metric, f"{verdict}\n{comparison}")
            mlflow.log_figure(figure, "comparison.png")
            mlflow.set_tag("mlflow.note.content", description)
            plot = report.artifact_url("comparison.png")
            process.print_text(f"{comparison}See the gain: {plot}\n")
            if is_promoted:
                with uninterrupted():
                    promoted = register(models["model"].model_id, name, version, description)
    if not is_promoted:
        refused = "Not promoted: its gain may be chance, or is none"
        process.print_text(f"{refused}; force=true promotes in any case")
        sys.exit(3)  # docs/promotion.rst names the status.
    forced = "" if is_better else " by force=true"
    before = f", version {version} is the previous one" if version not in (None, promoted) else ""
    process.print_text(
        f"Promoted{forced}: version {promoted} of {name} is the champion{before}\n\n"
        "Serve the champion, see the versions:\n\n"
        f"mlflow models serve -m models:/{name}@champion --env-manager local --port 5001\n\n"
        f"{report.start_command()}{report.model_url(name)}\n"
    )


if __name__ == "__main__":
    process.run(main)
