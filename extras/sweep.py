"""Search for good parameters of a training: evaluate many candidates, then train with the best.

mlflow run . --env-manager local -e sweep -P model=main -P trials=50
python -m extras.sweep huber 50
"""

from wine import process

if __name__ == "__main__":
    process.report_errors()  # The imports take seconds, in which Ctrl-C may come.

import contextlib
import signal
import warnings
from concurrent.futures import BrokenExecutor

from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ParameterSampler

import mlflow
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from extras import figures, trainings
from extras.process import progress, uninterrupted
from wine import UserError, cli, dataset, evaluation, report, tracking


def sample_candidates(defaults, search, n_candidates, seed):
    """Return the defaults, then sampled parameters as Python's own types, none of them twice.

    What a distribution yields is rounded so that it is easy to type; what is listed stays as it is.
    """
    candidates = {repr(defaults): defaults}  # A value may be a list, which cannot be a key.
    # A search of few values yields some of them again and again, or says that it lists them all.
    with warnings.catch_warnings(action="ignore"):
        for sample in ParameterSampler(search, 20 * n_candidates, random_state=seed):
            if len(candidates) == n_candidates:
                break
            for name, value in sample.items():
                sample[name] = value.item() if hasattr(value, "item") else value
                if isinstance(value, float) and hasattr(search[name], "rvs"):
                    sample[name] = float(f"{value:.3g}")
            candidate = defaults | sample
            candidates.setdefault(repr(candidate), candidate)
    return list(candidates.values())


def evaluate_candidate(number, estimator, folds):
    """Cross-validate one candidate in a worker; return its number, metrics and tags."""
    # With one thread, the last digits do not depend on how many processes share the machine.
    with warnings.catch_warnings(record=True, action="always") as caught, threadpool_limits(1):
        try:
            cv = evaluation.score_folds(estimator, folds)
        except ValueError as error:
            return number, {}, {"error": str(error).splitlines()[0]}
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    metrics = cv.summarize() | {"fit_time": cv.scores["fit_time"].mean()}
    return number, metrics, {"converged": str(converged).lower()}


def evaluate_all(candidates, estimators, folds, jobs, score):
    """Evaluate candidates in processes; log a run for each that is done, and in the end a table."""
    rows, n_tasks, task = [], len(candidates), delayed(evaluate_candidate)
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
                name = evaluation.describe(estimators[number], params)
                # A run that was begun has to be ended.
                with uninterrupted(), mlflow.start_run(run_name=name, nested=True, tags=tags):
                    mlflow.log_params(params)
                    mlflow.log_metrics(metrics)
                    if "error" in tags:
                        mlflow.end_run("FAILED")
                    rows.append(params | metrics | tags)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(rows)} of {n_tasks} candidates are recorded") from None
    except BrokenExecutor as error:
        reason = "a process was killed, as happens when the memory is full"
        raise UserError(f"jobs: {reason}; fewer than {jobs} jobs need less") from error
    finally:
        columns = ["trial", *candidates[0], score, f"{score}_std", "fit_time", "converged", "error"]
        table = pd.DataFrame(rows, columns=columns, dtype=object).set_index("trial").sort_index()
        mlflow.log_text(table.to_csv(), "candidates.csv")
    return table


def main():
    """Sample the candidates, evaluate each in a run of its own, train with the best."""
    parser = cli.Parser(__doc__)
    parser.add("model", cli.choice(*trainings.SCRIPTS), "main", "entry point of the training")
    parser.add("trials", cli.integer(1), 50, "candidates, the defaults among them")
    parser.add("seed", cli.integer(0), 42, "seed of the candidates")
    parser.add("jobs", cli.integer(1, optional=True), None, "processes, at most one a core")
    parser.add("data", str, dataset.DATA, "path or URL of the table")
    params = parser.read()
    script = trainings.load(params["model"])
    split, defaults = script.load_split(params["data"]), trainings.defaults(script)
    candidates = sample_candidates(defaults, script.SEARCH, params["trials"], params["seed"])
    estimators = [script.build(**candidate) for candidate in candidates]
    metric, names = evaluation.main_metric(estimators[0]), [*script.SEARCH]
    score = f"cv_{metric.name}"
    # Only the best one meets the test set.
    folds = evaluation.make_folds(split, is_classifier(estimators[0]))
    jobs = min(params["jobs"] or cpu_count(), cpu_count(), len(candidates))
    with (
        tracking.recording(),
        mlflow.start_run(run_name=tracking.run_name(f"Sweep of {evaluation.name(estimators[0])}")),
    ):
        mlflow.log_params(tracking.new_params(params))
        table = evaluate_all(candidates, estimators, folds, jobs, score)
        evaluated = table[table["error"].isna()]
        if evaluated.empty:
            raise UserError(f"model: no candidate could be fitted: {table['error'].iloc[-1]}")
        best = evaluated[score].astype(float).agg("idxmin" if metric.ascending else "idxmax")
        mlflow.log_figure(figures.candidates(evaluated, names, metric, best), "candidates.png")
        columns, n_failed = [score, f"{score}_std"], table["error"].count()
        shown = [n for n in (best, 0) if n in evaluated.index]
        scores = ("{:.4f} ±{:.4f}".format(*table.loc[n, columns]) for n in shown)
        failed = f"; {n_failed} failed: see candidates.csv" if n_failed else ""
        process.print_text(
            f"Best of {len(evaluated)} candidates by {evaluation.describe_folds(split)}: "
            f"{metric.name} {', with the defaults '.join(scores)}{failed}"
        )
        script.train(script.read_params([]) | candidates[best] | {"data": params["data"]}, split)
        run_id = mlflow.active_run().info.run_id
        children = f"tags.`mlflow.parentRunId` = '{run_id}'"
        view = report.store_view(f"sweep-{run_id}", children, [score], names, metric.ascending)
        process.print_text(
            "See how the score depends on each parameter, and compare the candidates:\n\n"
            f"{report.artifact_url('candidates.png')}\n\n"
            f"{report.runs_url(compareRunsMode='CHART', **view)}"
        )


if __name__ == "__main__":
    process.run(main)
