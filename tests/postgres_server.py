"""A PostgreSQL server of Debian's package, for the tests, in a folder of its own and without the network."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The server refuses to run as root.
_USER = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}


@contextmanager
def running_postgres() -> Iterator[Path]:
    """Start a server; yields the folder of its socket. Skips where the package is not installed."""
    if not _programs():
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not in pytest's folder: only its owner may enter that. A socket's path holds about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="lrbench-pg-", dir="/tmp"))
    if _USER:
        shutil.chown(folder, "postgres", "postgres")

    try:
        encoding = ["--encoding=UTF8", "--locale=C"]
        _call(folder, "initdb", "--no-sync", "--auth=trust", "--username=postgres", *encoding)
        start_postgres(folder)
        try:
            yield folder
        finally:
            stop_postgres(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_postgres(folder: Path) -> None:
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
    _call(folder, "pg_ctl", "start", "--wait", "--timeout=60", f"--log={folder}/server.log", f"--options={options}")


def stop_postgres(folder: Path) -> None:
    """End it at once, with all its connections; `start_postgres` brings it back."""
    _call(folder, "pg_ctl", "stop", "--mode=immediate", "--wait")


def _programs() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))


def _call(folder: Path, program: str, *arguments: str) -> None:
    log = folder / "programs.log"
    with log.open("ab") as output:
        # Not a pipe: the server would keep it open.
        done = subprocess.run(
            [_programs()[-1].with_name(program), "-D", folder / "data", *arguments],
            cwd=folder,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            check=False,
            **_USER,
        )
    assert done.returncode == 0, log.read_text()
