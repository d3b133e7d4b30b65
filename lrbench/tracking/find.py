"""Find the record of a fingerprint among thousands: unfinished, to go on with it, or finished, to spare the work."""

import os
import re
import warnings
from collections import defaultdict
from pathlib import Path

from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Ended, last_entry
from lrbench.tracking.record import is_busy

# The end of a directory's name: the first eight digits of the fingerprint and, from the second record on, a number.
# A number may look like such digits itself, so every way to read the name counts; the facts decide.
_ENDINGS = (re.compile(r"-([0-9a-f]{8})()$"), re.compile(r"-([0-9a-f]{8})-(\d+)$"))


class RecordIndex:
    """The record directories under `root` by fingerprint: one scan, then look-ups of microseconds.

    It does not see what anybody adds later, except by `add` and `refresh`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbered: dict[str, list[tuple[int, Path]]] = defaultdict(list)
        self._names: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Scan the directory again, for what other processes have added."""
        if self._root.is_dir():
            with os.scandir(self._root) as entries:
                for entry in entries:
                    self._add(entry.name)

    def add(self, path: Path) -> None:
        """Take in a record that was made since the scan; one that is known already changes nothing."""
        self._add(path.name)

    def paths(self, fingerprint: str) -> list[Path]:
        """Records of this fingerprint, in the order in which they were made; warns of one without a description."""
        candidates = [path for _, path in sorted(self._numbered.get(fingerprint[:8], []))]
        return [path for path in candidates if _fingerprint_of(path) == fingerprint]

    def _add(self, name: str) -> None:
        if name in self._names:
            return
        self._names.add(name)
        for match in filter(None, (ending.search(name) for ending in _ENDINGS)):
            self._numbered[match[1]].append((int(match[2] or 1), self._root / name))


def _fingerprint_of(path: Path) -> str:
    """The fingerprint of a record; "" for a directory that is none, or no longer, which is named."""
    if not (path / "run.json").exists():
        return ""  # its process died while it made it
    try:
        return read_facts(path).fingerprint
    except ValueError as error:  # a power cut empties files
        warnings.warn(f"{error}; it is passed over", stacklevel=2)
        return ""


def find_unfinished(root: Path, fingerprint: str, *, index: RecordIndex | None = None) -> Path | None:
    """Find a record of this fingerprint that stopped before it was finished and that nobody trains now.

    Args:
        root: the directory of the records.
        fingerprint: all of it.
        index: of that directory, for more than a few look-ups; else it is scanned.

    Raises:
        ValueError: the journal of a record of this fingerprint is damaged; names the file.
    """
    for path in (index or RecordIndex(root)).paths(fingerprint):
        if not is_finished(path) and not is_busy(path):
            return path
    return None


def find_finished(root: Path, fingerprint: str, *, index: RecordIndex | None = None) -> Path | None:
    """Find a record of this fingerprint that was finished, whatever the state of its result; see `find_unfinished`."""
    for path in (index or RecordIndex(root)).paths(fingerprint):
        if is_finished(path):
            return path
    return None


def is_finished(path: Path) -> bool:
    """Whether the last line of a record's journal says FINISHED; reads no other line."""
    last = last_entry(path / "journal.jsonl")
    return isinstance(last, Ended) and last.status == "FINISHED"
