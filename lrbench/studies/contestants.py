"""Who takes part in a sweep: one contestant for each schedule on each workload, and the jobs that train its points."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrbench.config import Plan
from lrbench.config.plan import contestant_name, flat_values, plan_of, shaping_values
from lrbench.runs.code import code_facts
from lrbench.runs.jobs import Job, Values, changed
from lrbench.runs.launch import dataset_key
from lrbench.runs.result import Result
from lrbench.search.arguments import Arguments
from lrbench.search.ladder import usual_document
from lrbench.search.objective import Objective
from lrbench.search.ranges import config_value, extremes
from lrbench.search.space import Dimension, read_space, space_document
from lrbench.search.study import Search, Trial, TunedStudy, point_of
from lrbench.studies.record import StudyRecord

NUM_TUNING_SEEDS = 3  # fewer choose a rate by its luck, see docs/protocol.md
FIRST_FINAL_SEED = 1000  # far from the small numbers that people give as tuning seeds


@dataclass(frozen=True)
class Settings:
    """What a sweep does with its contestants; the words of conf/hydra/sweeper/optuna.yaml."""

    search: Search
    final_seeds: int | Literal["settle"]
    looks: tuple[int, ...]
    alpha: float
    margin: float
    reference: str | None
    budgets: Sequence[float]
    retune: bool
    objectives: Sequence[Objective]
    prune_share: float | None
    prune_from: float
    storage: str | None
    force_new_study: bool
    shared: bool
    stale_seconds: float


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
    def source(self) -> TunedStudy:
        """The study whose best point the finals take."""
        source = self.point_from or self
        assert source.tuned is not None, "the sweep has not begun"
        return source.tuned

    def job(
        self,
        trial: Trial,
        *,
        seed: int,
        role: str,
        prune: Mapping[int, float] | None = None,
        point: Mapping[str, Any] | None = None,
    ) -> Job:
        """Build the job that trains a trial's point, or the one chosen from all trials, with one seed."""
        prune = prune or {}
        changes = {
            **self.changes,
            **(point_of(trial) if point is None else point),
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
        for dimension in space:
            for value in extremes(dimension.distribution):
                plan_of(changed(values, {dimension.name: config_value(value)}))  # refuses what leaves a domain
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
            seeds = arguments.seeds or tuple(range(values["seed"], values["seed"] + NUM_TUNING_SEEDS))
            of_budget[fraction] = contestants[name] = Contestant(name, words, scaled, changes, plan, space, seeds)
        if not settings.retune:
            longest = of_budget[max(of_budget)]
            for contestant in of_budget.values():
                contestant.point_from = None if contestant is longest else longest
    if unused:
        raise ValueError(f"{sorted(unused)[0]} is to be searched, but no schedule, warmup or optimizer here has it")
    return list(contestants.values())


def document_of(contestant: Contestant, settings: Settings, *, digests: Mapping[str, str]) -> dict[str, Any]:
    """Everything that shapes the trials of a study, as JSON."""
    values = contestant.values
    searched = {dimension.name for dimension in contestant.space}
    shaping = flat_values(shaping_values(values))
    return {
        "space": space_document(contestant.space),
        "config": {k: v for k, v in shaping.items() if k not in searched and k not in ("seed", "training.read_test")},
        "sampler": settings.search.sampler,
        **({"usual": usual_document(contestant.space)} if settings.search.sampler == "ladder" else {}),
        "suggestion_seed": settings.search.seed,
        "tuning_seeds": list(contestant.seeds),
        "objectives": list(settings.objectives),
        "pruning": None if settings.prune_share is None else [settings.prune_share, settings.prune_from],
        **code_facts(values),
        "dataset": digests[dataset_key(values)],
    }


def finals_of(contestants: Sequence[Contestant], num_seeds: int | Mapping[str, int]) -> list[tuple[Contestant, Job]]:
    """The jobs that train every best point on the same fresh seeds.

    Args:
        contestants: all of a sweep, tuned.
        num_seeds: of each, or by name; the first of one list of seeds for all.
    """
    first = max([FIRST_FINAL_SEED, *(seed + 1 for c in contestants for seed in c.seeds)])
    return [
        (contestant, contestant.job(choice.trial, seed=seed, role="final", point=choice.point))
        for contestant in contestants
        if (choice := contestant.source.choice) is not None
        for seed in range(first, first + (num_seeds if isinstance(num_seeds, int) else num_seeds[contestant.name]))
    ]


def records_of(contestants: Sequence[Contestant]) -> dict[Path, str]:
    """The records of a finished sweep by the role they have in it, whichever process trained them.

    Those of tuning trials are named by the studies themselves. A record may have been made for something else: a grid,
    or another study.
    """
    records: dict[Path, str] = {}
    for contestant in contestants:
        root = Path(contestant.values["results_dir"]) / "runs"
        trials = [] if contestant.tuned is None else contestant.tuned.trials
        records |= {root / name: "tuning" for trial in trials for name in trial.user_attrs.get("records", ())}
        records |= {result.record: "final" for result in contestant.finals if result.record is not None}
    return records


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
    return contestant_name(values) + ("" if warmup == "none" else f"+{warmup}")
