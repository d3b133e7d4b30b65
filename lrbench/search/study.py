"""One study: its trials asked in batches, told when their runs are done, the same after any number of kills."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrbench.search.choice import Choice, choose
from lrbench.search.ladder import NUM_RUNGS
from lrbench.search.quiet import quiet_optuna
from lrbench.search.ranges import config_value
from lrbench.search.space import Dimension
from lrbench.search.storage import (
    add_slot,
    add_trials,
    by_slot,
    create_or_load_study,
    find_slot,
    finish_trial,
    new_trial,
    plan_of,
    trials_of,
)
from lrbench.search.suggest import SamplerName, Suggestion, batch_start, suggest, uses_history, visible_history

Trial: TypeAlias = FrozenTrial
Storage: TypeAlias = RDBStorage
End = Literal["complete", "pruned", "failed"]
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_FEWEST_FOR_IMPORTANCE = 4
_BATCHES = 4  # rounds of a model-based search when nothing else is asked for


@dataclass(frozen=True)
class Search:
    """How the points of a study are found, the same for every study of a sweep.

    Attributes:
        num_trials: of each study, in total.
        sampler: see lrbench.search.suggest.
        seed: of the suggestions.
        at_once: trials of one batch; None for a quarter of them where later points follow from earlier ones, else all.
    """

    num_trials: int
    sampler: SamplerName
    seed: int
    at_once: int | None

    @property
    def batch_size(self) -> int:
        """Trials of one batch."""
        if self.at_once is not None:
            return self.at_once
        return max(1, self.num_trials // _BATCHES) if uses_history(self.sampler, self.num_trials) else self.num_trials

    @property
    def first_batch(self) -> int:
        """Trials of the first batch where it has a size of its own, else 0: the rungs of a ladder run at once."""
        return NUM_RUNGS if self.sampler == "ladder" and self.at_once is None else 0


class TunedStudy:
    """A study in its database.

    Args:
        storage: see lrbench.search.storage.open_storage.
        name: of the study.
        space: its dimensions.
        search: how points are found.
        directions: of each objective.
        document: everything that shapes its trials, JSON.
        force_new: make another study where the name is taken by one of another document.

    Raises:
        ValueError: the name is taken by a study of something else; says what differs.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        *,
        space: Sequence[Dimension],
        search: Search,
        directions: Sequence[str],
        document: Mapping[str, Any],
        force_new: bool,
    ) -> None:
        # Raising the number of trials later must not move the points that were asked before.
        plan = {
            "num_trials": search.num_trials,
            "batch_size": search.batch_size,
            "first_batch": search.first_batch,
            "shares_rate": True,
        }
        self.study: Study = create_or_load_study(storage, name, directions, document, plan=plan, force_new=force_new)
        self.space = space
        self._directions = directions
        self._search = search
        planned = plan_of(self.study)
        self._planned_trials = int(planned["num_trials"])
        self._batches = {"batch_size": int(planned["batch_size"]), "first_batch": int(planned.get("first_batch", 0))}
        self._shares_rate = bool(planned.get("shares_rate", False))  # studies that lack it go on as they began

    @property
    def trials(self) -> list[FrozenTrial]:
        """All of them, by number."""
        return trials_of(self.study)

    def next_start(self) -> int | None:
        """Number of the first trial of the batch that is to be trained now; None when the study is complete."""
        trials = {trial.number: trial for trial in self.trials}
        unfinished = [number for number in range(self._search.num_trials) if not _is_finished(trials.get(number))]
        return self.batch_start(unfinished[0]) if unfinished else None

    def batch(self, first: int) -> list[FrozenTrial]:
        """Return the trials of the batch that begins with this number, in order: those to be trained are running.

        Trials that a dead process left running are among these, and so are new ones up to the end of the batch. All
        earlier batches must be told.
        """
        trials = {trial.number: trial for trial in self.trials}
        batch = [n for n in range(first, self._search.num_trials) if self.batch_start(n) == first]
        asked = [number for number in batch if number not in trials]
        for number in asked:
            trials[number] = self._new(number, trials.values())
        added = add_trials(self.study, [trials[number] for number in asked]) if asked else []
        assert [trial.number for trial in added] == asked, "another process works on this study"
        trials |= dict(zip(asked, added, strict=True))
        return [trials[number] for number in batch]

    def take(self, slot: int) -> Trial:
        """Return the trial of a slot that this process has claimed: the one that a dead process left, or a new one.

        Between processes that share a study, numbers follow the order in which trials begin; the slot decides the
        point, which is that of a study that nobody shared: earlier batches must be finished, and what others of this
        batch have not added yet is worked out.
        """
        if (known := find_slot(self.study, slot)) is not None:
            return known
        trials = by_slot(self.trials)
        for number in range(self.batch_start(slot), slot):
            if number not in trials:
                trials[number] = self._new(number, trials.values())
        return add_slot(self.study, slot, self._suggest(slot, trials.values()))

    def batch_start(self, number: int) -> int:
        """The first trial of the batch that a trial, or slot, belongs to."""
        return batch_start(number, **self._batches)

    def visible(self, number: int) -> list[FrozenTrial]:
        """What trial `number` may know of the others; see `visible_history`."""
        return visible_history(self.trials, number=number, **self._batches)

    def finish(
        self,
        trial: FrozenTrial,
        *,
        values: Sequence[float] | None,
        end: End,
        curve: Mapping[int, float],
        notes: Mapping[str, Any],
    ) -> None:
        """Tell how a trial went.

        Args:
            trial: running.
            values: one an objective, finite; None for a failed one.
            end: pruned trials were cut short by the sweep; failed ones have no values.
            curve: validation metric by step, kept as the trial's intermediate values.
            notes: kept as user attributes.
        """
        # Optuna takes no reports of trials with several objectives.
        intermediate = curve if len(self._directions) == 1 else {}
        finish_trial(self.study, trial, values, _STATES[end], notes, intermediate)

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial with the best first objective; of equal ones the earliest. None while there is none."""
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        sign = 1 if self.study.directions[0] is StudyDirection.MINIMIZE else -1
        return min(complete, key=lambda trial: (sign * trial.values[0], trial.number), default=None)

    @property
    def choice(self) -> Choice | None:
        """The point to be trained on fresh seeds; None while no trial is complete."""
        best = self.best
        if best is None or self._search.sampler != "ladder":
            return None if best is None else Choice(best, point_of(best))
        minimize = self.study.directions[0] is StudyDirection.MINIMIZE
        return choose(self.space, self.trials, best, minimize=minimize)

    def summary(self) -> dict[str, Any]:
        """What there is to say of the study, as JSON."""
        trials, best, choice = self.trials, self.best, self.choice
        return {
            "study": self.study.study_name,
            "states": {state.name: sum(trial.state is state for trial in trials) for state in TrialState},
            "num_diverged_runs": sum(int(trial.user_attrs.get("num_diverged", 0)) for trial in trials),
            "pruned_at_step": {
                t.number: t.user_attrs["pruned_at_step"] for t in trials if "pruned_at_step" in t.user_attrs
            },
            "best": None if best is None else {"trial": best.number, "values": best.values, "params": point_of(best)},
            "chosen": None if choice is None else choice.point,
            "importance": self.importance(),
            "trials": [
                {"number": t.number, "state": t.state.name, "values": t.values, "params": point_of(t)} for t in trials
            ],
        }

    def importance(self) -> dict[str, float]:
        """Share of each dimension in the spread of the first objective (PED-ANOVA); empty where trials are too few."""
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        if len(complete) < _FEWEST_FOR_IMPORTANCE or len({trial.values[0] for trial in complete}) < 2:
            return {}
        from optuna.importance import get_param_importances  # scikit-learn, pandas: seconds

        with quiet_optuna(), warnings.catch_warnings():
            # PED-ANOVA asks what makes the target small, and warns of it though the target is made for that.
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes the importances")
            sign = 1 if self.study.directions[0] is StudyDirection.MINIMIZE else -1
            return dict(get_param_importances(self.study, target=lambda trial: sign * trial.values[0]))

    def _new(self, number: int, trials: Iterable[Trial]) -> Trial:
        trial = new_trial(self._suggest(number, trials), {})
        trial.number = number
        return trial

    def _suggest(self, number: int, trials: Iterable[Trial]) -> Suggestion:
        return suggest(
            self.space,
            sampler=self._search.sampler,
            seed=self._search.seed,
            number=number,
            num_trials=self._planned_trials,
            directions=self._directions,
            history=visible_history(trials, number=number, **self._batches),
            shares_rate=self._shares_rate,
        )


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """The hyperparameters of a trial as config values, by dotted name."""
    return {name: config_value(value) for name, value in trial.params.items()}


def _is_finished(trial: FrozenTrial | None) -> bool:
    return trial is not None and trial.state.is_finished()
