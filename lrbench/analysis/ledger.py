"""What there was and what it cost: run states, steps and seconds, and how the numbers came about."""

from collections.abc import Sequence

from lrbench.analysis.audit.findings import listed
from lrbench.analysis.field import CONSTANT, Field
from lrbench.analysis.model import Cost, StateRow
from lrbench.analysis.prepare import Run, by_cell
from lrbench.analysis.statistics.curves import has_collapsed
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import MIN_SEEDS, Direction
from lrbench.spec import RunState


def states_of(
    runs: Sequence[Run], fields: Sequence[Field], *, direction: Direction
) -> tuple[list[StateRow], list[tuple[str, str, int]]]:
    """Count all runs by how they ended, and what a complete set of final runs lacks.

    A final run is missing where another schedule of the workload has one of its seed. Searches have no such
    plan: who was tried on what seeds is the sampler's choice.

    Returns:
        Rows by workload and schedule, and the planned final runs (workload, scheduler, seed).
    """
    schedulers = sorted({run.scheduler for run in runs})
    planned: list[tuple[str, str, int]] = []
    absent: dict[tuple[str, str], int] = {}
    for field in fields:
        finals = [run for s in field.compared for run in field.runs(s) if run.role == "final"]
        seeds = sorted({run.seed for run in finals if run.seed is not None})
        grid = [(field.facts.name, s, seed) for s in schedulers for seed in seeds]
        present = {(run.workload, run.scheduler, run.seed) for run in runs if run.role == "final"}
        planned += grid
        for cell in grid:
            if cell not in present:
                absent[cell[:2]] = absent.get(cell[:2], 0) + 1
    groups = by_cell(runs)
    rows = []
    for workload, scheduler in sorted({*groups, *absent}):
        here = groups.get((workload, scheduler), [])
        states = [run.state for run in here]
        collapsed = sum(
            run.state is RunState.OK
            and len(run.curve.steps) > 0
            and has_collapsed(run.curve.steps, run.curve.values, direction=direction)
            for run in here
        )
        missing = absent.get((workload, scheduler), 0)
        counts = [states.count(state) for state in (RunState.OK, RunState.DIVERGED, RunState.INCOMPLETE)]
        total = len(states) + missing
        rows.append(StateRow(workload, scheduler, counts[0], counts[1], counts[2], missing, total, collapsed))
    return rows, planned


def costs_of(fields: Sequence[Field]) -> list[Cost]:
    """Add up steps and seconds of every cell, for the search and for the runs that are compared."""
    rows = []
    for field in fields:
        for scheduler, compared in field.compared.items():
            rows.append(
                Cost(
                    workload=field.facts.name,
                    scheduler=scheduler,
                    tuning_runs=len(compared.others),
                    tuning_steps=_steps(compared.others),
                    tuning_seconds=_seconds(compared.others),
                    compared_runs=len(compared.runs),
                    compared_steps=_steps(compared.runs),
                    compared_seconds=_seconds(compared.runs),
                )
            )
    return rows


def sentences_of(fields: Sequence[Field], schedulers: Sequence[str]) -> list[str]:
    """Say what a reader must know of how the numbers of a section came about."""
    sentences = []
    cells = [compared for field in fields for compared in field.compared.values()]
    if any(compared.origin == "search" for compared in cells):
        sentences.append(
            "Some results are not from fresh seeds: the best rate of each schedule was chosen on the very runs "
            "that are compared, which is optimistic."
        )
    if len(fields) == 1:
        sentences.append(f"One workload: everything here is valid for this workload, {fields[0].facts.name}.")
    if len(schedulers) == 1:
        sentences.append(f"One schedule, {schedulers[0]}: there is nothing to compare it with.")
    most = max((len(compared.runs) for compared in cells), default=0)
    if most == 1:
        sentences.append("n = 1: one run a schedule and workload, so values only; no intervals and no tests.")
    elif most < MIN_SEEDS:
        sentences.append(f"n = {most}: below {MIN_SEEDS} runs a cell there are no intervals and no tests.")
    referential = [
        f.facts.name for f in fields if isinstance(f.facts.target, Target) and f.facts.target.self_referential_for
    ]
    if referential:
        sentences.append(
            f"The target is the median final value of {CONSTANT}, so {CONSTANT} reaches it late or in half of its "
            f"runs by construction: its own speed is self-referential ({listed(referential)})."
        )
    return sentences


def _steps(runs: Sequence[Run]) -> int:
    return int(sum(run.curve.steps[-1] for run in runs))


def _seconds(runs: Sequence[Run]) -> float | None:
    ends = [None if run.curve.seconds is None else float(run.curve.seconds[-1]) for run in runs]
    known = [end for end in ends if end is not None]
    return sum(known) if len(known) == len(ends) else None
