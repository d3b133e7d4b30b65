"""The record directory of a run: facts, journal, artifacts and a lock, in plain files.

    results/runs/cosine-s0-1a2b3c4d/
        run.json        static facts, written once at creation (`lrbench.tracking.facts`)
        journal.jsonl   evaluations, late facts and lifecycle marks (`lrbench.tracking.journal`)
        artifacts/      files of the caller; all of them are uploaded
        lock            held by the process that trains
        mlflow.json     how much of this MLflow has (`lrbench.tracking.send_state`)

The training writes only here, so no tracking server can slow or fail it.
"""

import dataclasses
import functools
import itertools
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from lrbench.addresses import masked
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.facts import DatasetFacts, Facts, read_facts, write_facts
from lrbench.tracking.journal import Described, Ended, EndStatus, Evaluated, Journal, Resumed, last_entry, read_all
from lrbench.tracking.lock import Lock, is_locked, try_lock
from lrbench.tracking.names import format_param
from lrbench.tracking.received import refuse_links
from lrbench.tracking.send_state import has_lost_lines, is_complete


class RecordBusyError(RuntimeError):
    """Another live process is at this record."""


class Record:
    """A run being recorded; a context manager that gives the lock back.

    Leaving it with an exception ends the run truthfully: KILLED for an interrupt or exit, FAILED otherwise.
    Use `Record.create`, `Record.open` or `Record.restart`.
    """

    def __init__(self, path: Path, facts: Facts, lock: Lock) -> None:
        self.path = path
        self.facts = facts
        self._lock = lock
        entries = read_all(path / "journal.jsonl")
        self.last_step = max((e.evaluation.step for e in entries if isinstance(e, Evaluated)), default=-1)
        self._last_time = entries[-1].time if entries else facts.created
        self.ended = entries[-1] if entries and isinstance(entries[-1], Ended) else None
        self._late = [entry for entry in entries if isinstance(entry, Described)]
        self._journal = Journal(path / "journal.jsonl")
        # Space for the last line: a run that dies of a full disk can still say so (see `end`).
        (path / "reserve").write_bytes(b"\0" * 4096)

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        name: str,
        experiment: str,
        tracking_uri: str,
        fingerprint: str,
        tags: Mapping[str, object],
        params: Mapping[str, object],
        dataset: DatasetFacts | None = None,
        note: str = "",
        parent: Path | None = None,
    ) -> Self:
        """Make a new record directory under `root` and take its lock; see `Facts` for the arguments.

        Tags become text.

        The directory is `<name>-<first 8 of fingerprint>`, with -2, -3 ... behind it when that exists. A parent is the
        directory of a record under `root` that this one is a part of, such as the study of a trial: MLflow shows one
        inside the other.

        Raises:
            OSError: the directory cannot be made or written.
            ValueError: the parent is no record under `root`, or goes to another experiment or tracking store.
        """
        tracking_uri = masked(tracking_uri)
        if parent is not None:
            _check_parent(parent, root, experiment, tracking_uri)
        # Characters that some file system or shell would trip over; unicode letters are fine.
        stem = re.sub(r"[^\w.=,+-]", "_", name).lstrip(".")[:100] + f"-{fingerprint[:8]}"
        path = _make_directory(root, stem)
        lock = _lock(path)
        facts = Facts(
            record_id=uuid.uuid4().hex,
            name=name,
            experiment=experiment,
            tracking_uri=tracking_uri,
            fingerprint=fingerprint,
            tags={name: str(value) for name, value in tags.items()},
            params=dict(params),
            dataset=dataset,
            note=note,
            **_origin(),
            parent=parent.name if parent is not None else "",
        )
        (path / "artifacts").mkdir()
        # Last, and in one piece: a directory without run.json is not a record yet.
        write_facts(path, facts)
        return cls(path, facts, lock)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take up an unfinished record, e.g. one that `find_unfinished` found, to go on with it.

        Raises:
            RecordBusyError: another process trains it.
            ValueError: it is finished, or damaged.
        """
        refuse_links(path)
        read_facts(path)  # says what is wrong when it is no record
        lock = _lock(path)
        try:
            if has_lost_lines(path):
                with _sending(path):
                    copy_anew(path)
            last = last_entry(path / "journal.jsonl")
            if isinstance(last, Ended) and last.status == "FINISHED":
                raise ValueError(f"{path} is finished; it cannot be resumed")
            record = cls(path, read_facts(path), lock)
            record._journal.append(Resumed(record._tick(), os.getpid()))
        except BaseException:
            lock.release()
            raise
        record.ended = None
        return record

    @classmethod
    def restart(cls, path: Path, *, tags: Mapping[str, str], params: Mapping[str, object], note: str = "") -> Self:
        """Take up a record, finished or not, and begin it anew with these facts; its artifacts stay.

        For a record that sums others up, such as a study that more runs have joined. MLflow changes neither params
        nor points, so its copy becomes a new run, to which the children move; the old run is deleted there. Killed
        half way, the record still has the old params and tags: whoever compares them restarts it again. A sender must
        be told to follow it again.

        Raises:
            RecordBusyError: another process writes it, or a sender has been at it for a minute.
            ValueError: it is damaged.
        """
        refuse_links(path)
        read_facts(path)  # says what is wrong when it is no record
        lock = _lock(path)
        try:
            with _sending(path):  # a sender must not see half of this
                copy_anew(path)
                (path / "journal.jsonl").unlink(missing_ok=True)
                facts = dataclasses.replace(
                    read_facts(path), tags=dict(tags), params=dict(params), note=note, **_origin()
                )
                write_facts(path, facts)
            return cls(path, facts, lock)
        except BaseException:
            lock.release()
            raise

    @property
    def artifacts(self) -> Path:
        """Directory whose files are uploaded: all at the start, new and changed ones at the end."""
        return self.path / "artifacts"

    def append(self, evaluation: Evaluation) -> None:
        """Record one evaluation.

        One whose step the journal already has is left out: a resumed run computes it again bit for bit, and
        the first line keeps its timestamp, so that MLflow never gets a second point.

        Raises:
            OSError: names the journal; "disk full" when that is the reason. Earlier lines are intact.
        """
        assert self.ended is None, "an ended record takes no evaluation"
        if evaluation.step <= self.last_step:
            return
        self._journal.append(Evaluated(self._tick(), evaluation))
        self.last_step = evaluation.step

    def describe(
        self,
        *,
        params: Mapping[str, object] = MappingProxyType({}),
        tags: Mapping[str, str] = MappingProxyType({}),
        note: str | None = None,
    ) -> None:
        """Record facts that were not known at the start, such as the best values of a study.

        Tags and note override earlier ones. What is known already is not written again, so a resumed run may say it
        once more.

        Raises:
            ValueError: a param has another value already; MLflow never changes one.
            OSError: as `append`.
        """
        assert self.ended is None, "an ended record takes no more facts"
        known_params = {name: format_param(self.facts.params[name]) for name in params if name in self.facts.params}
        known_tags, known_note = dict(self.facts.tags), self.facts.note
        for late in self._late:
            known_params |= late.params
            known_tags |= late.tags
            known_note = known_note if late.note is None else late.note
        texts = {name: format_param(value) for name, value in params.items()}
        for name, text in texts.items():
            if known_params.get(name, text) != text:
                raise ValueError(
                    f"{self.path}: the param {name} is {known_params[name]} and cannot become {text}, because MLflow "
                    "never changes a param; make it a tag, or restart the record"
                )
        new = Described(
            self._tick(),
            params={name: text for name, text in texts.items() if name not in known_params},
            tags={name: text for name, text in tags.items() if known_tags.get(name) != text},
            note=None if note == known_note else note,
        )
        if new.params or new.tags or new.note is not None:
            self._journal.append(new)
            self._late.append(new)

    def sync(self) -> None:
        """Force the journal to the disk; call it before a checkpoint is declared written."""
        self._journal.sync()

    def end(self, status: EndStatus, state: RunState, message: str = "") -> None:
        """Write the last line. Put the last artifacts in place before: they are uploaded when it is seen."""
        ended = Ended(self._tick(), status, state, message)
        (self.path / "reserve").unlink(missing_ok=True)
        self._journal.append(ended)
        self._journal.sync()
        self.ended = ended

    def evaluations(self) -> list[Evaluation]:
        """Every evaluation so far, in order of step, earlier processes included."""
        entries = read_all(self.path / "journal.jsonl")
        return [entry.evaluation for entry in entries if isinstance(entry, Evaluated)]

    def close(self) -> None:
        """Close the journal and give the lock back; a record without an end counts as killed from here on."""
        self._journal.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and self.ended is None:
                status: EndStatus = "FAILED" if isinstance(error, Exception) else "KILLED"
                self.end(status, RunState.INCOMPLETE, f"{type(error).__name__}: {error}")
        finally:
            self.close()

    def _tick(self) -> int:
        """Now in epoch milliseconds, but never before an earlier line: clocks are set back at times."""
        self._last_time = max(self._last_time, _now())
        return self._last_time


def is_busy(path: Path) -> bool:
    """Whether a live process holds the record."""
    return is_locked(path / "lock")


def left_behind(root: Path, tracking_uri: str) -> list[Path]:
    """The records in a directory that nobody trains and of which a store, that with this URI, lacks something."""
    with os.scandir(root) as entries:
        paths = sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    return [path for path in paths if not is_complete(path) and _is_left_to(path, tracking_uri) and not is_busy(path)]


def _is_left_to(path: Path, tracking_uri: str) -> bool:
    try:
        return (path / "run.json").exists() and read_facts(path).tracking_uri == tracking_uri
    except ValueError:
        return False  # damaged: `lrbench sync` names it


def copy_anew(path: Path) -> None:
    """Give a record another id, so that its copy in MLflow is made anew and the old one deleted.

    MLflow takes no point back. The caller holds the record's `sender.lock`.
    """
    facts = read_facts(path)
    # The id first: with the old one, MLflow's old run would be continued with what is written next.
    replaces = (*facts.replaces, facts.record_id)
    write_facts(path, dataclasses.replace(facts, record_id=uuid.uuid4().hex, replaces=replaces))
    (path / "mlflow.json").unlink(missing_ok=True)


def _sending(path: Path) -> Lock:
    """Keep senders away from a record.

    Raises:
        RecordBusyError: one has been at it for a minute.
    """
    lock = try_lock(path / "sender.lock", patience=60.0)
    if lock is None:
        raise RecordBusyError(f"{path} is being sent to MLflow by another process")
    return lock


def _lock(path: Path) -> Lock:
    """Take the lock of a record.

    Raises:
        RecordBusyError: another process has it.
    """
    # With patience: `is_busy` of another process holds the lock for an instant.
    lock = try_lock(path / "lock", patience=0.5)
    if lock is None:
        raise RecordBusyError(f"{path} is being trained by another process")
    return lock


def _check_parent(parent: Path, root: Path, experiment: str, tracking_uri: str) -> None:
    if parent.parent.resolve() != root.resolve():
        raise ValueError(f"a record under {root} cannot have the parent {parent}: it must be there, too")
    facts = read_facts(parent)
    if (facts.experiment, facts.tracking_uri) != (experiment, tracking_uri):
        raise ValueError(
            f"a record for the experiment {experiment!r} in {tracking_uri!r} cannot have the parent {parent}, which is "
            f"for {facts.experiment!r} in {facts.tracking_uri!r}: MLflow shows runs inside each other only in one "
            "experiment"
        )


def _make_directory(root: Path, stem: str) -> Path:
    """Make the first free of stem, stem-2, stem-3 ...; `mkdir` decides between processes."""
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        path = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _origin() -> dict[str, Any]:
    """When, where and by whom a record is made, as `Facts` says it."""
    return {"created": _now(), "host": socket.gethostname(), "pid": os.getpid(), "boot_id": _boot_id()}


@functools.cache
def _boot_id() -> str:
    """The kernel's id of this boot: a pid means nothing after a restart."""
    source = Path("/proc/sys/kernel/random/boot_id")
    return source.read_text().strip() if source.exists() else ""
