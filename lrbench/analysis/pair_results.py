"""Every pair of schedules on every workload: who ends better, who is faster, what may be claimed (rows 15, 17)."""

import warnings
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from lrbench.analysis.field import Field
from lrbench.analysis.model import Pair
from lrbench.analysis.statistics.aggregates import Improvement
from lrbench.analysis.statistics.improvements import improvements
from lrbench.analysis.statistics.pairs import Difference, SeedsNeeded, seeds_to_settle, welch_holm
from lrbench.analysis.statistics.pareto import relation
from lrbench.analysis.statistics.terms import Direction, FloatArray, Interval, Unavailable
from lrbench.spec import derived_seed

Finals = dict[tuple[str, str], FloatArray]  # (workload, scheduler) -> finished runs, diverged = worst


def pairs_of(
    fields: Sequence[Field],
    finals: Finals,
    *,
    direction: Direction,
    alpha: float,
    seed: int,
    num_resamples: int,
) -> list[Pair]:
    """Compare all pairs on all workloads; Holm goes over all tests of final values, and over all of times.

    Args:
        fields: the workloads.
        finals: of every cell.
        direction: of the metric.
        alpha: level of the tests.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.
    """
    level = 1 - alpha
    keys = [(field, a, b) for field in fields for a, b in combinations(field.compared, 2)]
    ends = welch_holm(
        [(_ok(finals, field, a), _ok(finals, field, b)) for field, a, b in keys], direction=direction, level=level
    )
    with warnings.catch_warnings():
        # Runs of one schedule often hit at the same evaluation; scipy warns of a variance that is truly zero.
        warnings.simplefilter("ignore", RuntimeWarning)
        times = welch_holm(
            [(_restricted(field, a), _restricted(field, b)) for field, a, b in keys], direction="minimize", level=level
        )
    chances = {
        key: chance
        for field in fields
        for key, chance in _improvements(field, finals, direction, seed, num_resamples, level).items()
    }
    num_tests = sum(not isinstance(end, Unavailable) for end in ends)
    pairs = []
    for (field, first, second), end, time in zip(keys, ends, times, strict=True):
        final, final_p = (end, end) if isinstance(end, Unavailable) else end
        speed, time_p = (time, time) if isinstance(time, Unavailable) else time
        refused = field.speed_refusal(first) or field.speed_refusal(second)
        if refused is not None:
            speed, time_p = refused, refused
        end_interval, time_interval = _shown(final, final_p, alpha), _shown(speed, time_p, alpha)
        pairs.append(
            Pair(
                workload=field.facts.name,
                first=first,
                second=second,
                final=final,
                final_p_holm=final_p,
                time=speed,
                time_p_holm=time_p,
                relation=relation(time_interval, end_interval, direction=direction),
                reverse=relation(_turned(time_interval), _turned(end_interval), direction=direction),
                improvement=chances[field.facts.name, first, second],
                seeds_to_settle=_settle(
                    _ok(finals, field, first),
                    _ok(finals, field, second),
                    final_p,
                    alpha=alpha,
                    num_tests=num_tests,
                ),
            )
        )
    return pairs


def _ok(finals: Finals, field: Field, scheduler: str) -> FloatArray:
    values = finals[field.facts.name, scheduler]
    return values[np.isfinite(values)]


def _restricted(field: Field, scheduler: str) -> FloatArray:
    """min(steps to target, T) of the runs where it is known; their mean is the restricted mean."""
    if field.no_speed is not None:
        return np.empty(0)
    return np.minimum(field.times(scheduler), field.facts.total_steps)


def _shown(difference: Difference | Unavailable, p_holm: float | Unavailable, alpha: float) -> Interval | None:
    """The interval of a difference that stands after Holm; an unadjusted one would claim too much."""
    if isinstance(difference, Unavailable) or isinstance(p_holm, Unavailable) or p_holm > alpha:
        return None
    return difference.interval


def _turned(interval: Interval | None) -> Interval | None:
    """The interval of second - first."""
    return None if interval is None else Interval(-interval.high, -interval.low, interval.level, interval.method)


def _improvements(
    field: Field, finals: Finals, direction: Direction, seed: int, num_resamples: int, level: float
) -> dict[tuple[str, str, str], Improvement | Unavailable]:
    name = field.facts.name
    able = [s for s in field.compared if finals[name, s].size]
    found: dict[tuple[str, str, str], Improvement | Unavailable] = {
        (name, a, b): Unavailable("a schedule has no finished run") for a, b in combinations(field.compared, 2)
    }
    if len(able) < 2:
        return found
    rng = np.random.default_rng(derived_seed("improvement", seed, name))
    cells = [[finals[name, s] for s in able]]
    for pair in improvements(cells, direction=direction, rng=rng, num_resamples=num_resamples, level=level):
        found[name, able[pair.first], able[pair.second]] = pair.overall
    return found


def _settle(
    first: FloatArray,
    second: FloatArray,
    p_holm: float | Unavailable,
    *,
    alpha: float,
    num_tests: int,
) -> SeedsNeeded | Unavailable:
    if not isinstance(p_holm, Unavailable) and p_holm <= alpha:
        return Unavailable("the difference is shown already")
    return seeds_to_settle(first, second, alpha=alpha, num_comparisons=max(1, num_tests))
