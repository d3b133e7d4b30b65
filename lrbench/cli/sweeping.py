"""The protocol of a sweep: equal trials for every schedule, chosen on validation, measured on fresh seeds.

    axes of the command line -> contestants, one a (workload, schedule), each with a study
    every study: batches of trials, each trained on the tuning seeds -> its best point
    every best point: trained on fresh seeds, where the test split is read -> the finals

All studies ask at the same time and their jobs are launched together, so that a launcher sees as many as there are.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrbench.cli.jobs import Job, Values, changed
from lrbench.cli.result import Result
from lrbench.cli.study_record import StudyRecord
from lrbench.config import Plan
from lrbench.config.plan import flat_values, plan_of, shaping_values
from lrbench.spec import RunState
from lrbench.sweep.arguments import Arguments
from lrbench.sweep.objective import Objective, mean_curve, objective_value, prune_lines, worst_value
from lrbench.sweep.space import Dimension, read_space, space_document
from lrbench.sweep.storage import open_storage
from lrbench.sweep.study import Search, Trial, TunedStudy, point_of

FIRST_FINAL_SEED = 1000  # far from the small numbers that people give as tuning seeds

Train = Callable[[Sequence[Job]], list[Result]]


@dataclass(frozen=True)
class Settings:
    """What a sweep does with its contestants; the words of conf/hydra/sweeper/optuna.yaml."""

    search: Search
    final_seeds: int
    budgets: Sequence[float]
    retune: bool
    objectives: Sequence[Objective]
    prune_share: float | None
    prune_from: float
    storage: str | None
    force_new_study: bool


class Interrupted(Exception):  # noqa: N818  # not an error: the user asked for it
    """A signal ended the sweep; the same command continues it."""


@dataclass
class Contestant:
    """One schedule on one workload.

    Attributes:
        name: of its study: workload/schedule.
        words: overrides that compose `values`.
        values: config without a point.
        changes: what `values` has beyond `words`, by dotted name.
        plan: of `values`; never trained.
        space: what is searched.
        seeds: tuning seeds.
        tuned: its study; None where the point comes from another budget.
        point_from: the contestant whose best point it takes; itself where it has a study.
    """

    name: str
    words: tuple[str, ...]
    values: Values
    changes: dict[str, Any]
    plan: Plan
    space: tuple[Dimension, ...]
    seeds: tuple[int, ...]
    tuned: TunedStudy | None = None
    point_from: "Contestant | None" = None
    record: StudyRecord | None = None
    finals: list[Result] = field(default_factory=list)

    @property
    def best(self) -> Trial | None:
        """The trial whose point the finals take."""
        source = self.point_from or self
        return source.tuned.best if source.tuned is not None else None

    def job(self, trial: Trial, *, seed: int, role: str, prune: Mapping[int, float] | None = None) -> Job:
        """Build the job that trains a trial's point with one seed."""
        prune = prune or {}
        changes = {
            **self.changes,
            **point_of(trial),
            "seed": seed,
            "training.read_test": role == "final",
            "study.name": self.name,
            "study.trial": trial.number,
            "study.role": role,
            "study.prune_steps": list(prune),
            "study.prune_values": list(prune.values()),
        }
        if self.record is not None:
            changes["study.parent"] = self.record.path.name
        if self.point_from is not None:
            changes["study.tags"] = {"transferred_from": self.point_from.name}
        return Job(self.words, changes, changed(self.values, changes))


def make_contestants(
    arguments: Arguments, settings: Settings, compose: Callable[[Sequence[Sequence[str]]], list[Values]]
) -> list[Contestant]:
    """Span the contestants by the axes and the budgets.

    Raises:
        ValueError: a space is wrong, a range is for a parameter that no contestant has, or two contestants are one.
    """
    contestants: dict[str, Contestant] = {}
    unused = set(arguments.ranges)
    for words, values in zip(arguments.combinations, compose(arguments.combinations), strict=True):
        ranges = {name: spec for name, spec in arguments.ranges.items() if _has(values, name)}
        unused -= set(ranges)
        space = read_space(values, fixed=arguments.fixed, ranges=ranges)
        searched = [dimension.name for dimension in space]
        of_budget = {}
        for fraction in sorted(settings.budgets, reverse=True):
            changes = {"study.searched": searched, **_scaled_budget(values, fraction)}
            scaled = changed(values, changes)
            plan = plan_of(scaled)
            name = "/".join([plan.workload, _schedule_name(scaled)])
            if name in contestants:
                raise ValueError(
                    f"two contestants are the same, {name}: an axis makes no difference to {' '.join(words) or 'them'}"
                )
            seeds = arguments.seeds or (values["seed"],)
            of_budget[fraction] = contestants[name] = Contestant(name, words, scaled, changes, plan, space, seeds)
        if not settings.retune:
            longest = of_budget[max(of_budget)]
            for contestant in of_budget.values():
                contestant.point_from = None if contestant is longest else longest
    if unused:
        raise ValueError(f"{sorted(unused)[0]} is to be searched, but no schedule, warmup or optimizer here has it")
    return list(contestants.values())


