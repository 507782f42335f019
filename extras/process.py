"""The process of a long task: what Ctrl-C must not cut in two, and the progress."""

import contextlib
import signal
import sys

import click


@contextlib.contextmanager
def uninterrupted():
    """Finish a block before Ctrl-C or SIGTERM takes effect; a second Ctrl-C does not wait."""
    received = []

    def postpone(signum, frame):
        received.append(signum)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    handlers = {each: signal.signal(each, postpone) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        if received:
            signal.raise_signal(received[0])


def progress(items, length, label, size=lambda item: 1):
    """Pass items on and show the progress: a bar on a terminal, otherwise a line each tenth.

    `length` is the sum of what `size` returns for each item, which is 1 by default. An item counts
    as done when the next one is requested.
    """
    terminal = sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=not terminal) as bar:
        for item in items:
            yield item
            tenth = 10 * bar.pos // length
            bar.update(size(item))
            if not terminal and 10 * bar.pos // length > tenth:
                print(f"{label}: {100 * bar.pos // length} %", file=sys.stderr, flush=True)
