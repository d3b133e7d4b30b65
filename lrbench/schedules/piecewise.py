"""Families given by their corners: piecewise constant, piecewise linear.

Every function takes `step`, an int or an array of ints (any shape), zero-based, and `total_steps` >= 1, and
returns the multiple of the base rate, a float or a float64 array of that shape.
"""

from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import MinLen

from lrbench.schedules.factors import Floats, factor
from lrbench.spec import Fractions, NonNegative, steps_of

__all__ = ["piecewise_constant", "piecewise_linear"]

Ratios = Annotated[list[NonNegative], MinLen(1)]


@factor
def piecewise_constant(step: Floats, total_steps: int, *, boundary_fractions: Fractions, ratios: Ratios) -> Floats:
    """Take ratios[i] between boundary i-1 and boundary i; a boundary already has the next ratio.

    Keras counts a boundary to the piece *before* it, one step later. The last ratio stays past the
    end. With boundaries 0.8 and 0.9 and ratios 1, 0.316, 0.1 it is DeepSeek's multi-step schedule,
    2401.02954.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        boundary_fractions: where the ratio changes, fractions of the budget, increasing.
        ratios: of the base rate, one more than there are boundaries; may exceed 1.

    Raises:
        ValueError: the boundaries do not increase, or the numbers do not match.
    """
    boundaries = _boundaries(boundary_fractions, total_steps)
    if len(ratios) != len(boundary_fractions) + 1:
        raise ValueError(
            f"scheduler.ratios must hold one more than the {len(boundary_fractions)} "
            f"scheduler.boundary_fractions, got {len(ratios)}"
        )
    return np.asarray(ratios, dtype=np.float64)[np.searchsorted(boundaries, step, side="right")]


@factor
def piecewise_linear(step: Floats, total_steps: int, *, boundary_fractions: Fractions, ratios: Ratios) -> Floats:
    """Join (0, ratios[0]), (boundary, ratio), ... by straight lines; flat after the last (init2winit, optax).

    The last ratio stays past the end. optax's `piecewise_interpolate_schedule` scales by each ratio in turn;
    here, as in init2winit, all are multiples of the base rate. A boundary rounded onto the one before it
    makes a jump.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        boundary_fractions: positions of the corners after the first, fractions of the budget, increasing.
        ratios: of the base rate at step 0 and at each boundary; may exceed 1.

    Raises:
        ValueError: the boundaries do not increase, or the numbers do not match.
    """
    boundaries = _boundaries(boundary_fractions, total_steps)
    if len(ratios) != len(boundary_fractions) + 1:
        raise ValueError(
            f"scheduler.ratios must hold one for step 0 and one for each of the {len(boundary_fractions)} "
            f"scheduler.boundary_fractions, got {len(ratios)}"
        )
    return np.interp(step, [0, *boundaries], ratios)


def _boundaries(fractions: list[float], total_steps: int) -> list[int]:
    if any(later <= earlier for earlier, later in pairwise(fractions)):
        raise ValueError(f"scheduler.boundary_fractions must increase, got {fractions}")
    return [steps_of(fraction, total_steps) for fraction in fractions]
