"""The next point of a study, as a pure function of the seed, the trial's number and the finished trials before it.

A sampler that lives as long as its process gives other points after a kill. Here every suggestion makes a sampler of
its own, seeded by (seed, number), and shows it the same history: an interrupted study ends with the points of an
unbroken one.
"""

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lrbench.search.grid import grid_point
from lrbench.search.ladder import ladder_point
from lrbench.search.points import quasi_random_point, random_point, shared_rate
from lrbench.search.quiet import quiet_optuna
from lrbench.search.space import RATE, Dimension, parents_first
from lrbench.spec import derived_seed

SamplerName = Literal["ladder", "auto", "qmc", "random", "grid", "tpe", "gp", "cmaes"]
# Up to here, even coverage beats any model (init2winit, AlgoPerf).
_MOST_QUASI_RANDOM = 16
_MOST_START_UP = 10


@dataclass(frozen=True)
class Suggestion:
    """A point and what the sampler wants remembered with it.

    Attributes:
        params: by dotted name, of the active dimensions; in Optuna's form, see lrbench.search.ranges.config_value.
        distributions: of the same names.
        system_attrs: the sampler's notes, to be stored with the trial and to come back in the history.
    """

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


def suggest(
    space: Sequence[Dimension],
    *,
    sampler: SamplerName,
    seed: int,
    number: int,
    num_trials: int,
    directions: Sequence[str],
    history: Sequence[FrozenTrial],
    shares_rate: bool = True,
) -> Suggestion:
    """Suggest the point of trial `number`.

    Args:
        space: see lrbench.search.space.read_space.
        sampler: `ladder` tries the same rates for everyone and refines them; `qmc`, `random` and `grid` need no
            history; `tpe`, `gp` and `cmaes` start with quasi-random points and then follow a model, but for the rate;
            `auto` is `qmc` for up to 16 trials and `tpe` beyond.
        seed: of the study.
        number: of the trial, from 0.
        num_trials: of the study in the end, >= 1.
        directions: "minimize" or "maximize" for each objective.
        history: trials that this one may know of, see `visible_history`; in any order.
        shares_rate: whether the base rate comes from one sequence, whatever else is searched. False for studies of the
            time before, which go on as they began.

    Raises:
        ValueError: an unknown sampler, one that the space or the objectives do not allow, or a missing package.
    """
    name = _resolve(sampler, num_trials, directions)
    if name == "ladder":
        minimize = directions[0] == "minimize"
        return _of_params(space, ladder_point(space, seed=seed, number=number, minimize=minimize, history=history))
    if name == "grid":
        return _of_params(space, grid_point(space, number=number))
    if name == "random":
        return _of_params(space, random_point(space, seed=seed, number=number))
    if name == "qmc" or number < _num_start_up(num_trials):
        return _of_params(space, quasi_random_point(space, seed=seed, number=number, shares_rate=shares_rate))
    rate = next((d for d in space if d.name == RATE and shares_rate), None)
    drawn = {} if rate is None else {RATE: shared_rate(rate.distribution, seed=seed, number=number)}
    seed_of_sampler = derived_seed("suggestion", seed, number) % 2**32  # numpy's old generator takes no more
    with quiet_optuna():
        return _ask(space, _make_sampler(name, space, seed_of_sampler), directions, history, drawn)


def uses_history(sampler: SamplerName, num_trials: int) -> bool:
    """Whether later points depend on the results of earlier ones; if not, all trials may run at once."""
    return (sampler == "auto" and num_trials > _MOST_QUASI_RANDOM) or sampler in ("ladder", "tpe", "gp", "cmaes")


def batch_start(number: int, *, batch_size: int, first_batch: int = 0) -> int:
    """The first trial of a trial's batch; the first batch may have a size of its own."""
    return 0 if number < first_batch else first_batch + (number - first_batch) // batch_size * batch_size


def visible_history(
    trials: Iterable[FrozenTrial], *, number: int, batch_size: int, first_batch: int = 0
) -> list[FrozenTrial]:
    """What trial `number` may know of the others, whatever has finished since: batches are asked as a whole.

    Args:
        trials: of the study, any.
        number: of the trial to suggest.
        batch_size: trials with equal `batch_start` run at the same time.
        first_batch: see `batch_start`.

    Returns:
        the finished trials of earlier batches, and those of the same batch with smaller numbers as if still running.
    """
    start = batch_start(number, batch_size=batch_size, first_batch=first_batch)
    seen = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.number < start and trial.state.is_finished():
            seen.append(trial)
        elif start <= trial.number < number:
            seen.append(_as_running(trial))
    return seen


def _resolve(sampler: str, num_trials: int, directions: Sequence[str]) -> str:
    if sampler not in get_args(SamplerName):
        raise ValueError(f"hydra.sweeper.sampler must be one of {', '.join(get_args(SamplerName))}, got {sampler!r}")
    if sampler == "cmaes":
        if len(directions) > 1:
            raise ValueError(
                f"hydra.sweeper.sampler=cmaes takes one objective, got {len(directions)}; tpe takes several"
            )
        if importlib.util.find_spec("cmaes") is None:
            raise ValueError(
                "hydra.sweeper.sampler=cmaes needs the package cmaes: pip install 'lr-schedule-bench[search]'"
            )
    if sampler == "auto":
        return "tpe" if num_trials > _MOST_QUASI_RANDOM else "qmc"
    return sampler


def _num_start_up(num_trials: int) -> int:
    """Quasi-random trials before a model is trusted."""
    return max(1, min(_MOST_START_UP, num_trials // 2))


def _of_params(space: Sequence[Dimension], params: dict[str, Any]) -> Suggestion:
    return Suggestion(params, {d.name: d.distribution for d in space if d.name in params}, {})


def _make_sampler(name: str, space: Sequence[Dimension], seed: int) -> BaseSampler:
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, n_startup_trials=1, warn_independent_sampling=False)
    # Without groups, a conditional dimension would be left to a model of its own.
    conditional = any(dimension.when for dimension in space)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=1, group=conditional, multivariate=True if conditional else None
    )


def _ask(
    space: Sequence[Dimension],
    sampler: BaseSampler,
    directions: Sequence[str],
    history: Sequence[FrozenTrial],
    drawn: dict[str, Any],
) -> Suggestion:
    study = optuna.create_study(sampler=sampler, directions=[StudyDirection[word.upper()] for word in directions])
    # By number: samplers break ties by age.
    study.add_trials(sorted(history, key=lambda trial: trial.number))
    trial = study.ask()
    for dimension in parents_first(space):
        if dimension.name not in drawn and dimension.is_active(drawn):
            drawn[dimension.name] = _draw(trial, dimension)
    asked = study.get_trials(deepcopy=False)[-1]
    params = {dimension.name: drawn[dimension.name] for dimension in space if dimension.name in drawn}
    return Suggestion(params, _of_params(space, params).distributions, dict(asked.system_attrs))


def _draw(trial: optuna.Trial, dimension: Dimension) -> Any:
    name, distribution = dimension.name, dimension.distribution
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, log=distribution.log, step=distribution.step
        )
    assert isinstance(distribution, optuna.distributions.CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def _as_running(trial: FrozenTrial) -> FrozenTrial:
    running = optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )
    running.number = trial.number
    return running
