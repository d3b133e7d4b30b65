"""The cells of one workload: final values, times to target and spread of each schedule (docs/metrics.md, rows 1-9)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from lrbench.analysis.field import NOT_REACHED, Field, endpoint_values
from lrbench.analysis.model import AtFraction, Cell, RunResult
from lrbench.analysis.prepare import Run
from lrbench.analysis.statistics.cells import MeanOfSeeds, median, summarise
from lrbench.analysis.statistics.curves import (
    anytime_area,
    best_value,
)
from lrbench.analysis.statistics.profiles import speed_ratios
from lrbench.analysis.statistics.ranks import ranks
from lrbench.analysis.statistics.robustness import seed_spread
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import FloatArray, Unavailable, wilson_share, worst
from lrbench.analysis.time_results import in_samples, in_seconds, in_steps, in_steps_sustained
from lrbench.results.schema import domain_of
from lrbench.spec import RunState

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)


def cells_of(field: Field, *, endpoint: str, metric: str, level: float) -> list[Cell]:
    """Summarise every schedule of a workload.

    Args:
        field: the workload.
        endpoint: metric of the final values.
        metric: validation metric of the curves.
        level: of the intervals.
    """
    finals = {
        scheduler: endpoint_values(field.runs(scheduler), endpoint=endpoint, metric=metric, direction=field.direction)
        for scheduler in field.compared
    }
    places, ratios = _ranks(field, finals), _ratios(field)
    return [
        _cell(
            field, scheduler, finals[scheduler], places[scheduler], ratios[scheduler], endpoint == metric, metric, level
        )
        for scheduler in field.compared
    ]


def _cell(
    field: Field,
    scheduler: str,
    finals: FloatArray,
    rank: float | Unavailable,
    ratio: float | Unavailable,
    is_metric: bool,
    metric: str,
    level: float,
) -> Cell:
    compared = field.compared[scheduler]
    runs = compared.runs
    states = [run.state for run in runs]
    rates = {run.rate for run in runs}
    finished = [run for run in runs if run.is_finished]
    last3 = [value for run in finished if (value := run.last3(field.direction)) is not None]
    too_short = len(last3) < len(finished)
    num_diverged = states.count(RunState.DIVERGED)
    refused = field.speed_refusal(scheduler)
    summary = partial(summarise, direction=field.direction, domain=domain_of(metric), level=level)
    return Cell(
        workload=field.facts.name,
        scheduler=scheduler,
        origin=compared.origin,
        rate=rates.pop() if len(rates) == 1 else None,
        num_runs=len(runs),
        num_ok=states.count(RunState.OK),
        num_diverged=num_diverged,
        num_incomplete=states.count(RunState.INCOMPLETE),
        diverged=wilson_share(num_diverged, len(finished), level=level),
        final=summary(finals),
        last3=summary([], nothing="a run has fewer than three evaluations") if too_short else summary(last3),
        best=summary([_best(run, field) for run in finished]),
        rank=rank,
        steps=refused or in_steps(field, runs, level),
        sustained=refused or in_steps_sustained(field, runs, level),
        samples=refused or in_samples(field, runs, level),
        seconds=refused or in_seconds(field, runs, level),
        speed_ratio=ratio,
        anytime=_anytime(field, finished, level),
        spread=seed_spread(finals, direction=field.direction),
        path=() if scheduler in field.off_cadence else tuple(_path(field, runs, summary)),
        runs=tuple(_run_result(field, run, is_metric) for run in runs),
    )


def _best(run: Run, field: Field) -> float:
    """Best evaluation; worst if the run diverged, which the word "optimistic" does not cover."""
    if run.state is RunState.DIVERGED:
        return worst(field.direction)
    return best_value(run.curve.steps, run.curve.values, direction=field.direction)


def _ranks(field: Field, finals: dict[str, FloatArray]) -> dict[str, float | Unavailable]:
    """Rank of the mean final values, 1 = best; schedules of which a run diverged share the last place."""
    finished = [s for s in finals if finals[s].size]
    means = [float(finals[s].mean()) for s in finished]
    places = ranks(np.array(means), direction=field.direction) if means else np.empty(0)
    found = dict(zip(finished, map(float, places), strict=True))
    return {s: found.get(s, Unavailable("no run finished")) for s in finals}


def _ratios(field: Field) -> dict[str, float | Unavailable]:
    if field.no_speed is not None:
        return dict.fromkeys(field.compared, field.no_speed)
    times = {s: field.times(s) for s in field.compared}
    row = np.array([float(median(t)) if t.size else np.nan for t in times.values()])
    ratios: dict[str, float | Unavailable] = {}
    for scheduler, ratio in zip(times, speed_ratios(row), strict=True):
        off = field.off_cadence.get(scheduler)
        ratios[scheduler] = off or (float(ratio) if np.isfinite(ratio) else Unavailable(NOT_REACHED))
    return ratios


def _anytime(field: Field, runs: Sequence[Run], level: float) -> MeanOfSeeds | Unavailable:
    target = field.facts.target
    if not isinstance(target, Target):
        return target
    areas = [
        anytime_area(
            run.curve.steps,
            run.curve.values,
            target=target.value,
            total_steps=run.total_steps,
            state=run.state,
            direction=field.direction,
        )
        for run in runs
    ]
    refusal = next((area for area in areas if isinstance(area, Unavailable)), None)
    if refusal is not None or not areas:
        return refusal or Unavailable("no run finished")
    return summarise(np.array(areas, dtype=np.float64), direction="maximize", level=level)


def _path(field: Field, runs: Sequence[Run], summary: Callable[[list[float]], MeanOfSeeds]) -> list[AtFraction]:
    """Values at fractions of the budget, at the evaluations that the schedules of one cadence share."""
    grid = max((run.curve.steps for run in runs), key=len)
    found = []
    for fraction in FRACTIONS:
        step = grid[grid <= fraction * field.facts.total_steps * (1 + 1e-9)].max(initial=0.0)
        values = [value for run in runs if (value := _value_at(run, float(step), field)) is not None]
        found.append(AtFraction(fraction, float(step), summary(values)))
    return found


def _value_at(run: Run, step: float, field: Field) -> float | None:
    """Value at an evaluation; worst when the run had diverged, None when it was not trained that far."""
    at = np.flatnonzero(run.curve.steps == step)
    if at.size:
        value = float(run.curve.values[at[0]])
        return value if np.isfinite(value) else worst(field.direction)
    return worst(field.direction) if run.state is RunState.DIVERGED else None


def _run_result(field: Field, run: Run, is_metric: bool) -> RunResult:
    is_ok = run.state is RunState.OK
    last3 = run.last3(field.direction)
    best = best_value(run.curve.steps, run.curve.values, direction=field.direction)
    hit = field.hit(run) if field.no_speed is None else None
    state: Literal["ok", "diverged", "incomplete"] = (
        "ok" if is_ok else "diverged" if run.state is RunState.DIVERGED else "incomplete"
    )
    return RunResult(
        run_id=run.run_id,
        seed=run.seed,
        state=state,
        final=(run.final(field.direction) if is_metric else run.test) if is_ok else None,
        last3=last3 if is_ok and last3 is not None and np.isfinite(last3) else None,
        best=best if np.isfinite(best) else None,
        time=None if hit is None else hit.value,
        reached=hit is not None and hit.observed,
    )
