"""Search for good parameters of a training: evaluate many candidates, then train with the best.

mlflow run . -e sweep -P model=main -P trials=50
python sweep.py huber 50
"""

from wine import process

process.catch_interrupts()  # Ctrl-C in the imports below ends with one line, too.

import contextlib
import itertools
import signal
import sys
import time
import warnings
from concurrent.futures import BrokenExecutor

from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterSampler

import mlflow
import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from wine import UserError, cli, dataset, evaluation, folds, plots, tracking, trainings, ui


def sample_candidates(defaults, search, seed):
    """Yield the defaults, then sampled parameters, as Python's own types.

    What a distribution yields is rounded so that it is easy to type; what is listed stays as it is.
    No candidate comes twice. The end is reached when it is as good as certain that there are no
    more: a single one left among n would be missed with a probability of exp(-20).
    """
    random_state = np.random.RandomState(seed)
    candidate, drawn, repeated = defaults, set(), 0
    while repeated <= 20 * len(drawn):
        values = repr(candidate)  # A value may be a list, which a set cannot hold.
        if values in drawn:
            repeated += 1
        else:
            drawn.add(values)
            repeated = 0
            yield candidate
        (sample,) = ParameterSampler(search, 1, random_state=random_state)
        for name, value in sample.items():
            sample[name] = value.item() if isinstance(value, np.generic) else value
            if isinstance(sample[name], float) and hasattr(search[name], "rvs"):
                sample[name] = float(f"{value:.3g}")
        candidate = defaults | sample


def evaluate_candidate(number, candidate, estimator, sets):
    """Cross-validate one candidate in a worker process; return what `tracking.log_trial` takes."""
    trial = {"number": number, "name": evaluation.describe(estimator, candidate)}
    trial |= {"started": time.time(), "params": candidate}
    # With one thread, the last digits do not depend on how many processes share the machine.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            cv = folds.score(estimator, sets)
        except ValueError as error:
            return trial | {"error": str(error).splitlines()[0]}
    return trial | {
        "metrics": cv.summarize() | {"fit_time": cv.fit_time},
        "converged": not any(issubclass(each.category, ConvergenceWarning) for each in caught),
    }


def evaluate_all(tasks, jobs):
    """Evaluate candidates in processes; yield the results in the order in which they come."""
    errors = []

    def delayed_tasks():
        try:
            for task in tasks:
                yield delayed(evaluate_candidate)(*task)
        except Exception as error:  # joblib would wait for ever for the next task.
            errors.append(error)

    # joblib warns of the tasks that Ctrl-C cuts short.
    warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
    # Ctrl-C reaches all processes of a terminal, but only this one may react, which ends the
    # others. They start in the next line, and go on to ignore what is ignored when they start.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = Parallel(jobs, return_as="generator_unordered", batch_size=1)(delayed_tasks())
    signal.signal(signal.SIGINT, handler)
    try:
        with contextlib.closing(results):
            yield from results
    except BrokenExecutor as error:
        raise UserError(
            f"jobs: one of {jobs} processes was killed, as happens when the memory is full; "
            "fewer jobs need less. The candidates that were finished are recorded"
        ) from error
    if errors:
        raise errors[0]


def find_best(trials, metric):
    """Return the best of the candidates that were evaluated; of equal ones, the first."""
    return min(
        trials,
        key=lambda each: (-metric.sign * each["metrics"][f"cv_{metric.name}"], each["number"]),
    )


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

    evaluated = [trial for trial in trials if "metrics" in trial]
    if evaluated:
        better = "lower" if metric.ascending else "higher"
        figure = plots.candidates(
            [{name: trial["params"][name] for name in names} for trial in evaluated],
            scores=[trial["metrics"][f"cv_{metric.name}"] for trial in evaluated],
            spreads=[trial["metrics"][f"cv_{metric.name}_std"] for trial in evaluated],
            ylabel=f"{metric.name} ({better} is better),\nmean and spread of {folds.FOLDS} folds",
            defaults=0 if evaluated[0]["number"] == 0 else None,
            best=evaluated.index(find_best(evaluated, metric)),
        )
        mlflow.log_figure(figure, "candidates.png")


def check_trials(trials, params):
    """Return the candidates that could be evaluated, and say how many could not."""
    evaluated = [trial for trial in trials if "metrics" in trial]
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
    if len(evaluated) < len(trials):
        failed = f"{len(trials) - len(evaluated)} of {len(trials)} candidates failed"
        print(f"{failed}: see the run's candidates.csv", file=sys.stderr)
    return evaluated


def format_score(metrics, metric):
    """Return the score of a candidate with its spread over the folds, in words."""
    if metrics is None:  # It could not be fitted.
        return "none"
    return f"{metrics[f'cv_{metric.name}']:.4f} ±{metrics[f'cv_{metric.name}_std']:.4f}"


def print_addresses(run_id, names, metric):
    """Print where the UI shows the candidates: the picture, and the charts of their runs."""
    view = ui.store_trials(run_id, names, f"cv_{metric.name}", metric.ascending)
    process.print_text(
        f"""See how the score depends on each parameter:

{ui.artifact_url("candidates.png")}

Compare the candidates, the best one first:

{ui.runs_url(compareRunsMode="CHART", **view)}"""
    )


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("model", cli.choice(*trainings.SCRIPTS), "main", "entry point of the training")
    parser.add("trials", cli.integer(1), 50, "candidates, the defaults among them")
    parser.add("seed", cli.integer(0), 42, "seed of the candidates")
    parser.add("jobs", cli.integer(1, optional=True), None, "processes, at most one a core")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read()


def main():
    """Sample the candidates, evaluate each in a run of its own, train with the best."""
    params = read_params()
    script = trainings.load(params["model"])
    split = script.split(dataset.load(params["data"]))
    defaults = trainings.defaults(script)
    estimator = script.build(**defaults)
    metric = evaluation.main_metric(estimator)
    sets = folds.make(split, is_classifier(estimator))  # The test set is kept for the best one.
    candidates = sample_candidates(defaults, script.SEARCH, params["seed"])
    tasks = (
        (number, candidate, script.build(**candidate), sets)
        for number, candidate in enumerate(itertools.islice(candidates, params["trials"]))
    )
    jobs = min(params["jobs"] or cpu_count(), cpu_count(), params["trials"])

    with tracking.start_run(f"Sweep of {evaluation.name(estimator)}") as parent:
        tracking.log_params(params)
        trials = []
        try:
            with contextlib.closing(evaluate_all(tasks, jobs)) as results:
                for trial in process.progress(results, params["trials"], "trials"):
                    with process.uninterrupted():  # A run that was begun has to be ended.
                        tracking.log_trial(**trial)
                        trials.append(trial)
        except KeyboardInterrupt:
            kept = f"{len(trials)} of {params['trials']} candidates are recorded"
            raise KeyboardInterrupt(kept) from None
        finally:
            log_candidates(trials, list(script.SEARCH), metric)

        evaluated = check_trials(trials, params)
        best = find_best(evaluated, metric)
        mlflow.log_metric("n_failed", len(trials) - len(evaluated))
        scores = {trial["number"]: trial["metrics"] for trial in evaluated}
        process.print_text(
            f"Best of {len(evaluated)} candidates by {folds.describe(split)}: "
            f"{metric.name} {format_score(scores[best['number']], metric)}, "
            f"with the defaults {format_score(scores.get(0), metric)}"
        )
        script_params = script.read_params([])
        script.train(script_params | best["params"] | {"data": params["data"]}, split)
        print_addresses(parent.info.run_id, list(script.SEARCH), metric)


if __name__ == "__main__":
    process.run(main)
