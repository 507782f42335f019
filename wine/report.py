"""The report of a run: its tags, its description in MLflow's UI, and its text on the screen."""

import mlflow
import numpy as np

from wine import evaluation, folds, ui
from wine.dataset import NOUN, TARGET, count
from wine.files import PROJECT
from wine.process import print_text

MANY_VALUES = 30  # of a target: more are not counted one by one


def tags(estimator, params, split, result, converged):
    """Return the tags of a training's run and of its model.

    Parameters
    ----------
    estimator, params, split, result
        As `description` takes them.
    converged : bool
        Whether the fit converged.

    Returns
    -------
    dict
        `estimator`, `converged`, and the tag that MLflow shows as the description.
    """
    return {
        "estimator": evaluation.name(estimator),
        "converged": str(converged).lower(),
        "mlflow.note.content": description(estimator, params, split, result),
    }


def description(estimator, params, split, result):
    """Describe a run in Markdown, as MLflow's UI shows it when it is the tag mlflow.note.content.

    Parameters
    ----------
    estimator : scikit-learn estimator
        What was trained.
    params : dict
        The script's parameters.
    split : wine.dataset.Split
        What it was trained and tested on.
    result : wine.evaluation.Evaluation
        The metrics.

    Returns
    -------
    str
    """
    table = result.scores.to_csv(sep="|", float_format="%.4f", na_rep="-")
    # The spaces keep the columns apart in MLflow's UI.
    header, *rows = table.replace("|", " | &nbsp; ").splitlines()
    return "\n".join(
        [
            f"**{evaluation.name(estimator)}** ({_join(params)}) predicts `{split.y_train.name}` "
            f"from the {split.X_train.shape[1]} raw measurements of a {NOUN}. Trained on "
            f"{count(len(split.y_train))}, judged by {len(split.y_test)} others (*test*). "
            f"{split.unseen.sum()} of these differ from each other and from the training {NOUN}s "
            f"(*unseen*). On these, the *baseline* always answers the mean or the majority of the "
            f"training {NOUN}s. *cv* is the mean of {folds.describe(split)}. "
            "Choose by *cv*, report by *unseen*.",
            "",
            f"metric{header}",
            "---|---:|---:|---:|---:",
            *rows,
            "",
            f"**Not good for** {NOUN}s of another kind than the "
            f"{split.target_counts.sum()} of this table, and for {_rare(split.target_counts)}.",
        ]
    )


def print_summary(estimator, params, split, result):
    """Print the parameters, the metrics, and the next commands with the active run's ID filled in.

    The address that is printed opens a view of the experiment, in which the best of the trainings
    come first; it is stored where there is none.

    Parameters
    ----------
    estimator, params, split, result
        As `description` takes them.
    """
    view = ui.store_trainings(estimator, params)
    model = f"-m runs:/{mlflow.active_run().info.run_id}/model --env-manager local"
    print_text(
        f"""
{evaluation.name(estimator)}: {_join(params)}
{count(len(split.y_train), "training")}, {count(len(split.y_test), "test")}, \
{split.unseen.sum()} unseen

{result.scores.to_string(float_format="{:.4f}".format, na_rep="-")}

{_rule(estimator, split, result)}

Serve the model, score a file with it, compare the runs:

mlflow models serve {model} --port 5001

mlflow models predict {model} -t csv -i "{PROJECT / "predict.csv"}"

{ui.start_command()}{ui.runs_url(**view)}
"""
    )


def _rule(estimator, split, result):
    """Return which metrics serve what, and where the threshold should be."""
    cv, reported = result.cv, "test" if result.scores["unseen"].isna().all() else "unseen"
    if cv is None:
        return f"Report by {reported}."
    spread = cv.summarize()[f"cv_{cv.metric}_std"]
    lines = [
        f"Choose by cv ({folds.describe(split)}, {cv.metric} ±{spread:.4f}), report by {reported}."
    ]
    threshold = evaluation.threshold(estimator)
    if threshold is not None:
        f1 = cv.score_thresholds()["f1"]
        best = folds.choose_threshold(f1)
        lines.append(
            f"Threshold: {threshold:g} (F1 by the folds {np.interp(threshold, f1.index, f1):.4f}); "
            f"the folds choose {best:g} ({f1[best]:.4f})."
        )
    return "\n".join(lines)


def champion_commands(name):
    """Return the next commands after a promotion, and the page of the registered model.

    Parameters
    ----------
    name : str
        The name of the registered model.

    Returns
    -------
    str
    """
    uri = f"models:/{name}@champion"
    score = f"mlflow run . -e score --env-manager local -P model={uri}"
    return f"""

Serve the champion, score a table with it, see the versions:

mlflow models serve -m {uri} --env-manager local --port 5001

mkdir -p out && {score} -P input=predict.csv -P output=out/scored.csv

{ui.start_command()}{ui.model_url(name)}
"""


def _join(params):
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _rare(counts):
    """Return in words which values of the target a model cannot know well."""
    if len(counts) > MANY_VALUES:
        return f"values of {TARGET} outside {counts.index[0]:g} to {counts.index[-1]:g}"
    (first, n_first), (last, n_last) = counts.nsmallest(2).sort_index().items()
    return (
        f"rare values: only {count(n_first)} of {TARGET} {first}, and {n_last} of {TARGET} {last}"
    )
