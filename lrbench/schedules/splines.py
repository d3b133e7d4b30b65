"""Families through a few free points, for searching the shape itself (optlrschedule, 2603.10301).

Their knots are shares of the budget, not whole steps, so the curves stretch exactly. Knots are given by
stick-breaking: each as a share of what is left to its right, so that any values in [0, 1] are valid and a
search never hits a wall. Every function takes `step`, an int or an array of ints (any shape), zero-based, and
`total_steps` >= 1, and returns the multiple of the base rate, a float or a float64 array of that shape.
"""

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from lrbench.schedules.factors import Floats, factor
from lrbench.spec import Ratio

__all__ = ["free_spline", "two_point_linear", "two_point_spline"]

Inside = Annotated[float, Gt(0), Lt(1)]
# Two knots nearer than this are one: a cubic through both would overflow.
SAME_KNOT = 1e-9


@factor
def two_point_linear(
    step: Floats,
    total_steps: int,
    *,
    x1: Ratio = 0.3,
    y1: Ratio = 0.7,
    x2: Ratio = 0.5,
    y2: Ratio = 0.3,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Fall in straight lines through (0, 1), two points, (1, m). At and past the end: m, or the point there.

    optlrschedule's `twopointslinear`. Its x0 is the warmup in front, `warmup.fraction`: its knots, too, are
    shares of what follows the warmup. Of knots at the same place the first counts, so x2 = 1 ends the curve
    at that point.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        x1: position of the first point, as a share of the budget (`delta_x1`).
        y1: its height.
        x2: position of the second point, as a share of what is right of the first (`delta_x2`).
        y2: its height over the first one's (`delta_y2`).
        min_ratio: m.
    """
    x, y = _two_points(x1, y1, x2, y2, min_ratio)
    return np.interp(step / total_steps, x, y)


@factor
def two_point_spline(
    step: Floats,
    total_steps: int,
    *,
    x1: Ratio = 0.3,
    y1: Ratio = 0.7,
    x2: Ratio = 0.5,
    y2: Ratio = 0.3,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Fall along a monotone cubic (PCHIP) through the points of `two_point_linear`.

    optlrschedule's `twopointsspline`. At and past the end as there. With m above a point it rises again to m.
    """
    return _pchip(step / total_steps, *_two_points(x1, y1, x2, y2, min_ratio))


@factor
def free_spline(
    step: Floats,
    total_steps: int,
    *,
    start_ratio: Ratio = 0.01,
    x1: Inside = 0.05,
    y1: Ratio = 0.5,
    x2: Inside = 0.5,
    y2: Ratio = 0.6,
    x_peak: Inside = 0.2,
    end_ratio: Ratio = 0.0,
) -> Floats:
    """Go along a PCHIP through two free points and a peak of 1 anywhere.

    optlrschedule's smooth non-monotonic family. The climb is part of the curve, so it needs no warmup. At and
    past the end: `end_ratio`.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        start_ratio: height at step 0 (`y_start`).
        x1: position of the first point, as a share of the budget (`delta_x1`).
        y1: its height.
        x2: position of the second point, as a share of what is right of the first (`delta_x2`).
        y2: its height.
        x_peak: position of the peak, as a share of the budget; left of, between or right of the points.
        end_ratio: height at the end (`y_end`).
    """
    second = x1 + (1 - x1) * x2
    x = np.array([0.0, x1, second, x_peak, 1.0])
    y = np.array([start_ratio, y1, y2, 1.0, end_ratio])
    order = np.argsort(x, kind="stable")
    return _pchip(step / total_steps, *_distinct(x[order], y[order]))


def _two_points(
    x1: float, y1: float, x2: float, y2: float, min_ratio: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots of the two-point families: positions and heights, shape (num_knots,) each, 2 to 4 of them."""
    second = x1 + (1 - x1) * x2
    return _distinct(np.array([0.0, x1, second, 1.0]), np.array([1.0, y1, y1 * y2, min_ratio]))


def _distinct(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Drop knots that lie on an earlier one; the ends of the budget stay knots."""
    kept = [0]
    for knot in range(1, len(x)):
        if x[knot] - x[kept[-1]] > SAME_KNOT:
            kept.append(knot)
    return x[kept], y[kept]


def _pchip(share: Floats, x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
    """Monotone cubic through the knots; rounding may not take it out of the range of their heights."""
    # Imported here: it takes longer to import than the rest of the catalogue, and two families need it.
    from scipy.interpolate import PchipInterpolator

    # scipy divides by the slopes; a slope near zero overflows to the right answer, a flat tangent.
    with np.errstate(over="ignore"):
        curve: Floats = PchipInterpolator(x, y)(np.minimum(share, x[-1]))
    return np.clip(curve, y.min(), y.max())
