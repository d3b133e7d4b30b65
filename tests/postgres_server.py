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
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not programs:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    bin_folder = programs[-1].parent
    # Not in pytest's folder: only its owner may enter that. A socket's path holds about 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="lrbench-pg-", dir="/tmp"))
    if _USER:
        shutil.chown(folder, "postgres", "postgres")

    def call(program: str, *arguments: str) -> None:
        log = folder / "programs.log"
        with log.open("ab") as output:
            # Not a pipe: the server would keep it open.
            done = subprocess.run(
                [bin_folder / program, "-D", folder / "data", *arguments],
                cwd=folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                check=False,
                **_USER,
            )
        assert done.returncode == 0, log.read_text()

    try:
        call("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
        call("pg_ctl", "start", "--wait", "--timeout=60", f"--log={folder}/server.log", f"--options={options}")
        try:
            yield folder
        finally:
            call("pg_ctl", "stop", "--mode=immediate", "--wait")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
