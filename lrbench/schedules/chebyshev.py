"""The fractal Chebyshev schedule: the best step sizes for quadratics, in an order that stays stable."""

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from lrbench.schedules.factors import Floats, factor

__all__ = ["fractal_chebyshev"]

Curvatures = Annotated[float, Gt(0), Lt(1)]


@factor
def fractal_chebyshev(step: Floats, total_steps: int, *, curvature_ratio: Curvatures = 0.1) -> Floats:
    """Take the inverse Chebyshev nodes of [m, M] in fractal order (Agarwal, Goel & Zhang, 2103.01338).

    In units of 1/M, the largest step size that is stable by itself: 1 / (C - R cos((sigma_t - 1/2) pi / T)),
    sigma a permutation of 1..T, C = (1 + r) / 2, R = (1 - r) / 2, r = m/M. So the rate lies between 1 and 1/r
    times the base rate, and exceeds it on purpose: single steps overshoot, the whole sequence contracts. The
    value of the last step stays past the end. The order is a different one for each budget, so it does not
    stretch.

    sigma is built by sigma_2n = interlace(sigma_n, 2n + 1 - sigma_n) from sigma_1 = (1). The paper defines it
    for powers of two; for other budgets the next power's order is taken without the numbers above T, which is
    still a permutation and interlaces large and small steps. pytorch_scheduler's `ChebyshevScheduler` is
    something else: its nodes are neither inverted nor permuted, which makes them a cosine.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget, T.
        curvature_ratio: r, smallest over largest curvature.
    """
    nodes = (np.arange(total_steps) + 0.5) / total_steps
    center, radius = (1 + curvature_ratio) / 2, (1 - curvature_ratio) / 2
    ratios: Floats = 1 / (center - radius * np.cos(np.pi * nodes))
    last = np.minimum(step, total_steps - 1).astype(np.int64)
    return ratios[_fractal_order(total_steps)[last]]


def _fractal_order(length: int) -> NDArray[np.int64]:
    """The permutation of 0..length-1, zero-based."""
    order = np.zeros(1, dtype=np.int64)
    while len(order) < length:
        order = np.stack([order, 2 * len(order) - 1 - order], axis=1).ravel()
    return order[order < length]
