"""Patience: a run that has begun waits for its database, as MLflow waits for a server."""

import contextlib
import sqlite3
import time
from urllib.parse import urlsplit

import mlflow
from mlflow.exceptions import MlflowException

PATIENCE = 240  # seconds, what MLflow's seven retries of a request to a server come to


@contextlib.contextmanager
def patience():
    """Let MLflow wait for a database that is away or locked, as it waits for a server.

    MLflow tries a request to a server again, seven times within some four minutes, where the server
    does not answer, or says that its database is away. Where MLflow itself uses the database, it
    gives up at once, or after twenty seconds of a locked SQLite.
    """
    if urlsplit(mlflow.get_tracking_uri()).scheme in ("http", "https"):
        yield
        return
    from sqlalchemy import Engine, event  # It takes a while, and a server's client does without.

    events = {"do_connect": _connect, "do_execute": _execute, "do_executemany": _execute_many}
    events["commit"] = _commit
    # Inside of another patience, the events are listened to already, and that one ends it.
    events = {name: each for name, each in events.items() if not event.contains(Engine, name, each)}
    for name, function in events.items():
        event.listen(Engine, name, function)
    try:
        yield
    finally:
        for name, function in events.items():
            event.remove(Engine, name, function)


def _connect(dialect, record, arguments, options):
    """Connect to a database, as SQLAlchemy's event do_connect may do."""
    return patiently(dialect.connect, *arguments, **options)


def _execute(cursor, statement, parameters, context):
    """Execute a statement, as SQLAlchemy's event do_execute may do: True says that it is done."""
    if isinstance(cursor, sqlite3.Cursor):
        patiently(cursor.execute, statement, parameters)
        return True
    return None


def _execute_many(cursor, statement, parameters, context):
    """Execute a statement several times, as SQLAlchemy's event do_executemany may do."""
    if isinstance(cursor, sqlite3.Cursor):
        patiently(cursor.executemany, statement, parameters)
        return True
    return None


def _commit(connection):
    """Commit just before SQLAlchemy does, to which nothing is left then."""
    if connection.dialect.name == "sqlite":
        patiently(connection.connection.commit)


def patiently(function, *arguments, **options):
    """Call a function again while its database is away or locked.

    Parameters
    ----------
    function : callable
        It may be called again after it has failed: what is recorded already is not recorded twice.
    *arguments, **options
        What it takes.

    Returns
    -------
    object
        What the function returns.
    """
    begun = time.monotonic()
    while True:
        try:
            return function(*arguments, **options)
        except Exception as error:
            if not _is_outage(error) or time.monotonic() > begun + PATIENCE:
                raise
        time.sleep(1)


def _is_outage(error):
    """Tell whether a database is away or locked for a while; a full disk is neither."""
    while isinstance(error, MlflowException) or type(error).__module__ == "sqlalchemy.exc":
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error)
    # Each driver has classes of its own, for which the Python DB API (PEP 249) gives the names.
    return "OperationalError" in [kind.__name__ for kind in type(error).__mro__]
