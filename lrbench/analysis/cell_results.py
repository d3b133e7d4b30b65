"""The cells of one workload: final values, times to target and spread of each schedule (METRICS.md, 1-9)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lrbench.analysis.cells import median, summarise
from lrbench.analysis.curves import (
    TimeToTarget,
    anytime_area,
    best_value,
    censoring_seconds,
    censoring_step,
    sustained_time_to_target,
)
from lrbench.analysis.field import Field, endpoint_values
from lrbench.analysis.model import AtFraction, Cell, MeanOfSeeds, RunResult, SeedSpread, TimeSummary
from lrbench.analysis.prepare import Run
from lrbench.analysis.profiles import speed_ratios
from lrbench.analysis.ranks import ranks
from lrbench.analysis.robustness import seed_spread
from lrbench.analysis.survival import kaplan_meier, restricted_mean, share_reached
from lrbench.analysis.targets import Target
from lrbench.analysis.terms import FloatArray, Unavailable, sign, wilson_share, worst
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
        _cell(field, scheduler, finals[scheduler], places[scheduler], ratios[scheduler], endpoint == metric, level)
        for scheduler in field.compared
    ]


def mean_of_seeds(values: FloatArray, field: Field, *, level: float, nothing: str = "no run finished") -> MeanOfSeeds:
    """Put `cells.summarise` into the model's words; diverged = worst."""
    if values.size == 0:
        return MeanOfSeeds(Unavailable(nothing), None, None, 0, 0)
    found = summarise(values, direction=field.direction, level=level)
    mean = Unavailable(f"all {found.num_seeds} runs diverged") if found.mean is None else found.mean
    return MeanOfSeeds(mean, found.sd, found.interval, found.num_ok, found.num_seeds)


def _cell(
    field: Field,
    scheduler: str,
    finals: FloatArray,
    rank: float | Unavailable,
    ratio: float | Unavailable,
    is_metric: bool,
    level: float,
) -> Cell:
    compared = field.compared[scheduler]
    runs = compared.runs
    states = [run.state for run in runs]
    rates = {run.rate for run in runs}
    finished = [run for run in runs if run.is_finished]
    last3 = [run.last3(field.direction) for run in finished]
    too_short = any(value is None for value in last3)
    num_diverged = states.count(RunState.DIVERGED)
    refused = field.speed_refusal(scheduler)
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
        final=mean_of_seeds(finals, field, level=level),
        last3=mean_of_seeds(
            np.array([] if too_short else last3, dtype=np.float64),
            field,
            level=level,
            nothing="a run has fewer than three evaluations" if too_short else "no run finished",
        ),
        best=mean_of_seeds(np.array([_best(run, field) for run in finished]), field, level=level),
        rank=rank,
        steps=refused or _steps(field, runs, level),
        sustained=refused or _sustained(field, runs, level),
        samples=refused or _samples(field, runs, level),
        seconds=refused or _seconds(field, runs, level),
        speed_ratio=ratio,
        anytime=_anytime(field, finished, level),
        spread=_spread(finals, field),
        path=() if scheduler in field.off_cadence else tuple(_path(field, runs, level)),
        runs=tuple(_run_result(field, run, is_metric) for run in runs),
    )


def _best(run: Run, field: Field) -> float:
    """Best evaluation; worst if the run diverged, which the word "optimistic" does not cover."""
    if run.state is RunState.DIVERGED:
        return worst(field.direction)
    return best_value(run.curve.steps, run.curve.values, direction=field.direction)


def _spread(finals: FloatArray, field: Field) -> SeedSpread | Unavailable:
    if finals.size == 0:
        return Unavailable("no run finished")
    found = seed_spread(finals, direction=field.direction)
    if isinstance(found, Unavailable):
        return found
    worst_seed = found.worst_seed if np.isfinite(found.worst_seed) else None
    return SeedSpread(found.sd, worst_seed, found.num_ok, found.num_seeds)


def _ranks(field: Field, finals: dict[str, FloatArray]) -> dict[str, float | Unavailable]:
    """Rank of the mean final values, 1 = best; schedules that wholly diverged share the last place."""
    finished = [s for s in finals if finals[s].size]
    costs = [sign(field.direction) * finals[s] for s in finished]
    means = [float(c[np.isfinite(c)].mean()) if np.isfinite(c).any() else np.inf for c in costs]
    places = ranks(np.array(means), direction="minimize") if means else np.empty(0)
    found = dict(zip(finished, map(float, places), strict=True))
    return {s: found.get(s, Unavailable("no run finished")) for s in finals}


