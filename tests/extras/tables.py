"""Tables to score, and what a scoring makes of them."""

import csv
import gzip
import itertools
import re
import sys
import time
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers import PROJECT, run_command, start_process, store_uri

HEADER, *WHOLE = csv.reader((PROJECT / "wine-quality.csv").read_text().splitlines())
*COLUMNS, _ = HEADER
MEASURED = [cells[:-1] for cells in WHOLE]  # the cells of each wine, as text

ON_LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1"}

NUMBERS = ["7", "+1", ".5", "1.", " 7 ", "1e-3", "1E+2", "-0.5", "007"]
NO_NUMBERS = [
    *("", " ", "nan", "NaN", "NA", "null", "inf", "-inf", "Infinity", "1e999", "-1e999", "1d"),
    *("1f", "0x1A", "1_0", "1,5", "1 0", "1e", "--1", "+", ".", "e5", "true", "dry", "٣", "7%"),
]
TEXTS = [
    *("007", " x ", "1e5", "NA", "nan", "", "true", "2020-01-01", "ação 🍷", "a\tb", "'", "\\"),
    *("1.50", "+3", "None", "12345678901234567890", "0.1000000000000000055", "#", "=1+1"),
]


def write(path, rows, header=COLUMNS):
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def grow(path, count):
    """Write a table of `count` wines, the project's own, repeated."""
    write(path, itertools.islice(itertools.cycle(MEASURED), count))


def read(path):
    """Return the header and the rows of a CSV file, all cells as text."""
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


def counts(out):
    """Return how many rows the last line says were scored and rejected."""
    last = out.splitlines()[-1]
    return tuple(map(int, re.search(r"(\d+) rows scored into .*, (\d+) rejected", last).groups()))


def predictions(model, rows):
    """Return a model's own predictions and, of a classifier, probabilities, one row a wine."""
    wines = pd.DataFrame(np.array(rows, dtype=float), columns=COLUMNS)
    estimator = model.get_raw_model()
    columns = [model.predict(wines)]
    if hasattr(estimator, "predict_proba"):
        columns.append(estimator.predict_proba(wines)[:, 1])
    return np.column_stack(columns)


def assert_predicted(scored, expected):
    """Assert that the last cells of the rows are these predictions."""
    found = np.array([row[-expected.shape[1] :] for row in scored], dtype=float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def rows_with_texts():
    """Return rows with each text in place of a number, and the numbers of the valid ones."""
    rows = []
    for n, text in enumerate([*NUMBERS, *NO_NUMBERS]):
        rows.append([*MEASURED[n]])
        rows[n][n % len(COLUMNS)] = text
    return rows, [*range(1, len(NUMBERS) + 1)]


def table_of_many_types():
    """Return a pyarrow.Table of forty rows, of which 4, 5, 6 and 40 are invalid."""
    wines = pd.DataFrame(np.array(MEASURED[:40], dtype=float), columns=COLUMNS)
    arrays = {name: pa.array(wines[name]) for name in COLUMNS}
    arrays["fixed acidity"] = pa.array(wines["fixed acidity"], pa.float32())
    arrays["free sulfur dioxide"] = pa.array(wines["free sulfur dioxide"].round(), pa.int32())
    arrays["pH"] = pa.array([*map(str, wines["pH"][:39]), "dry"])
    known = [*wines["alcohol"]]
    arrays["alcohol"] = pa.array([*known[:3], None, float("nan"), float("inf"), *known[6:]])
    kept = {
        "name": pa.array([None, *map(str, range(39))]),
        "when": pa.array([datetime(2020, 1, 1)] * 40, pa.timestamp("us")),
        "cask": pa.array(["a", "b"] * 20).dictionary_encode(),
        "notes": pa.array([["dry", "pale"]] * 40),
        "nothing": pa.nulls(40),
        "count": pa.array(range(40), pa.uint8()),
    }
    return pa.table(kept | arrays)


def start_scoring(*arguments, store, cwd):
    """Start a scoring, which is to record in the store of a folder."""
    score = (sys.executable, "-m", "extras.score", *arguments)
    env = {"PYTHONPATH": str(PROJECT), "MLFLOW_TRACKING_URI": store_uri(store)}
    return start_process(*score, cwd=cwd, **env)


def run_scoring(*arguments, store, cwd, before=(), **env):
    """Score in a process of its own, to its end, and record in the store of a folder."""
    command = (*before, sys.executable, "-m", "extras.score", *arguments)
    common = {"PYTHONPATH": str(PROJECT), "MLFLOW_TRACKING_URI": store_uri(store)} | ON_LOOPBACK
    return run_command(*command, cwd=cwd, **(common | env))


def wait_for_output(folder, scoring):
    """Wait until a scoring writes its output into its hidden folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and scoring.poll() is None:
        if any(path.stat().st_size for path in folder.glob(".*.partial/*.csv")):
            return
        time.sleep(0.005)
    pytest.fail(f"the scoring did not write: {scoring.communicate()[0]}")
