"""The process of a long task: what Ctrl-C must not cut in two, and the progress."""

import contextlib
import signal
import sys

import click


@contextlib.contextmanager
def uninterrupted():
    """Finish a block before Ctrl-C or SIGTERM takes effect; a second Ctrl-C does not wait."""
    received, handlers = [], {}

    def postpone(signum, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        received.append((signum, frame))

    try:
        for signum in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(signum)):  # What is ignored stays ignored.
                handlers[signum] = handler
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
    terminal = sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not terminal) as bar:
        for item in items:
            yield item
            tenth = 10 * bar.pos // length
            bar.update(size(item))
            if not terminal and 10 * bar.pos // length > tenth:
                print(f"{label}: {100 * bar.pos // length} %", file=sys.stderr, flush=True)
