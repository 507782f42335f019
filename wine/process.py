"""The process of a script: signals, exit statuses, one-line errors and progress."""

import atexit
import contextlib
import gc
import os
import signal
import sys

from wine import UserError


def catch_interrupts():
    """End with one line, from now on, where a script cannot import or Ctrl-C stops its imports.

    The imports take seconds. `run` takes over when they are done.
    """
    sys.excepthook = _report
    if sys.flags.optimize > 1:
        received = f"received {sys.flags.optimize}, allowed are 0 and 1"
        sys.exit(f"{sys.argv[0]}: PYTHONOPTIMIZE: {received}, as MLflow needs its docstrings")


def _report(kind, error, traceback):
    if issubclass(kind, KeyboardInterrupt):
        print(f"{sys.argv[0]}: interrupted", file=sys.stderr)
    elif issubclass(kind, ModuleNotFoundError):
        hint = "activate the project's environment first"
        print(f"{sys.argv[0]}: {error} in {sys.executable}; {hint}", file=sys.stderr)
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
    # The imported modules are needed until the end, and then the process goes with all that it
    # holds: without these lines, Python would search them for garbage while training and at exit.
    gc.freeze()
    atexit.register(gc.freeze)
    try:
        main()
    except UserError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    except BrokenPipeError:
        # Python would write what it has buffered to the closed output at exit, and fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"{sys.argv[0]}: standard output was closed before everything was printed")
    except OSError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
    except KeyboardInterrupt as interrupt:
        kept = f"; {interrupt}" if interrupt.args else ""
        print(f"{sys.argv[0]}: interrupted{kept}", file=sys.stderr)
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
    """Print a text; what the output cannot show, or nobody reads any more, is no error.

    Parameters
    ----------
    text : str
        It may have characters that the output cannot encode; they are shown as escapes.
    """
    if sys.stdout is None:  # Python was started without a standard output.
        return
    try:
        sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except OSError:
        # Python would write what it has buffered to the closed output at exit, and fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def uninterrupted():
    """Finish a block before Ctrl-C or SIGTERM takes effect; a second Ctrl-C does not wait."""
    received = []

    def postpone(signum, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        received.append((signum, frame))

    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    # A signal that is ignored stays ignored.
    handlers = {signum: handler for signum, handler in handlers.items() if callable(handler)}
    try:
        for signum in handlers:
            signal.signal(signum, postpone)
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for signum, frame in received[:1]:
            handlers[signum](signum, frame)


def progress(items, length, label, size=lambda item: 1):
    """Pass items on and show the progress: a bar on a terminal, otherwise a line each tenth.

    Parameters
    ----------
    items : iterable
        The items.
    length : int
        The sum of the sizes of all items.
    label : str
        The text before the bar or in the line.
    size : callable, optional
        Returns the size of an item; by default, each has the size 1.

    Yields
    ------
    object
        Each item; it counts as done when the next one is requested.
    """
    import click  # not at the top: an environment without packages is to be told in one line

    terminal = sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not terminal) as bar:
        for item in items:
            yield item
            tenth = 10 * bar.pos // length
            bar.update(size(item))
            if not terminal and 10 * bar.pos // length > tenth:
                print(f"{label}: {100 * bar.pos // length} %", file=sys.stderr, flush=True)
