"""The rounds of the sender: what is new in the records it follows, and how it gets into their stores."""

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lrbench.addresses import masked
from lrbench.tracking.facts import Facts, read_facts
from lrbench.tracking.lock import try_lock
from lrbench.tracking.received import foreign, is_inside, refuse_links
from lrbench.tracking.record import RecordBusyError, copy_anew, is_busy, left_behind
from lrbench.tracking.send_state import SendState, has_all_lines, has_lost_lines, is_complete, load_state, save_state

if TYPE_CHECKING:
    from lrbench.tracking.client import Store

_YOUNG_SECONDS = 5.0  # a run that ends sooner is sent once, as a whole
_LONGEST_PAUSE = 15.0  # between two attempts at a store that does not work
_LOOK_SECONDS = 5.0  # between two looks whether the process of a silent record is alive
_AT_ONCE = 8  # records on their way to a server
_MOST_TOGETHER = 50  # records in one transaction; other writers wait for its end


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
class SendQueue:
    """The loop's state.

    Attributes:
        addresses: where records may be sent, as the records say it, without secrets, and in full. What a record says
            does not count by itself, but for a database in its own results folder.
        followed: the records on the list.
        swept: directories of records and stores, see `_sweep`.
        connections: their stores, by address.
        num_refused: records that were given up.
        last_cost: CPU seconds that the last round took.
    """

    addresses: dict[str, str] = field(default_factory=dict)
    followed: dict[Path, _Followed] = field(default_factory=dict)
    swept: set[tuple[Path, str]] = field(default_factory=set)
    connections: dict[str, _Connection] = field(default_factory=dict)
    num_refused: int = 0
    last_cost: float = 0.0

    def follow(self, record: Path) -> None:
        """Put a record on the list; one that is there already may have been restarted and is looked at anew."""
        try:
            refuse_links(record)
            facts = read_facts(record)
            uri = self._address_of(record, facts)
            young_until = time.monotonic() + _YOUNG_SECONDS
            self.followed[record] = _Followed(uri, _depth(record, facts), young_until)
            self._sweep(record.parent, facts.tracking_uri)
        except (ValueError, OSError) as error:  # damaged, deleted or unreadable
            self._refuse(record, error)

    def allow(self, uri: str) -> None:
        """Let records be sent to an address that was configured here."""
        self.addresses[masked(uri)] = uri

    def _address_of(self, record: Path, facts: Facts) -> str:
        uri = self.addresses.get(facts.tracking_uri)
        if uri is None and is_inside(facts.tracking_uri, record.parents[1]):
            uri = facts.tracking_uri
        if uri is None:
            raise ValueError(foreign(facts.tracking_uri))
        return uri

    def _sweep(self, root: Path, uri: str) -> None:
        """Take along, once, what an earlier sender that was killed has left in the same directory for this store."""
        if (root, uri) not in self.swept:
            self.swept.add((root, uri))
            for record in left_behind(root, uri):
                self.follow(record)

    def visit_all(self, *, also_young: bool) -> bool:
        """Send what is new in every followed record; in young ones only if asked.

        Returns:
            Whether anything was sent or done with.
        """
        self.last_cost = 0.0
        groups: dict[tuple[int, str], list[Path]] = {}
        for record, item in self.followed.items():
            if self._is_due(record, item, also_young=also_young):
                groups.setdefault((item.depth, item.uri), []).append(record)
        progress = False
        # Parents first, since a run is made inside that of its parent.
        for (_, uri), records in sorted(groups.items()):
            for start in range(0, len(records), _MOST_TOGETHER):
                progress |= self._visit(records[start : start + _MOST_TOGETHER], uri)
        return progress

    def _is_due(self, record: Path, item: _Followed, *, also_young: bool) -> bool:
        now = time.monotonic()
        if now < self.connections.setdefault(item.uri, _Connection()).retry_at:
            return False
        if now < item.look_at and item.size == _size(record):
            return False
        try:
            return also_young or now >= item.young_until or not is_busy(record)
        except OSError:  # deleted or unreadable: to be refused
            return True

    def _visit(self, records: Sequence[Path], uri: str) -> bool:
        """Send what is new in some records of one store and depth."""
        from lrbench.tracking.client import Store, StoreError  # it takes seconds, see `sender_process`

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
            # Over a network most of the time is waiting for answers.
            with ThreadPoolExecutor(1 if connection.store.is_local else _AT_ONCE) as threads:
                progress |= any(
                    [
                        *threads.map(
                            lambda record: self._send_alone(
                                record, connection, abandoned=due[record], size=sizes[record]
                            ),
                            alone,
                        )
                    ]
                )
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
                if lock is None:
                    continue
                locks.enter_context(lock)
                if has_lost_lines(record):
                    copy_anew(record)
                due[record] = abandoned
            except (OSError, ValueError) as error:  # deleted, unreadable or damaged
                self._refuse(record, error)
        return due

    def _send_alone(self, record: Path, connection: _Connection, *, abandoned: bool, size: int) -> bool:
        from lrbench.tracking.client import StoreError, is_gone, is_refusal

        store = connection.store
        if store is None:
            return False  # it stopped working with another record
        try:
            progress = store.send(record, abandoned=abandoned)
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
    depth, seen = 0, {record.name}
    while facts.parent and (record.parent / facts.parent).exists():
        if facts.parent in seen:
            raise ValueError(f"{record} is inside of itself")
        seen.add(facts.parent)
        facts = read_facts(record.parent / facts.parent)
        depth += 1
    return depth


def _suspend(connection: _Connection, records: Sequence[Path], error: BaseException) -> None:
    """Leave a store that does not work alone for a while; all its records wait."""
    if connection.retry_at <= time.monotonic():  # else another record has found it out at the same time
        connection.store = None
        connection.pause = min(_LONGEST_PAUSE, max(1.0, 2 * connection.pause))
        connection.retry_at = time.monotonic() + connection.pause
    _note_failure(records, error)


def _note_failure(records: Sequence[Path], error: BaseException) -> None:
    """Say why records were not sent, in the log and in their own directories, where the parent finds it."""
    # SQLAlchemy's own words add the statement and a link.
    reason = masked(str(getattr(error, "orig", None) or error)) or type(error).__name__
    for record in records:
        print(f"{time.strftime('%F %T')} {record}: {reason}", file=sys.stderr, flush=True)
        try:
            state = load_state(record)
            if state.error != reason:
                state.error = reason
                save_state(record, state)
        except OSError as another:  # the disk is full, or the record was deleted
            print(f"{time.strftime('%F %T')} {record}: {masked(str(another))}", file=sys.stderr, flush=True)
