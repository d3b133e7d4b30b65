"""What a ranking depends on: the field, the reading of the end, the target, the length (part 10 of the report)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lrbench.analysis.across_results import common_fields
from lrbench.analysis.field import Field, steps_to, times_of
from lrbench.analysis.model import Cell, EndpointRanks, FlipNote, LadderRow, Robustness, SpreadRow
from lrbench.analysis.speed_profiles import time_matrix
from lrbench.analysis.statistics.cells import MeanOfSeeds, matrix, mean, median
from lrbench.analysis.statistics.profiles import profile_score, speed_ratios
from lrbench.analysis.statistics.ranks import leave_one_out_flips, mean_ranks
from lrbench.analysis.statistics.robustness import spread_test
from lrbench.analysis.statistics.survival import share_reached
from lrbench.analysis.statistics.targets import LADDER
from lrbench.analysis.statistics.terms import Direction, FloatArray, Unavailable, worst

Finals = Mapping[tuple[str, str], FloatArray]


def robustness_of(
    fields: Sequence[Field],
    cells: Sequence[Cell],
    finals: Finals,
    *,
    schedulers: Sequence[str],
    direction: Direction,
    level: float,
) -> Robustness:
    """Collect everything that a ranking may hang on.

    Args:
        fields: the workloads.
        cells: of all workloads.
        finals: of every cell, diverged = worst.
        schedulers: who is compared, sorted.
        direction: of the metric.
        level: of the intervals.
    """
    common, _ = common_fields(fields, finals, schedulers)
    return Robustness(
        flips=tuple(_flips(common, finals, schedulers, direction)),
        endpoints=tuple(_endpoints(common, cells, schedulers, direction)),
        ladder=tuple(row for field in fields for row in _ladder(field, level)),
        spread=tuple(_spread(field, finals) for field in fields),
    )


def _flips(common: Sequence[Field], finals: Finals, schedulers: Sequence[str], direction: Direction) -> list[FlipNote]:
    if len(schedulers) < 3 or not common:
        return []
    ends = matrix([[finals[f.facts.name, s] for s in schedulers] for f in common], statistic=mean, direction=direction)
    by_final = leave_one_out_flips(ends, overall=lambda m: mean_ranks(m, direction=direction), direction="minimize")
    notes = [FlipNote("final", schedulers[f.left_out], schedulers[f.ahead], schedulers[f.behind]) for f in by_final]
    usable, times = time_matrix(common, schedulers)
    if usable:
        by_speed = leave_one_out_flips(times, overall=lambda m: profile_score(speed_ratios(m)), direction="maximize")
        notes += [
            FlipNote("speed", schedulers[f.left_out], schedulers[f.ahead], schedulers[f.behind]) for f in by_speed
        ]
    return notes


def _endpoints(
    common: Sequence[Field], cells: Sequence[Cell], schedulers: Sequence[str], direction: Direction
) -> list[EndpointRanks]:
    """Mean ranks by the last, the mean of the last three, and the best evaluation of the validation metric."""
    by_key = {(cell.workload, cell.scheduler): cell for cell in cells}
    lasts = {key: _last(field, key[1]) for field in common for key in [(field.facts.name, s) for s in schedulers]}
    readings: dict[str, Callable[[tuple[str, str]], float | None]] = {
        "last": lambda key: lasts[key],
        "last3": lambda key: _mean(by_key[key].last3, direction),
        "best": lambda key: _mean(by_key[key].best, direction),
    }
    found: dict[str, list[float | Unavailable]] = {}
    for name, reading in readings.items():
        table = [[reading((field.facts.name, s)) for s in schedulers] for field in common]
        if not table:
            found[name] = [Unavailable("no workload was finished by every schedule")] * len(schedulers)
        elif any(value is None for row in table for value in row):
            found[name] = [Unavailable("some runs have fewer than three evaluations")] * len(schedulers)
        else:
            places = mean_ranks(np.array(table, dtype=np.float64), direction=direction)
            found[name] = [float(place) for place in places]
    return [EndpointRanks(s, found["last"][i], found["last3"][i], found["best"][i]) for i, s in enumerate(schedulers)]


def _last(field: Field, scheduler: str) -> float:
    return float(np.mean([run.final(field.direction) for run in field.runs(scheduler) if run.is_finished]))


def _mean(summary: MeanOfSeeds, direction: Direction) -> float | None:
    """The mean; worst if any diverged, None if it does not exist for another reason."""
    if summary.num_ok < summary.num_seeds:
        return worst(direction)
    return None if isinstance(summary.mean, Unavailable) else summary.mean


def _ladder(field: Field, level: float) -> list[LadderRow]:
    rungs = field.facts.ladder
    if isinstance(rungs, Unavailable):
        return []
    rows = []
    for fraction, target in zip(LADDER, rungs, strict=True):
        for scheduler in field.compared:
            hits = [steps_to(run, target, field.direction) for run in field.runs(scheduler)]
            share = share_reached([hit.observed for hit in hits], level=level)
            middle = float(median(times_of(hits)))
            time = middle if np.isfinite(middle) else None
            rows.append(LadderRow(field.facts.name, fraction, target, scheduler, share, time))
    return rows


def _spread(field: Field, finals: Finals) -> SpreadRow:
    groups = [finals[field.facts.name, s] for s in field.compared]
    return SpreadRow(field.facts.name, spread_test([group[np.isfinite(group)] for group in groups]))
