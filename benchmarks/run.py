"""Measure what the project costs beside what it cannot be cheaper than, and print one table.

python -m benchmarks.run                    all sections, some forty minutes
python -m benchmarks.run startup serve      these sections
python -m benchmarks.run all --quick        small and few: shows that it works, measures nothing

What is compared is measured in turn. Another machine has other seconds, but much the same ratios.
"""

import argparse
import contextlib
import datetime
import functools
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from sklearn.dummy import DummyRegressor

import mlflow
import numpy as np
import pandas as pd

from tests.helpers import ENTRY_POINTS, PROJECT, environment, free_port, run_id_in, start_server
from wine import dataset

SCRIPTS = {  # with the defaults of the parameters before the table
    "main": ("train.py", 1.0, 0.1),
    "huber": ("huber-train.py", 0.0001, 1.35, 100),
    "classifier": ("clf-train.py", 80, "None"),
}
FULL = {"repeats": 5, "requests": 1000, "wines": (1_000_000, 10_000_000)}
QUICK = {"repeats": 1, "requests": 10, "wines": (1_000, 5_000)}


def run(*command, cwd):
    """Run a command to its end; return its seconds, those of the processor, MB and output."""
    print("   ", *command, file=sys.stderr)
    with tempfile.TemporaryFile("w+", dir=cwd) as said:
        start = time.perf_counter()
        env = environment(TMPDIR=str(cwd), PYTHONPATH=str(PROJECT))
        options = {"cwd": cwd, "env": env, "stdout": said, "stderr": subprocess.STDOUT}
        child = subprocess.Popen([*map(str, command)], **options)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        output = said.read()
    if child.returncode:
        raise RuntimeError(f"{command} failed: {output}")
    figures = {"seconds": seconds, "processor": usage.ru_utime + usage.ru_stime}
    return figures | {"MB": usage.ru_maxrss / 1024, "output": output}


def in_turn(repeats, commands, cwd):
    """Run commands in turn; return the median of each figure of each of them."""
    rows = [{"name": name} | run(*commands[name], cwd=cwd) for name in [*commands] * repeats]
    return pd.DataFrame(rows).groupby("name").median(numeric_only=True).T


def line(measured, value, beside, goal):
    """Return a line of the table; the goal is the highest ratio that is wanted."""
    figures = {"value": value, "beside": beside, "ratio": value / beside, "goal": goal}
    return {"measured": measured} | figures | {"met": "yes" if value <= goal * beside else "no"}


def startup(folder, size):
    """Compare `mlflow run` of each training with that of a script that only imports."""
    start = ("mlflow", "run", "--env-manager", "local")
    commands = {name: (*start, PROJECT, "-e", name) for name in ENTRY_POINTS}
    commands["floor"] = (*start, PROJECT / "benchmarks" / "floor")
    run(*commands["floor"], cwd=folder)  # It makes the store.
    found = in_turn(size["repeats"], commands, folder)
    for name, goal in zip(ENTRY_POINTS, (1.1, 1.1, 1.4), strict=True):
        what = f"mlflow run, {name} / imports only, s"
        yield line(what, found[name]["seconds"], found["floor"]["seconds"], goal)


def write_wines(path, n):
    """Write a table of n wines, all different: the project's own, varied by 2 %.

    A forest predicts repeated wines in half the time that it takes for different ones, as the same
    branches of its trees stay in the processor's cache.
    """
    rng = np.random.default_rng(42)
    wines = pd.read_csv(PROJECT / "wine-quality.csv")
    for start in range(0, n, 100_000):
        rows = wines.sample(min(100_000, n - start), replace=True, random_state=rng)
        noise = rng.normal(1, 0.02, (len(rows), len(dataset.FEATURES)))
        rows[dataset.FEATURES] = (rows[dataset.FEATURES] * noise).round(4)
        rows.to_csv(path, mode="a", header=not start, index=False)


