"""A results folder that was moved or copied: MLflow's database holds the old, absolute places of its artifacts."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

_SECONDS_FOR_OTHERS = 20.0  # as MLflow itself waits for other writers


def artifact_root(database: Path) -> str:
    """Where the artifacts of a database on this machine are kept, as a URI."""
    return (database.parent / "mlartifacts").as_uri()


def follow_move(database: Path) -> None:
    """Let artifacts be looked for, and put, beside the database, and not where it was when they were made.

    Only those of experiments that `client` made: in a folder `mlartifacts` beside the database.

    Raises:
        sqlite3.OperationalError: the database cannot be written.
    """
    here = artifact_root(database)
    if not (database.parent / "mlartifacts").is_dir():
        return
    with closing(sqlite3.connect(database, timeout=_SECONDS_FOR_OTHERS)) as connection, connection:
        places = [place for (place,) in connection.execute("select distinct artifact_location from experiments")]
        for old in places:
            if old == here or not str(old).startswith("file:") or not old.endswith("/mlartifacts"):
                continue
            connection.execute("update experiments set artifact_location = ? where artifact_location = ?", (here, old))
            connection.execute(
                "update runs set artifact_uri = ? || substr(artifact_uri, ?) where substr(artifact_uri, 1, ?) = ?",
                (here, len(old) + 1, len(old) + 1, f"{old}/"),
            )
            print(f"{database} was moved: its artifacts are looked for in {here}, not in {old}", file=sys.stderr)