def run_sweep(
    contestants: Sequence[Contestant],
    settings: Settings,
    *,
    train: Train,
    tracking_uri: str,
    follow: Callable[[Path], None],
    code: str,
    digests: Mapping[str, str],
) -> None:
    """Tune every contestant, then train its best point on fresh seeds; leaves the results in the contestants.

    Args:
        contestants: see `make_contestants`.
        settings: of the sweep.
        train: trains jobs; raises Interrupted when a signal asks for it.
        tracking_uri: where the records of studies are sent; "" for nowhere.
        follow: has a record copied to MLflow.
        code: digest of what shapes curves.
        digests: of the data, by dataset name.

    Raises:
        ValueError: another sweep works on a study, or a study of something else has its name.
        Interrupted: the trials in hand stay running, and are taken up by the same command.
    """
    results_dir = Path(contestants[0].values["results_dir"])
    storage = open_storage(settings.storage or f"sqlite:///{results_dir}/studies.db")
    with ExitStack() as stack:
        for contestant in contestants:
            if contestant.point_from is None:
                stack.enter_context(_exclusively(results_dir, contestant.name))
                contestant.tuned = TunedStudy(
                    storage,
                    contestant.name,
                    space=contestant.space,
                    search=settings.search,
                    directions=[contestant.plan.dataset.task.direction] * len(settings.objectives),
                    document=document_of(contestant, settings, code=code, digests=digests),
                    force_new=settings.force_new_study,
                )
            contestant.record = stack.enter_context(
                StudyRecord.open(
                    results_dir / "runs",
                    contestant.plan,
                    study=contestant.name,
                    space=contestant.space,
                    search=settings.search,
                    final_seeds=settings.final_seeds,
                    tracking_uri=tracking_uri,
                )
            )
            follow(contestant.record.path)
        _tune(contestants, settings, train)
        _measure(contestants, settings, train)
        for contestant in contestants:
            assert contestant.record is not None
            source = contestant.point_from or contestant
            assert source.tuned is not None
            contestant.record.finish(source.tuned.summary(), contestant.finals, contestant.plan.dataset.task.objective)


def document_of(contestant: Contestant, settings: Settings, *, code: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """Everything that shapes the trials of a study, as JSON."""
    values = contestant.values
    searched = {dimension.name for dimension in contestant.space}
    shaping = flat_values(shaping_values(values))
    return {
        "space": space_document(contestant.space),
        "config": {k: v for k, v in shaping.items() if k not in searched and k not in ("seed", "training.read_test")},
        "sampler": settings.search.sampler,
        "suggestion_seed": settings.search.seed,
        "tuning_seeds": list(contestant.seeds),
        "objectives": list(settings.objectives),
        "pruning": None if settings.prune_share is None else [settings.prune_share, settings.prune_from],
        "code": code,
        "dataset": digests[values["dataset"]["name"]],
    }


def _tune(contestants: Sequence[Contestant], settings: Settings, train: Train) -> None:
    while True:
        asked = [(c, c.tuned, trial) for c in contestants if c.tuned is not None for trial in c.tuned.next_batch()]
        if not asked:
            return
        jobs = []
        for contestant, tuned, trial in asked:
            lines = _lines(contestant, tuned, trial, settings)
            jobs += [contestant.job(trial, seed=seed, role="tuning", prune=lines) for seed in contestant.seeds]
        results = iter(train(jobs))
        for contestant, tuned, trial in asked:
            tell(contestant, tuned, trial, [next(results) for _ in contestant.seeds], settings.objectives)


def tell(
    contestant: Contestant,
    tuned: TunedStudy,
    trial: Trial,
    results: Sequence[Result],
    objectives: Sequence[Objective],
) -> None:
    """Judge a trial by its runs, one a tuning seed."""
    notes: dict[str, Any] = {"records": [result.record.name for result in results if result.record is not None]}
    errors = [str(result.error) for result in results if result.error is not None]
    if errors:
        tuned.finish(trial, values=None, end="failed", curve={}, notes={**notes, "error": errors[0]})
        return
    metric = contestant.plan.dataset.task.objective
    curves = [_with_its_end(result) for result in results]
    worst = worst_value(metric, [result.curve for result in results])
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


def _lines(contestant: Contestant, tuned: TunedStudy, trial: Trial, settings: Settings) -> dict[int, float] | None:
    if settings.prune_share is None:
        return None
    return prune_lines(
        tuned.visible(trial.number),
        share=settings.prune_share,
        from_fraction=settings.prune_from,
        total_steps=contestant.plan.budget.total_steps,
        direction=contestant.plan.dataset.task.direction,
    )


def _measure(contestants: Sequence[Contestant], settings: Settings, train: Train) -> None:
    first = max([FIRST_FINAL_SEED, *(seed + 1 for c in contestants for seed in c.seeds)])
    seeds = range(first, first + settings.final_seeds)
    tuned = [(contestant, contestant.best) for contestant in contestants]
    jobs = [c.job(best, seed=seed, role="final") for c, best in tuned if best is not None for seed in seeds]
    if not jobs:
        return
    results = iter(train(jobs))
    for contestant, best in tuned:
        if best is not None:
            contestant.finals = [next(results) for _ in seeds]


def _has(values: Values, name: str) -> bool:
    group, _, key = name.partition(".")
    return key.partition(".")[0] in values[group]


def _scaled_budget(values: Values, fraction: float) -> dict[str, Any]:
    if fraction == 1:
        return {}
    budget = values["budget"]
    if budget["steps"] is not None:
        return {"budget.steps": max(1, round(fraction * budget["steps"]))}
    return {"budget.epochs": fraction * budget["epochs"]}


def _schedule_name(values: Values) -> str:
    warmup = values["warmup"]["name"]
    return str(values["scheduler"]["name"]) + ("" if warmup == "none" else f"+{warmup}")


@contextmanager
def _exclusively(results_dir: Path, name: str) -> Iterator[None]:
    """Hold a study for this process.

    Raises:
        ValueError: another process holds it.
    """
    folder = results_dir / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.+-]", "_", name)[:100] + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    lock = FileLock(folder / f"{stem}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"another sweep is running in {results_dir} on the study {name}; wait for it, or share the study between "
            "processes with hydra.sweeper.shared=true in each of them"
        ) from None
    try:
        yield
    finally:
        lock.release()
