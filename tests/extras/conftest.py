"""Fixtures of the tests of extras/: a store to score with, and a large table."""

import functools
import shutil

import pytest

from tables import grow


@pytest.fixture
def store(project, tmp_path_factory):
    """Return a folder with a copy of the store of the three models, to which runs may be added."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(project / "mlflow.db", folder)
    return folder


@pytest.fixture
def score(run_script, store):
    """Return a function that scores in this process, with the store of the three models."""
    return functools.partial(run_script, "extras.score", store=store)


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """Return the path of a CSV file of 23 MB with 400,000 wines."""
    path = tmp_path_factory.mktemp("large") / "wines.csv"
    grow(path, 400_000)
    return path
