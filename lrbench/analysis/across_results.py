"""All schedules over all workloads that every one of them ran (docs/metrics.md, rows 4, 5, 12, 13, 14; fact 5)."""

from collections.abc import Mapping, Sequence

import numpy as np

from lrbench.analysis.field import CONSTANT, Field
from lrbench.analysis.model import Across, Overall, OverallPair, RankedPair
from lrbench.analysis.speed_profiles import time_matrix
from lrbench.analysis.statistics.across import friedman, nemenyi, wilcoxon_holm
from lrbench.analysis.statistics.aggregates import Estimate, interquartile_mean, normalised_finals
from lrbench.analysis.statistics.cells import matrix, mean, median
from lrbench.analysis.statistics.improvements import improvements
from lrbench.analysis.statistics.profiles import SpeedUp, profile_score, speed_ratios, speed_up
from lrbench.analysis.statistics.ranks import RankInterval, mean_ranks, rank_intervals
from lrbench.analysis.statistics.terms import MIN_SEEDS, Direction, FloatArray, Unavailable
from lrbench.spec import derived_seed

Finals = Mapping[tuple[str, str], FloatArray]
_FEW_SEEDS = Unavailable(f"needs two workloads, and {MIN_SEEDS} finished runs in every cell")


def common_fields(
    fields: Sequence[Field], finals: Finals, schedulers: Sequence[str]
) -> tuple[list[Field], list[tuple[str, str]]]:
    """Separate the workloads that every schedule finished from the others, which are named with the reason."""
    common, left_out = [], []
    for field in fields:
        absent = [s for s in schedulers if (field.facts.name, s) not in finals or not finals[field.facts.name, s].size]
        if absent:
            left_out.append((field.facts.name, f"no finished run of {', '.join(absent)}"))
        else:
            common.append(field)
    return common, left_out


def across_of(
    fields: Sequence[Field],
    finals: Finals,
    *,
    schedulers: Sequence[str],
    direction: Direction,
    alpha: float,
    seed: int,
    num_resamples: int,
) -> Across | Unavailable:
    """Rank and test over workloads.

    Args:
        fields: the workloads.
        finals: of every cell, diverged = worst.
        schedulers: who is compared, sorted.
        direction: of the metric.
        alpha: level of the tests.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.
    """
    common, left_out = common_fields(fields, finals, schedulers)
    if len(schedulers) < 2:
        return Unavailable("there is only one schedule")
    if not common:
        return Unavailable("no workload was finished by every schedule")
    cells = [[finals[f.facts.name, s] for s in schedulers] for f in common]
    scores = matrix(cells, statistic=mean, direction=direction)
    places = mean_ranks(scores, direction=direction)

    def rng(purpose: str) -> np.random.Generator:
        return np.random.default_rng(derived_seed(purpose, seed))

    final_ranks = rank_intervals(
        cells,
        statistic=mean,
        direction=direction,
        overall=lambda m: mean_ranks(m, direction=direction),
        overall_direction="minimize",
        rng=rng("ranks"),
        num_resamples=num_resamples,
        level=1 - alpha,
    )
    iqms, no_headroom = _iqms(common, cells, schedulers, direction, rng("iqm"), num_resamples, 1 - alpha)
    speed_ranks = _speed_ranks(common, schedulers, rng("speed ranks"), num_resamples, 1 - alpha)
    speed_ups = _speed_ups(common, schedulers)
    overall = [
        Overall(
            scheduler=s,
            mean_rank=float(places[i]),
            ranks=_FEW_SEEDS if final_ranks is None else final_ranks[i],
            iqm=iqms[s],
            speed_up=speed_ups[s],
            speed_ranks=speed_ranks[s],
        )
        for i, s in enumerate(schedulers)
    ]
    chi = friedman(scores, direction=direction)
    cd = nemenyi(scores, direction=direction, alpha=alpha)
    tests = wilcoxon_holm(scores, direction=direction, alpha=alpha)
    chances = improvements(
        cells, direction=direction, rng=rng("improvements"), num_resamples=num_resamples, level=1 - alpha
    )
    return Across(
        workloads=tuple(f.facts.name for f in common),
        left_out=tuple(left_out),
        no_headroom=no_headroom,
        overall=tuple(sorted(overall, key=lambda o: (o.mean_rank, o.scheduler))),
        friedman=chi,
        critical_difference=cd if isinstance(cd, Unavailable) else cd.critical_difference,
        cliques=() if isinstance(cd, Unavailable) else cliques_of(schedulers, places, cd.critical_difference),
        tests=tests
        if isinstance(tests, Unavailable)
        else tuple(
            RankedPair(
                first=schedulers[t.first],
                second=schedulers[t.second],
                p_value=t.p_value,
                p_holm=t.p_holm,
                better=(schedulers[t.first] if t.sum_first > t.sum_second else schedulers[t.second])
                if t.significant
                else None,
                num_tied=t.num_tied,
                attainable=t.attainable,
            )
            for t in tests
        ),
        improvements=tuple(OverallPair(schedulers[c.first], schedulers[c.second], c.improvement) for c in chances),
    )


