"""The journal of a run: an append-only file of JSON lines that survives a kill at any byte.

A line is one evaluation, some late facts, or a mark that the run was resumed or ended. JSON knows no NaN and no
infinity; they are written as the strings "NaN", "Infinity" and "-Infinity", so that every line is valid JSON and a
missing metric stays different from a NaN. Finite floats round-trip exactly.
"""

import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lrbench.addresses import masked
from lrbench.spec import Evaluation, RunState

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Evaluated:
    """One evaluation and when it was written, in epoch milliseconds."""

    time: int
    evaluation: Evaluation


@dataclass(frozen=True)
class Resumed:
    """The run goes on in another process; any end before this line no longer counts."""

    time: int
    pid: int


@dataclass(frozen=True)
class Described:
    """Facts known only late: params as MLflow shows them, tags, and a note; a later one overrides tags and note."""

    time: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    note: str | None = None


@dataclass(frozen=True)
class Ended:
    """The run ended: the tracker's status, the state of its result, and for a failure its message."""

    time: int
    status: EndStatus
    state: RunState
    message: str = ""


Entry = Evaluated | Resumed | Described | Ended


def encode(entry: Entry) -> bytes:
    """Write an entry as one line of JSON, with its newline; passwords in addresses are left out of texts."""
    document: dict[str, object]
    match entry:
        case Evaluated(time, evaluation):
            document = {
                "step": evaluation.step,
                "time": time,
                "seconds": _jsonable(evaluation.seconds),
                "metrics": {name: _jsonable(value) for name, value in evaluation.metrics.items()},
                "rates": [
                    [step, _jsonable(lr), None if momentum is None else _jsonable(momentum)]
                    for step, lr, momentum in evaluation.rates
                ],
            }
        case Resumed(time, pid):
            document = {"resumed": {"time": time, "pid": pid}}
        case Described(time, params, tags, note):
            document = {"describe": {"time": time, "params": dict(params), "tags": dict(tags), "note": note}}
        case Ended(time, status, state, message):
            document = {"end": {"time": time, "status": status, "state": state, "message": message}}
    line = json.dumps(document, allow_nan=False, separators=(",", ":"))
    if not isinstance(entry, Evaluated):
        line = masked(line)
    return line.encode() + b"\n"


def decode(line: bytes) -> Entry:
    """Read one line.

    Raises:
        ValueError: the line is not a journal line.
    """
    try:
        document = json.loads(line)
        if "resumed" in document:
            return Resumed(**document["resumed"])
        if "describe" in document:
            return Described(**document["describe"])
        if "end" in document:
            end = document["end"]
            return Ended(**{**end, "state": RunState(end["state"])})
        evaluation = Evaluation(
            step=document["step"],
            seconds=float(document["seconds"]),
            metrics={name: float(value) for name, value in document["metrics"].items()},
            rates=[
                (step, float(lr), None if momentum is None else float(momentum))
                for step, lr, momentum in document["rates"]
            ],
        )
        return Evaluated(document["time"], evaluation)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a journal line: {line[:80]!r}") from error


def read_entries(path: Path, offset: int = 0, *, max_bytes: int = 1 << 20) -> tuple[list[Entry], int]:
    """Read the complete lines that start at a byte offset, about `max_bytes` at a time.

    Returns:
        The entries and the offset after the last of them. A torn line at the end of the file is left alone:
        it is either still being written or will be cut off by the next `Journal`.

    Raises:
        ValueError: a complete line is damaged; names the file and the byte.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(max_bytes)
        data += file.readline()  # the rest of the line that the limit cut
    entries = []
    for line in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        try:
            entries.append(decode(line))
        except ValueError as error:
            raise ValueError(f"{path} is damaged at byte {offset}: {error}") from error
        offset += len(line)
    return entries, offset


def read_all(path: Path) -> list[Entry]:
    """Read every complete line of a journal; empty when there is no file yet."""
    if not path.exists():
        return []
    entries, offset = read_entries(path)
    while more := read_entries(path, offset):
        if not more[0]:
            break
        entries += more[0]
        offset = more[1]
    return entries


def last_entry(path: Path) -> Entry | None:
    """Read the last complete line only, however long the journal is; None when there is none.

    Raises:
        ValueError: that line is damaged; names the file.
    """
    end = complete_bytes(path)
    if end == 0:
        return None
    start = end - 1  # of what was read; the newline at its end is known
    data = b""
    with path.open("rb") as file:
        while start > 0 and b"\n" not in data:
            block = min(start, 1 << 12)
            start -= block
            file.seek(start)
            data = file.read(block) + data
    try:
        return decode(data[data.rfind(b"\n") + 1 :])
    except ValueError as error:
        raise ValueError(f"{path} is damaged at its end: {error}") from error


def complete_bytes(path: Path) -> int:
    """Size of a journal up to its last complete line; 0 when there is no file."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


class Journal:
    """The writing end. One process at a time; the caller holds the record's lock.

    Args:
        path: the file; created when absent. A torn last line, left by a kill or a full disk, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if os.fstat(self._file).st_size:
            os.ftruncate(self._file, complete_bytes(path))

    def append(self, entry: Entry) -> None:
        """Write one line and hand it to the operating system, which keeps it when this process is killed.

        Raises:
            OSError: the line could not be written; names the file, and says "disk full" when that is the
                reason. The lines before it are intact and the next append starts on a fresh line.
        """
        rest = memoryview(encode(entry))
        start = os.fstat(self._file).st_size
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except BaseException as error:
            # Also for an interrupt between two writes: a half line must never stand before a whole one.
            os.ftruncate(self._file, start)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, "disk full while writing the journal", str(self.path)) from error
            raise

    def sync(self) -> None:
        """Force everything written so far to the disk, so that it survives a power cut."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _jsonable(value: float) -> float | str:
    """A float as JSON can hold it; `float()` reads both forms back."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
