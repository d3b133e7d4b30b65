"""The training's handle on the sender, a process beside it that copies its records into MLflow.

Imports no mlflow. The process is `sender_process`; `lrbench sync` runs the same one over old records.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lrbench.tracking.outbox import Unsent, find_unsent, is_complete

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
        self._process = self._start()

    def follow(self, record: Path) -> None:
        """Copy this record from now on; it must be open (locked), else it looks like one that was killed."""
        self._records.append(record)
        self._tell([record])

    def close(self, timeout: float | None = 60.0) -> list[Unsent]:
        """Let the sender finish, and say what it could not send.

        Args:
            timeout: seconds until it is stopped, None for as long as it gets on. What it has not sent by then
                waits in the record for `lrbench sync`.
        """
        assert self._process.stdin is not None
        # A sender that died is no error here: what is missing shows below.
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(b"\n")
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return [unsent for record in self._records if (unsent := find_unsent(record))]

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
        with self._log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the training, whose end must still be sent.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "lrbench.tracking.sender_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**_ENVIRONMENT, **home(), **os.environ, "PYTHONPATH": path},
            )

    def _tell(self, records: list[Path]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"".join(os.fsencode(record.resolve()) + b"\n" for record in records))
            self._process.stdin.flush()
        except BrokenPipeError:
            # Somebody killed it. In a sweep of thousands of runs it is worth a new one.
            self._process = self._start()
            self._tell([record for record in self._records if not is_complete(record)])
