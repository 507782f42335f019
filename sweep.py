"""Search for good parameters of one of the trainings: judge many candidates, train with the best.

mlflow run . -e sweep -P model=main -P trials=50
python sweep.py huber 50
"""

import importlib
import math
import signal
import sys
import time
import warnings

from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import (
    GroupKFold,
    ParameterSampler,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.utils.parallel import Parallel, delayed

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from wine import Refusal, command_line, record, table

SCRIPTS = {"main": "train", "huber": "huber-train", "classifier": "clf-train"}
FOLDS = 5


def draw(defaults, search, trials, seed):
    """Return the candidates: the defaults, then others with numbers short enough to type."""
    candidates = [defaults]
    for drawn in ParameterSampler(search, trials - 1, random_state=seed):
        for name, value in drawn.items():
            if value is not None:
                drawn[name] = float(f"{value:.3g}") if isinstance(value, float) else int(value)
        candidates.append(defaults | drawn)
    return candidates


def fold(X, y, classifier, seed):
    """Return the rows to fit on and those to judge by, with identical wines always together."""
    kind = StratifiedGroupKFold if classifier else GroupKFold
    identical = X.groupby(list(X.columns)).ngroup()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a class that is too rare for so many folds
        try:
            return list(kind(FOLDS, shuffle=True, random_state=seed).split(X, y, identical))
        except (ValueError, UserWarning) as error:
            raise Refusal(
                f"data: received {len(X)} training wines, {identical.nunique()} of them different, "
                f"allowed are enough to judge by {FOLDS} folds: {error}"
            ) from error


def judge(number, candidate, estimator, X, y, folds, metric, scoring):
    """Cross-validate one candidate, in a process of its own; return all there is to say of it."""
    trial = {"number": number, "started": time.time(), "parameters": candidate}
    # on one thread, the last digits do not depend on how many processes share the machine
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            result = cross_validate(estimator, X, y, scoring=scoring, cv=folds, error_score="raise")
        except ValueError as error:
            return trial | {"error": str(error).splitlines()[0]}
    scores = np.abs(result["test_score"])  # scikit-learn's scorers negate an error
    return trial | {
        "metrics": {
            f"cv_{metric}": scores.mean(),
            f"cv_{metric}_std": scores.std(),
            "fit_time": result["fit_time"].mean(),
        },
        "converged": not any(issubclass(one.category, ConvergenceWarning) for one in caught),
    }


def keep(trials, names, metric):
    """Record the table of the candidates, and the plot of the score against each parameter."""
    trials = sorted(trials, key=lambda trial: trial["number"])
    rows = [
        {"trial": trial["number"]}
        | trial["parameters"]
        | trial.get("metrics", {})
        | {"converged": trial.get("converged"), "error": trial.get("error")}
        for trial in trials
    ]
    mlflow.log_text(pd.DataFrame(rows, dtype=object).to_csv(index=False), "candidates.csv")

    judged = [row for row in rows if row["error"] is None]
    if not judged:
        return
    figure = Figure(figsize=(4.8 * len(names), 4.2), layout="constrained")
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes, names, strict=True):
        values = [row[name] for row in judged]
        if None in values:
            order = sorted({value for value in values if value is not None})
            ax.set_xticks(range(len(order) + 1), [*order, "None"])
            values = [len(order) if value is None else order.index(value) for value in values]
        elif min(values) > 0 and max(values) > 100 * min(values):
            ax.set_xscale("log")
        scores = [row[f"cv_{metric}"] for row in judged]
        spread = [row[f"cv_{metric}_std"] for row in judged]
        ax.errorbar(values, scores, spread, fmt="o", alpha=0.4, label="drawn")
        if judged[0]["trial"] == 0:
            ax.plot(values[0], scores[0], "D", color="black", label="defaults")
        ax.set_xlabel(name)
    axes[0].set_ylabel(f"{metric}, mean and spread of {FOLDS} folds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    mlflow.log_figure(figure, "candidates.png")


def main():
    """Read the command line, draw the candidates, judge them, train with the best."""
    parser = command_line.Parser(__doc__)
    parser.add("model", command_line.one_of(*SCRIPTS), "main", "entry point of the training")
    parser.add("trials", command_line.whole_number(1), 50, "candidates, the defaults among them")
    parser.add("seed", command_line.whole_number(0), 42, "seed of the draw and of the folds")
    parser.add(
        "jobs", command_line.whole_number(1, optional=True), None, "processes, all cores by default"
    )
    parser.add("data", str, "wine-quality.csv", "path or URL of the table")
    parameters = parser.read()

    script = importlib.import_module(SCRIPTS[parameters["model"]])
    wines = script.split(table.read(parameters["data"]))
    X, y = wines.X_train, wines.y_train  # the test wines judge the best candidate alone
    defaults = {k: v for k, v in script.read_command_line([]).items() if k != "data"}
    candidates = draw(defaults, script.SEARCH, parameters["trials"], parameters["seed"])
    classifier = is_classifier(script.build(**defaults))
    folds = fold(X, y, classifier, parameters["seed"])
    metric, scoring = "rmse", "neg_root_mean_squared_error"
    if classifier:
        metric = scoring = "average_precision"

    with record.run() as parent:
        record.log_params(parameters)
        trials = []
        parallel = Parallel(
            n_jobs=parameters["jobs"] or -1,
            return_as="generator_unordered",
            initializer=signal.signal,  # Ctrl-C is for this process, which ends the others
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        judging = parallel(
            delayed(judge)(n, each, script.build(**each), X, y, folds, metric, scoring)
            for n, each in enumerate(candidates)
        )
        try:
            for trial in command_line.progress(judging, len(candidates), "trials"):
                record.trial(**trial)
                trials.append(trial)
        finally:
            keep(trials, list(script.SEARCH), metric)

        judged = [trial for trial in trials if "metrics" in trial]
        if not judged:
            raise Refusal(
                f"model: none of the {len(trials)} candidates of {parameters['model']} could be "
                f"fitted: {trials[-1]['error']}"
            )
        if len(judged) < len(trials):
            failed = f"{len(trials) - len(judged)} of {len(trials)} candidates failed"
            print(f"{failed}: see the run's candidates.csv", file=sys.stderr)
        sign = -1 if classifier else 1
        best = min(judged, key=lambda t: (sign * t["metrics"][f"cv_{metric}"], t["number"]))
        mlflow.log_metrics(best["metrics"] | {"n_failed": len(trials) - len(judged)})
        script.train(best["parameters"] | {"data": parameters["data"]}, wines)

        scores = {trial["number"]: trial["metrics"][f"cv_{metric}"] for trial in judged}
        print(
            f"Best of {len(judged)} candidates by {FOLDS} folds of the training wines: {metric} "
            f"{scores[best['number']]:.4f}, with the defaults {scores.get(0, math.nan):.4f}"
        )
        print("\nCompare them, the best one first:\n")
        print(
            record.address(  # sorted by a metric, they are not hidden below their parent
                compareRunsMode="CHART",
                searchFilter=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
                orderByKey=f"metrics.`cv_{metric}`",
                orderByAsc=str(not classifier).lower(),
            )
        )


if __name__ == "__main__":
    command_line.run(main)
