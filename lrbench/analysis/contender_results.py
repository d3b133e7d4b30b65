"""Who may be the best of each workload, and over all: runs of the fields as costs (docs/metrics.md, rows 15 and 18)."""

from collections.abc import Mapping, Sequence

import numpy as np

from lrbench.analysis.compared import Compared
from lrbench.analysis.field import Field, endpoint_values
from lrbench.analysis.model import WorkloadContenders
from lrbench.analysis.statistics.contenders import Seeds, contenders
from lrbench.analysis.statistics.over_workloads import Levels, OverWorkloads, contenders_over_workloads
from lrbench.analysis.statistics.rate_choice import choice_variance
from lrbench.analysis.statistics.terms import Direction, FloatArray, Unavailable, sign
from lrbench.spec import RunState


def contenders_of(
    fields: Sequence[Field],
    sources: Mapping[str, str],
    *,
    endpoint: str,
    metric: str,
    direction: Direction,
    levels: Levels,
    margin: float,
    reference: str | None = None,
) -> tuple[list[WorkloadContenders], OverWorkloads | Unavailable]:
    """Compare the schedules of every workload, and of all together.

    Args:
        fields: the workloads of one section.
        sources: the data source of each workload.
        endpoint: of the final values.
        metric: validation metric, for the cost of diverged runs at step 0.
        direction: of both; what is maximized must be a share in [0, 1], whose cost is the error.
        levels: of the claims.
        margin: of equivalence.
        reference: the schedule that all others are compared with; None compares all pairs.
    """
    costs = {field.facts.name: _costs(field, endpoint, metric, direction) for field in fields}
    each = [
        WorkloadContenders(
            name,
            runs
            if isinstance(runs, Unavailable)
            else contenders(runs, alpha=levels.workload, margin=margin, reference=reference),
        )
        for name, runs in costs.items()
    ]
    refused = [f"{name}: {runs.reason}" for name, runs in costs.items() if isinstance(runs, Unavailable)]
    if refused:
        return each, Unavailable("; ".join(refused))
    if len(fields) < 2:
        return each, Unavailable("there is only one workload")
    able = {name: runs for name, runs in costs.items() if not isinstance(runs, Unavailable)}
    return each, contenders_over_workloads(able, sources, alpha=levels.across, margin=margin, reference=reference)


def _costs(field: Field, endpoint: str, metric: str, direction: Direction) -> dict[str, Seeds] | Unavailable:
    start = field.facts.initial
    found = {}
    for number, scheduler in enumerate(field.compared):
        runs = [run for run in field.runs(scheduler) if run.is_finished]
        values = endpoint_values(runs, endpoint=endpoint, metric=metric, direction=direction)
        costs = _cost(values, direction)
        diverged = ~np.isfinite(values)
        if diverged.any() and isinstance(start, Unavailable):
            return Unavailable(f"a run of {scheduler} diverged, and {start.reason}")
        if not isinstance(start, Unavailable):
            costs = np.where(diverged, _cost(np.array([start]), direction), costs)
        if not (costs > 0).all():
            return Unavailable(
                f"{endpoint} of {scheduler} leaves no cost above 0, so there are no ratios; use the loss"
            )
        # Seeds that are not recorded are nobody else's.
        seeds = tuple(-1 - 10_000 * number - i if run.seed is None else run.seed for i, run in enumerate(runs))
        found[scheduler] = Seeds(costs, seeds, _selection(field.compared[scheduler], start, direction))
    return found


def _selection(compared: Compared, start: float | Unavailable, direction: Direction) -> float:
    """Variance that the choice of the rate adds (docs/protocol.md), from the ladder that tuning trained.

    The ladder are the tuning runs that differ in rate and seed only, where most rates are. It is 0 where nothing was
    tuned, and where the ladder has too few rates or tuning seeds to tell.
    """
    tuning = [run for run in compared.others if run.role == "tuning" and run.is_finished and run.rate is not None]
    if compared.origin != "final" or not tuning:
        return 0.0
    ladders: dict[str, dict[float, dict[int, float]]] = {}
    for run in tuning:
        value = run.final(direction)
        cost = start if run.state is RunState.DIVERGED else value
        if isinstance(cost, Unavailable) or run.seed is None or run.rate is None:
            continue
        ladders.setdefault(run.beside_rate, {}).setdefault(run.rate, {})[run.seed] = cost
    ladder = max(ladders.values(), key=len, default={})
    shared = set.intersection(*(set(costs) for costs in ladder.values())) if ladder else set()
    rates = sorted(ladder)
    values = np.array([[ladder[rate][seed] for rate in rates] for seed in sorted(shared)])
    return choice_variance(rates, _cost(values, direction))


def _cost(values: FloatArray, direction: Direction) -> FloatArray:
    return values if sign(direction) > 0 else 1 - values
