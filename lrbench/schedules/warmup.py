"""Warmup shapes: how the rate climbs to the first rate of the schedule behind it.

Each is pure, `shape(step, warmup_steps, *, start_ratio, ...)`, over 0 <= step < warmup_steps, and reaches 1 at
step = warmup_steps, which is the schedule's own first step. With `start_ratio` 0 the first update is wasted.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lrbench.spec import Positive, Ratio, steps_of

__all__ = ["Warmup", "cosine_warmup", "exponential_warmup", "linear_warmup", "polynomial_warmup"]

Steps = NDArray[np.int64]
Floats = NDArray[np.float64]


class WarmupShape(Protocol):
    """A warmup with its parameters bound."""

    def __call__(self, step: Steps, warmup_steps: int, /) -> Floats:
        """Return the ratio of the schedule's first rate, shape as `step`."""


@dataclass(frozen=True)
class Warmup:
    """A shape and its length: a fraction of the budget or a number of steps, exactly one of them.

    Attributes:
        shape: one of this module's functions, parameters bound.
        fraction: of the budget, in [0, 1).
        steps: parameter updates, >= 0.
    """

    shape: WarmupShape
    fraction: float | None = None
    steps: int | None = None

    def num_steps(self, total_steps: int) -> int:
        """Resolve the length.

        Raises:
            ValueError: when both or neither length is given, or the schedule would be left without a step.
        """
        if (self.fraction is None) == (self.steps is None):
            raise ValueError(
                "exactly one of warmup.fraction and warmup.steps must be given, got "
                f"warmup.fraction={self.fraction}, warmup.steps={self.steps}"
            )
        steps = self.steps if self.fraction is None else steps_of(self.fraction, total_steps)
        assert steps is not None
        if steps >= total_steps:
            raise ValueError(
                f"warmup must be shorter than the budget of {total_steps} steps, got {steps} steps "
                f"(warmup.fraction={self.fraction}, warmup.steps={self.steps})"
            )
        return steps


def linear_warmup(step: Steps, warmup_steps: int, *, start_ratio: Ratio = 0.01) -> Floats:
    """s + (1-s) t/w, s = start_ratio (Goyal et al. 1706.02677; torch LinearLR)."""
    return _ramp(step / warmup_steps, start_ratio)


def cosine_warmup(step: Steps, warmup_steps: int, *, start_ratio: Ratio = 0.01) -> Floats:
    """s + (1-s) (1-cos(pi t/w))/2, s = start_ratio (optlrschedule, 2603.10301)."""
    return _ramp((1 - np.cos(np.pi * step / warmup_steps)) / 2, start_ratio)


def exponential_warmup(
    step: Steps, warmup_steps: int, *, sharpness: Positive = 5.0, start_ratio: Ratio = 0.01
) -> Floats:
    """s + (1-s) (1-exp(-k t/w)) / (1-exp(-k)), s = start_ratio, k = sharpness (optlrschedule, 2603.10301).

    The source leaves out the denominator, so that its rate jumps by exp(-k) when the warmup ends.
    """
    return _ramp(np.expm1(-sharpness * step / warmup_steps) / np.expm1(-sharpness), start_ratio)


def polynomial_warmup(step: Steps, warmup_steps: int, *, power: Positive = 2.0, start_ratio: Ratio = 0.01) -> Floats:
    """s + (1-s) (t/w)^p, s = start_ratio, p = power (optlrschedule, 2603.10301)."""
    return _ramp((step / warmup_steps) ** power, start_ratio)


def _ramp(shape: Floats, start_ratio: float) -> Floats:
    return start_ratio + (1 - start_ratio) * shape
