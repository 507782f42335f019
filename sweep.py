"""Search for good parameters of a training: evaluate many candidates, then train with the best.

mlflow run . -e sweep -P model=main -P trials=50
python sweep.py huber 50
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import contextlib
import importlib
import inspect
import itertools
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

import mlflow
import numpy as np
import pandas as pd
from joblib.externals.loky import (
    FIRST_COMPLETED,
    BrokenProcessPool,
    ProcessPoolExecutor,
    cpu_count,
    wait,
)
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from wine import UserError, cli, dataset, evaluation, tracking, ui

SCRIPTS = {"main": "train", "huber": "huber-train", "classifier": "clf-train"}
FOLDS = 5


def sample_candidates(defaults, search, seed):
    """Yield the defaults, then sampled parameters, rounded so that they are easy to type.

    No candidate comes twice. The end is reached when it is as good as certain that there are no
    more: a single one left among n would be missed with a probability of exp(-20).
    """
    random_state = np.random.RandomState(seed)
    candidate, drawn, repeated = defaults, set(), 0
    while repeated <= 20 * len(drawn):
        values = tuple(candidate.values())
        if values in drawn:
            repeated += 1
        else:
            drawn.add(values)
            repeated = 0
            yield candidate
        (sample,) = ParameterSampler(search, 1, random_state=random_state)
        for name, value in sample.items():
            if value is not None:
                sample[name] = float(f"{value:.3g}") if isinstance(value, float) else int(value)
        candidate = defaults | sample


def make_folds(X, y, classifier, seed):
    """Return the row numbers of each fold's two sides; identical rows are always on one side."""
    splitter = StratifiedGroupKFold if classifier else GroupKFold
    identical = X.groupby(list(X.columns)).ngroup()
    with warnings.catch_warnings():
        # scikit-learn only warns of a class that has fewer rows than there are folds.
        warnings.simplefilter("error", UserWarning)
        try:
            folds = list(splitter(FOLDS, shuffle=True, random_state=seed).split(X, y, identical))
            if classifier and any(y.iloc[rows].nunique() < y.nunique() for _, rows in folds):
                raise ValueError(f"not every fold has {dataset.NOUN}s of each class")
            return folds
        except (ValueError, UserWarning) as error:
            raise UserError(
                f"data: received {dataset.count(len(X), 'training')}, {identical.nunique()} of "
                f"them different, allowed are enough to judge by {FOLDS} folds: {error}"
            ) from error


def evaluate_candidate(number, candidate, estimator, X, y, folds, metric, scoring):
    """Cross-validate one candidate in a worker process; return what `tracking.log_trial` takes."""
    trial = {"number": number, "name": evaluation.describe(estimator, candidate)}
    trial |= {"started": time.time(), "params": candidate}
    # With one thread, the last digits do not depend on how many processes share the machine.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            result = cross_validate(estimator, X, y, scoring=scoring, cv=folds, error_score="raise")
        except ValueError as error:
            return trial | {"error": str(error).splitlines()[0]}
    scores = np.abs(result["test_score"])  # scikit-learn's scorers negate an error.
    return trial | {
        "metrics": {
            f"cv_{metric}": scores.mean(),
            f"cv_{metric}_std": scores.std(),
            "fit_time": result["fit_time"].mean(),
        },
        "converged": not any(issubclass(each.category, ConvergenceWarning) for each in caught),
    }


def evaluate_all(tasks, jobs):
    """Evaluate candidates in processes; yield the results in the order in which they come."""
    executor = ProcessPoolExecutor(
        jobs, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )
    # Ctrl-C reaches all processes of a terminal, but only this one may react, which ends the
    # others. They start with the first task, and until the initializer has run they have this.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    executor.submit(int)
    signal.signal(signal.SIGINT, handler)
    pending = set()
    try:
        while True:
            with process.uninterrupted():  # The executor's locks have to be released.
                for task in itertools.islice(tasks, 2 * jobs - len(pending)):
                    pending.add(executor.submit(evaluate_candidate, *task))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            # When a process dies, results may have come at the same time.
            for future in sorted(done, key=lambda future: future.exception() is not None):
                yield future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"jobs: one of {jobs} processes was killed, as happens when the memory is full; "
            "fewer jobs need less. The candidates that were finished are recorded"
        ) from error
    finally:
        with warnings.catch_warnings():
            # Without the command pgrep, joblib warns that it cannot look for processes of theirs.
            warnings.simplefilter("ignore")
            executor.shutdown(kill_workers=bool(pending))


