"""The command line: values are converted or refused in one line, and nothing is recorded."""

import argparse

import pytest

from wine import cli

ALLOWED = "allowed are, by position, alpha, l1_ratio, data"
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
    ("command", "said"),
    [
        ("train.py -1e-3", "argument alpha: received '-1e-3', allowed is a number from 0 up"),
        ("train.py 1 1.1", f"argument l1_ratio: received '1.1', allowed is {NUMBER}"),
        ("huber-train.py -1", "argument alpha: received '-1', allowed is a number from 0 up"),
        (
            "huber-train.py 1 0.99",
            "argument epsilon: received '0.99', allowed is a number from 1 to 1e+100",
        ),
        ("huber-train.py 1 1 0", f"argument max_iter: received '0', allowed is {WHOLE}"),
        ("clf-train.py 0", f"argument n_estimators: received '0', allowed is {WHOLE}"),
        ("clf-train.py 9 0", f"argument max_depth: received '0', allowed is {WHOLE} or None"),
        (
            "clf-train.py 9 9 a.csv proba",
            "argument predict_fn: received 'proba', allowed is predict, predict_proba",
        ),
        (
            "train.py 1 0 a.csv --alhpa 1",
            f"received the undeclared parameter 'alhpa', {ALLOWED}",
        ),
        ("train.py 1 --help 1", f"received the undeclared parameter 'help', {ALLOWED}"),
        ("train.py 1 0 a.csv 7", f"received 4 arguments, {ALLOWED}"),
    ],
)
def test_training_refuses_a_wrong_argument_in_one_line(run_script, tmp_path, command, said):
    script, *arguments = command.split()
    assert run_script(script, *arguments) == (2, "", f"{script}: {said}\n")
    assert list(tmp_path.iterdir()) == []
