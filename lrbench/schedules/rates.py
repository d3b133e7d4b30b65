"""The table of rates: the learning rate (and momentum) of every step of one trial.

A schedule is a callable in one of two shapes, told apart by the name of its first parameter:

* `factor(step, total_steps, ...)` returns the multiple of the base rate: pure and vectorised;
* `family(optimizer, ...) -> LRScheduler` follows torch's convention; it is driven on a stand-in optimizer with one
  dummy parameter. `total_steps` and `num_evaluations` are passed where the signature asks for them.

A torch scheduler whose `step` takes `metrics` is closed-loop: its rates are known up to the next evaluation only,
and `Rates.observe` moves what follows. Everything that previews, lints, trains, logs or exports reads this table,
so the rate that is drawn, used and logged is one number.
"""

import inspect
import warnings
from bisect import insort
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer

from lrbench.schedules.factors import ScheduleError, factors_of
from lrbench.schedules.warmup import Warmup
from lrbench.spec import PART_ERRORS

Schedule = Callable[..., Any]
MakeOptimizer = Callable[[Iterable[Any]], Optimizer]

_LINE_TOLERANCE = 0.005  # by which lines between the points of a curve may miss it; no chart shows less


@dataclass
class Rates:
    """Rates of one trial, one entry a step.

    Attributes:
        lr: shape (total_steps,), float64; entry t is used by update t (zero-based). A closed-loop schedule rewrites
            what lies ahead.
        momentum: shape (total_steps,), or None when the schedule leaves the optimizer's momentum alone.
        warmup_steps: leading entries that belong to the warmup.
        name: of the schedule, for messages.
    """

    lr: NDArray[np.float64]
    momentum: NDArray[np.float64] | None
    warmup_steps: int
    name: str
    _controller: "_Stepper | None" = None

    @property
    def closed_loop(self) -> bool:
        """Whether the rates depend on what the training observes."""
        return self._controller is not None

    def observe(self, step: int, val_loss: float) -> None:
        """Let a closed-loop schedule see the validation loss after `step` updates and move the rates from there on.

        Nothing happens for open-loop schedules, nor before the first update after the warmup.

        Raises:
            ScheduleError: when the schedule raises, or answers with a rate that is negative or not finite.
        """
        if self._controller is None or step <= self.warmup_steps:
            return
        try:
            self._controller.scheduler.step(val_loss)
        except PART_ERRORS as error:
            raise ScheduleError.raised(self.name, step, error) from error
        self.lr[step:] = self._controller.lr
        _check(self.lr[step : step + 1], self.name, first_step=step)

    def points(self, begin: int, end: int, *, at_most: int) -> list[tuple[int, float, float | None]]:
        """Return (updates completed, rate, momentum or None) of the corners of updates `begin` to `end` - 1.

        Straight lines through them, from the update before `begin` on, are the curve within a two-hundredth of its
        largest value there, unless that takes more than `at_most` points. The last update is always among them, and
        so is the very first of a run.

        Args:
            begin: zero-based step of the first update.
            end: steps completed after the last one, >= begin.
            at_most: number of points, the very first aside.
        """
        if end == begin:
            return []
        before = max(begin - 1, 0)
        curves = [curve[before:end] for curve in (self.lr, self.momentum) if curve is not None]
        kept = _corners(np.stack(curves), at_most)[0 if begin == 0 else 1 :]
        momentum = [None] * len(kept) if self.momentum is None else curves[1][kept].tolist()
        return list(zip([before + i + 1 for i in kept], curves[0][kept].tolist(), momentum, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return what `observe` has changed; empty for open-loop schedules."""
        if self._controller is None:
            return {}
        # Copied twice over: torch's schedulers hand out, and some keep, references to their own dictionaries.
        return {
            "lr": torch.from_numpy(self.lr.copy()),
            "current": self._controller.lr,
            "scheduler": deepcopy(self._controller.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, into the table of the same schedule."""
        if self._controller is None:
            return
        self.lr[:] = state["lr"].numpy()
        self._controller.load_state_dict(deepcopy(state["scheduler"]))
        self._controller.optimizer.param_groups[0]["lr"] = state["current"]


def _corners(curves: NDArray[np.float64], at_most: int) -> list[int]:
    """Indices of the ends of some curves and of up to `at_most` - 1 points between, the worst missed one first.

    Args:
        curves: shape (number of curves, n); they get the same points.
        at_most: >= 1, the first end not counted.
    """
    num_points = curves.shape[1]
    kept = sorted({0, num_points - 1})
    scale = np.maximum(np.abs(curves).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    every = np.arange(num_points)
    while len(kept) <= at_most:
        lines = np.stack([np.interp(every, kept, curve[kept]) for curve in curves])
        missed = (np.abs(curves - lines) / scale).max(axis=0)
        worst = int(missed.argmax())
        if missed[worst] <= _LINE_TOLERANCE:
            break
        insort(kept, worst)
    return kept


def make_rates(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    *,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
) -> Rates:
    """Build the table of one trial.

    A warmup takes the first steps of the budget; the schedule gets the rest as its own budget, and the warmup climbs
    to the schedule's first rate. So every schedule, closed-loop ones included, takes every warmup.

    Args:
        schedule: see the module's docstring; hyperparameters bound (functools.partial).
        make_optimizer: builds the trial's optimizer, base rate included, for the parameters it is given.
        total_steps: the budget, >= 1.
        num_evaluations: evaluations after the first update, >= 1.
        warmup: in front of the schedule; None for none.
        name: used in messages.

    Raises:
        ScheduleError: a rate is negative or not finite, or the schedule raises at a step.
        ValueError: the warmup leaves no step, the schedule refuses its parameters, or it moves the momentum of an
            optimizer that averages its weights (schedule-free).
    """
    warmup_steps = 0 if warmup is None else warmup.num_steps(total_steps)
    steps_left = total_steps - warmup_steps
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    lr, momentum, controller = _main_rates(schedule, optimizer, steps_left, num_evaluations, name)
    if warmup is not None and warmup_steps:
        ramp = factors_of(warmup.shape, warmup_steps, name=f"{name}, warmup") * lr[0]
        lr = np.concatenate([ramp, lr])
        if momentum is not None:
            momentum = np.concatenate([np.full(warmup_steps, momentum[0]), momentum])
    _check(lr, name)
    return Rates(lr=lr, momentum=momentum, warmup_steps=warmup_steps, name=name, _controller=controller)


@dataclass
class _Stepper:
    """A torch scheduler on its stand-in optimizer."""

    optimizer: Optimizer
    scheduler: Any

    @property
    def lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def momentum(self) -> float | None:
        return _momentum(self.optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state but for the optimizer, which is made anew."""
        return {key: value for key, value in self._own_state().items() if value is not self.optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self._keeps_state:
            held = {key: value for key, value in self._own_state().items() if value is self.optimizer}
            self.scheduler.load_state_dict({**state, **held})
        else:
            vars(self.scheduler).update(state)

    def _own_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.scheduler.state_dict() if self._keeps_state else vars(self.scheduler)
        return state

    @property
    def _keeps_state(self) -> bool:
        """Whether the scheduler says what its state is; if not, it is its attributes."""
        return hasattr(self.scheduler, "state_dict") and hasattr(self.scheduler, "load_state_dict")


def _main_rates(
    schedule: Schedule, optimizer: Optimizer, total_steps: int, num_evaluations: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, _Stepper | None]:
    base_lr = float(optimizer.param_groups[0]["lr"])
    parameters = inspect.signature(schedule).parameters
    if next(iter(parameters), None) == "step":
        return base_lr * factors_of(schedule, total_steps, name=name), None, None

    own_momentum = _momentum(optimizer)  # before the scheduler, which may overwrite it at once
    known = {"total_steps": total_steps, "num_evaluations": num_evaluations}
    bound = getattr(schedule, "keywords", {})
    context = {key: value for key, value in known.items() if key in parameters and key not in bound}
    try:
        stepper = _Stepper(optimizer, schedule(optimizer, **context))
    except PART_ERRORS as error:
        # Our families name the parameter and the rule.
        own_words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            own_words if own_words.startswith("scheduler") else f"scheduler={name} cannot be made: {own_words}"
        ) from error
    lr = np.full(total_steps, stepper.lr)
    if "metrics" in inspect.signature(stepper.scheduler.step).parameters:
        return lr, None, stepper

    momentum = np.full(total_steps, np.nan if own_momentum is None else stepper.momentum)
    with warnings.catch_warnings():
        # The stand-in never takes an optimizer step, which torch believes to be a mistake.
        warnings.filterwarnings("ignore", message=r"(?s).*lr_scheduler\.step\(\).*optimizer\.step\(\)")
        for step in range(1, total_steps):
            try:
                stepper.scheduler.step()
            except PART_ERRORS as error:
                raise ScheduleError.raised(name, step, error) from error
            lr[step] = stepper.lr
            if own_momentum is not None:
                momentum[step] = stepper.momentum
    cycles_momentum = own_momentum is not None and bool(np.any(momentum != own_momentum))
    if cycles_momentum and hasattr(optimizer, "eval"):
        raise ValueError(
            f"the schedule moves the momentum, from which {type(optimizer).__name__} computes its averaged weights; "
            "write scheduler.cycle_momentum=false, or use an optimizer that does not average"
        )
    return lr, momentum if cycles_momentum else None, None


def _momentum(optimizer: Optimizer) -> float | None:
    """Momentum of SGD-like optimizers, the first beta of Adam-like ones, None for the others."""
    group = optimizer.param_groups[0]
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def _check(lr: NDArray[np.float64], name: str, *, first_step: int = 0) -> None:
    bad = np.flatnonzero(~(np.isfinite(lr) & (lr >= 0)))
    if bad.size:
        step = first_step + int(bad[0])
        problem = f"gives the rate {lr[bad[0]]} at step {step}; rates must be finite and not negative"
        raise ScheduleError(name, step, problem)
