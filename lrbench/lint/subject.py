"""What the rules look at: one trial's schedule with everything resolved, and nothing trained."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch.optim import lr_scheduler

from lrbench.schedules import Warmup
from lrbench.schedules.rates import MakeOptimizer, Rates, Schedule, make_rates
from lrbench.spec import steps_of


@dataclass(frozen=True)
class Part:
    """A torch scheduler and the stretch of the run that it governs.

    Attributes:
        scheduler: as it was built.
        length: steps it is in charge of; the budget less the warmup, unless it is a stage of a SequentialLR.
        is_whole: whether it is the schedule itself and not a part of a composite, so that its parameters are
            `scheduler.*` in the config.
    """

    scheduler: Any
    length: int
    is_whole: bool

    def setting(self, name: str, value: object) -> str:
        """Word a new value of a parameter as something to type."""
        return f"scheduler.{name}={value}" if self.is_whole else f"{name}={value} in the code that builds it"


@dataclass(frozen=True)
class Subject:
    """One trial's schedule.

    Attributes:
        name: of the schedule.
        given: the parameters bound to the schedule, by name.
        stretches: whether it is a family of lrbench, whose lengths follow the budget.
        parts: the torch schedulers at work; empty for factor functions and for what could not be built.
        rates: the table, or None when it could not be built.
        problem: why it could not, or "".
        total_steps: the budget.
        steps_per_epoch: >= 1.
        num_evaluations: after the first update, the last one included.
        warmup_steps: asked for; may exceed the budget.
        optimizer: name in the config.
        base_lr: `optimizer.lr`.
        momentum: the optimizer's own momentum or first beta; None where it has none.
        schedule_free: whether the optimizer averages iterates in place of a decay.
        safeguard_warmup: Prodigy's switch; None for every other optimizer.
    """

    name: str
    given: Mapping[str, Any]
    stretches: bool
    parts: tuple[Part, ...]
    rates: Rates | None
    problem: str
    total_steps: int
    steps_per_epoch: int
    num_evaluations: int
    warmup_steps: int
    optimizer: str
    base_lr: float
    momentum: float | None
    schedule_free: bool
    safeguard_warmup: bool | None

    @property
    def epochs(self) -> float:
        """Passes over the training split."""
        return self.total_steps / self.steps_per_epoch

    @property
    def main_lr(self) -> NDArray[Any]:
        """Rates after the warmup, shape (total_steps - warmup_steps,).

        Empty where they are not known: closed-loop schedules and those that could not be built.
        """
        if self.rates is None or self.rates.closed_loop:
            return torch.empty(0).numpy()
        return self.rates.lr[self.rates.warmup_steps :]


def make_subject(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    *,
    total_steps: int,
    steps_per_epoch: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
    optimizer: str = "optimizer",
) -> Subject:
    """Build what there is to look at; takes what `make_rates` takes.

    Args:
        schedule: hyperparameters bound (functools.partial).
        make_optimizer: base rate and other hyperparameters bound.
        total_steps: the budget, >= 1.
        steps_per_epoch: >= 1.
        num_evaluations: after the first update, >= 1.
        warmup: in front of the schedule.
        name: of the schedule.
        optimizer: name of the optimizer.

    Raises:
        ValueError: the optimizer refuses its parameters. A schedule that does so is a finding.
    """
    bound = schedule if isinstance(schedule, partial) else partial(schedule)
    built: list[Any] = []
    rates, problem = None, ""
    try:
        rates = make_rates(
            _recorded(bound, built),
            make_optimizer,
            total_steps=total_steps,
            num_evaluations=num_evaluations,
            warmup=warmup,
            name=name,
        )
    except ValueError as error:
        problem = str(error)
    warmup_steps = 0 if warmup is None else _asked_steps(warmup, total_steps)
    probe = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    group = probe.param_groups[0]
    return Subject(
        name=name,
        given=bound.keywords,
        stretches=getattr(bound.func, "__module__", "").startswith("lrbench."),
        parts=tuple(part for whole in built[-1:] for part in _parts(whole, total_steps - warmup_steps, is_whole=True)),
        rates=rates,
        problem=problem,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        num_evaluations=num_evaluations,
        warmup_steps=warmup_steps,
        optimizer=optimizer,
        base_lr=float(group["lr"]),
        momentum=group.get("momentum", group.get("betas", (None,))[0]),
        schedule_free=hasattr(probe, "train") and hasattr(probe, "eval"),
        safeguard_warmup=group.get("safeguard_warmup"),
    )


def _recorded(schedule: "partial[Any]", built: list[Any]) -> "partial[Any]":
    """Let a schedule put what it returns into `built`, so that it is there even when driving it fails."""

    def family(*args: Any, **kwargs: Any) -> Any:
        built.append(schedule.func(*args, **kwargs))
        return built[-1]

    # `make_rates` reads the signature, which leads through here to the schedule's own.
    return partial(functools.update_wrapper(family, schedule.func, updated=()), *schedule.args, **schedule.keywords)


def _asked_steps(warmup: Warmup, total_steps: int) -> int:
    return steps_of(warmup.fraction, total_steps) if warmup.fraction is not None else warmup.steps or 0


def _parts(scheduler: Any, length: int, *, is_whole: bool) -> Iterator[Part]:
    """Take composites apart; the stages of a SequentialLR share its length, links of a chain have all of it."""
    if isinstance(scheduler, lr_scheduler.SequentialLR):
        begins = [0, *scheduler._milestones]
        ends = [*scheduler._milestones, length]
        for stage, begin, end in zip(scheduler._schedulers, begins, ends, strict=True):
            yield from _parts(stage, max(0, min(end, length) - begin), is_whole=False)
    elif isinstance(scheduler, lr_scheduler.ChainedScheduler):
        for link in scheduler._schedulers:
            yield from _parts(link, length, is_whole=False)
    elif hasattr(scheduler, "optimizer"):  # anything else is the array of a factor function
        yield Part(scheduler, length, is_whole)
