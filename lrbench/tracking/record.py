"""The record directory of a run: facts, journal, artifacts and a lock, in plain files.

    results/runs/cosine-s0-1a2b3c4d/
        run.json        static facts, written once at creation
        journal.jsonl   evaluations and lifecycle marks (`lrbench.tracking.journal`)
        artifacts/      files of the caller; all of them are uploaded
        lock            held by the process that trains
        mlflow.json     how much of this MLflow has (`lrbench.tracking.outbox`)

The training writes only here, so no tracking server can slow or fail it.
"""

import dataclasses
import itertools
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from lrbench.spec import Evaluation, RunState
from lrbench.tracking.journal import Ended, EndStatus, Evaluated, Journal, Resumed, read_all


class RecordBusyError(RuntimeError):
    """Another live process is training this record."""


@dataclass(frozen=True)
class DatasetFacts:
    """The data of a run: name, content digest (MLflow keeps 36 characters of it), and what to show."""

    name: str
    digest: str
    profile: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is known of a run before it starts; the content of `run.json`.

    Attributes:
        record_id: unique, 32 hex digits; the tag by which MLflow's copy is found again.
        name: readable, e.g. `cosine-s0`.
        experiment: name of the MLflow experiment.
        tracking_uri: absolute MLflow tracking URI.
        fingerprint: digest of everything in the config that shapes the curve, >= 8 hex digits.
        tags: short strings to group and filter by.
        params: config values under their dotted names.
        dataset: the data, if any.
        note: markdown shown at the top of the run.
        created: epoch milliseconds.
        host, pid, boot_id: the process that made it.
    """

    record_id: str
    name: str
    experiment: str
    tracking_uri: str
    fingerprint: str
    tags: Mapping[str, str]
    params: Mapping[str, object]
    dataset: DatasetFacts | None
    note: str
    created: int
    host: str
    pid: int
    boot_id: str


class Record:
    """A run being recorded; a context manager that gives the lock back.

    Leaving it with an exception ends the run truthfully: KILLED for an interrupt or exit, FAILED otherwise.
    Use `Record.create` or `Record.open`.
    """

    def __init__(self, path: Path, facts: Facts, lock: FileLock) -> None:
        self.path = path
        self.facts = facts
        self._lock = lock
        entries = read_all(path / "journal.jsonl")
        self.last_step = max((e.evaluation.step for e in entries if isinstance(e, Evaluated)), default=-1)
        self._last_time = entries[-1].time if entries else facts.created
        self.ended = entries[-1] if entries and isinstance(entries[-1], Ended) else None
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
        tags: Mapping[str, str],
        params: Mapping[str, object],
        dataset: DatasetFacts | None = None,
        note: str = "",
    ) -> Self:
        """Make a new record directory under `root` and take its lock; see `Facts` for the arguments.

        The directory is `<name>-<first 8 of fingerprint>`, with -2, -3 ... behind it when that exists.

        Raises:
            OSError: the directory cannot be made or written.
        """
        root.mkdir(parents=True, exist_ok=True)
        # Characters that some file system or shell would trip over; unicode letters are fine.
        stem = re.sub(r"[^\w.=,+-]", "_", name).lstrip(".")[:100] + f"-{fingerprint[:8]}"
        path = _make_directory(root, stem)
        lock = FileLock(path / "lock", thread_local=False)
        lock.acquire(timeout=0)
        facts = Facts(
            record_id=uuid.uuid4().hex,
            name=name,
            experiment=experiment,
            tracking_uri=tracking_uri,
            fingerprint=fingerprint,
            tags=dict(tags),
            params=dict(params),
            dataset=dataset,
            note=note,
            created=_now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            boot_id=_boot_id(),
        )
        (path / "artifacts").mkdir()
        # Last, and in one piece: a directory without run.json is not a record yet.
        write_json(path / "run.json", dataclasses.asdict(facts))
        return cls(path, facts, lock)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take up an unfinished record, e.g. one that `find_unfinished` found, to go on with it.

        Raises:
            RecordBusyError: another process trains it.
            ValueError: it is finished, or damaged.
        """
        facts = read_facts(path)
        lock = FileLock(path / "lock", thread_local=False)
        try:
            # Not 0: `is_busy` of another process holds the lock for an instant.
            lock.acquire(timeout=0.5, poll_interval=0.02)
        except Timeout as error:
            raise RecordBusyError(f"{path} is being trained by another process") from error
        try:
            record = cls(path, facts, lock)
            if record.ended is not None and record.ended.status == "FINISHED":
                record.close()
                raise ValueError(f"{path} is finished; it cannot be resumed")
            record._journal.append(Resumed(record._tick(), os.getpid()))
        except BaseException:
            lock.release()
            raise
        record.ended = None
        return record

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


def find_unfinished(root: Path, fingerprint: str) -> Path | None:
    """Find a record of this fingerprint that stopped before it was finished and that nobody trains now.

    Looks at directory names first, so it is fast among thousands of records.
    """
    if not root.is_dir():
        return None
    pattern = re.compile(rf"-{re.escape(fingerprint[:8])}(-\d+)?$")
    with os.scandir(root) as entries:
        candidates = sorted(entry.path for entry in entries if pattern.search(entry.name))
    for path in map(Path, candidates):
        if not (path / "run.json").exists() or read_facts(path).fingerprint != fingerprint or is_busy(path):
            continue
        journal = read_all(path / "journal.jsonl")
        last = journal[-1] if journal else None
        if not (isinstance(last, Ended) and last.status == "FINISHED"):
            return path
    return None


def is_busy(path: Path) -> bool:
    """Whether a live process holds the record."""
    lock = FileLock(path / "lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def read_facts(path: Path) -> Facts:
    """Read `run.json` of a record.

    Raises:
        ValueError: there is none, or it is damaged; names the file.
    """
    file = path / "run.json"
    try:
        document = json.loads(file.read_text())
        if document["dataset"] is not None:
            document["dataset"] = DatasetFacts(**document["dataset"])
        return Facts(**document)
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not the description of a run: {error}") from error


def write_json(path: Path, document: Mapping[str, object]) -> None:
    """Replace a JSON file in one step, so that a reader or a kill never meets half of it."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False, default=str))
    os.replace(temporary, path)


def _make_directory(root: Path, stem: str) -> Path:
    """Make the first free of stem, stem-2, stem-3 ...; `mkdir` decides between processes."""
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


def _boot_id() -> str:
    """The kernel's id of this boot: a pid means nothing after a restart."""
    source = Path("/proc/sys/kernel/random/boot_id")
    return source.read_text().strip() if source.exists() else ""
