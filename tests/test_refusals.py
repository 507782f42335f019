"""What is not acceptable is refused in one line, and nothing is recorded."""

import functools
import gzip
import http.server
import os
import runpy
import signal
import subprocess
import sys
import threading
import time

import mlflow
import pandas as pd
import pytest

from conftest import PROJECT, command, environment

WINES = (PROJECT / "wine-quality.csv").read_text().splitlines()


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """Run a script's `__main__` in an empty folder; return its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(PROJECT / name), run_name="__main__")
        except SystemExit as end:
            status = end.code
        printed = capsys.readouterr()
        if isinstance(status, str):  # Python prints the text and ends with status 1
            return 1, printed.out, f"{printed.err}{status}\n"
        return status, printed.out, printed.err

    yield run
    mlflow.set_tracking_uri(None)


def refused(result, status, *parts):
    """Assert that a script ended with one line that has all parts, and recorded nothing."""
    assert result[0] == status, result
    assert result[1] == ""
    assert result[2].count("\n") == 1, result[2]
    for part in parts:
        assert part in result[2]
    assert not os.path.exists("mlflow.db")


@pytest.mark.parametrize(
    ("name", "arguments", "parameter"),
    [
        ("train.py", ["abc"], "alpha"),
        ("train.py", [""], "alpha"),
        ("train.py", ["-0.1"], "alpha"),
        ("train.py", ["-1e-3"], "alpha"),
        ("train.py", ["nan"], "alpha"),
        ("train.py", ["inf"], "alpha"),
        ("train.py", ["-inf"], "alpha"),
        ("train.py", ["1", "1.1"], "l1_ratio"),
        ("train.py", ["1", "-0.1"], "l1_ratio"),
        ("huber-train.py", ["-1"], "alpha"),
        ("huber-train.py", ["1", "0.99"], "epsilon"),
        ("huber-train.py", ["1", "1", "0"], "max_iter"),
        ("huber-train.py", ["1", "1", "1.5"], "max_iter"),
        ("huber-train.py", ["1", "1", "100.0"], "max_iter"),
        ("huber-train.py", ["1", "1", "1" + "0" * 400], "max_iter"),
        ("clf-train.py", ["0"], "n_estimators"),
        ("clf-train.py", ["ten"], "n_estimators"),
        ("clf-train.py", ["10", "0"], "max_depth"),
        ("clf-train.py", ["10", "deep"], "max_depth"),
    ],
)
def test_value(script, name, arguments, parameter):
    result = script(name, *arguments)
    refused(result, 2, f"argument {parameter}: received {arguments[-1]!r}, allowed is ")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["1.0", "0.1", "wine-quality.csv", "--alhpa", "0.1"], ["'alhpa'", "did you mean alpha?"]),
        (["1.0", "0.1", "wine-quality.csv", "--help", "1"], ["'help'", "alpha, l1_ratio, data"]),
        (["1", "0.1", "wine-quality.csv", "7"], ["received 4 arguments", "alpha, l1_ratio, data"]),
    ],
)
def test_undeclared(script, arguments, parts):
    refused(script("train.py", *arguments), 2, *parts)


def swap(row, column, value):
    """Return the wines with another text in one cell; row 0 is the header."""
    cells = WINES[row].split(",")
    cells[column] = value
    return [*WINES[:row], ",".join(cells), *WINES[row + 1 :]]


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        ([], ["cannot be read"]),
        (["\x00\x01\x02"], ["is missing"]),
        ([line.replace(",", ";") for line in WINES], ["separated by ';'", "allowed is ','"]),
        (swap(0, 10, "alcool"), ["column 'alcohol' is missing", "alcool"]),
        (swap(0, 10, "pH"), ["column 'pH' stands there more than once"]),
        (swap(0, 11, "grade"), ["column 'quality' is missing"]),
        (swap(3, 10, "strong"), ["column 'alcohol', row 3", "'strong'", "finite number"]),
        (swap(3, 0, ""), ["column 'fixed acidity', row 3", "''"]),
        (swap(3, 0, "inf"), ["column 'fixed acidity', row 3", "'inf'"]),
        (swap(3, 11, "5.5"), ["column 'quality', row 3", "'5.5'", "whole number"]),
        (swap(3, 11, "5,6,7"), ["cannot be read", "line 4"]),
        (WINES[:1], ["received 0 wines", "allowed are 5 or more"]),
        (WINES[:5], ["received 4 wines", "allowed are 5 or more"]),
    ],
)
def test_table(script, tmp_path, lines, parts):
    (tmp_path / "wines.csv").write_text("\n".join(lines))
    refused(script("train.py", 1, 0.1, "wines.csv"), 1, "data: ", *parts)


def test_table_that_is_not_there(script, tmp_path):
    refused(script("train.py", 1, 0.1, "none.csv"), 1, "data: received 'none.csv', no such file")
    refused(script("train.py", 1, 0.1, str(tmp_path)), 1, "data: received", "no such file")


def test_table_that_is_not_text(script, tmp_path):
    (tmp_path / "wines.csv").write_bytes(bytes(range(256)) * 9)
    refused(script("train.py", 1, 0.1, "wines.csv"), 1, "data: wines.csv cannot be read")


def test_classifier_wants_two_classes(script, tmp_path):
    ordinary = [line for line in WINES if line[-1] in "y3456"]
    (tmp_path / "wines.csv").write_text("\n".join(ordinary))
    refused(script("clf-train.py", 5, 3, "wines.csv"), 1, "with good 0 only", "two different")


@pytest.fixture
def website(tmp_path):
    """The address of a web server over this test's folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_accepted_tables_train_the_same_model(script, tmp_path, website):
    wines = pd.read_csv(PROJECT / "wine-quality.csv").head(500)
    wines.to_csv(tmp_path / "plain.csv", index=False)
    text = (tmp_path / "plain.csv").read_text()
    (tmp_path / "excel.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    wines.iloc[:, ::-1].assign(colour="white").to_csv(tmp_path / "turned.csv", index=False)
    tables = ["plain.csv", "excel.csv", "packed.csv.gz", "turned.csv", f"{website}/plain.csv"]
    shown = set()
    for table in tables:
        status, out, err = script("train.py", 0.5, 0.1, table)
        assert status == 0, err
        shown.add(out.split("runs:/")[0].replace(table, "TABLE"))
    assert len(shown) == 1


def test_table_that_a_website_does_not_have(script, website):
    result = script("train.py", 1, 0.1, f"{website}/none.csv")
    refused((*result[:2], result[2].splitlines()[-1] + "\n"), 1, "data: ", "404")


def test_not_converged_is_said_and_tagged(script):
    status, _, err = script("huber-train.py", 0.0001, 1.35, 1)
    assert status == 0
    assert "HuberRegressor has not converged: raise max_iter\n" in err
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.tags["converged"] == "false"


def runs(folder, **kwargs):
    """Return the runs and the models in the store of a folder."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client.search_runs(["0"], **kwargs), client.search_logged_models(["0"])


@pytest.mark.parametrize(
    ("typed", "said"), [("alpha=abc", "'abc'"), ("alhpa=0.1", "did you mean alpha?")]
)
def test_mlflow_run_fails(typed, said, tmp_path):
    done = command(*("mlflow", "run", PROJECT, "--env-manager", "local", "-P", typed), cwd=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    (run,), models = runs(tmp_path)
    assert (run.info.status, run.data.metrics, models) == ("FAILED", {}, [])


def test_ctrl_c_ends_with_one_line(tmp_path):
    assert runs(tmp_path) == ([], [])  # which makes the store
    with subprocess.Popen(
        [sys.executable, PROJECT / "clf-train.py", "20000"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as training:
        while training.poll() is None and not runs(tmp_path)[0]:
            time.sleep(0.5)
        os.killpg(training.pid, signal.SIGINT)
        err = training.communicate()[1]
    assert training.returncode == 130
    assert err.endswith("clf-train.py: interrupted\n")
    assert "Traceback" not in err
    (run,), models = runs(tmp_path)
    assert (run.info.status, models) == ("KILLED", [])
