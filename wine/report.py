"""The report of a run: its tags, its description in MLflow's UI, and its text on the screen."""

import mlflow

from wine import evaluation, ui
from wine.dataset import NOUN, TARGET, count
from wine.files import PROJECT
from wine.process import print_text

MANY_VALUES = 30  # of a target: more are not counted one by one


def tags(estimator, params, split, scores, converged):
    """Return the tags of a training's run and of its model.

    Parameters
    ----------
    estimator, params, split, scores
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
        "mlflow.note.content": description(estimator, params, split, scores),
    }


def description(estimator, params, split, scores):
    """Describe a run in Markdown, as MLflow's UI shows it when it is the tag mlflow.note.content.

    Parameters
    ----------
    estimator : scikit-learn estimator
        What was trained.
    params : dict
        The script's parameters.
    split : wine.dataset.Split
        What it was trained and tested on.
    scores : DataFrame
        The metrics as `wine.evaluation.evaluate` returns them.

    Returns
    -------
    str
    """
    table = scores.to_csv(sep="|", float_format="%.4f", na_rep="-")
    # The spaces keep the columns apart in MLflow's UI.
    header, *rows = table.replace("|", " | &nbsp; ").splitlines()
    return "\n".join(
        [
            f"**{evaluation.name(estimator)}** ({_join(params)}) predicts `{split.y_train.name}` "
            f"from the {split.X_train.shape[1]} raw measurements of a {NOUN}. Trained on "
            f"{count(len(split.y_train))}, judged by {len(split.y_test)} others (*test*), of which "
            f"{split.unseen.sum()} have no identical copy among the training {NOUN}s (*unseen*). "
            f"*baseline* always answers the mean or the majority of the training {NOUN}s.",
            "",
            f"metric{header}",
            "---|---:|---:|---:",
            *rows,
            "",
            f"**Not good for** {NOUN}s of another kind than the "
            f"{split.target_counts.sum()} of this table, and for {_rare(split.target_counts)}.",
        ]
    )


def print_summary(estimator, params, split, scores):
    """Print the parameters, the metrics, and the next commands with the active run's ID filled in.

    The address that is printed opens a view of the experiment, in which the best of the trainings
    come first; it is stored where there is none.

    Parameters
    ----------
    estimator, params, split, scores
        As `description` takes them.
    """
    view = ui.store_trainings(estimator, params)
    model = f"-m runs:/{mlflow.active_run().info.run_id}/model --env-manager local"
    print_text(
        f"""
{evaluation.name(estimator)}: {_join(params)}
{count(len(split.y_train), "training")}, {count(len(split.y_test), "test")}, \
{split.unseen.sum()} unseen

{scores.to_string(float_format="{:.4f}".format, na_rep="-")}

Serve the model, score a file with it, compare the runs:

mlflow models serve {model} --port 5001

mlflow models predict {model} -t csv -i "{PROJECT / "predict.csv"}"

{ui.start_command()}{ui.runs_url(**view)}
"""
    )


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
    return f"""

Serve the champion, score a table with it, see the versions:

mlflow models serve -m {uri} --env-manager local --port 5001

mlflow run . -e score --env-manager local -P model={uri} -P input=predict.csv -P output=scored.csv

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
