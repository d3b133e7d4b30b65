"""Families that only fall, over the budget: REX, tanh, polynomial, sigmoid, quarter circle, hyperbolas.

In the formulas z = t/T is the share of the budget that is done, m = min_ratio. All are functions of z alone,
so they stretch with the budget. Every function takes `step`, an int or an array of ints (any shape),
zero-based, and `total_steps` >= 1, and returns the multiple of the base rate, a float or a float64 array of
that shape.
"""

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from lrbench.schedules.factors import Floats, factor, lift
from lrbench.spec import FractionOrZero, Positive, Ratio

__all__ = ["exp_hyperbolic", "hyperbolic", "polynomial_decay", "quarter_circle", "rex", "sigmoid", "tanh"]

AtLeastOne = Annotated[float, Ge(1)]
PositiveRatio = Annotated[float, Gt(0), Le(1)]  # of the base rate
Finite = Annotated[float, Ge(-1e6), Le(1e6)]


@factor
def rex(step: Floats, total_steps: int, *, beta: Positive = 0.5, min_ratio: Ratio = 0.0) -> Floats:
    """Fall slowly, then fast, to m: m + (1-m) (1-z) / (1 - (1-beta) z). At and past the end: m.

    Chen, Wolfe & Kyrillidis, 2107.04197: beta = 1/2 is the paper's (1-z) / (1/2 + (1-z)/2). Their published
    code puts 0.9 z for the inner z, so that it disagrees with the paper; the paper is followed here. The
    general beta is optlrschedule's (2603.10301): 1 is a straight line, below it the curve bulges, above it it
    sags.
    """
    z = step / total_steps
    return lift((1 - z) / (1 - (1 - beta) * z), min_ratio)


@factor
def tanh(
    step: Floats, total_steps: int, *, lower: Finite = -6.0, upper: Finite = 3.0, min_ratio: Ratio = 0.0
) -> Floats:
    """Hold, then fall along a hyperbolic tangent: m + (1-m) (1 - th(L + (U-L) z)) / 2 (HTD, 1806.01593).

    At and past the end it stays at m + (1-m) (1 - th U) / 2, a little above m: 0.0025 for the paper's U =
    3. timm defaults to lower = -7.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        lower: L, argument of th at the start; the more negative, the longer the rate holds.
        upper: U, argument of th at the end, above `lower`.
        min_ratio: m.

    Raises:
        ValueError: lower is not below upper.
    """
    if lower >= upper:
        raise ValueError(f"scheduler.lower must be below scheduler.upper={upper}, got {lower}")
    z = step / total_steps
    return lift((1 - np.tanh(lower * (1 - z) + upper * z)) / 2, min_ratio)


@factor
def polynomial_decay(
    step: Floats, total_steps: int, *, power: Positive = 2.0, k: Positive = 1.0, min_ratio: Ratio = 0.0
) -> Floats:
    """Fall to a floor as a power: m + (1-m) (1 - z^k)^power. At and past the end: m.

    With k = 1 it is the polynomial decay of DeepLab, transformers (`lr_end`), optax, Keras and Caffe's and
    LRBench's POLY; other k are the polynomial k-decay of 2004.05909 and timm. LRBench adds k0 at the *start*
    of the range and calls the peak k1; its values agree.
    """
    return lift((1 - (step / total_steps) ** k) ** power, min_ratio)


@factor
def sigmoid(
    step: Floats,
    total_steps: int,
    *,
    steepness: Positive = 10.0,
    midpoint_fraction: FractionOrZero = 0.5,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Fall in an S around the midpoint c: m + (1-m) / (1 + exp(k (z - c))) (Caffe `sigmoid`, LRBench SIG).

    Past the end it keeps the value at z = 1, which is m only in the limit of a large k. Caffe and LRBench
    write 1 / (1 + exp(-gamma (t - l))): gamma = -k/T, and a positive gamma, which both accept, *raises* the
    rate.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        steepness: k; the slope at the midpoint is -k/4 per budget.
        midpoint_fraction: c, where half of the fall is done.
        min_ratio: m.
    """
    # A tanh cannot overflow, exp(k (z - c)) can.
    return lift((1 - np.tanh(steepness * (step / total_steps - midpoint_fraction) / 2)) / 2, min_ratio)


@factor
def quarter_circle(step: Floats, total_steps: int, *, exponent: Positive = 1.0, min_ratio: Ratio = 0.0) -> Floats:
    """Fall along a quarter of a circle: m + (1-m) sqrt(1 - z^2)^exponent. At and past the end: m.

    The `sqrt` family of optlrschedule, 2603.10301, which searches the exponent in [0, 1].
    """
    return lift((1 - (step / total_steps) ** 2) ** (exponent / 2), min_ratio)


@factor
def hyperbolic(
    step: Floats, total_steps: int, *, upper_bound_ratio: AtLeastOne = 1.25, min_ratio: Ratio = 1e-4
) -> Floats:
    """Fall along a hyperbola: 1 + (1-m) (f(z) - f(0)), f(z) = sqrt((1-z)/u (2 - (1+z)/u)).

    HyperbolicLR, 2407.15200. At and past the end the rate is 1 - (1-m) f(0), which is m only for u = 1: m is
    an infimum over budgets.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget, the paper's N.
        upper_bound_ratio: u = U/N. The paper keeps U fixed in epochs while N varies, to get the same start
            for every budget; to reproduce that, divide U by each budget.
        min_ratio: m.
    """
    return 1 + (1 - min_ratio) * _hyperbola_drop(step / total_steps, upper_bound_ratio)


@factor
def exp_hyperbolic(
    step: Floats, total_steps: int, *, upper_bound_ratio: AtLeastOne = 1.25, min_ratio: PositiveRatio = 1e-4
) -> Floats:
    """Fall along a hyperbola in the logarithm: (1/m)^(f(z) - f(0)), f as in `hyperbolic`.

    ExpHyperbolicLR, 2407.15200. At and past the end the rate is m^f(0), which is m only for u = 1.
    """
    ratios: Floats = min_ratio ** -_hyperbola_drop(step / total_steps, upper_bound_ratio)
    return ratios


def _hyperbola_drop(z: Floats, upper_bound_ratio: float) -> Floats:
    """f(z) - f(0), from 0 down to -f(0) >= -1."""
    u = upper_bound_ratio
    drop: Floats = np.sqrt((1 - z) / u * (2 - (1 + z) / u)) - math.sqrt((2 - 1 / u) / u)
    return drop
