"""The process of a script: signals, exit statuses and one-line errors."""

import atexit
import gc
import io
import os
import signal
import sys

from wine import UserError


def report_errors():
    """End with one line, from now on, where a package is missing or Ctrl-C stops the imports.

    The imports take seconds. `run` takes over when they are done.
    """
    sys.excepthook = _report
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)


def _end(signum, frame):
    """End at once: compiled code may make an ImportError of a KeyboardInterrupt."""
    print(f"{program()}: interrupted", file=sys.stderr)
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def program():
    """Return the name of the script, with which each line about an error begins."""
    return os.path.basename(sys.argv[0])


def _report(kind, error, traceback):
    if issubclass(kind, ModuleNotFoundError):
        hint = "activate the project's environment first"
        print(f"{program()}: {error} in {sys.executable}; {hint}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def run(main):
    """Run a script's main function, and end with one line where an error is to be expected.

    Parameters
    ----------
    main : callable
        Takes no arguments. The first SIGINT (Ctrl-C) or SIGTERM raises `KeyboardInterrupt` in it;
        from then on SIGTERM is ignored, while a second SIGINT raises `KeyboardInterrupt` again.

    Raises
    ------
    SystemExit
        With status 1 after a `UserError`, or an error of the operating system's such as a full
        disk; with status 130 after SIGINT or SIGTERM.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        # nohup and background jobs let a process ignore a signal: it stays ignored.
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _interrupt)
    # MLflow prints signs, too, that the encoding of some outputs does not have.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # Python was started without it.
            setattr(sys, name, io.StringIO())
        if hasattr(stream := getattr(sys, name), "reconfigure"):  # It may be a notebook's own.
            stream.reconfigure(errors="backslashreplace")
    # The imported modules are needed until the end, and then the process goes with all that it
    # holds: without these lines, Python would search them for garbage while training and at exit.
    gc.freeze()
    atexit.register(gc.freeze)
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"{program()}: {error}")
    except KeyboardInterrupt as interrupt:
        kept = f"; {interrupt}" if interrupt.args else ""
        print(f"{program()}: interrupted{kept}", file=sys.stderr)
        sys.exit(130)


def _interrupt(signum, frame):
    """Raise KeyboardInterrupt, but only once for the two signals of one Ctrl-C.

    Under `mlflow run`, the terminal sends SIGINT to the script and to MLflow, which then sends
    SIGTERM to the script. The second signal must not disturb the script while it still records
    what it has finished.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt


def print_text(text):
    """Print a text; that nobody reads it any more is no error."""
    try:
        print(text, flush=True)
    except OSError:  # At exit, Python would write the rest of it to the closed output, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
