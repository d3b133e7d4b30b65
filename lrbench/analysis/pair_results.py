"""Every pair of schedules on every workload: who ends better, who is faster, what may be claimed (rows 15, 17)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from lrbench.analysis.field import Field
from lrbench.analysis.model import Pair
from lrbench.analysis.statistics.improvements import Improvement, improvement
from lrbench.analysis.statistics.pairs import Difference, SeedsNeeded, holm_of, seeds_to_settle, welch
from lrbench.analysis.statistics.pareto import relation
from lrbench.analysis.statistics.survival import LogRank, RestrictedMean, logrank, restricted_mean
from lrbench.analysis.statistics.terms import Direction, FloatArray, Unavailable, sign

Finals = dict[tuple[str, str], FloatArray]  # (workload, scheduler) -> finished runs, diverged = worst


def pairs_of(
    fields: Sequence[Field],
    finals: Finals,
    *,
    direction: Direction,
    alpha: float,
) -> list[Pair]:
    """Compare all pairs on all workloads; Holm goes over all tests of final values, and over all of times.

    Args:
        fields: the workloads.
        finals: of every cell.
        direction: of the metric.
        alpha: level of the tests.
    """
    level = 1 - alpha
    keys = [(field, a, b) for field in fields for a, b in combinations(field.compared, 2)]
    counted = {(field.facts.name, s): _counted(finals, field, s) for field in fields for s in field.compared}
    cells = [(counted[field.facts.name, a], counted[field.facts.name, b]) for field, a, b in keys]
    ends = [_final_difference(a, b, direction=direction, level=level) for a, b in cells]
    times = [_time_difference(field, a, b, level=level) for field, a, b in keys]
    num_tests = max(1, sum(isinstance(end, Difference) for end in ends))
    pairs = []
    for (field, first, second), cell, end, end_p, time, time_p in zip(
        keys, cells, ends, holm_of(ends), times, holm_of(times), strict=True
    ):
        better = sign(direction) * _shown(end, end_p, alpha)
        faster = _shown(time, time_p, alpha)
        pairs.append(
            Pair(
                workload=field.facts.name,
                first=first,
                second=second,
                final=end,
                final_p_holm=end_p,
                time=time,
                time_p_holm=time_p,
                relation=relation(faster=faster < 0, better=better < 0),
                reverse=relation(faster=faster > 0, better=better > 0),
                improvement=_improvement(finals, field, first, second, direction),
                seeds_to_settle=_settle(cell[0], cell[1], end_p, alpha=alpha, num_tests=num_tests),
            )
        )
    return pairs


def _counted(finals: Finals, field: Field, scheduler: str) -> FloatArray | Unavailable:
    """Final values as a test of means counts them: a diverged run has the value of step 0, and is never left out."""
    values = finals[field.facts.name, scheduler]
    diverged = ~np.isfinite(values)
    if not diverged.any():
        return values
    if isinstance(field.facts.initial, Unavailable):
        return Unavailable(f"{scheduler} has runs that diverged, and no value at step 0 to count for them")
    return np.where(diverged, field.facts.initial, values)


def _final_difference(
    first: FloatArray | Unavailable, second: FloatArray | Unavailable, *, direction: Direction, level: float
) -> Difference | Unavailable:
    if isinstance(first, Unavailable):
        return first
    return second if isinstance(second, Unavailable) else welch(first, second, direction=direction, level=level)


def _time_difference(field: Field, first: str, second: str, *, level: float) -> Difference | Unavailable:
    """Difference of min(steps to target, T), whose means are the restricted means.

    Tested as final values are (all hit against none hit is the exact logrank test then), and by logrank where a run did
    not finish, so that its time is censored.
    """
    refused = field.speed_refusal(first) or field.speed_refusal(second)
    if refused is not None:
        return refused
    horizon = field.facts.total_steps
    samples = [[field.hit(run) for run in field.runs(s)] for s in (first, second)]
    if all(hit.observed or hit.value >= horizon for hits in samples for hit in hits):
        a, b = (np.array([hit.value for hit in hits]) for hits in samples)
        return welch(a, b, direction="minimize", level=level)
    times, observed = zip(*[([h.value for h in hits], [h.observed for h in hits]) for hits in samples], strict=True)
    own, other = (restricted_mean(t, o, horizon=horizon, level=level) for t, o in zip(times, observed, strict=True))
    test = logrank(times[0], observed[0], times[1], observed[1])
    for part in (own, other, test):
        if isinstance(part, Unavailable):
            return part
    assert isinstance(own, RestrictedMean)
    assert isinstance(other, RestrictedMean)
    assert isinstance(test, LogRank)
    return Difference(own.value - other.value, None, None, test.p_value, own.num_runs, other.num_runs)


def _shown(difference: Difference | Unavailable, p_holm: float | Unavailable, alpha: float) -> float:
    """The difference where it stands after Holm, else 0."""
    if isinstance(difference, Unavailable) or isinstance(p_holm, Unavailable) or p_holm > alpha:
        return 0.0
    return difference.value


def _improvement(
    finals: Finals, field: Field, first: str, second: str, direction: Direction
) -> Improvement | Unavailable:
    a, b = finals[field.facts.name, first], finals[field.facts.name, second]
    if not (a.size and b.size):
        return Unavailable("a schedule has no finished run")
    return improvement(a, b, direction=direction)


def _settle(
    first: FloatArray | Unavailable,
    second: FloatArray | Unavailable,
    p_holm: float | Unavailable,
    *,
    alpha: float,
    num_tests: int,
) -> SeedsNeeded | Unavailable:
    if isinstance(first, Unavailable):
        return first
    if isinstance(second, Unavailable):
        return second
    if not isinstance(p_holm, Unavailable) and p_holm <= alpha:
        return Unavailable("the difference is shown already")
    return seeds_to_settle(first, second, alpha=alpha, num_comparisons=num_tests)
