"""Which pairs of schedules are settled after some planned looks, and who needs more seeds (docs/metrics.md, row 19).

Every pair is judged by `look_at_pair` on its shared seeds. With m pairs each side of a pair gets alpha / 2m over all
its looks, so that any false claim has probability alpha at most, however the others end. The whole history is worked
out anew from the runs: it depends on the design and on the runs only, not on when or how often somebody asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from lrbench.analysis.statistics.contenders import check_levels
from lrbench.analysis.statistics.looks import PairLook, look_at_pair, planned_looks
from lrbench.analysis.statistics.terms import FloatArray, Interval

Decision = Literal["better", "equivalent", "undecided", "exhausted"]
SettlingState = Literal["settled", "continue", "exhausted"]


@dataclass(frozen=True)
class Design:
    """What is fixed before the first look.

    Attributes:
        schedules: who is compared.
        looks: number of seeds at each, ascending.
        alpha: probability that any claim is false, over all pairs and looks.
        margin: of equivalence, .1 = 10 %.
        reference: the schedule that all others are compared with; None compares all pairs.
    """

    schedules: tuple[str, ...]
    looks: tuple[int, ...]
    alpha: float
    margin: float
    reference: str | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Who is compared with whom."""
        if self.reference is None:
            return tuple(combinations(self.schedules, 2))
        return tuple((name, self.reference) for name in self.schedules if name != self.reference)

    @property
    def level(self) -> float:
        """One-sided level of one pair over all its looks."""
        return self.alpha / (2 * len(self.pairs))


@dataclass(frozen=True)
class SettledPair:
    """One pair.

    Attributes:
        first: the better one where the state is `better`.
        state: `undecided` while looks are left or one of them is out anyway, `exhausted` where no look is left.
        estimate: mean log cost of the first minus that of the second; exp(estimate) is the ratio.
        interval: of the estimate; holds for all pairs and looks at once.
        num_seeds: paired seeds of the look that it is from.
    """

    first: str
    second: str
    state: Decision
    estimate: float
    interval: Interval
    num_seeds: int


@dataclass(frozen=True)
class Settling:
    """Where a comparison stands after a look.

    Attributes:
        state: `settled` when no pair is open, `continue` when another look may decide one, else `exhausted`.
        num_looks: that were taken.
        pairs: in the order of the design.
        best: the schedules that are not shown worse than another, or than the reference.
        more_seeds: what the next look needs: schedule -> seeds beyond those of this look; empty where none follows.
    """

    state: SettlingState
    num_looks: int
    pairs: tuple[SettledPair, ...]
    best: tuple[str, ...]
    more_seeds: Mapping[str, int]


def check_design(design: Design) -> None:
    """Refuse a design that cannot be carried out.

    Raises:
        ValueError: fewer than two schedules, a reference that is none of them, or a value outside its range.
    """
    if len(design.schedules) < 2:
        raise ValueError(f"settle needs two schedules or more, got {', '.join(design.schedules) or 'none'}")
    if design.reference is not None and design.reference not in design.schedules:
        raise ValueError(
            f"reference={design.reference} is none of the schedules; they are {', '.join(design.schedules)}"
        )
    check_levels(design.alpha, design.margin)
    planned_looks(design.looks, level=design.level)


def settle(costs: Mapping[str, FloatArray], design: Design, *, num_looks: int, selection: float = 0.0) -> Settling:
    """Work out the looks that were taken so far.

    Without a reference a schedule that is shown worse than another is out: none of its pairs is looked at again.

    Args:
        costs: by schedule (num_seeds,), above 0, lower is better, in one order of the seeds for all. A schedule of
            which a pair is open at a look needs as many.
        design: fixed before.
        num_looks: that were taken, from 1 to all.
        selection: variance that the choice of the rate adds to a mean log cost, see `rate_choice`.

    Raises:
        ValueError: a cost has no logarithm, or a schedule lacks seeds that a look needs.
    """
    check_design(design)
    logs = {name: _logs(name, costs[name]) for name in design.schedules}
    plan = planned_looks(design.looks, level=design.level)
    open_, found = list(design.pairs), {}
    for look in plan[:num_looks]:
        for first, second in open_:
            a, b = (_first_seeds(name, logs[name], look.num_seeds) for name in (first, second))
            found[first, second] = look_at_pair(a - b, plan, margin=design.margin, selection=selection)
        out = {pair[item.worse] for pair, item in found.items() if item.worse is not None}
        open_ = [
            pair
            for pair in open_
            if found[pair].state in ("continue", "exhausted") and (design.reference is not None or not out & {*pair})
        ]
    is_last = num_looks == len(plan)
    left = {name for pair in open_ for name in pair}
    return Settling(
        state="settled" if not open_ else "exhausted" if is_last else "continue",
        num_looks=num_looks,
        pairs=tuple(_pair(pair, found[pair], is_open=pair in open_) for pair in design.pairs),
        best=tuple(name for name in design.schedules if name not in out),
        more_seeds={}
        if is_last
        else {name: design.looks[num_looks] - design.looks[num_looks - 1] for name in design.schedules if name in left},
    )


def seeds_at_looks(design: Design, more_seeds: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Seeds of every schedule at the look that follows; for a schedule that needs none, those of its last.

    Args:
        design: fixed before.
        more_seeds: of every look that was taken.
    """
    seeds = dict.fromkeys(design.schedules, design.looks[0])
    for more in more_seeds:
        seeds |= {name: seeds[name] + number for name, number in more.items()}
    return seeds


def _pair(pair: tuple[str, str], look: PairLook, *, is_open: bool) -> SettledPair:
    first, second = pair
    if look.worse == 0:
        return SettledPair(second, first, "better", -look.estimate, look.interval.scaled(-1), look.num_seeds)
    state: Decision = "undecided"
    if look.worse == 1:
        state = "better"
    elif look.state == "equivalent":
        state = "equivalent"
    elif look.state == "exhausted" and is_open:
        state = "exhausted"
    return SettledPair(first, second, state, look.estimate, look.interval, look.num_seeds)


def _first_seeds(name: str, logs: FloatArray, num_seeds: int) -> FloatArray:
    if logs.size < num_seeds:
        raise ValueError(f"a look at {num_seeds} seeds needs as many runs of {name}, got {logs.size}")
    return logs[:num_seeds]


def _logs(name: str, costs: FloatArray) -> FloatArray:
    values = np.asarray(costs, dtype=np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{name}: costs must be finite and above 0 to be compared as ratios, got {values.tolist()}")
    return np.log(values)
