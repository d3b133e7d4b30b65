"""A claim, and which pairs of an analysis stand behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lrbench.analysis.model import Cell, Pair, Section
from lrbench.analysis.statistics.contenders import Contenders
from lrbench.analysis.statistics.pairs import Difference
from lrbench.analysis.statistics.terms import Direction, Interval, Unavailable, sign

Kind = Literal["final", "speed", "both", "across", "trust", "budget"]


@dataclass(frozen=True)
class Claim:
    """One sentence of the verdict.

    Attributes:
        kind: what it is about.
        workload: None if about several.
        sentence: for people.
        schedulers: whom it is about, the best first; empty if about none.
    """

    kind: Kind
    workload: str | None
    sentence: str
    schedulers: tuple[str, ...]


@dataclass(frozen=True)
class Against:
    """One schedule against another, read in this direction: negative costs are better.

    Attributes:
        other: the other schedule.
        difference: self - other, in the unit of the metric or in steps; Unavailable if not tested.
        interval: of the difference, None if not tested or if neither side varies.
        p_holm: Unavailable if not tested.
        better: the difference is in the good direction.
    """

    other: str
    difference: float | Unavailable
    interval: Interval | None
    p_holm: float | Unavailable
    better: bool


@dataclass(frozen=True)
class Standing:
    """A schedule against all others: who is shown worse or better, who cannot be told apart, who was not tested."""

    worse: tuple[Against, ...]
    better: tuple[Against, ...]
    alike: tuple[Against, ...]
    untested: tuple[Against, ...]


def cells_on(section: Section, workload: str) -> list[Cell]:
    """Cells of a workload, best final value first; of those that share the last place, the fewest diverged runs."""
    cells = [cell for cell in section.cells if cell.workload == workload]
    return sorted(cells, key=lambda c: (_place(c), c.num_diverged / c.num_runs, c.scheduler))


def family_on(section: Section, workload: str) -> Contenders | Unavailable:
    """Who may be the best of a workload."""
    return next(item.found for item in section.contenders if item.workload == workload)


def standing(
    pairs: Sequence[Pair],
    workload: str,
    scheduler: str,
    *,
    by: Literal["final", "time"],
    direction: Direction,
    alpha: float,
) -> Standing:
    """Sort the others by what the Holm-adjusted tests say of them against one schedule.

    Args:
        pairs: of the section.
        workload: where.
        scheduler: who.
        by: final values, or times to target.
        direction: of the final values.
        alpha: level of the tests.
    """
    rows = [
        _against(p, scheduler, by, direction)
        for p in pairs
        if p.workload == workload and scheduler in (p.first, p.second)
    ]
    tested = [row for row in rows if not isinstance(row.p_holm, Unavailable)]
    shown = [row for row in tested if not isinstance(row.p_holm, Unavailable) and row.p_holm <= alpha]
    return Standing(
        worse=tuple(row for row in shown if row.better),
        better=tuple(row for row in shown if not row.better),
        alike=tuple(row for row in tested if row not in shown),
        untested=tuple(row for row in rows if row not in tested),
    )


def _against(pair: Pair, scheduler: str, by: Literal["final", "time"], direction: Direction) -> Against:
    is_first = pair.first == scheduler
    other = pair.second if is_first else pair.first
    found, p_holm = (pair.final, pair.final_p_holm) if by == "final" else (pair.time, pair.time_p_holm)
    if not isinstance(found, Difference):
        return Against(other, found, None, found, False)
    factor = 1 if is_first else -1
    interval = None if found.interval is None else found.interval.scaled(factor)
    cost = sign(direction) if by == "final" else 1
    return Against(other, factor * found.value, interval, p_holm, cost * factor * found.value < 0)


def _place(cell: Cell) -> float:
    return math.inf if isinstance(cell.rank, Unavailable) else cell.rank
