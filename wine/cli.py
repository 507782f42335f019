"""The command line: positional parameters with defaults, each checked by a converter."""

import argparse
import contextlib
import math
import sys

from wine.process import program


def finite_float(minimum, maximum=math.inf):
    """Return a converter from text to a finite number; the bounds are allowed themselves.

    It raises `argparse.ArgumentTypeError`, like all converters here, which says what is allowed.

    Examples
    --------
    >>> finite_float(0, 1)("0.5")
    0.5
    >>> finite_float(0, 1)("7")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: received '7', allowed is a number from 0 to 1
    """
    upper = f" to {maximum:g}" if maximum < math.inf else " up"
    allowed = f"a number from {minimum:g}{upper}"
    return _converter(float, lambda x: minimum <= x <= maximum and math.isfinite(x), allowed)


def integer(minimum, maximum=2**31 - 1, optional=False):
    """Return a converter from text to a whole number, or to None from the text None if `optional`.

    By default, the maximum is the highest number that scikit-learn's compiled code can hold.

    Examples
    --------
    >>> integer(1)("12")
    12
    >>> integer(1, optional=True)("None") is None
    True
    """
    allowed = f"a whole number from {minimum} to {maximum}" + (" or None" if optional else "")
    convert = _converter(int, lambda x: minimum <= x <= maximum, allowed)
    return lambda text: None if optional and text == "None" else convert(text)


def choice(*allowed):
    """Return a converter that accepts some texts only."""
    return _converter(str, lambda text: text in allowed, ", ".join(allowed))


def _converter(kind, is_allowed, allowed):
    def convert(text):
        with contextlib.suppress(ValueError):
            if is_allowed(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"received {text!r}, allowed is {allowed}")

    return convert


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` for positional parameters, as an MLproject passes them.

    Parameters
    ----------
    description : str
        The script's docstring, which --help shows.

    Examples
    --------
    >>> parser = Parser("Train a model.")
    >>> parser.add("alpha", finite_float(0), 1.0, "strength of the penalty")
    >>> parser.add("data", str, "wine-quality.csv", "path or URL of the table")
    >>> parser.read(["0.5"])
    {'alpha': 0.5, 'data': 'wine-quality.csv'}
    """

    def __init__(self, description):
        form = argparse.RawDescriptionHelpFormatter  # It keeps the lines of the docstring.
        super().__init__(prog=program(), description=description, formatter_class=form)
        self.names = []

    def add(self, name, convert, default, explanation):
        """Declare the next positional parameter: its converter, default and explanation."""
        self.names.append(name)
        said = f"{explanation} ({default})"
        self.add_argument(name, type=convert, nargs="?", default=default, help=said)

    def require(self, name, convert, explanation):
        """Declare the next positional parameter, which has no default."""
        self.names.append(name)
        self.add_argument(name, type=convert, help=explanation)

    def read(self, argv=None):
        """Return a dict with a value for each declared parameter, in the order of declaration.

        An argument that cannot be accepted ends the script with one line and the status 2.
        """
        argv = sys.argv[1:] if argv is None else argv
        if argv in (["-h"], ["--help"]):
            self.parse_args(argv)
        allowed = f"allowed are, by position, {', '.join(self.names)}"
        # `mlflow run` appends a parameter that MLproject does not declare as --name value.
        undeclared = next((argument[2:] for argument in argv if argument.startswith("--")), None)
        if undeclared is not None:
            self.error(f"received the undeclared parameter {undeclared!r}, {allowed}")
        if len(argv) > len(self.names):
            self.error(f"received {len(argv)} arguments, {allowed}")
        # After --, argparse takes -1e-3 for a value rather than for an option.
        return vars(self.parse_args(["--", *argv]))

    def error(self, message):
        """End with one line, where argparse would print its usage before the message."""
        self.exit(2, f"{self.prog}: {message}\n")
