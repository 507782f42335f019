"""The command line: values are converted or refused in one line, and nothing is recorded."""

import argparse

import pytest

from helpers import assert_one_line_error
from wine import cli

NUMBER = "a number from 0 to 1"
WHOLE = "a whole number from 1 to 2147483647"


def test_number_within_the_bounds_is_converted():
    convert, whole = cli.finite_float(0, 1), cli.integer(1, optional=True)
    assert [convert(text) for text in ("0", "1", "1e-3", " .5 ")] == [0.0, 1.0, 0.001, 0.5]
    assert [whole(text) for text in ("1", "2147483647", "None")] == [1, 2147483647, None]


@pytest.mark.parametrize(
    ("convert", "allowed", "texts"),
    [
        (cli.finite_float(0, 1), NUMBER, ["", "abc", "-0.1", "1.1", "nan", "1e999", "0,5"]),
        (cli.finite_float(0), "a number from 0 up", ["inf", "-inf"]),
        (cli.integer(1), WHOLE, ["0", "1.0", "1e3", "None", "", str(2**31), "1" + "0" * 5000]),
        (cli.integer(1, optional=True), f"{WHOLE} or None", ["0", "none"]),
        (cli.choice("local", "spark"), "local, spark", ["dask", ""]),
    ],
)
def test_other_text_is_refused(convert, allowed, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            convert(text)
        assert str(refused.value) == f"received {text!r}, allowed is {allowed}"


@pytest.mark.parametrize(
    ("script", "arguments", "parameter", "allowed"),
    [
        ("train.py", ["-1e-3"], "alpha", "a number from 0 up"),
        ("train.py", ["1", "1.1"], "l1_ratio", "a number from 0 to 1"),
        ("huber-train.py", ["-1"], "alpha", "a number from 0 up"),
        ("huber-train.py", ["1", "0.99"], "epsilon", "a number from 1 to 1e+100"),
        ("huber-train.py", ["1", "1", "0"], "max_iter", WHOLE),
        ("clf-train.py", ["0"], "n_estimators", WHOLE),
        ("clf-train.py", ["10", "0"], "max_depth", f"{WHOLE} or None"),
        ("clf-train.py", ["10", "9", "a.csv", "proba"], "predict_fn", "predict, predict_proba"),
    ],
)
def test_training_refuses_a_parameter_out_of_its_bounds(
    run_script, tmp_path, script, arguments, parameter, allowed
):
    result = run_script(script, *arguments)
    received = f"received {arguments[-1]!r}, allowed is {allowed}\n"
    assert result == (2, "", f"{script}: argument {parameter}: {received}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ["1.0", "0.1", "wine-quality.csv", "--alhpa", "0.1"],
            ["'alhpa', allowed are, by position, alpha, l1_ratio, data"],
        ),
        (["1.0", "0.1", "wine-quality.csv", "--help", "1"], ["'help'", "alpha, l1_ratio, data"]),
        (["1", "0.1", "wine-quality.csv", "7"], ["received 4 arguments", "alpha, l1_ratio, data"]),
    ],
)
def test_undeclared_argument_is_refused(run_script, tmp_path, arguments, parts):
    assert_one_line_error(run_script("train.py", *arguments), *parts, status=2)
    assert list(tmp_path.iterdir()) == []
