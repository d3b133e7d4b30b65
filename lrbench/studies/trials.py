"""Trials of a sweep: trained on the tuning seeds, judged by their validation curves."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lrbench.runs.errors import explain
from lrbench.runs.jobs import Job
from lrbench.runs.result import Result
from lrbench.search.choice import FINALS
from lrbench.search.objective import Objective, mean_curve, objective_value, prune_lines, worst_value
from lrbench.search.study import Trial
from lrbench.spec import RunState
from lrbench.studies.contestants import Contestant, Settings

Train = Callable[[Sequence[Job]], list[Result]]


class Interrupted(Exception):  # noqa: N818  # not an error: the user asked for it
    """A signal ended the sweep; the same command continues it."""


def train_trials(asked: Sequence[tuple[Contestant, Trial]], settings: Settings, train: Train) -> None:
    """Train trials on the tuning seeds and judge them.

    Args:
        asked: of one batch. The runs of those that are finished are looked up, and not judged again.
        settings: of the sweep.
        train: trains the jobs.

    Raises:
        ValueError: the machine failed under some of them, which stay open; the others are judged.
    """
    asked = [(contestant, trial) for contestant, trial in asked if not _is_gone(contestant, trial)]
    jobs = []
    for contestant, trial in asked:
        lines = _lines(contestant, trial, settings)
        jobs += [contestant.job(trial, seed=seed, role="tuning", prune=lines) for seed in contestant.seeds]
    results = train(jobs)
    of_each = iter(results)
    for contestant, trial in asked:
        of_trial = [next(of_each) for _ in contestant.seeds]
        if not trial.state.is_finished() and not any(result.is_lost for result in of_trial):
            tell(contestant, trial, of_trial, settings.objectives)
    check_machine(results)


def _is_gone(contestant: Contestant, trial: Trial) -> bool:
    """Whether a trial is finished and its runs could only be trained again: they failed, or were deleted."""
    root = Path(contestant.values["results_dir"]) / "runs"
    names = trial.user_attrs.get("records", ())
    is_kept = bool(names) and trial.values is not None and all((root / name).is_dir() for name in names)
    return trial.state.is_finished() and not is_kept


def check_machine(results: Sequence[Result]) -> None:
    """Refuse to go on where the machine failed under a run, which says nothing of what was tried.

    Raises:
        ValueError: it did; the same command trains these runs again.
    """
    lost = [result for result in results if result.is_lost]
    if lost:
        assert lost[0].error is not None
        raise ValueError(
            f"{len(lost)} of {len(results)} runs were lost to the machine, such as {lost[0].name}: "
            f"{explain(lost[0].error)}; what has finished is kept, the same command trains the rest"
        )


def tell(
    contestant: Contestant,
    trial: Trial,
    results: Sequence[Result],
    objectives: Sequence[Objective],
) -> None:
    """Judge a trial by its runs, one a tuning seed."""
    tuned = contestant.source
    notes: dict[str, Any] = {"records": [result.record.name for result in results if result.record is not None]}
    errors = [str(result.error) for result in results if result.error is not None]
    if errors:
        tuned.finish(trial, values=None, end="failed", curve={}, notes={**notes, "error": errors[0]})
        return
    metric = contestant.plan.endpoint
    curves = [_with_its_end(result) for result in results]
    worst = worst_value(metric, [result.curve for result in results])
    notes[FINALS] = [objective_value(objectives[0], [curve], worst=worst) for curve in curves]
    notes["num_diverged"] = sum(result.state is RunState.DIVERGED for result in results)
    pruned = [result.pruned for result in results if result.pruned is not None]
    if pruned:
        notes["pruned_at_step"] = min(pruned)
    tuned.finish(
        trial,
        values=[objective_value(objective, curves, worst=worst) for objective in objectives],
        end="pruned" if pruned else "complete",
        curve=mean_curve(curves, worst=worst),
        notes=notes,
    )


def _with_its_end(result: Result) -> dict[int, float]:
    """A run that diverged in a finite loss is judged as one that did not finish."""
    curve = dict(result.curve)
    if result.state is RunState.DIVERGED:
        curve[max(curve)] = math.nan
    return curve


def _lines(contestant: Contestant, trial: Trial, settings: Settings) -> dict[int, float] | None:
    if settings.prune_share is None:
        return None
    return prune_lines(
        contestant.source.visible(trial.number),
        share=settings.prune_share,
        from_fraction=settings.prune_from,
        total_steps=contestant.plan.budget.total_steps,
        direction=contestant.plan.direction,
    )