def cliques_of(
    schedulers: Sequence[str], places: FloatArray, critical_difference: float
) -> tuple[tuple[str, ...], ...]:
    """Return the largest groups of neighbours in rank that lie within the critical difference, two or more each."""
    order = np.argsort(places, kind="stable")
    groups: list[tuple[int, int]] = []
    for start in range(len(order)):
        within = np.flatnonzero(places[order] - places[order[start]] <= critical_difference)
        stop = int(within.max()) + 1
        if stop - start > 1 and not any(stop <= other for _, other in groups):
            groups.append((start, stop))
    return tuple(tuple(schedulers[i] for i in order[start:stop]) for start, stop in groups)


def _iqms(
    common: Sequence[Field],
    cells: list[list[FloatArray]],
    schedulers: Sequence[str],
    direction: Direction,
    rng: np.random.Generator,
    num_resamples: int,
    level: float,
) -> tuple[dict[str, Estimate | Unavailable], tuple[str, ...]]:
    """Interquartile means by schedule, and the workloads without headroom."""
    if len(common) < 2:
        return dict.fromkeys(schedulers, Unavailable("an aggregate over workloads needs two of them")), ()
    if CONSTANT not in schedulers:
        return dict.fromkeys(schedulers, Unavailable(f"the scale needs the schedule {CONSTANT!r}")), ()
    scaled = normalised_finals(cells, constant=list(schedulers).index(CONSTANT), direction=direction)
    flat = tuple(f.facts.name for f, kept in zip(common, scaled.headroom, strict=True) if not kept)
    if not scaled.cells:
        return dict.fromkeys(schedulers, Unavailable(f"nothing is better than {CONSTANT} on any workload")), flat
    found: dict[str, Estimate | Unavailable] = {}
    for i, s in enumerate(schedulers):
        estimate = interquartile_mean(
            [row[i] for row in scaled.cells], rng=rng, num_resamples=num_resamples, level=level
        )
        found[s] = _finite(estimate)
    return found, flat


def _finite(estimate: Estimate) -> Estimate | Unavailable:
    """An interquartile mean is -inf when more than its lower quarter diverged, and so may be a bound."""
    if not np.isfinite(estimate.value):
        return Unavailable("more than a quarter of the runs diverged")
    if estimate.interval is not None and not np.isfinite(estimate.interval.low):
        return Estimate(estimate.value, None)
    return estimate


def _speed_ranks(
    common: Sequence[Field], schedulers: Sequence[str], rng: np.random.Generator, num_resamples: int, level: float
) -> dict[str, RankInterval | Unavailable]:
    usable, _ = time_matrix(common, schedulers)
    if not usable:
        return dict.fromkeys(schedulers, _no_times(common))
    found = rank_intervals(
        [[f.times(s) for s in schedulers] for f in usable],
        statistic=median,
        direction="minimize",
        overall=lambda m: profile_score(speed_ratios(m)),
        overall_direction="maximize",
        rng=rng,
        num_resamples=num_resamples,
        level=level,
    )
    if found is None:
        return dict.fromkeys(schedulers, _FEW_SEEDS)
    return dict(zip(schedulers, found, strict=True))


def _speed_ups(common: Sequence[Field], schedulers: Sequence[str]) -> dict[str, SpeedUp | Unavailable]:
    usable, times = time_matrix(common, schedulers)
    if not usable:
        return dict.fromkeys(schedulers, _no_times(common))
    if CONSTANT not in schedulers:
        return dict.fromkeys(schedulers, Unavailable(f"the schedule {CONSTANT!r} was not run"))
    reference = times[:, list(schedulers).index(CONSTANT)]
    # A miss counts the budget plus one evaluation interval: the first time at which it could have been seen.
    misses = [f.facts.total_steps + (f.facts.eval_interval or 0.0) for f in usable]
    return {s: speed_up(times[:, i], reference, miss_times=misses) for i, s in enumerate(schedulers)}


def _no_times(fields: Sequence[Field]) -> Unavailable:
    refusals = [f.no_speed for f in fields if f.no_speed is not None]
    return refusals[0] if refusals else Unavailable("no workload has a time of every schedule")
