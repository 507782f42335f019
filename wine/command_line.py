"""The command line: positional parameters with defaults, checked, and refused in one line."""

import argparse
import atexit
import difflib
import gc
import logging
import math
import os
import re
import signal
import sys
import textwrap

import click
from mlflow.exceptions import MlflowException

from wine import Refusal


def number(at_least=-math.inf, at_most=math.inf):
    """Make a converter from text to a finite number within bounds.

    Parameters
    ----------
    at_least, at_most : float
        The bounds, both allowed.

    Returns
    -------
    callable
        str -> float; raises `argparse.ArgumentTypeError`, which says what is allowed.
    """
    allowed = f"a number from {at_least:g}" + (f" to {at_most:g}" if at_most < math.inf else " up")
    return _converter(float, lambda value: at_least <= value <= at_most, allowed)


def whole_number(at_least, optional=False):
    """Make a converter from text to a whole number with a lower bound.

    Parameters
    ----------
    at_least : int
        The lower bound, allowed.
    optional : bool
        Whether the text None is allowed, too.

    Returns
    -------
    callable
        str -> int or None; raises `argparse.ArgumentTypeError`, which says what is allowed.
    """
    at_most = 2**31 - 1  # what scikit-learn's compiled code can hold
    allowed = f"a whole number from {at_least} to {at_most}" + (" or None" if optional else "")
    convert = _converter(int, lambda value: at_least <= value <= at_most, allowed)
    return lambda text: None if optional and text == "None" else convert(text)


def one_of(*allowed):
    """Make a converter that lets some texts pass.

    Parameters
    ----------
    *allowed : str
        The texts.

    Returns
    -------
    callable
        str -> str; raises `argparse.ArgumentTypeError`, which says what is allowed.
    """

    def checked(text):
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"received {text!r}, allowed is {', '.join(allowed)}")
        return text

    return checked


def _converter(convert, within, allowed):
    def checked(text):
        try:
            value = convert(text)
        except ValueError:
            value = math.nan
        if not (within(value) and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"received {text!r}, allowed is {allowed}")
        return value

    return checked


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` for positional parameters as an MLproject passes them.

    Parameters
    ----------
    description : str
        The script's docstring, shown by --help.
    """

    def __init__(self, description):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self.names = []

    def add(self, name, convert, default, explanation):
        """Declare the next positional parameter: its converter, default and explanation."""
        self.names.append(name)
        self.add_argument(
            name, type=convert, nargs="?", default=default, help=f"{explanation} ({default})"
        )

    def require(self, name, convert, explanation):
        """Declare the next positional parameter, which has no default."""
        self.names.append(name)
        self.add_argument(name, type=convert, help=explanation)

    def read(self, argv=None):
        """Read the command line.

        Parameters
        ----------
        argv : list of str, optional
            The arguments; by default those of this process.

        Returns
        -------
        dict
            A value for each declared parameter, in the order of declaration.

        Raises
        ------
        SystemExit
            With status 2, after one line on standard error, if an argument cannot be accepted.
        """
        argv = sys.argv[1:] if argv is None else argv
        if argv in (["-h"], ["--help"]):
            self.parse_args(argv)
        allowed = f"allowed are, by position, {', '.join(self.names)}"
        # mlflow run appends what MLproject does not declare, as: --name value
        undeclared = next((argument[2:] for argument in argv if argument.startswith("--")), None)
        if undeclared is not None:
            close = difflib.get_close_matches(undeclared, self.names, n=1)
            guess = f", did you mean {close[0]}?" if close else ","
            self.error(f"received the undeclared parameter {undeclared!r}{guess} {allowed}")
        if len(argv) > len(self.names):
            self.error(f"received {len(argv)} arguments, {allowed}")
        return vars(self.parse_args(["--", *argv]))  # after --, -1e-3 is a value, not an option

    def error(self, message):
        """Refuse with one line instead of argparse's usage and message."""
        self.exit(2, f"{self.prog}: {message}\n")


def progress(items, length, label, size=lambda item: 1):
    """Pass items on and show how far it is: in a bar on a terminal, else in a line each tenth.

    Parameters
    ----------
    items : iterable
        What is passed on.
    length : int
        The sum of the sizes of all items.
    label : str
        What is shown before the bar or in the line.
    size : callable, optional
        The size of an item; 1 by default.

    Yields
    ------
    object
        Each item; it counts as done when the next one is asked for.
    """
    terminal = sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not terminal) as bar:
        for item in items:
            yield item
            tenth = 10 * bar.pos // length
            bar.update(size(item))
            if not terminal and 10 * bar.pos // length > tenth:
                print(f"{label}: {100 * bar.pos // length} %", file=sys.stderr, flush=True)


def run(main):
    """Run a script's main function; end what is to be expected with one line, not a traceback.

    Parameters
    ----------
    main : callable
        Takes no arguments. The first SIGINT (Ctrl-C) or SIGTERM raises `KeyboardInterrupt` in it;
        from then on SIGTERM is ignored, while a second SIGINT raises it again.

    Raises
    ------
    SystemExit
        With status 1 after a refusal, or if MLflow cannot record; 130 after SIGINT or SIGTERM.
    """
    # MLflow by itself waits 120 seconds for an answer, eight times, until it says that its server
    # is away: that is too long to look at nothing. Whoever set these variables knows better.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # MLflow prints the traceback of a database's error, then raises it: it is said once, below
    database = logging.getLogger("mlflow.store.db.utils")
    database.addFilter(lambda logged: logged.levelno != logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and the like have it
            signal.signal(number, _interrupt)
    # what was imported stays, and all goes with the process: Python need not look for garbage there
    gc.freeze()
    atexit.register(gc.freeze)
    try:
        main()
    except Refusal as refusal:
        sys.exit(f"{sys.argv[0]}: {refusal}")
    except Exception as error:
        # MLflow lets SQLAlchemy's errors through when it opens a database
        of_database = type(error).__module__ == "sqlalchemy.exc"
        if not (of_database or isinstance(error, (MlflowException, OSError))):
            raise
        statement = r"\(raised as [^)]*\)|\[SQL:.*|\(Background .*"  # which SQLAlchemy adds
        reason = textwrap.shorten(re.sub(statement, "", str(error), flags=re.DOTALL), 500)
        if reason.startswith("API request"):  # which got no answer, whatever was asked
            reason += "; MLFLOW_TRACKING_URI names the server, MLFLOW_HTTP_REQUEST_TIMEOUT the wait"
        sys.exit(f"{sys.argv[0]}: MLflow cannot record: {reason}")
    except KeyboardInterrupt:
        print(f"{sys.argv[0]}: interrupted", file=sys.stderr)
        sys.exit(130)


def _interrupt(number, frame):
    """Raise KeyboardInterrupt, once for the two signals that Ctrl-C brings under mlflow run.

    The terminal sends SIGINT to the script and to mlflow run, which then sends SIGTERM to the
    script: that may not disturb what the script still writes of what it has finished.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt
