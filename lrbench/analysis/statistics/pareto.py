"""Speed against final value, without a weighted score (docs/metrics.md, row 17)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.cells import mean, median
from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    NUM_RESAMPLES,
    BoolArray,
    Direction,
    FloatArray,
    as_costs,
    without_noise,
)

Relation = Literal["dominates", "faster only", "better only", "inconclusive"]


def pareto_front(times: npt.ArrayLike, finals: npt.ArrayLike, *, direction: Direction) -> BoolArray:
    """Mark the schedules that no other beats in one respect without losing in the other; ties are kept.

    Args:
        times: (..., num_schedules) to the target; inf = not reached, which still may end best.
        finals: (..., num_schedules); diverged = `terms.worst`.
        direction: of `finals`.

    Returns:
        (..., num_schedules) bool.
    """
    speed = without_noise(as_costs(times, direction="minimize"))
    final = without_noise(as_costs(finals, direction=direction))
    if speed.shape != final.shape:
        raise ValueError(f"times and finals must have one shape, got {speed.shape} and {final.shape}")
    a_speed, b_speed = speed[..., :, None], speed[..., None, :]
    a_final, b_final = final[..., :, None], final[..., None, :]
    beaten = (b_speed <= a_speed) & (b_final <= a_final) & ((b_speed < a_speed) | (b_final < a_final))
    return np.asarray(~beaten.any(axis=-1), dtype=bool)


def relation(*, faster: bool, better: bool) -> Relation:
    """Say what can be claimed for a schedule over another that it is shown to be faster or to end better than.

    "dominates" needs both advantages shown; "inconclusive" is the absence of a claim, not equality.
    """
    if faster and better:
        return "dominates"
    if faster:
        return "faster only"
    return "better only" if better else "inconclusive"


def front_membership(
    times: Sequence[npt.ArrayLike],
    finals: Sequence[npt.ArrayLike],
    *,
    direction: Direction,
    rng: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
) -> FloatArray | None:
    """Return how often each schedule is on the front of one workload when its seeds are resampled.

    A seed keeps its time and its final value together. Times are reduced by the median, where a miss counts,
    final values by the mean, which one diverged seed makes the worst.

    Args:
        times: one array of shape (num_seeds,) a schedule; inf = missed.
        finals: one array of shape (num_seeds,) a schedule, the same runs in the same order.
        direction: of `finals`.
        rng: explicit.
        num_resamples: of the bootstrap.

    Returns:
        (num_schedules,) frequencies, or None when a schedule has fewer than three seeds.

    Raises:
        ValueError: times and finals of a schedule are not of the same runs.
    """
    speeds = [as_costs(t, direction="minimize") for t in times]
    ends = [as_costs(f, direction=direction) for f in finals]
    if [s.shape for s in speeds] != [e.shape for e in ends]:
        raise ValueError("every schedule needs a time and a final value of each of its runs")
    if min((s.size for s in speeds), default=0) < MIN_SEEDS:
        return None
    draws = [rng.integers(s.size, size=(num_resamples, s.size)) for s in speeds]
    speed = np.stack([median(s[d]) for s, d in zip(speeds, draws, strict=True)], axis=-1)
    final = np.stack([mean(e[d]) for e, d in zip(ends, draws, strict=True)], axis=-1)
    return np.asarray(pareto_front(speed, final, direction="minimize").mean(axis=0), dtype=np.float64)
