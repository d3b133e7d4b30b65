"""What every pure family shares: the step as an array, the end of the budget, phases.

A pure family is `factor(step, total_steps, *, ...)`: the multiple of the base rate at a zero-based step. Its
hyperparameters are keyword-only and carry their domains; every length is a fraction of the budget.
"""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol

import numpy as np
from numpy.typing import NDArray

from lrbench.spec import PART_ERRORS

__all__ = ["Factor", "ScheduleError", "check_phases", "factor", "factors_of", "half_cosine", "lift", "phase"]

Floats = NDArray[np.float64]
P = ParamSpec("P")


class ScheduleError(ValueError):
    """A schedule failed at a step; `name`, `step` (zero-based) and `problem` say which, when and how."""

    def __init__(self, name: str, step: int, problem: str) -> None:
        super().__init__(f"scheduler={name} {problem}")
        self.name = name
        self.step = step
        self.problem = problem

    def __reduce__(self) -> tuple[type["ScheduleError"], tuple[str, int, str]]:
        """Exceptions are pickled with their message alone; this one crosses processes."""
        return ScheduleError, (self.name, self.step, self.problem)

    @classmethod
    def raised(cls, name: str, step: int, error: BaseException) -> "ScheduleError":
        """Word what a schedule itself raised at a step."""
        return cls(name, step, f"raises at step {step}: {type(error).__name__}: {error}")


def factors_of(schedule: Callable[..., Any], total_steps: int, *, name: str) -> Floats:
    """The factors of every step, shape (total_steps,).

    They are asked for at once; a function of one step only (`math.cos(step)`, `if step < 10`) is called step by step.

    Raises:
        ScheduleError: the function raises at a step.
    """

    def at(step: int) -> float:
        try:
            return float(schedule(step, total_steps))
        except PART_ERRORS as error:
            raise ScheduleError.raised(name, step, error) from error

    try:
        factors = np.asarray(schedule(np.arange(total_steps), total_steps), dtype=np.float64)
    except PART_ERRORS as error:
        if str(error).startswith("scheduler."):  # our own families name the parameter and the rule
            raise
        factors = np.empty(0)
    if factors.shape == (total_steps,):
        return factors
    # One number for all steps may be a constant, or what a function made of an array that it did not expect.
    if factors.shape == () and all(at(step) == factors for step in (0, total_steps // 2, total_steps - 1)):
        return np.full(total_steps, factors)
    return np.array([at(step) for step in range(total_steps)])


class Factor(Protocol[P]):
    """A pure family as its callers see it: an int gives a float, an array a float64 array."""

    def __call__(self, step: Any, total_steps: int, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return the multiple of the base rate at `step`."""


def factor(family: Callable[Concatenate[Floats, int, P], Floats]) -> Factor[P]:
    """Let a formula over a float64 array of steps in [0, total_steps] take any int or array of ints.

    Steps past the end count as the end, so the formula never sees one. Scalars go through the array code too:
    numpy's scalar power differs from its vectorised one in the last bit, and a previewed rate must be the
    trained one.
    """

    @functools.wraps(family)
    def pointwise(step: Any, total_steps: int, *args: P.args, **kwargs: P.kwargs) -> Any:
        steps = np.clip(np.atleast_1d(np.asarray(step, dtype=np.float64)), 0, total_steps)
        factors = family(steps, total_steps, *args, **kwargs)
        return float(factors[0]) if np.ndim(step) == 0 else factors

    return pointwise


def phase(step: Floats, start: int, end: int) -> Floats:
    """Share of the phase from step `start` to step `end` that is done, in [0, 1]; an empty one is done."""
    if end <= start:
        return np.where(step >= start, 1.0, 0.0)
    return np.clip((step - start) / (end - start), 0.0, 1.0)


def half_cosine(share: Floats) -> Floats:
    """Half a cosine, from 1 at share 0 to 0 at share 1."""
    return (1 + np.cos(np.pi * share)) / 2


def lift(shape: Floats, min_ratio: float) -> Floats:
    """Squeeze a shape in [0, 1] into [min_ratio, 1]."""
    return min_ratio + (1 - min_ratio) * shape


def check_phases(**fractions: float) -> None:
    """Refuse phases that do not fit in the budget one after the other.

    Raises:
        ValueError: the fractions sum to more than 1.
    """
    if sum(fractions.values()) > 1 + 1e-9:
        names = " + ".join(f"scheduler.{name}" for name in fractions)
        values = ", ".join(f"{name}={value}" for name, value in fractions.items())
        raise ValueError(f"{names} must be at most 1, the whole budget, got {values}")
