"""Several processes on one study: who works on which trial, and what becomes of the trials of a dead process.

A row for each claimed slot (a trial to be done, by any name): its owner, a counter that the owner keeps raising while
it lives, how many owners before it died, and whether it is done. A slot whose counter has stood still for long enough
is taken over. How long is measured by the observer's own monotonic clock, so clocks that differ or are set cannot make
a live trial look dead; and only while the observer itself was awake, so that a machine that was suspended does not
take every other process for dead when it wakes up.
"""

import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from lrbench.search.database import (
    AWAY_SECONDS,
    CLAIMS,
    DatabaseAwayError,
    ensure_tables,
    make_engine,
    parse_url,
    reconnecting,
)

_Row = sa.Row[tuple[str, str, str, int, int, bool]]
# Owner of a slot that was given back.
_NOBODY = ""


@dataclass
class _Sighting:
    """What was last seen of somebody else's slot, and for how long, in seconds, it has been seen unchanged."""

    owner: str
    beat: int
    unchanged: float = 0.0


class Claims:
    """The claims of one process on the slots of one study; a context manager that beats while it is entered.

    Args:
        url: see lrbench.search.storage.open_storage.
        study: name of the study.
        owner: this process in words, e.g. host and process id; it is made unique.
        interval: seconds between two beats.
        patience: seconds without a beat after which a slot is taken over; several intervals.

    Raises:
        ValueError: see lrbench.search.storage.open_storage.
    """

    def __init__(self, url: str, study: str, owner: str, *, interval: float = 10.0, patience: float = 60.0) -> None:
        assert patience >= 2 * interval > 0
        parsed = parse_url(url)
        ensure_tables(parsed)
        self._engine = make_engine(parsed, patience=AWAY_SECONDS)
        self._study = study
        # Process ids come again: after a reboot, and in every container.
        self._owner = f"{owner} {uuid.uuid4().hex[:12]}"
        self._interval, self._patience = interval, patience
        self._mine = sa.and_(CLAIMS.c.study == study, CLAIMS.c.owner == self._owner, ~CLAIMS.c.done)
        self._sightings: dict[str, _Sighting] = {}
        self._looked = time.monotonic()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="lrbench-claims", daemon=True)

    def __enter__(self) -> "Claims":
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop beating and give unfinished slots back, so that nobody needs to wait until they look dead."""
        self._stop.set()
        self._thread.join()
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.update(CLAIMS).where(self._mine).values(owner=_NOBODY))
        except DatabaseAwayError:
            pass  # without a database nobody can claim them either; they will look dead in time
        self._engine.dispose()

    def claim(self, slots: Sequence[str]) -> str | None:
        """Claim the first slot that nobody works on: new, given back, or its owner dead.

        Args:
            slots: in order of preference.

        Returns:
            the slot, or None when each is done or in somebody's hands, this process's included.
        """
        rows = self._look()
        for slot in slots:
            row = rows.get(slot)
            if row is None:
                taken = self._insert(slot)
            elif row.done or row.owner == self._owner:
                taken = False
            elif row.owner == _NOBODY:
                taken = self._take(row, attempts=row.attempts)
            else:
                taken = self._is_dead(row) and self._take(row, attempts=row.attempts + 1)
            if taken:
                return slot
        return None

    def attempts(self, slot: str) -> int:
        """How many owners of a slot died before the present one; 0 for one that was never claimed."""
        row = self._rows().get(slot)
        return 0 if row is None else int(row.attempts)

    def holds(self, slot: str) -> bool:
        """Whether a slot is still this process's: while it stood still, somebody may have taken it over."""
        row = self._rows().get(slot)
        return row is not None and row.owner == self._owner and not row.done

    @reconnecting
    def finish(self, slot: str) -> bool:
        """Mark a slot done, after its results are stored.

        Returns:
            False when it is no longer ours: this process stood still, and somebody took it over.
        """
        # Also one that is done: a connection that was lost leaves open whether the first call had its effect.
        ours = sa.and_(CLAIMS.c.study == self._study, CLAIMS.c.owner == self._owner)
        done = sa.update(CLAIMS).where(ours, CLAIMS.c.slot == slot).values(done=True)
        with self._engine.begin() as connection:
            return connection.execute(done).rowcount == 1

    def remaining(self, slots: Iterable[str]) -> list[str]:
        """Those of the slots that are not done."""
        done = {slot for slot, row in self._rows().items() if row.done}
        return [slot for slot in slots if slot not in done]

    @reconnecting
    def beat(self) -> None:
        """Say once that this process lives, and look at the others."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(CLAIMS).where(self._mine).values(beat=CLAIMS.c.beat + 1))
        self._look()

    def _beat_until_stopped(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.beat()
            except DatabaseAwayError:
                continue  # the server is away for a moment; the next beat counts as well

    @reconnecting
    def _rows(self) -> dict[str, _Row]:
        with self._engine.connect() as connection:
            found = connection.execute(sa.select(CLAIMS).where(CLAIMS.c.study == self._study))
            return {row.slot: row for row in found}

    def _look(self) -> dict[str, _Row]:
        """Read all rows, and note how long others have been seen without a beat."""
        with self._lock:
            rows = self._rows()
            now = time.monotonic()
            # Looks are at most an interval apart, unless this process did not run in between.
            passed = min(now - self._looked, 2 * self._interval)
            self._looked = now
            others = {s: r for s, r in rows.items() if not r.done and r.owner not in (self._owner, _NOBODY)}
            seen = self._sightings
            self._sightings = {slot: _Sighting(row.owner, row.beat) for slot, row in others.items()}
            for slot, sighting in self._sightings.items():
                before = seen.get(slot)
                if before is not None and (before.owner, before.beat) == (sighting.owner, sighting.beat):
                    sighting.unchanged = before.unchanged + passed
            return rows

    def _is_dead(self, row: _Row) -> bool:
        with self._lock:
            sighting = self._sightings.get(row.slot)
        return sighting is not None and sighting.unchanged >= self._patience

    @reconnecting
    def _insert(self, slot: str) -> bool:
        values = {"study": self._study, "slot": slot, "owner": self._owner, "beat": 0, "attempts": 0, "done": False}
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(CLAIMS).values(values))
        except IntegrityError:
            return self.holds(slot)  # another process was faster, or the connection was lost after a first attempt
        return True

    @reconnecting
    def _take(self, row: _Row, *, attempts: int) -> bool:
        """Take a slot over if it is still as it was seen."""
        as_seen = sa.and_(
            CLAIMS.c.study == self._study,
            CLAIMS.c.slot == row.slot,
            CLAIMS.c.owner == row.owner,
            CLAIMS.c.beat == row.beat,
            ~CLAIMS.c.done,
        )
        taken = sa.update(CLAIMS).where(as_seen).values(owner=self._owner, beat=row.beat + 1, attempts=attempts)
        with self._engine.begin() as connection:
            if connection.execute(taken).rowcount == 1:
                return True
        return self.holds(row.slot)  # see `_insert`
