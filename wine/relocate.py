"""Relocate a store: record where the artifacts are after their folder was moved or copied.

MLflow keeps their absolute paths in its database, and has no command that changes them. In the
project's new folder:

python -m wine.relocate
"""

import contextlib
import sqlite3

import mlflow

from wine import UserError, process, tracking

ADDRESSES = {  # the columns of MLflow's tables that hold an artifact's address
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


def relocate(connection, old, new):
    """Replace an address, and the beginning of those below it.

    Parameters
    ----------
    connection : sqlite3.Connection
        To MLflow's database.
    old, new : str
        Paths or URLs.
    """
    for table, columns in ADDRESSES.items():
        for column in columns:
            connection.execute(
                f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
                f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'",
                {"old": old, "new": new},
            )


def main():
    """Relocate the artifacts of each experiment whose database was moved with them."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("sqlite:"):
        raise UserError(f"received {uri} to relocate, allowed is an SQLite database in a folder")
    with tracking.one_line_errors("MLflow cannot read its database"):
        experiments = mlflow.search_experiments(view_type=mlflow.entities.ViewType.ALL)
    moved = {each.artifact_location: tracking.moved_to(each) for each in experiments}
    # The connection's own `with` commits all changes, or none.
    with contextlib.closing(sqlite3.connect(tracking.sqlite_file(uri))) as connection, connection:
        for old, path in moved.items():
            if path:
                new = path.as_uri() if old.startswith("file:") else str(path)
                relocate(connection, old, new)
                process.print_text(f"{old} is {new} now")
    if not any(moved.values()):
        process.print_text(f"{uri} was not moved: nothing to relocate")


if __name__ == "__main__":
    process.run(main)
