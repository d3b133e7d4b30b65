"""Times to target of the runs of a cell, in steps, samples and seconds (docs/metrics.md, row 2)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from lrbench.analysis.field import NOT_REACHED, Field, times_of
from lrbench.analysis.model import TimeSummary
from lrbench.analysis.prepare import Run
from lrbench.analysis.statistics.cells import median
from lrbench.analysis.statistics.curves import (
    TimeToTarget,
    censoring_seconds,
    sustained_time_to_target,
)
from lrbench.analysis.statistics.survival import restricted_mean, share_reached
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import Unavailable


def in_steps(field: Field, runs: Sequence[Run], level: float) -> TimeSummary:
    """Summarise the first hits in steps, the headline."""
    return _summary([field.hit(run) for run in runs], "steps", field.facts.total_steps, level)


def in_steps_sustained(field: Field, runs: Sequence[Run], level: float) -> TimeSummary:
    """Summarise from when on the target stays reached to the end."""
    target = field.facts.target
    assert isinstance(target, Target)
    hits = []
    for run in runs:
        hit = field.hit(run)
        if hit.observed:
            steps, values, end = run.curve.steps, run.curve.values, float(run.total_steps)
            hit = sustained_time_to_target(steps, values, target=target.value, direction=field.direction, end=end)
        hits.append(hit)
    return _summary(hits, "steps", field.facts.total_steps, level)


def in_samples(field: Field, runs: Sequence[Run], level: float) -> TimeSummary | Unavailable:
    """Summarise the first hits in training examples."""
    size = field.facts.batch_size
    if size is None:
        return Unavailable("the batch size is not recorded, or not the same in all runs")
    hits = [field.hit(run) for run in runs]
    in_samples = [TimeToTarget(hit.value * size, hit.observed) for hit in hits]
    return _summary(in_samples, "samples", field.facts.total_steps * size, level)


def in_seconds(field: Field, runs: Sequence[Run], level: float) -> TimeSummary | Unavailable:
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
    middle = float(median(times_of(hits)))
    return TimeSummary(
        unit=unit,
        horizon=float(horizon),
        median=middle if np.isfinite(middle) else Unavailable(NOT_REACHED),
        restricted_mean=restricted_mean(times, observed, horizon=horizon, level=level)
        if horizon > 0
        else Unavailable("the runs took no time"),
        share=share_reached(observed, level=level),
    )
