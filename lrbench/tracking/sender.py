"""The sender: a process beside the training that copies its records into MLflow.

`Sender` is the training's handle on it and imports no mlflow. The process (`python -m
lrbench.tracking.sender`) reads record paths from stdin, one a line, and follows their journals; an empty line
or the end of stdin means that no more will come: it sends what is left and exits, with 1 when something stays
unsent. When its parent dies, stdin ends too, and a record without an end becomes KILLED in MLflow. `lrbench
sync` runs the same process over old records.
"""

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import complete_bytes
from lrbench.tracking.lock import try_lock
from lrbench.tracking.outbox import SendState, Unsent, find_unsent, is_complete, load_state, save_state
from lrbench.tracking.record import RecordBusyError, is_busy

if TYPE_CHECKING:
    from lrbench.tracking.client import Store

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 5.0  # once nothing more will come: give up after this long without any progress
_LONGEST_PAUSE = 15.0  # between two attempts at a store that does not work

_ENVIRONMENT = {
    # A dead server would block each call for four minutes by default; we come back by ourselves.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
}


class Sender:
    """Handle on a sender process; one is enough for any number of records.

    Args:
        log_path: file that gets its messages, appended to.
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
        with self._log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the training, whose end must still be sent.
            return subprocess.Popen(
                [sys.executable, "-m", "lrbench.tracking.sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**_ENVIRONMENT, **os.environ, "PYTHONPATH": path},
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


@dataclass
class _Connection:
    """A store as the process sees it: open or not, and when to try again after a failure."""

    store: "Store | None" = None
    pause: float = 0.0
    retry_at: float = 0.0


@dataclass
class _Courier:
    """The loop's state: records still followed (with the journal size last dealt with) and open stores."""

    followed: dict[Path, int] = field(default_factory=dict)
    connections: dict[str, _Connection] = field(default_factory=dict)
    num_refused: int = 0

    def visit_all(self) -> bool:
        """Send what is new in every followed record; whether anything was sent or done with."""
        progress = [self._visit(record) for record in list(self.followed)]  # all, not only up to the first
        return any(progress)

    def _visit(self, record: Path) -> bool:
        try:
            # Asked before the journal is read: if nobody trains it now, what is read then is all there is.
            abandoned = not is_busy(record)
            size = complete_bytes(record / "journal.jsonl")
            if self.followed[record] == size and not abandoned:
                return False
            connection = self.connections.setdefault(read_facts(record).tracking_uri, _Connection())
            if time.monotonic() < connection.retry_at:
                return False
            lock = try_lock(record / "sender.lock")
            if lock is None:
                return False  # another sender is at it; look again later
            with lock:
                return self._send(record, connection, abandoned=abandoned, size=size)
        except RecordBusyError:
            return False  # so it is with its parent
        except (ValueError, OSError) as error:  # damaged, deleted or unreadable
            return self._refuse(record, error)

    def _send(self, record: Path, connection: _Connection, *, abandoned: bool, size: int) -> bool:
        # Late: it takes seconds, which the parent must not wait for.
        from lrbench.tracking.client import Store, StoreError, is_gone, is_refusal

        try:
            if connection.store is None:
                connection.store = Store(read_facts(record).tracking_uri)
        except (ValueError, *StoreError) as error:
            _suspend(connection, record, error)
            return False
        try:
            progress = connection.store.send(record, abandoned=abandoned)
        except StoreError as error:
            if is_refusal(error):
                return self._refuse(record, error)
            if is_gone(error):
                save_state(record, SendState())  # somebody removed the run for good; it is made anew
            _suspend(connection, record, error)
            return False
        connection.pause = 0.0
        self.followed[record] = size
        if is_complete(record):
            del self.followed[record]
        return progress

    def _refuse(self, record: Path, error: BaseException) -> bool:
        """Give a record up that no further attempt can help."""
        _note_failure(record, error)
        del self.followed[record]
        self.num_refused += 1
        return True


def _suspend(connection: _Connection, record: Path, error: BaseException) -> None:
    """Leave a store that does not work alone for a while; all its records wait."""
    connection.store = None
    connection.pause = min(_LONGEST_PAUSE, max(1.0, 2 * connection.pause))
    connection.retry_at = time.monotonic() + connection.pause
    _note_failure(record, error)


def _note_failure(record: Path, error: BaseException) -> None:
    """Say why a record was not sent, in the log and in its own directory, where the parent finds it."""
    reason = str(error) or type(error).__name__
    print(f"{time.strftime('%F %T')} {record}: {reason}", file=sys.stderr, flush=True)
    try:
        state = load_state(record)
        if state.error != reason:
            state.error = reason
            save_state(record, state)
    except OSError as another:  # the disk is full, or the record was deleted
        print(f"{time.strftime('%F %T')} {record}: {another}", file=sys.stderr, flush=True)


def main() -> int:
    """Follow the records named on stdin until it ends, then finish; see the module."""
    # Slurm and `kill` of a process group mean the training, which ends its record; that end is still to be
    # sent.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    courier = _Courier()
    is_open, pending = True, b""
    last_progress = time.monotonic()
    while is_open or courier.followed:
        if is_open:
            is_open, pending = _read_paths(courier, pending)
        else:
            time.sleep(0.05)
        if courier.visit_all() or is_open:
            last_progress = time.monotonic()
        if not is_open:
            if time.monotonic() - last_progress > PATIENCE_SECONDS:
                break
            for connection in courier.connections.values():  # no long pauses any more
                connection.retry_at = min(connection.retry_at, time.monotonic() + 1.0)
    return 1 if courier.followed or courier.num_refused else 0


def _read_paths(courier: _Courier, pending: bytes) -> tuple[bool, bytes]:
    """Wait a moment for more paths; whether more may come, and the beginning of an unfinished line."""
    ready, _, _ = select.select([sys.stdin.fileno()], [], [], POLL_SECONDS)
    if not ready:
        return True, pending
    data = os.read(sys.stdin.fileno(), 1 << 16)
    *lines, pending = (pending + data).split(b"\n")
    for line in lines:
        if line:
            courier.followed.setdefault(Path(os.fsdecode(line)), -1)
    return bool(data) and b"" not in lines, pending


if __name__ == "__main__":
    sys.exit(main())
