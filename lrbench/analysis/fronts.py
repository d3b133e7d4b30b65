"""Speed against final value, per workload and over all: who is on the Pareto front (docs/metrics.md, row 17)."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from lrbench.analysis.field import NOT_REACHED, Field
from lrbench.analysis.model import Cell, FrontPoint
from lrbench.analysis.speed_profiles import has_times
from lrbench.analysis.statistics.cells import bootstrap, matrix, mean, median
from lrbench.analysis.statistics.pareto import front_membership, pareto_front
from lrbench.analysis.statistics.profiles import profile_score, speed_ratios
from lrbench.analysis.statistics.ranks import mean_ranks
from lrbench.analysis.statistics.terms import (
    MIN_SEEDS,
    BoolArray,
    Direction,
    FloatArray,
    Interval,
    Unavailable,
    worst,
)
from lrbench.spec import derived_seed

Finals = Mapping[tuple[str, str], FloatArray]


def front_of(
    field: Field, cells: Sequence[Cell], *, endpoints: Mapping[str, float], seed: int, num_resamples: int, level: float
) -> list[FrontPoint]:
    """Place the schedules of one workload; who was not run to the end is off the front.

    Args:
        field: the workload.
        cells: of the workload.
        endpoints: final value of every finished run by run_id, diverged = worst.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.
        level: of the intervals.
    """
    finals = {c.scheduler: _mean(c, field.direction) for c in cells if c.num_ok + c.num_diverged}
    times = {s: float(median(field.times(s))) for s in finals if field.no_speed is None and field.times(s).size}
    placed = [s for s in finals if s in times] if field.no_speed is None else []
    on_front: dict[str, bool] = {}
    if placed:
        marks = pareto_front([times[s] for s in placed], [finals[s] for s in placed], direction=field.direction)
        on_front = dict(zip(placed, map(bool, marks), strict=True))
    membership = _membership(field, placed, endpoints, seed, num_resamples)
    points = []
    for cell in cells:
        s = cell.scheduler
        time = times.get(s)
        reached = time is not None and bool(np.isfinite(time))
        points.append(
            FrontPoint(
                workload=field.facts.name,
                scheduler=s,
                time=float(time) if reached and time is not None else _why_no_time(field, s, time),
                time_interval=_median_interval(field, s, level) if field.no_speed is None else None,
                final=cell.final.mean,
                final_interval=cell.final.interval,
                reached=reached,
                on_front=on_front.get(s, False),
                membership=membership.get(s, Unavailable(f"needs {MIN_SEEDS} runs of every schedule, all finished")),
            )
        )
    return points


def overall_front(
    fields: Sequence[Field],
    finals: Finals,
    *,
    schedulers: Sequence[str],
    direction: Direction,
    seed: int,
    num_resamples: int,
) -> list[FrontPoint]:
    """Place the schedules over the workloads where both speed and final value compare; empty below two.

    Speed is the performance-profile score at tau_max 4, the final value the mean rank.
    """
    usable = [f for f in fields if has_times(f, schedulers) and all(finals[f.facts.name, s].size for s in schedulers)]
    if len(usable) < 2 or len(schedulers) < 2:
        return []
    times = [[f.times(s) for s in schedulers] for f in usable]
    ends = [[finals[f.facts.name, s] for s in schedulers] for f in usable]
    scores = profile_score(speed_ratios(matrix(times, statistic=median, direction="minimize")))
    places = mean_ranks(matrix(ends, statistic=mean, direction=direction), direction=direction)
    marks = _front(scores, places)
    shares: FloatArray | None = None
    rng = np.random.default_rng(derived_seed("overall front", seed))
    drawn_times = bootstrap(times, statistic=median, direction="minimize", rng=rng, num_resamples=num_resamples)
    drawn_ends = bootstrap(ends, statistic=mean, direction=direction, rng=rng, num_resamples=num_resamples)
    if drawn_times is not None and drawn_ends is not None:
        drawn = _front(profile_score(speed_ratios(drawn_times)), mean_ranks(drawn_ends, direction=direction))
        shares = np.asarray(drawn.mean(axis=0), dtype=np.float64)
    return [
        FrontPoint(
            workload=None,
            scheduler=s,
            time=float(scores[i]),
            time_interval=None,
            final=float(places[i]),
            final_interval=None,
            reached=True,
            on_front=bool(marks[i]),
            membership=Unavailable(f"needs {MIN_SEEDS} runs in every cell") if shares is None else float(shares[i]),
        )
        for i, s in enumerate(schedulers)
    ]


def _front(scores: FloatArray, places: FloatArray) -> BoolArray:
    return pareto_front(-scores, places, direction="minimize")


def _mean(cell: Cell, direction: Direction) -> float:
    """Mean final value; worst where a run diverged, which the mean that is shown leaves out."""
    return worst(direction) if cell.num_diverged or isinstance(cell.final.mean, Unavailable) else cell.final.mean


def _why_no_time(field: Field, scheduler: str, time: float | None) -> Unavailable:
    refused = field.speed_refusal(scheduler)
    if refused is not None:
        return refused
    if time is None:
        return Unavailable("no run finished")
    return Unavailable(NOT_REACHED)


def _membership(
    field: Field, placed: Sequence[str], endpoints: Mapping[str, float], seed: int, num_resamples: int
) -> dict[str, float]:
    """Front membership; none where a run did not finish, since it has no final value to go with its time."""
    if len(placed) < 2 or any(run.run_id not in endpoints for s in placed for run in field.runs(s)):
        return {}
    shares = front_membership(
        [field.times(s) for s in placed],
        [np.array([endpoints[run.run_id] for run in field.runs(s)]) for s in placed],
        direction=field.direction,
        rng=np.random.default_rng(derived_seed("front", seed, field.facts.name)),
        num_resamples=num_resamples,
    )
    return {} if shares is None else dict(zip(placed, map(float, shares), strict=True))


def _median_interval(field: Field, scheduler: str, level: float) -> Interval | None:
    """Interval of the median from order statistics: free of any distribution, and of its level only nearly.

    The k-th smallest and k-th largest of n cover the median with probability 1 - 2 * P(Binomial(n, 1/2) < k).
    The largest k that keeps the level is taken, and k = 1, the range, where none does. Misses sort last. None where all
    times are equal: they are as coarse as the evaluations, which is no certainty.
    """
    times = np.sort(field.times(scheduler))
    if times.size < MIN_SEEDS or not np.isfinite(median(times)):
        return None
    n = times.size
    k = max([k for k in range(1, n // 2 + 1) if 1 - 2 * stats.binom.cdf(k - 1, n, 0.5) >= level], default=1)
    reached = 1 - 2 * float(stats.binom.cdf(k - 1, n, 0.5))
    low, high = float(times[k - 1]), float(min(times[n - k], field.facts.total_steps))
    return Interval(low, high, reached, "order statistics of the median") if low < high else None
