"""The sender's process, `python -m lrbench.tracking.courier`: follows records and copies what is new into MLflow.

It reads the paths of records from stdin, one a line; an empty line or the end of stdin means that no more will come:
it sends what is left and exits, with 1 when something stays unsent. When its parent dies, stdin ends too, and a record
without an end becomes KILLED in MLflow.

Training comes first: the process has a low priority, and after each round it rests for ten times as long as that took.
"""

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from lrbench.tracking.facts import Facts, read_facts
from lrbench.tracking.lock import try_lock
from lrbench.tracking.outbox import SendState, has_all_lines, is_complete, load_state, save_state
from lrbench.tracking.record import RecordBusyError, is_busy

if TYPE_CHECKING:
    from lrbench.tracking.client import Store

POLL_SECONDS = 2.0  # MLflow's pages renew themselves every 30
_YOUNG_SECONDS = 5.0  # a run that ends sooner is sent once, as a whole
PATIENCE_SECONDS = 5.0  # once nothing more will come: give up after this long without any progress
_LONGEST_PAUSE = 15.0  # between two attempts at a store that does not work
_LOOK_SECONDS = 5.0  # between two looks whether the process of a silent record is alive
_REST_FACTOR, _LONGEST_REST = 10, 10.0
_MOST_TOGETHER = 50  # records in one transaction; other writers wait for its end
_NICENESS = 10


@dataclass
class _Connection:
    """A store as the process sees it: open or not, and when to try again after a failure."""

    store: "Store | None" = None
    pause: float = 0.0
    retry_at: float = 0.0


@dataclass
class _Followed:
    """A record on the list.

    Attributes:
        uri: of its store.
        depth: number of records that it is inside of.
        size: of its journal when it was last dealt with.
        look_at: monotonic seconds from which on it is visited even if it is silent.
        young_until: monotonic seconds up to which it is left alone while its process is at it.
    """

    uri: str
    depth: int
    young_until: float
    size: int = -1
    look_at: float = 0.0


@dataclass
class Courier:
    """The loop's state: the records still followed, their stores, and the CPU seconds that the last round took."""

    followed: dict[Path, _Followed] = field(default_factory=dict)
    connections: dict[str, _Connection] = field(default_factory=dict)
    num_refused: int = 0
    last_cost: float = 0.0

    def follow(self, record: Path) -> None:
        """Put a record on the list; one that is there already may have been restarted and is looked at anew."""
        try:
            facts = read_facts(record)
            young_until = time.monotonic() + _YOUNG_SECONDS
            self.followed[record] = _Followed(facts.tracking_uri, _depth(record, facts), young_until)
        except (ValueError, OSError) as error:  # damaged, deleted or unreadable
            self._refuse(record, error)

    def visit_all(self, *, hurry: bool) -> bool:
        """Send what is new in every followed record, with hurry also in young ones.

        Returns:
            Whether anything was sent or done with.
        """
        self.last_cost = 0.0
        groups: dict[tuple[int, str], list[Path]] = {}
        for record, item in self.followed.items():
            if self._is_due(record, item, hurry=hurry):
                groups.setdefault((item.depth, item.uri), []).append(record)
        progress = False
        # Parents first, since a run is made inside that of its parent.
        for (_, uri), records in sorted(groups.items()):
            for start in range(0, len(records), _MOST_TOGETHER):
                progress |= self._visit(records[start : start + _MOST_TOGETHER], uri)
        return progress

    def _is_due(self, record: Path, item: _Followed, *, hurry: bool) -> bool:
        now = time.monotonic()
        if now < self.connections.setdefault(item.uri, _Connection()).retry_at:
            return False
        if now < item.look_at and item.size == _size(record):
            return False
        try:
            return hurry or now >= item.young_until or not is_busy(record)
        except OSError:  # deleted or unreadable: to be refused
            return True

    def _visit(self, records: Sequence[Path], uri: str) -> bool:
        """Send what is new in some records of one store and depth."""
        from lrbench.tracking.client import Store, StoreError  # it takes seconds, see `main`

        connection = self.connections[uri]
        if time.monotonic() < connection.retry_at:
            return False
        try:
            if connection.store is None:
                connection.store = Store(uri)
        except (ValueError, *StoreError) as error:
            _suspend(connection, records, error)
            return False
        began = time.process_time()  # opening a store takes seconds, but only once
        with ExitStack() as locks:
            due = self._lock(records, locks)
            sizes = {record: _size(record) for record in due}
            try:
                alone = connection.store.send_together(due)
            except StoreError as error:
                _suspend(connection, list(due), error)
                return False
            connection.pause = 0.0
            for record in due:
                if record not in alone:
                    self._settle(record, sizes[record])
            progress = len(alone) < len(due)
            for record in alone:
                progress |= self._send_alone(record, connection, abandoned=due[record], size=sizes[record])
        self.last_cost += time.process_time() - began
        return progress

    def _lock(self, records: Sequence[Path], locks: ExitStack) -> dict[Path, bool]:
        """Lock those of some records that have news and that no other sender is at; whether they are abandoned."""
        due = {}
        for record in records:
            item = self.followed[record]
            try:
                # Asked before the journal is read: if nobody trains it now, what is read then is all there is.
                abandoned = not is_busy(record)
                if not abandoned and item.size == _size(record):
                    item.look_at = time.monotonic() + _LOOK_SECONDS
                    continue
                lock = try_lock(record / "sender.lock")
            except OSError as error:  # deleted or unreadable
                self._refuse(record, error)
                continue
            if lock is not None:
                locks.enter_context(lock)
                due[record] = abandoned
        return due

    def _send_alone(self, record: Path, connection: _Connection, *, abandoned: bool, size: int) -> bool:
        from lrbench.tracking.client import StoreError, is_gone, is_refusal

        if connection.store is None:
            return False  # it stopped working with the record before
        try:
            progress = connection.store.send(record, abandoned=abandoned)
        except RecordBusyError:
            return False  # another sender is at its parent; look again later
        except StoreError as error:
            if is_refusal(error):
                return self._refuse(record, error)
            if is_gone(error):
                save_state(record, SendState())  # somebody removed the run for good; it is made anew
            _suspend(connection, [record], error)
            return False
        except ValueError as error:  # damaged
            return self._refuse(record, error)
        self._settle(record, size)
        return progress

    def _settle(self, record: Path, size: int) -> None:
        """Note what was done with a record, and take it off the list when that was all."""
        if is_complete(record):
            del self.followed[record]
        elif has_all_lines(record):
            self.followed[record].size = size
            self.followed[record].look_at = time.monotonic() + _LOOK_SECONDS

    def _refuse(self, record: Path, error: BaseException) -> bool:
        """Give a record up that no further attempt can help."""
        _note_failure([record], error)
        self.followed.pop(record, None)
        self.num_refused += 1
        return True


