"""What an audit hands over: findings, and the words to put runs into a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

Severity = Literal["serious", "warning", "note"]
Cell = tuple[str, str]  # (workload, scheduler)


@dataclass(frozen=True)
class Finding:
    """One flaw: the check that found it, how serious it is, a sentence, and the cells concerned, sorted."""

    check: str
    severity: Severity
    sentence: str
    cells: tuple[Cell, ...]


def concerned(runs: pd.DataFrame) -> tuple[Cell, ...]:
    """Return the distinct (workload, scheduler) of runs, sorted."""
    return tuple(sorted({(str(w), str(s)) for w, s in zip(runs["workload"], runs["scheduler"], strict=True)}))


def counted(counts: pd.Series) -> str:
    """Put counts by schedule into words: "cosine 8 and step 4", or "8 each" where all are equal."""
    if counts.nunique() == 1 and len(counts) > 1:
        return f"{counts.iloc[0]} each"
    return listed([f"{schedule} {count}" for schedule, count in counts.items()])


def plural(count: int, noun: str) -> str:
    """Write "1 run", "2 runs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(words: Sequence[object]) -> str:
    """Put words into a list: "a, b and c"."""
    *rest, last = map(str, words)
    return f"{', '.join(rest)} and {last}" if rest else last