def _ratios(field: Field) -> dict[str, float | Unavailable]:
    if field.no_speed is not None:
        return dict.fromkeys(field.compared, field.no_speed)
    times = {s: field.times(s) for s in field.compared}
    row = np.array([float(median(t)) if t.size else np.nan for t in times.values()])
    ratios: dict[str, float | Unavailable] = {}
    for scheduler, ratio in zip(times, speed_ratios(row), strict=True):
        if np.isnan(ratio):
            ratios[scheduler] = field.off_cadence.get(scheduler) or Unavailable(
                "no run was trained long enough to tell"
            )
        elif np.isinf(ratio):
            ratios[scheduler] = Unavailable("half of the runs or more never reached the target")
        else:
            ratios[scheduler] = float(ratio)
    return ratios


def _steps(field: Field, runs: Sequence[Run], level: float) -> TimeSummary:
    return _summary([field.hit(run) for run in runs], "steps", field.facts.total_steps, level)


def _sustained(field: Field, runs: Sequence[Run], level: float) -> TimeSummary:
    target = field.facts.target
    assert isinstance(target, Target)
    hits = []
    for run in runs:
        curve = run.curve
        end = censoring_step(curve.steps, total_steps=curve.total_steps, state=run.state)
        hit = sustained_time_to_target(
            curve.steps, curve.values, target=target.value, direction=field.direction, end=end
        )
        hits.append(hit)
    return _summary(hits, "steps", field.facts.total_steps, level)


def _samples(field: Field, runs: Sequence[Run], level: float) -> TimeSummary | Unavailable:
    size = field.facts.batch_size
    if size is None:
        return Unavailable("the batch size is not recorded, or not the same in all runs")
    hits = [field.hit(run) for run in runs]
    in_samples = [TimeToTarget(hit.value * size, hit.observed) for hit in hits]
    return _summary(in_samples, "samples", field.facts.total_steps * size, level)


def _seconds(field: Field, runs: Sequence[Run], level: float) -> TimeSummary | Unavailable:
    """Seconds count on one device only; the horizon is the shortest full run of the workload."""
    everyone = [run for scheduler in field.compared for run in field.runs(scheduler)]
    devices = {run.device for run in everyone}
    if len(devices) > 1 or None in devices:
        return Unavailable("seconds compare on one device only, and the runs' devices differ or are not recorded")
    ends = {run.run_id: _end_in_seconds(run) for run in everyone}
    known = [end for end in ends.values() if not isinstance(end, Unavailable)]
    if len(known) < len(ends):
        return Unavailable("the seconds of some runs are not recorded")
    full = [end for run in everyone if run.is_finished and not isinstance(end := ends[run.run_id], Unavailable)]
    if not full:
        return Unavailable("no run finished")
    hits = []
    for run in runs:
        hit, seconds, end = field.hit(run), run.curve.seconds, ends[run.run_id]
        assert seconds is not None
        assert not isinstance(end, Unavailable)
        at = int(np.searchsorted(run.curve.steps, hit.value))
        hits.append(TimeToTarget(float(seconds[at]), True) if hit.observed else TimeToTarget(end, False))
    return _summary(hits, "seconds", min(full), level)


def _end_in_seconds(run: Run) -> float | Unavailable:
    if run.curve.seconds is None:
        return Unavailable("seconds are not recorded")
    return censoring_seconds(run.curve.seconds, run.curve.steps, total_steps=run.curve.total_steps, state=run.state)


def _summary(
    hits: Sequence[TimeToTarget], unit: Literal["steps", "samples", "seconds"], horizon: float, level: float
) -> TimeSummary:
    times, observed = [hit.value for hit in hits], [hit.observed for hit in hits]
    middle = kaplan_meier(times, observed, level=level).median
    return TimeSummary(
        unit=unit,
        horizon=float(horizon),
        median=Unavailable("fewer than half of the runs reached the target") if middle is None else middle,
        restricted_mean=restricted_mean(times, observed, horizon=horizon, level=level)
        if horizon > 0
        else Unavailable("the runs took no time"),
        share=share_reached(times, observed, horizon=horizon, level=level),
    )


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
    found = summarise(np.array(areas, dtype=np.float64), direction="maximize", level=level)
    assert found.mean is not None  # areas are finite
    return MeanOfSeeds(found.mean, found.sd, found.interval, found.num_ok, found.num_seeds)


def _path(field: Field, runs: Sequence[Run], level: float) -> list[AtFraction]:
    """Values at fractions of the budget, at the evaluations that the schedules of one cadence share."""
    grid = max((run.curve.steps for run in runs), key=len)
    found = []
    for fraction in FRACTIONS:
        step = grid[grid <= fraction * field.facts.total_steps * (1 + 1e-9)].max(initial=0.0)
        values = [value for run in runs if (value := _value_at(run, float(step), field)) is not None]
        found.append(AtFraction(fraction, float(step), mean_of_seeds(np.array(values), field, level=level)))
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
