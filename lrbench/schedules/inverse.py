"""Families that fall as a power of the step: inverse time, inverse square root, Noam, scikit-learn's.

In the formulas t is the zero-based step, T the budget, w the warmup in steps. They never reach zero; past the
end the rate stays at its value at step T. Every function takes `step`, an int or an array of ints (any
shape), and `total_steps` >= 1, and returns the multiple of the base rate, a float or a float64 array of that
shape.
"""

import math

import numpy as np

from lrbench.schedules.factors import Floats, factor, lift
from lrbench.spec import Count, Fraction, Positive, Ratio, steps_of

__all__ = [
    "inverse_sqrt",
    "inverse_time",
    "noam",
    "power_law",
    "sklearn_invscaling",
    "sklearn_optimal",
    "squashed_rsqrt",
]


@factor
def inverse_time(step: Floats, total_steps: int, *, total_decay: Positive = 100.0, power: Positive = 0.75) -> Floats:
    """Fall as (1 + d t/T)^-power (Caffe and LRBench INV; Keras InverseTimeDecay at power 1). Flat past T.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        total_decay: d, Caffe's gamma times the budget: the rate ends at (1 + d)^-power.
        power: exponent; Caffe's LeNet uses 0.75.
    """
    return (1 + total_decay * step / total_steps) ** -power


@factor
def sklearn_invscaling(step: Floats, total_steps: int, *, power: Positive = 0.5) -> Floats:
    """Fall as (t + 1)^-power, scikit-learn's `invscaling`; its count of updates starts at 1. Flat past T.

    In absolute steps by definition: a longer budget continues the curve instead of stretching it.
    scikit-learn's defaults: power_t 0.5 (0.25 for SGDRegressor); its `eta0` is the base rate here.
    """
    return (step + 1) ** -power


@factor
def sklearn_optimal(step: Floats, total_steps: int, *, alpha: Positive = 1e-4) -> Floats:
    """Fall as t0 / (t0 + t), t0 = alpha^(-3/4): scikit-learn's `optimal` (Bottou). Flat past the end.

    In absolute steps by definition. scikit-learn's rate is 1 / (alpha (t0 + t)), which starts at alpha^(-1/4)
    for the hinge and the other losses of unit slope: use that as the base rate to get its numbers.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget; only says where the curve stops.
        alpha: the weight of scikit-learn's L2 penalty.
    """
    start: float = alpha**-0.75
    return start / (start + step)


@factor
def squashed_rsqrt(step: Floats, total_steps: int, *, squash_fraction: Fraction = 0.1) -> Floats:
    """Fall as sqrt(s / (t + s)), s = squash_fraction of the budget, at least one step. Flat past the end.

    Zhai et al., 2106.04560 (there behind a warmup of s steps); init2winit's `rsqrt_normalized_decay`.
    """
    squash_steps = steps_of(squash_fraction, total_steps, at_least=1)
    return np.sqrt(squash_steps / (step + squash_steps))


@factor
def power_law(
    step: Floats,
    total_steps: int,
    *,
    warmup_fraction: Fraction = 0.05,
    start_ratio: Ratio = 0.01,
    exponent: Positive = 0.5,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Climb to 1 in w steps, then fall as max(m, (t/w)^-exponent) (Kaplan et al., 2001.08361). Flat past T.

    The warmup sets the time scale of the decay, so it is part of the family.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        warmup_fraction: w as a fraction of the budget, at least one step.
        start_ratio: rate of step 0, of the base rate.
        exponent: 0.5 is `inverse_sqrt`, 1 falls as 1/t.
        min_ratio: m, a floor that the curve runs into.
    """
    warmup_steps = steps_of(warmup_fraction, total_steps, at_least=1)
    climb = lift(step / warmup_steps, start_ratio)
    fall = np.maximum((np.maximum(step, warmup_steps) / warmup_steps) ** -exponent, min_ratio)
    return np.where(step < warmup_steps, climb, fall)


@factor
def inverse_sqrt(
    step: Floats, total_steps: int, *, warmup_fraction: Fraction = 0.05, start_ratio: Ratio = 0.01
) -> Floats:
    """Climb to 1 in w steps, then fall as sqrt(w / t) (T5, transformers `inverse_sqrt`). Flat past the end.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        warmup_fraction: w as a fraction of the budget, at least one step.
        start_ratio: rate of step 0, of the base rate; transformers has 0, which wastes the first update.
    """
    warmup_steps = steps_of(warmup_fraction, total_steps, at_least=1)
    climb = lift(step / warmup_steps, start_ratio)
    return np.where(step < warmup_steps, climb, np.sqrt(warmup_steps / np.maximum(step, warmup_steps)))


@factor
def noam(step: Floats, total_steps: int, *, model_width: Count = 512, warmup_fraction: Fraction = 0.05) -> Floats:
    """Vaswani et al., 1706.03762: d^-1/2 min(n^-1/2, n w^-3/2), n = t + 1 updates. Flat past the end.

    The shape stretches with the budget, the height does not: the peak is (d w)^-1/2, so the base rate is a
    scale near 1, not a rate. For the same shape with the peak at the base rate use `inverse_sqrt`.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        model_width: d, the width of the transformer; 512 in the paper.
        warmup_fraction: w as a fraction of the budget, at least one step; the paper has 4000 of 100000 steps.
    """
    warmup_steps = steps_of(warmup_fraction, total_steps, at_least=1)
    updates = step + 1
    peak_at_warmup: Floats = np.minimum(updates**-0.5, updates / warmup_steps**1.5)
    return peak_at_warmup / math.sqrt(model_width)
