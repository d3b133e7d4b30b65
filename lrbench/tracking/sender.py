"""The training's handle on the sender, a process beside it that copies its records into MLflow.

Imports no mlflow. The process is `sender_process`; `lrbench sync` runs the same one over old records.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lrbench.databases import size_so_far
from lrbench.tracking.database import database_path
from lrbench.tracking.facts import read_facts
from lrbench.tracking.record import left_behind
from lrbench.tracking.send_state import Unsent, find_unsent, is_complete, load_state

_LOOK_SECONDS = 3.0  # between two looks whether it gets on

_ENVIRONMENT = {
    # A dead server would block each call for four minutes by default; we come back by ourselves.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}


def home() -> dict[str, str]:
    """A variable for processes with MLflow, which cannot even be imported where a user has no home."""
    try:
        Path.home()
    except RuntimeError:
        return {"HOME": "/nonexistent"}  # as Debian has it for users without one
    return {}


class Sender:
    """Handle on a sender process; one is enough for any number of records.

    Args:
        log_path: file that gets its messages, appended to; its folder is made if need be.
    """

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._records: list[Path] = []
        self._addresses: list[str] = []
        self._process = self._start()

    def allow(self, uri: str) -> None:
        """Let records be sent to an address, in full; that of a database in their results folder need not be said."""
        if uri not in self._addresses:
            self._addresses.append(uri)
            self._tell([f"@{uri}"])

    def follow(self, record: Path) -> None:
        """Copy this record from now on; it must be open (locked), else it looks like one that was killed."""
        self._records.append(record)
        self._tell([str(record.resolve())])

    def close(
        self, patience: float | None = 60.0, *, on_wait: Callable[[int], None] = lambda num_waiting: None
    ) -> list[Unsent]:
        """Let the sender finish, and say what it could not send. Ctrl-C stops it.

        Args:
            patience: seconds without any progress until it is stopped, None for ever. What it has not sent by then
                waits in the record for `lrbench sync`.
            on_wait: called once, when it takes a while, with the number of records that wait.

        Returns:
            What is unsent of the records followed, and of others beside them that the sender has taken along.
        """
        assert self._process.stdin is not None
        # A sender that died is no error here: what is missing shows below.
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(b"\n")
        if not self._records:
            self._process.kill()  # it would load MLflow for nothing
        try:
            self._await_end(patience, on_wait)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        records = self._records
        if self._process.returncode and records:
            stores = {(record.parent.resolve(), read_facts(record).tracking_uri) for record in records}
            records = [*records, *(path for folder, uri in stores for path in left_behind(folder, uri))]
        found = {record.resolve(): unsent for record in records if (unsent := find_unsent(record))}
        return list(found.values())

    def _await_end(self, patience: float | None, on_wait: Callable[[int], None]) -> None:
        """Wait for the process.

        Raises:
            subprocess.TimeoutExpired: it has not got on for so long.
        """
        waiting, seen, since, is_told = self._records, (-1, -1, -1), time.monotonic(), False
        databases = {database_path(read_facts(record).tracking_uri) for record in waiting} - {None}
        while True:
            try:
                self._process.wait(_LOOK_SECONDS)
                return
            except subprocess.TimeoutExpired:
                waiting = [record for record in waiting if not is_complete(record)]
                # A database that is being made is progress too: a minute's work on a busy machine.
                made = sum(size_so_far(database) for database in databases if database is not None)
                progress = len(waiting), sum(load_state(record).sent_bytes for record in waiting), made
                if progress != seen:
                    seen, since = progress, time.monotonic()
                elif patience is not None and time.monotonic() - since > patience:
                    raise
                if not is_told:
                    on_wait(len(waiting))
                    is_told = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # The same modules as here, wherever this process found them.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW  # a link would lead to somebody's file
        with open(os.open(self._log_path, flags, 0o644), "ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the training, whose end must still be sent.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "lrbench.tracking.sender_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**_ENVIRONMENT, **home(), **os.environ, "PYTHONPATH": path},
            )

    def _tell(self, lines: list[str]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"".join(os.fsencode(line) + b"\n" for line in lines))
            self._process.stdin.flush()
        except BrokenPipeError:
            # Somebody killed it. In a sweep of thousands of runs it is worth a new one.
            self._process = self._start()
            records = [str(record.resolve()) for record in self._records if not is_complete(record)]
            self._tell([*(f"@{uri}" for uri in self._addresses), *records])