def log_candidates(trials, names, metric):
    """Log the table of the candidates, and the plot of the score against each parameter."""
    trials = sorted(trials, key=lambda trial: trial["number"])
    rows = [
        {"trial": trial["number"]}
        | trial["params"]
        | trial.get("metrics", {})
        | {"converged": trial.get("converged"), "error": trial.get("error")}
        for trial in trials
    ]
    mlflow.log_text(pd.DataFrame(rows, dtype=object).to_csv(index=False), "candidates.csv")

    evaluated = [row for row in rows if row["error"] is None]
    if not evaluated:
        return
    figure = Figure(figsize=(4.8 * len(names), 4.2), layout="constrained")
    (axes,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    for ax, name in zip(axes, names, strict=True):
        values = [row[name] for row in evaluated]
        if None in values:
            order = sorted({value for value in values if value is not None})
            ax.set_xticks(range(len(order) + 1), [*order, "None"])
            values = [len(order) if value is None else order.index(value) for value in values]
        elif min(values) > 0 and max(values) > 100 * min(values):
            ax.set_xscale("log")
        scores = [row[f"cv_{metric}"] for row in evaluated]
        spread = [row[f"cv_{metric}_std"] for row in evaluated]
        ax.errorbar(values, scores, spread, fmt="o", alpha=0.4, label="drawn")
        if evaluated[0]["trial"] == 0:
            ax.plot(values[0], scores[0], "D", color="black", label="defaults")
        ax.set_xlabel(name)
    axes[0].set_ylabel(f"{metric}, mean and spread of {FOLDS} folds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    mlflow.log_figure(figure, "candidates.png")


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("model", cli.choice(*SCRIPTS), "main", "entry point of the training")
    parser.add("trials", cli.integer(1), 50, "candidates, the defaults among them")
    parser.add("seed", cli.integer(0), 42, "seed of the candidates and of the folds")
    parser.add("jobs", cli.integer(1, optional=True), None, "processes, at most one a core")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read()


def main():
    """Sample the candidates, evaluate each in a run of its own, train with the best."""
    params = read_params()
    script = importlib.import_module(SCRIPTS[params["model"]])
    split = script.split(dataset.load(params["data"]))
    X, y = split.X_train, split.y_train  # The test set is kept for the best candidate.
    script_params = script.read_params([])
    defaults = {name: script_params[name] for name in inspect.signature(script.build).parameters}
    estimator = script.build(**defaults)
    classifier = is_classifier(estimator)
    folds = make_folds(X, y, classifier, params["seed"])
    metric, ascending, scoring = evaluation.main_metric(estimator)

    with tracking.start_run(f"Sweep of {evaluation.name(estimator)}") as parent:
        tracking.log_params(params)
        trials = []
        candidates = sample_candidates(defaults, script.SEARCH, params["seed"])
        tasks = (
            (number, candidate, script.build(**candidate), X, y, folds, metric, scoring)
            for number, candidate in enumerate(itertools.islice(candidates, params["trials"]))
        )
        jobs = min(params["jobs"] or cpu_count(), cpu_count(), params["trials"])
        try:
            with contextlib.closing(evaluate_all(tasks, jobs)) as results:
                for trial in process.progress(results, params["trials"], "trials"):
                    with process.uninterrupted():  # A run that was begun has to be ended.
                        tracking.log_trial(**trial)
                        trials.append(trial)
        finally:
            log_candidates(trials, list(script.SEARCH), metric)

        evaluated = [trial for trial in trials if "metrics" in trial]
        n_failed = len(trials) - len(evaluated)
        if not evaluated:
            raise UserError(
                f"model: none of the {len(trials)} candidates of {params['model']} could be "
                f"fitted: {trials[-1]['error']}"
            )
        if len(trials) < params["trials"]:
            print(
                f"trials: received {params['trials']}, but {params['model']} has only "
                f"{len(trials)} different candidates, which were all evaluated",
                file=sys.stderr,
            )
        if n_failed:
            failed = f"{n_failed} of {len(trials)} candidates failed"
            print(f"{failed}: see the run's candidates.csv", file=sys.stderr)
        sign = 1 if ascending else -1
        best = min(evaluated, key=lambda t: (sign * t["metrics"][f"cv_{metric}"], t["number"]))
        mlflow.log_metrics(best["metrics"] | {"n_failed": n_failed})
        script.train(script_params | best["params"] | {"data": params["data"]}, split)

        scores = {trial["number"]: trial["metrics"][f"cv_{metric}"] for trial in evaluated}
        print(
            f"Best of {len(evaluated)} candidates by {FOLDS} folds of the training "
            f"{dataset.NOUN}s: {metric} {scores[best['number']]:.4f}, "
            f"with the defaults {scores.get(0, math.nan):.4f}"
        )
        print("\nCompare them, the best one first:\n")
        run_id, names = parent.info.run_id, list(script.SEARCH)
        view = ui.store_trials(run_id, names, f"cv_{metric}", ascending)
        print(ui.runs_url(compareRunsMode="CHART", **view))


if __name__ == "__main__":
    process.run(main)
