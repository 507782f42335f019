"""Measure what the project costs beside what it cannot be cheaper than, and print one table.

python -m benchmarks.run                    all sections, some fifty minutes
python -m benchmarks.run startup serving    these sections
python -m benchmarks.run all --quick        small and few: shows that it works, measures nothing

What is compared is measured in turn, in one session: another machine has other seconds, but much
the same ratios.
"""

import argparse
import contextlib
import datetime
import http.client
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sklearn.dummy import DummyRegressor

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from benchmarks import classifier as classifiers
from benchmarks import published as published_results
from tests.helpers import ENTRY_POINTS, PROJECT, environment, free_port, start_server
from wine import dataset, trainings

FLOOR = PROJECT / "benchmarks" / "floor"
SCRIPTS = {"main": "train.py", "huber": "huber-train.py", "classifier": "clf-train.py"}


class Size(NamedTuple):
    """How much is measured."""

    repeats: int  # of whole commands, of which the median counts
    rounds: int  # of requests to each server in turn
    requests: int  # in a round, on each connection
    trials: tuple  # of a sweep
    wines: tuple  # in a table to score
    seeds: int  # of the classifiers' folds
    tables: tuple  # the wines in each table to train on


FULL = Size(
    7, 20, 50, (25, 100, 400), (100_000, 1_000_000, 10_000_000), 8, (10_000, 100_000, 1_000_000)
)
QUICK = Size(1, 1, 5, (2, 4, 8), (1_000, 5_000, 20_000), 1, (500,))


class Finished(NamedTuple):
    """What a command took, and what it said."""

    seconds: float
    processor: float  # seconds of all its processes
    megabytes: float  # its peak
    output: str


