"""Search for good parameters of a training: evaluate many candidates, then train with the best.

mlflow run . --env-manager local -e sweep -P model=main -P trials=50
python -m extras.sweep huber 50
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import contextlib
import signal
import sys
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

from extras import figures, trainings
from extras.process import progress, uninterrupted
from wine import UserError, cli, dataset, evaluation, report, tracking


def sample_candidates(defaults, search, n_candidates, seed):
    """Return the defaults, then sampled parameters as Python's own types, none of them twice.

    What a distribution yields is rounded so that it is easy to type; what is listed stays as it is.
    They are fewer when it is as good as certain that there are no more: a single one left among n
    would be missed with a probability of exp(-20).
    """
    random_state = np.random.RandomState(seed)
    # A value may be a list, which cannot be a key.
    candidates, repeated = {repr(defaults): defaults}, 0
    while len(candidates) < n_candidates and repeated <= 20 * len(candidates):
        (sample,) = ParameterSampler(search, 1, random_state=random_state)
        for name, value in sample.items():
            sample[name] = value.item() if isinstance(value, np.generic) else value
            if isinstance(sample[name], float) and hasattr(search[name], "rvs"):
                sample[name] = float(f"{value:.3g}")
        candidate = defaults | sample
        repeated = repeated + 1 if repr(candidate) in candidates else 0
        candidates.setdefault(repr(candidate), candidate)
    return list(candidates.values())


def evaluate_candidate(number, estimator, folds):
    """Cross-validate one candidate in a worker; return its number, metrics and tags."""
    # With one thread, the last digits do not depend on how many processes share the machine.
    with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always")
        try:
            cv = evaluation.score_folds(estimator, folds)
        except ValueError as error:
            return number, {}, {"error": str(error).splitlines()[0]}
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    metrics = cv.summarize() | {"fit_time": cv.scores["fit_time"].mean()}
    return number, metrics, {"converged": str(converged).lower()}


def log_trial(name, params, metrics, tags):
    """Log one candidate as a run below the active one."""
    with mlflow.start_run(run_name=name, nested=True, tags=tags):
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        if "error" in tags:
            mlflow.end_run("FAILED")


def evaluate_all(candidates, estimators, folds, jobs, rows):
    """Evaluate candidates in processes, log each that is done, and append it to `rows`."""
    task, n_tasks = delayed(evaluate_candidate), len(candidates)
    tasks = [task(number, estimator, folds) for number, estimator in enumerate(estimators)]
    # joblib warns of the tasks that Ctrl-C cuts short.
    warnings.filterwarnings("ignore", category=UserWarning, module="joblib")
    # Ctrl-C reaches all processes of a terminal, but only this one may react, which ends the
    # others. They start in the next line, and go on to ignore what is ignored when they start.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    results = Parallel(jobs, return_as="generator_unordered", batch_size=1)(tasks)
    signal.signal(signal.SIGINT, handler)
    try:
        with contextlib.closing(results):
            for number, metrics, tags in progress(results, n_tasks, "trials"):
                params, tags = candidates[number], {"trial": number} | tags
                with uninterrupted():  # A run that was begun has to be ended.
                    log_trial(
                        evaluation.describe(estimators[number], params), params, metrics, tags
                    )
                    rows.append(params | metrics | tags)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(rows)} of {n_tasks} candidates are recorded") from None
    except BrokenExecutor as error:
        killed = f"jobs: one of {jobs} processes was killed, as happens when the memory is full; "
        recorded = f"fewer jobs need less. {len(rows)} of {n_tasks} candidates are recorded"
        raise UserError(killed + recorded) from error


def log_table(rows, script, metric):
    """Log the table of the candidates and its plot; return the table and the number of the best."""
    score, params = f"cv_{metric.name}", trainings.defaults(script)
    columns = ["trial", *params, score, f"{score}_std", "fit_time", "converged", "error"]
    table = pd.DataFrame(rows, columns=columns, dtype=object).set_index("trial").sort_index()
    mlflow.log_text(table.to_csv(), "candidates.csv")
    evaluated = table[table["error"].isna()]
    if evaluated.empty:
        return table, None
    best = evaluated[score].astype(float).agg("idxmin" if metric.ascending else "idxmax")
    figure = figures.candidates(evaluated, [*script.SEARCH], metric, best)
    mlflow.log_figure(figure, "candidates.png")
    return table, best


def charts_url(names, metric):
    """Store the view of the active run's candidates, and return the address of its charts."""
    run_id, score = mlflow.active_run().info.run_id, f"cv_{metric.name}"
    children = f"tags.`mlflow.parentRunId` = '{run_id}'"
    view = report.store_view(f"sweep-{run_id}", children, [score], names, metric.ascending)
    return report.runs_url(compareRunsMode="CHART", **view)


def read_params():
    """Read the parameters from the command line, in the order in which MLproject passes them."""
    parser = cli.Parser(__doc__)
    parser.add("model", cli.choice(*trainings.SCRIPTS), "main", "entry point of the training")
    parser.add("trials", cli.integer(1), 50, "candidates, the defaults among them")
    parser.add("seed", cli.integer(0), 42, "seed of the candidates")
    parser.add("jobs", cli.integer(1, optional=True), None, "processes, at most one a core")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    return parser.read()


def describe_best(table, best, metric, split):
    """Return the score of the best candidate beside that of the defaults, and how many failed."""
    columns, n_failed = [f"cv_{metric.name}", f"cv_{metric.name}_std"], table["error"].count()
    score, default = ("{:.4f} ±{:.4f}".format(*table.loc[n, columns]) for n in (best, 0))
    failed = f"; {n_failed} failed: see candidates.csv" if n_failed else ""
    found = f"Best of {len(table) - n_failed} candidates by {evaluation.describe_folds(split)}"
    return f"{found}: {metric.name} {score}, with the defaults {default}{failed}"


def main():
    """Sample the candidates, evaluate each in a run of its own, train with the best."""
    params = read_params()
    script = trainings.load(params["model"])
    split, defaults = script.load_split(params["data"]), trainings.defaults(script)
    candidates = sample_candidates(defaults, script.SEARCH, params["trials"], params["seed"])
    if (n_trials := len(candidates)) < params["trials"]:
        print(f"trials: {params['model']} has only {n_trials} candidates", file=sys.stderr)
    estimators = [script.build(**candidate) for candidate in candidates]
    metric = evaluation.main_metric(estimators[0])
    # The test set is kept for the best one.
    folds = evaluation.make_folds(split, is_classifier(estimators[0]))
    jobs, rows = min(params["jobs"] or cpu_count(), cpu_count(), n_trials), []
    with (
        tracking.recording(),
        mlflow.start_run(run_name=tracking.run_name(f"Sweep of {evaluation.name(estimators[0])}")),
    ):
        mlflow.log_params(tracking.new_params(params))
        try:
            evaluate_all(candidates, estimators, folds, jobs, rows)
        finally:
            table, best = log_table(rows, script, metric)
        if best is None:
            reason = f"none of the {n_trials} candidates of {params['model']} could be fitted"
            raise UserError(f"model: {reason}: {table['error'].iloc[-1]}")
        process.print_text(describe_best(table, best, metric, split))
        script.train(script.read_params([]) | candidates[best] | {"data": params["data"]}, split)
        process.print_text(
            "See how the score depends on each parameter, and compare the candidates:\n\n"
            f"{report.artifact_url('candidates.png')}\n\n{charts_url([*script.SEARCH], metric)}"
        )


if __name__ == "__main__":
    process.run(main)
