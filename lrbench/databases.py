"""Local databases: how one comes into being, whoever asks first, and whether there is room for it.

MLflow and Optuna both create their tables on first use without a lock: two processes that start together on a new
database fail, and a kill in the middle leaves one that never works again. So it is built aside and moved in place.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock


def create_database(path: Path, build: Callable[[Path], None]) -> None:
    """Create a database file once, whoever asks first; afterwards it is there and whole.

    Args:
        path: where it shall be.
        build: makes a complete database at the path it is given.
    """
    if is_made(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_beside(path):
        if is_made(path):
            return
        # Under the lock nobody else builds: these are left from a kill.
        for stale in path.parent.glob(f"{path.name}.tmp-*"):
            stale.unlink()
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        try:
            build(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # of a full disk it would be the last part
            raise


def size_so_far(path: Path) -> int:
    """Bytes of a database that another process may be making; see `create_database`."""
    size = 0
    for file in [path, *path.parent.glob(f"{path.name}.tmp-*")]:
        with suppress(FileNotFoundError):  # moved in place meanwhile
            size += file.stat().st_size
    return size


def lock_beside(path: Path) -> FileLock:
    """The lock for whoever creates or extends a database; a killed holder releases it."""
    return FileLock(f"{path}.lock")


def is_made(path: Path) -> bool:
    """Whether a database file exists with something in it."""
    return path.exists() and path.stat().st_size > 0


def check_place(path: Path, setting: str) -> None:
    """Refuse a path at which no database can be made or written.

    Args:
        path: of the database, there or not.
        setting: config path to name, e.g. "tracking.uri".

    Raises:
        ValueError: naming the setting and what is not a directory or not writable.
    """
    if not is_made(path):
        existing = next(parent for parent in path.parents if parent.exists())
        if not existing.is_dir():
            raise ValueError(f"{setting}: cannot create {path}: {existing} is not a directory")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ValueError(f"{setting}: cannot create {path}: {existing} is not writable")
        return
    # SQLite writes its rollback journal beside the database.
    for needed in (path, path.parent):
        if not os.access(needed, os.W_OK):
            raise ValueError(f"{setting}: {needed} is not writable")
