"""The command line: values are converted or refused in one line, and nothing is recorded."""

import argparse

import pytest

from helpers import assert_one_line_error
from wine import cli


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("1", 1.0), ("0.50", 0.5), ("1e-3", 0.001), (" .5 ", 0.5)]
)
def test_number_within_the_bounds_is_converted(text, value):
    assert cli.finite_float(0, 1)(text) == value


@pytest.mark.parametrize("text", ["", "abc", "-0.1", "1.1", "nan", "inf", "1e999", "0,5"])
def test_number_out_of_bounds_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        cli.finite_float(0, 1)(text)
    assert str(refused.value) == f"received {text!r}, allowed is a number from 0 to 1"


@pytest.mark.parametrize("text", ["0", "1.0", "1.5", "1e3", "None", "", str(2**31)])
def test_whole_number_out_of_bounds_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        cli.integer(1)(text)
    assert str(refused.value) == (
        f"received {text!r}, allowed is a whole number from 1 to 2147483647"
    )


def test_optional_whole_number_may_be_none():
    convert = cli.integer(1, optional=True)
    assert (convert("1"), convert("2147483647"), convert("None")) == (1, 2147483647, None)
    with pytest.raises(argparse.ArgumentTypeError, match="or None$"):
        convert("none")


def test_choice_takes_its_own_texts_only():
    convert = cli.choice("local", "spark")
    assert convert("spark") == "spark"
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        convert("dask")
    assert str(refused.value) == "received 'dask', allowed is local, spark"


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
        ("huber-train.py", ["1", "1e308"], "epsilon"),
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
def test_wrong_value_is_refused(run_script, tmp_path, name, arguments, parameter):
    result = run_script(name, *arguments)
    said = f"argument {parameter}: received {arguments[-1]!r}, allowed is "
    assert_one_line_error(result, said, status=2)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["1.0", "0.1", "wine-quality.csv", "--alhpa", "0.1"], ["'alhpa'", "did you mean alpha?"]),
        (["1.0", "0.1", "wine-quality.csv", "--help", "1"], ["'help'", "alpha, l1_ratio, data"]),
        (["1", "0.1", "wine-quality.csv", "7"], ["received 4 arguments", "alpha, l1_ratio, data"]),
    ],
)
def test_undeclared_argument_is_refused(run_script, tmp_path, arguments, parts):
    assert_one_line_error(run_script("train.py", *arguments), *parts, status=2)
    assert not (tmp_path / "mlflow.db").exists()
