"""MLflow's server on a database of records: light, and on this machine only. Imports no mlflow."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from lrbench.addresses import quoted_uri
from lrbench.tracking.database import database_path
from lrbench.tracking.sender import home
from lrbench.tracking.server_process import STOP_SECONDS

HOST = "127.0.0.1"
# MLflow's defaults are 4 workers and 7 runners of jobs that have no part in tracking: 15 processes and 2 GB.
LIGHT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONSAFEPATH": "1",  # no module of the working directory in the place of an installed one
}
_START_SECONDS = 120.0  # it takes 5 to 35, as busy as the machine is
_LOOK_EVERY_SECONDS = 0.2


def check_port(port: int) -> None:
    """Refuse a port of this machine that the server could not listen on.

    Raises:
        ValueError: it is in use (names a free one), may not be used, or is no port.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be 1 to 65535, got {port}")
    problem = _problem_of(port)
    if problem is not None:
        free = next((p for p in range(max(port, 1024) + 1, 65536) if _problem_of(p) is None), 0)
        raise ValueError(
            f"port {port} of {HOST} cannot be used: {problem}; choose another: lrbench ui port={free}, "
            f"or make ui PORT={free}"
        )


@contextmanager
def serving(
    uri: str, *, port: int, stop_requested: Callable[[], bool] = lambda: False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server while the context lasts; entered when it answers, left when its processes are gone.

    Args:
        uri: tracking URI of a database that exists.
        port: a free one, see `check_port`.
        stop_requested: asked while the server starts; True ends the waiting.

    Yields:
        The server's process.

    Raises:
        ValueError: the server ended by itself, or did not answer in time; shows the end of what it said.
    """
    database = database_path(uri)
    words = ["--host", HOST, "--port", str(port), "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lrbench.tracking.server_process", *words],
            env={
                **home(),
                **os.environ,
                **LIGHT,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                # Not as a word, which every user of the machine can read: it may hold a password.
                "MLFLOW_BACKEND_STORE_URI": uri if database is None else quoted_uri(database),
            },
            stdin=subprocess.PIPE,  # never written to: its end tells of ours
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children can be ended with it
        )
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not stop_requested() and not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    check_port(port)  # another server may have been quicker
                    raise ValueError(f"MLflow's server did not start:\n{_end_of(log)}")
                time.sleep(_LOOK_EVERY_SECONDS)
            yield process
            if process.poll() is not None and not stop_requested():
                check_port(port)
                raise ValueError(f"MLflow's server ended by itself:\n{_end_of(log)}")
        finally:
            _end(process)
            assert process.stdin is not None
            process.stdin.close()


def _problem_of(port: int) -> str | None:
    with socket.socket() as probe:
        # As the server does: connections of an earlier one may linger for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1):
            return True
    except OSError:
        return False


def _end_of(log: IO[bytes]) -> str:
    log.seek(0)
    return "\n".join(log.read().decode(errors="replace").splitlines()[-20:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with its children, kindly first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
        except ProcessLookupError:
            return  # the whole group is gone
        except subprocess.TimeoutExpired:
            continue
