"""Rate against loss: the curve of every schedule, and rankings at shared rates (docs/metrics.md, rows 10 and 11)."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from lrbench.analysis.compared import Compared
from lrbench.analysis.field import Field, times_of
from lrbench.analysis.model import RateCurve, RatePoint, SharedRate
from lrbench.analysis.prepare import Run
from lrbench.analysis.statistics.cells import median
from lrbench.analysis.statistics.robustness import Basin, Sensitivity, basin_width, common_rates, rate_sensitivity
from lrbench.analysis.statistics.terms import FloatArray, Unavailable, sign
from lrbench.spec import RunState, derived_seed

_Grid = dict[float, list[Run]]


def rate_curves_of(field: Field, *, seed: int, num_resamples: int, level: float) -> list[RateCurve]:
    """Draw the searched rates of every schedule of a workload; schedules without recorded rates have no curve.

    Args:
        field: the workload.
        seed: of the bootstrap.
        num_resamples: of the bootstrap.
        level: of the intervals.
    """
    grids = {scheduler: _grid(compared) for scheduler, compared in field.compared.items()}
    grids = {scheduler: grid for scheduler, grid in grids.items() if grid}
    shared = _common(grids, field)
    curves = []
    for scheduler, grid in grids.items():
        chosen = {run.rate for run in field.runs(scheduler)}
        rng = np.random.default_rng(derived_seed("rate sensitivity", seed, field.facts.name, scheduler))
        has_speed = field.speed_refusal(scheduler) is None
        points = tuple(_point(rate, runs, field, has_speed) for rate, runs in sorted(grid.items()))
        curves.append(
            RateCurve(
                workload=field.facts.name,
                scheduler=scheduler,
                points=points,
                chosen=chosen.pop() if len(chosen) == 1 else None,
                at_edge=_edge(grid, field),
                sensitivity=_sensitivity(grid, shared, field, rng, num_resamples, level),
                basin=_basin(grid, field),
            )
        )
    return curves


def shared_rates_of(curves: Sequence[RateCurve], field: Field) -> list[SharedRate]:
    """Rank the schedules at every rate that two or more of them ran, where their order can be seen to reverse."""
    points = sorted(
        (
            # With a diverged run a rate is last, whatever the others reached.
            (point.rate, curve.scheduler, None if point.num_diverged else point.mean)
            for curve in curves
            for point in curve.points
            # A rate of which no run finished says nothing of its schedule.
            if point.values or point.num_diverged
        ),
        key=lambda point: point[:2],  # the mean may be None
    )
    groups: list[list[tuple[float, str, float | None]]] = []
    for point in points:
        # Equal up to float noise: 1e-3 may be written 0.001 or computed as 10 ** -3.
        if groups and point[0] <= groups[-1][0][0] * (1 + 1e-9):
            groups[-1].append(point)
        else:
            groups.append([point])
    found = []
    for group in groups:
        ranking = sorted(((name, mean) for _, name, mean in group), key=lambda pair: (_cost(pair[1], field), pair[0]))
        if len(ranking) > 1:
            found.append(SharedRate(field.facts.name, group[0][0], tuple(ranking)))
    return found


def _cost(mean: float | None, field: Field) -> float:
    return np.inf if mean is None else sign(field.direction) * mean


def _grid(compared: Compared) -> _Grid:
    """Finished and unfinished runs by rate: the tuning runs, all runs where there are none."""
    runs = [*compared.runs, *compared.others]
    tuning = [run for run in runs if run.role == "tuning"]
    grid: _Grid = {}
    for run in tuning or runs:
        if run.rate is not None and run.rate > 0:
            grid.setdefault(run.rate, []).append(run)
    return grid


def _finals(runs: Sequence[Run], field: Field) -> FloatArray:
    """Finals by seed, diverged = worst, so that the order of rows does not reach the bootstrap."""
    ordered = sorted(runs, key=lambda r: (r.seed is None, r.seed or 0, r.run_id))
    return np.array([run.final(field.direction) for run in ordered if run.is_finished])


def _point(rate: float, runs: Sequence[Run], field: Field, has_speed: bool) -> RatePoint:
    finals = _finals(runs, field)
    time = float(median(times_of([field.hit(run) for run in runs]))) if has_speed else np.inf
    ok = finals[np.isfinite(finals)]
    return RatePoint(
        rate=rate,
        mean=float(ok.mean()) if ok.size else None,
        time=time if np.isfinite(time) else None,
        values=tuple(float(value) for value in ok),
        num_diverged=int(finals.size - ok.size),
        num_incomplete=sum(run.state is RunState.INCOMPLETE for run in runs),
    )


def _known(grid: Mapping[float, Sequence[Run]], field: Field) -> dict[float, FloatArray]:
    """Finals at the rates that have any, increasing."""
    finals = {rate: _finals(grid[rate], field) for rate in sorted(grid)}
    return {rate: values for rate, values in finals.items() if values.size}


def _common(grids: Mapping[str, _Grid], field: Field) -> FloatArray:
    """Rates that all schedules ran; who ran one rate only searched nothing and takes no part."""
    known = [np.array(list(_known(grid, field))) for grid in grids.values()]
    searched = [rates for rates in known if rates.size > 1]
    return common_rates(searched) if searched else np.empty(0)


def _edge(grid: _Grid, field: Field) -> Literal["smallest", "largest"] | None:
    """Whether the best mean, where a diverged run makes its rate the worst, is at an end of several rates."""
    means = {rate: float((sign(field.direction) * values).mean()) for rate, values in _known(grid, field).items()}
    if len(means) < 2 or not np.isfinite(list(means.values())).any():
        return None
    best = min(means, key=lambda rate: (means[rate], rate))
    return "smallest" if best == min(means) else "largest" if best == max(means) else None


def _sensitivity(
    grid: _Grid, shared: FloatArray, field: Field, rng: np.random.Generator, num_resamples: int, level: float
) -> Sensitivity | Unavailable:
    initial = field.facts.initial
    if isinstance(initial, Unavailable):
        return initial
    if shared.size < 2:
        return Unavailable("the schedules of this workload have fewer than two rates in common")
    known = _known(grid, field)
    if len(known) < 2:
        return Unavailable("a sensitivity needs at least two rates")
    values = [known[min(known, key=lambda rate: abs(rate - common))] for common in shared]
    return rate_sensitivity(
        shared, values, initial=initial, direction=field.direction, rng=rng, num_resamples=num_resamples, level=level
    )


def _basin(grid: _Grid, field: Field) -> Basin | Unavailable:
    initial, known = field.facts.initial, _known(grid, field)
    if isinstance(initial, Unavailable):
        return initial
    if len(known) < 2:
        return Unavailable("a basin needs two rates or more")
    means = [float(values.mean()) for values in known.values()]
    return basin_width(list(known), means, initial=initial, direction=field.direction)