def _size(record: Path) -> int:
    try:
        return os.stat(f"{record}/journal.jsonl").st_size
    except FileNotFoundError:
        return 0


def _depth(record: Path, facts: Facts) -> int:
    """How many records a record is inside of."""
    parent = record.parent / facts.parent
    return 1 + _depth(parent, read_facts(parent)) if facts.parent and parent.exists() else 0


def _suspend(connection: _Connection, records: Sequence[Path], error: BaseException) -> None:
    """Leave a store that does not work alone for a while; all its records wait."""
    connection.store = None
    connection.pause = min(_LONGEST_PAUSE, max(1.0, 2 * connection.pause))
    connection.retry_at = time.monotonic() + connection.pause
    _note_failure(records, error)


def _note_failure(records: Sequence[Path], error: BaseException) -> None:
    """Say why records were not sent, in the log and in their own directories, where the parent finds it."""
    reason = str(error) or type(error).__name__
    for record in records:
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
    _give_way()
    lines: SimpleQueue[Path | None] = SimpleQueue()
    # A thread of its own, so that the parent never waits at a full pipe for a slow store.
    threading.Thread(target=_read_paths, args=[lines], daemon=True).start()
    importlib.import_module("lrbench.tracking.client")  # seconds, while the parent loads its data
    courier = Courier()
    is_open, rest = True, POLL_SECONDS
    last_progress = time.monotonic()
    while is_open or courier.followed:
        if is_open:
            is_open = _take_paths(courier, lines, seconds=rest)
        else:
            time.sleep(0.05)
        if courier.visit_all(hurry=not is_open) or is_open:
            last_progress = time.monotonic()
        rest = min(_LONGEST_REST, max(POLL_SECONDS, _REST_FACTOR * courier.last_cost))
        if not is_open:
            if time.monotonic() - last_progress > PATIENCE_SECONDS:
                break
            for connection in courier.connections.values():  # no long pauses any more
                connection.retry_at = min(connection.retry_at, time.monotonic() + 1.0)
    return 1 if courier.followed or courier.num_refused else 0


def _give_way() -> None:
    """Let the training have the cores first."""
    os.nice(_NICENESS)
    # Linux may weigh whole sessions against each other, and niceness only within them. This session is ours alone.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS))


def _read_paths(lines: "SimpleQueue[Path | None]") -> None:
    """Pass on the paths from stdin, then None; a line without its end is of a parent that was killed meanwhile."""
    for line in sys.stdin.buffer:
        if not line.endswith(b"\n") or line == b"\n":
            break
        lines.put(Path(os.fsdecode(line[:-1])))
    lines.put(None)


def _take_paths(courier: Courier, lines: "SimpleQueue[Path | None]", *, seconds: float) -> bool:
    """Wait for so long, taking in more paths; whether more may come."""
    until = time.monotonic() + seconds
    while True:
        try:
            path = lines.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return True
        if path is None:
            return False
        courier.follow(path)


if __name__ == "__main__":
    sys.exit(main())