def run(*command, cwd):
    """Run a command to its end, in a folder that is its home for temporary files, too."""
    print("   ", *command, file=sys.stderr)
    with tempfile.TemporaryFile("w+", dir=cwd) as said:
        start = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command],
            cwd=cwd,
            env=environment(TMPDIR=str(cwd)),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read()
    if child.returncode:
        raise RuntimeError(f"{command} failed: {output}")
    return Finished(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def fresh(folder):
    """Make an empty folder, where MLflow will make a new store."""
    return tempfile.mkdtemp(dir=folder)


def project_run(folder, *arguments, project=PROJECT, times=1):
    """Return the seconds of `mlflow run`, one or more times, with a new store."""
    store = fresh(folder)
    command = ("mlflow", "run", project, "--env-manager", "local", *arguments)
    return sum(run(*command, cwd=store).seconds for _ in range(times))


def in_turn(repeats, measurements):
    """Return the median of each measurement, all of them made in turn."""
    rounds = [{name: each() for name, each in measurements.items()} for _ in range(repeats)]
    return {name: statistics.median(one[name] for one in rounds) for name in measurements}


def line(measured, value, beside, unit, at_most=None):
    """Return a line of the table; `at_most` is the goal of the ratio."""
    return {
        "measured": measured,
        "value": f"{value:,.2f} {unit}",
        "beside": f"{beside:,.2f} {unit}",
        "ratio": f"{value / beside:.2f}",
        "goal": "" if at_most is None else f"{at_most:.2f}",
        "met": "" if at_most is None else "yes" if value / beside <= at_most else "no",
    }


def startup(folder, size):
    """Compare `mlflow run` of each training with that of a script that starts and ends a run."""
    runs = {name: lambda name=name: project_run(folder, "-e", name) for name in ENTRY_POINTS}
    runs["floor"] = lambda: project_run(folder, project=FLOOR)
    seconds = in_turn(size.repeats, runs)
    for name in ENTRY_POINTS:
        goal = 1.25 if name == "main" else None
        yield line(f"mlflow run, {name} / floor", seconds[name], seconds["floor"], "s", goal)


def train(store, name):
    """Train by a script, and return the model's address in the store."""
    output = run(sys.executable, PROJECT / SCRIPTS[name], cwd=store).output
    return f"runs:/{output.split('runs:/')[1].split('/')[0]}/model"


def save_constant(path):
    """Save a model that predicts a constant, as wine/model.py logs the others."""
    wines = dataset.load(dataset.DATA)
    X = wines[dataset.FEATURES]
    constant = DummyRegressor().fit(X, wines[dataset.TARGET])
    mlflow.sklearn.save_model(
        constant,
        path,
        signature=mlflow.models.infer_signature(X, constant.predict(X)),
        pip_requirements=["mlflow", "scikit-learn", "skops", "pandas", "numpy"],
        serialization_format="skops",
    )


def ask(port, body, times):
    """Ask a server again and again on one connection; return the milliseconds of each answer."""
    milliseconds = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as server:
        for _ in range(times):
            start = time.perf_counter()
            server.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = server.getresponse()
            text = answer.read()
            milliseconds.append(1000 * (time.perf_counter() - start))
            if answer.status != 200:
                raise RuntimeError(text)
    return milliseconds


def serving(folder, size):
    """Compare one row through each model's server with a server that answers a constant."""
    store = fresh(folder)
    models = {name: train(store, name) for name in ENTRY_POINTS} | {"floor": f"{store}/constant"}
    save_constant(models["floor"])
    body = pd.read_csv(PROJECT / "predict.csv", nrows=1).to_json(orient="split", index=False)
    body = json.dumps({"dataframe_split": json.loads(body)})

    with contextlib.ExitStack() as servers, ThreadPoolExecutor(8) as clients:
        ports = {}
        for name, model in models.items():
            ports[name] = free_port()
            serve = ("mlflow", "models", "serve", "-m", model, "--env-manager", "local")
            ready = f"http://127.0.0.1:{ports[name]}/ping"
            env = environment(TMPDIR=store)
            servers.enter_context(
                start_server(*serve, "--port", ports[name], cwd=store, ready=ready, env=env)
            )
            ask(ports[name], body, 20)
        for connections in (1, 8):
            answers = {name: [] for name in models}
            for _, name in itertools.product(range(size.rounds), models):
                asked = [ports[name]] * connections, [body] * connections
                for part in clients.map(ask, *asked, [size.requests] * connections):
                    answers[name] += part
            cuts = {name: statistics.quantiles(each, n=100) for name, each in answers.items()}
            for name, (label, cut) in itertools.product(
                ENTRY_POINTS, {"median": 49, "99th percentile": 98}.items()
            ):
                goal = (2.5 if name == "classifier" else 1.1) if label == "median" else None
                what = f"serve, {name} / floor, {connections} at a time, {label}"
                yield line(what, cuts[name][cut], cuts["floor"][cut], "ms", goal)


def sweep(folder, size):
    """Compare a sweep with four single runs by hand, and sweeps of more and more trials."""
    few, middle, many = size.trials

    def trials(n):
        return project_run(folder, "-e", "sweep", "-P", f"trials={n}", "-P", "jobs=2")

    measurements = {n: lambda n=n: trials(n) for n in size.trials}
    measurements["four"] = lambda: project_run(folder, times=4)
    seconds = in_turn(max(1, size.repeats // 2), measurements)
    yield line(f"sweep, {middle} trials / four runs", seconds[middle], seconds["four"], "s", 1)
    for n, less in ((middle, few), (many, middle)):
        yield line(f"sweep, {n} trials / {less} trials", seconds[n], seconds[less], "s", n / less)


def write_wines(path, n, target=False):
    """Write a table of n wines, numbered and all different: the project's own, varied by 2 %.

    A forest predicts repeated wines in half the time that it takes for different ones, as the same
    branches of its trees stay in the processor's cache.
    """
    rng = np.random.default_rng(42)
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    with pa.OSFile(str(path), "wb") as file:
        for start in range(0, n, 100_000):
            drawn = wines.sample(min(100_000, n - start), replace=True, random_state=rng)
            rows = drawn[dataset.FEATURES]
            rows = (rows * rng.normal(1, 0.02, rows.shape)).round(4)
            rows = rows.assign(quality=drawn["quality"]) if target else rows
            rows.insert(0, "id", np.arange(start + 1, start + len(rows) + 1))
            options = pa.csv.WriteOptions(include_header=start == 0)
            pa.csv.write_csv(pa.Table.from_pandas(rows, preserve_index=False), file, options)


def score(folder, size):
    """Compare score.py with `mlflow models predict`, and its time and memory with more wines."""
    store = fresh(folder)
    few, middle, many = size.wines
    for n in size.wines:
        write_wines(f"{store}/{n}.csv", n)
    models = {name: train(store, name) for name in ENTRY_POINTS}

    def scored(model, n):
        script = (sys.executable, PROJECT / "score.py", model)
        return run(*script, f"{n}.csv", "scored.csv", "true", cwd=store)

    def predicted(model, n):
        predict = ("mlflow", "models", "predict", "-m", model, "--env-manager", "local", "-t")
        return run(*predict, "csv", "-i", f"{n}.csv", "-o", "predicted.json", cwd=store)

    for name, model in models.items():
        seconds = in_turn(
            max(1, size.repeats // 2),
            {
                "score": lambda model=model: scored(model, middle).processor,
                "predict": lambda model=model: predicted(model, middle).processor,
            },
        )
        what = f"score / predict, {name}, {middle:,} wines, processor time"
        yield line(what, seconds["score"], seconds["predict"], "s", 0.9)
    grown = {n: scored(models["main"], n) for n in size.wines}
    for n, less in ((middle, few), (many, middle)):
        what = f"score, main, {n:,} / {less:,} wines"
        yield line(what, grown[n].seconds, grown[less].seconds, "s", n / less)
    peak, more = grown[middle].megabytes, grown[many].megabytes
    what = f"score, main, {many:,} / {middle:,} wines, peak (50 MB more)"
    yield line(what, more, peak, "MB", 1 + 50 / peak)


def large(folder, size):
    """Compare each training on larger and larger tables with a script of some twenty lines."""
    script = PROJECT / "benchmarks" / "plain.py"
    for n in size.tables:
        data = f"{folder}/train-{n}.csv"
        write_wines(data, n, target=True)
        for name in ENTRY_POINTS:
            params = trainings.defaults(trainings.load(name)).values()
            ours = (sys.executable, PROJECT / SCRIPTS[name], *params, data)
            runs = []
            for _ in range(max(1, size.repeats // 2)):
                store = fresh(folder)
                plain = run(sys.executable, script, name, data, cwd=fresh(folder))
                runs.append((run(*ours, cwd=store), plain))
            goals = {"processor": ("s", 1.4 if name == "classifier" else 1.3)}
            for what, (unit, goal) in (goals | {"megabytes": ("MB", 1.5)}).items():
                value, beside = (
                    statistics.median(getattr(each, what) for each in side)
                    for side in zip(*runs, strict=True)
                )
                label = f"train, {name} / plain script, {n:,} wines, {what}"
                yield line(label, value, beside, unit, goal if n == size.tables[-1] else None)
            if name == "main":
                model = f"runs:/{runs[-1][0].output.split('runs:/')[1].split('/')[0]}/model"
                promote = (sys.executable, PROJECT / "promote.py", model, "large", "true", data)
                peak = run(*promote, cwd=store).megabytes
                yield line(f"promote, main, {n:,} wines, peak / 1,500 MB", peak, 1500, "MB", 1)


def classifier(folder, size):
    """Show how the threshold is chosen and compare the classifier, in tables of their own."""
    threshold, scores = classifiers.choose_threshold(size.seeds)
    print(f"Threshold {threshold:.2f}, by the mean F1 inside the training wines:")
    print(scores.to_string(float_format="{:.4f}".format), "\n")
    print(classifiers.compare(size.seeds).to_string(), "\n")
    return []


def published(folder, size):
    """Show the classifier and other regressors by the protocols of published results."""
    print("Classifier, the published split:")
    print(published_results.classify([42]).round(4).to_string(index=False))
    scores = published_results.classify(range(20 if size is FULL else 2))
    print(f"{len(scores)} other splits, mean and standard deviation:")
    print(scores.agg(["mean", "std"]).round(4).to_string())
    print("Rmse of regressors by grouped folds and by plain ones:")
    print(published_results.regress(range(4 if size is FULL else 1)).round(3).to_string(), "\n")
    return []


SECTIONS = {
    each.__name__: each for each in (startup, serving, sweep, score, large, classifier, published)
}


def main():
    """Read the command line, measure, print the table and on what it was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", default=["all"], metavar="section")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    allowed = [*SECTIONS, "all"]
    for wrong in set(arguments.sections) - set(allowed):
        parser.error(f"received {wrong!r}, allowed are {', '.join(allowed)}")

    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, section in SECTIONS.items():
            if {name, "all"} & set(arguments.sections):
                print(name, file=sys.stderr)
                lines += section(folder, QUICK if arguments.quick else FULL)
    if lines:
        print(pd.DataFrame(lines).to_string(index=False))
    versions = ", ".join(f"{each} {version(each)}" for each in ("mlflow", "scikit-learn"))
    cpu = Path("/proc/cpuinfo")
    names = cpu.read_text().split("model name\t: ")[1:] if cpu.exists() else [platform.processor()]
    print(f"\n{datetime.date.today()}, Python {platform.python_version()}, {versions}")
    print(f"{os.cpu_count()} cores, {names[0].splitlines()[0]}")


if __name__ == "__main__":
    main()
