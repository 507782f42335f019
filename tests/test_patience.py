"""A run that has begun waits for a database that is away or locked, and not for a full disk."""

import contextlib
import sqlite3
import threading

import pytest
import sqlalchemy

from helpers import tracking_in
from wine.patience import patience, patiently

WRITING = "BEGIN IMMEDIATE"
READING = "BEGIN; SELECT * FROM wines"


@pytest.fixture
def engine(tmp_path):
    """Return an engine of a database, which itself does not wait for a lock."""
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/mlflow.db?timeout=0")
    insert(engine)
    with tracking_in(tmp_path):
        yield engine
    engine.dispose()


def insert(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS wines (quality)")
        connection.exec_driver_sql("INSERT INTO wines VALUES (?)", [(6,), (7,)])


@contextlib.contextmanager
def locked(folder, how, seconds):
    """Lock a database, as another program would, for some seconds."""
    other = sqlite3.connect(folder / "mlflow.db", check_same_thread=False, isolation_level=None)
    for statement in how.split("; "):
        other.execute(statement).fetchone()
    release = threading.Timer(seconds, other.rollback)
    release.start()
    yield
    release.join()
    other.close()


def count(engine):
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM wines").scalar()


@pytest.mark.parametrize("how", [WRITING, READING])
def test_locked_database_is_waited_for(engine, tmp_path, how):
    with locked(tmp_path, how, 0.5), patience():
        insert(engine)
    assert count(engine) == 4


@pytest.mark.parametrize("how", [WRITING, READING])
def test_locked_database_is_an_error_afterwards(engine, tmp_path, how):
    with patience(), patience():
        pass
    with locked(tmp_path, how, 0.5), pytest.raises(sqlalchemy.exc.OperationalError, match="locked"):
        insert(engine)
    assert count(engine) == 2


def test_patience_inside_of_another_does_not_end_it(engine, tmp_path):
    with patience():
        with patience():
            pass
        with locked(tmp_path, WRITING, 0.5):
            insert(engine)
    assert count(engine) == 4


@pytest.mark.parametrize(
    "error",
    [sqlite3.OperationalError("database or disk is full"), ValueError("locked"), OSError(28)],
)
def test_other_errors_are_raised_at_once(error):
    calls = []

    def fail():
        calls.append(error)
        raise error

    with pytest.raises(type(error)):
        patiently(fail)
    assert len(calls) == 1