def large(folder, size):
    """Compare each training on a large table with a script of some twenty lines."""
    n = size["wines"][0]
    data = f"{folder}/train.csv"
    write_wines(data, n)
    for name, goal in zip(ENTRY_POINTS, (1.2, 1.2, 1.3), strict=True):
        script, *params = SCRIPTS[name]
        commands = {
            "ours": (sys.executable, PROJECT / script, *params, data),
            "plain": (sys.executable, PROJECT / "benchmarks" / "plain.py", name, data),
        }
        found = in_turn(max(1, size["repeats"] // 2), commands, folder)
        for figure, most in (("processor", goal), ("MB", 1.3)):
            what = f"train, {name} / plain script, {n:,} wines, {figure}"
            yield line(what, found["ours"][figure], found["plain"][figure], most)


def train(folder, name):
    """Train by a script, and return the model's address in the store."""
    output = run(sys.executable, PROJECT / SCRIPTS[name][0], cwd=folder)["output"]
    return f"runs:/{run_id_in(output)}/model"


def score(folder, size):
    """Compare score with `mlflow models predict`, and its memory with more wines."""
    few, many = size["wines"]
    for n in size["wines"]:
        write_wines(f"{folder}/{n}.csv", n)
    ours = {}
    for name in ENTRY_POINTS:
        model = train(folder, name)
        ours[name] = (sys.executable, "-m", "extras.score", model)
        predict = ("mlflow", "models", "predict", "-m", model, "--env-manager", "local", "-t")
        commands = {
            "score": (*ours[name], f"{few}.csv", "scored.csv", "true"),
            "predict": (*predict, "csv", "-i", f"{few}.csv", "-o", "predicted.json"),
        }
        found = in_turn(max(1, size["repeats"] // 2), commands, folder)
        what = f"score / mlflow models predict, {name}, {few:,} wines, processor"
        yield line(what, found["score"]["processor"], found["predict"]["processor"], 0.9)
    peaks = {n: run(*ours["main"], f"{n}.csv", "out.csv", "true", cwd=folder) for n in (few, many)}
    what = f"score, main, {many:,} / {few:,} wines, MB"
    yield line(what, peaks[many]["MB"], peaks[few]["MB"], 1.1)


def ask(connection, body):
    """Ask a server for the prediction of a wine; return the milliseconds of its answer."""
    start = time.perf_counter()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if b"predictions" not in (said := answer.read()):
        raise RuntimeError(said)
    return 1000 * (time.perf_counter() - start)


def serve(folder, size):
    """Compare one wine through each model's server with a server that answers a constant."""
    models = {name: train(folder, name) for name in ENTRY_POINTS} | {"floor": f"{folder}/constant"}
    X, y = (part := dataset.load(dataset.DATA))[dataset.FEATURES], part[dataset.TARGET]
    constant = DummyRegressor().fit(X, y)
    signature = mlflow.models.infer_signature(X, constant.predict(X))
    options = {"serialization_format": "skops", "pip_requirements": ["mlflow", "skops"]}
    mlflow.sklearn.save_model(constant, models["floor"], signature=signature, **options)
    wine = pd.read_csv(PROJECT / "predict.csv", nrows=1).to_dict("split", index=False)
    body, answers = json.dumps({"dataframe_split": wine}), {name: [] for name in models}
    with contextlib.ExitStack() as servers:
        asks = {}
        for name, model in models.items():
            port = free_port()
            command = ("mlflow", "models", "serve", "-m", model, "--env-manager", "local")
            ready = f"http://127.0.0.1:{port}/ping"
            servers.enter_context(start_server(*command, "--port", port, cwd=folder, ready=ready))
            asks[name] = functools.partial(ask, http.client.HTTPConnection("127.0.0.1", port), body)
        for _ in range(size["requests"]):
            for name, milliseconds in answers.items():
                milliseconds.append(asks[name]())
    middle = {name: statistics.median(each) for name, each in answers.items()}
    for name, goal in zip(ENTRY_POINTS, (1.3, 1.3, 2.5), strict=True):
        yield line(f"serve, {name} / constant model, ms", middle[name], middle["floor"], goal)


def main():
    """Read the command line, measure, print the table and on what it was measured."""
    sections = {each.__name__: each for each in (startup, large, score, serve)}
    options = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(**options)
    parser.add_argument("sections", nargs="*", default=["all"], choices=[*sections, "all"])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    lines = []
    for name, section in sections.items():
        if {name, "all"} & set(arguments.sections):
            print(name, file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                lines += section(folder, QUICK if arguments.quick else FULL)
    print(pd.DataFrame(lines).to_string(index=False, float_format="{:,.2f}".format))
    versions = f"Python {platform.python_version()}, MLflow {mlflow.__version__}"
    print(f"\n{datetime.date.today()}, {versions}, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
