"""Families made of half cosines, beyond torch's own: bent, delayed, held.

In the formulas z = t/T is the share of the budget that is done, m = min_ratio, cos(share) half a cosine from
1 to 0. Every function takes `step`, an int or an array of ints (any shape), zero-based, and `total_steps` >=
1, and returns the multiple of the base rate, a float or a float64 array of that shape.
"""

import numpy as np

from lrbench.schedules.factors import Floats, check_phases, factor, half_cosine, lift, phase
from lrbench.spec import FractionOrZero, Positive, Probability, Ratio, steps_of

__all__ = [
    "cosine_infinite",
    "cosine_to_min",
    "flat_cosine",
    "generalized_cosine",
    "hold_cosine",
    "k_decay",
]


@factor
def generalized_cosine(step: Floats, total_steps: int, *, exponent: Positive = 0.5, min_ratio: Ratio = 0.0) -> Floats:
    """Bend a cosine: m + (1-m) ((1 + cos(pi z)) / 2)^exponent. At and past the end: m.

    optlrschedule's `cosine` family, 2603.10301; optax `cosine_decay_schedule(exponent=...)`. At exponent 0.5
    it is a quarter of a cosine, cos(pi z / 2).
    """
    return lift(half_cosine(step / total_steps) ** exponent, min_ratio)


@factor
def k_decay(step: Floats, total_steps: int, *, k: Positive = 1.5, min_ratio: Ratio = 0.0) -> Floats:
    """Delay a cosine: m + (1-m) (1 + cos(pi z^k)) / 2 (k-decay, 2004.05909; timm cosine).

    At and past the end: m. k above 1 holds the rate longer, below 1 drops it sooner. The polynomial form is
    `polynomial_decay`.
    """
    return lift(half_cosine((step / total_steps) ** k), min_ratio)


@factor
def cosine_to_min(
    step: Floats,
    total_steps: int,
    *,
    warmup_fraction: Probability = 0.0,
    start_ratio: Ratio | None = None,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Fall along a cosine that is *at* its minimum for the last update: share (t + 1 - w) / (T - w).

    transformers' `cosine_warmup_with_min_lr`. An ordinary cosine reaches its minimum one step after the
    training has ended; here step T - 1 gets it. At and past the end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget, T.
        warmup_fraction: w as a fraction of the budget. The climb, too, is at its end for its last step.
        start_ratio: rate of step 0 of the warmup, of the base rate; 1/w unless given (then the climb is (t +
            1)/w).
        min_ratio: m.
    """
    warmup_steps = steps_of(warmup_fraction, total_steps)
    fall = lift(half_cosine(phase(step + 1, warmup_steps, total_steps)), min_ratio)
    if start_ratio is None:
        climb = (step + 1) / max(1, warmup_steps)
    else:
        climb = lift(step / max(1, warmup_steps - 1), start_ratio)
    return np.where(step < warmup_steps, climb, fall)


@factor
def flat_cosine(
    step: Floats, total_steps: int, *, flat_fraction: FractionOrZero = 0.7, min_ratio: Ratio = 0.0
) -> Floats:
    """Hold 1 for `flat_fraction` of the budget, then fall along a cosine to m (fastai `fit_flat_cos`).

    At and past the end: m. fastai's own default is 0.75; 0.7 is pytorch_scheduler's.
    """
    return lift(half_cosine(phase(step, steps_of(flat_fraction, total_steps), total_steps)), min_ratio)


@factor
def hold_cosine(
    step: Floats,
    total_steps: int,
    *,
    warmup_fraction: FractionOrZero = 0.05,
    hold_fraction: FractionOrZero = 0.3,
    start_ratio: Ratio = 0.01,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Climb in a straight line, hold 1, fall along a cosine to m (pytorch_scheduler WarmupHoldCosine).

    At and past the end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        warmup_fraction: length of the climb, of the budget.
        hold_fraction: length of the hold, of the budget; the cosine gets the rest.
        start_ratio: rate of step 0 when there is a climb; 0, as published, wastes the first update.
        min_ratio: m.

    Raises:
        ValueError: the two fractions sum to more than 1.
    """
    check_phases(warmup_fraction=warmup_fraction, hold_fraction=hold_fraction)
    warmup_steps = steps_of(warmup_fraction, total_steps)
    # The end of the hold, not its length, is rounded: two roundings could overrun a short budget.
    hold_end = steps_of(min(1.0, warmup_fraction + hold_fraction), total_steps)
    climb = lift(phase(step, 0, warmup_steps), start_ratio)
    fall = lift(half_cosine(phase(step, hold_end, total_steps)), min_ratio)
    return np.where(step < warmup_steps, climb, fall)


@factor
def cosine_infinite(
    step: Floats,
    total_steps: int,
    *,
    hold_fraction: FractionOrZero = 0.4,
    cooldown_fraction: FractionOrZero = 0.0,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Fall along a cosine to m, hold m, then cool down in a straight line to zero.

    Hägele et al., 2405.18392. The `cos_inf` schedule of their code, which has no cooldown (the default here):
    at and past the end m; with a cooldown, zero. The hold lets a run be extended without a new cosine.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        hold_fraction: length of the hold, of the budget.
        cooldown_fraction: length of the cooldown, of the budget; the cosine gets what the two leave.
        min_ratio: m, the rate that is held.

    Raises:
        ValueError: the two fractions sum to more than 1.
    """
    check_phases(hold_fraction=hold_fraction, cooldown_fraction=cooldown_fraction)
    fall_end = steps_of(max(0.0, 1 - hold_fraction - cooldown_fraction), total_steps)
    fall = lift(half_cosine(phase(step, 0, fall_end)), min_ratio)
    if cooldown_fraction == 0:
        return fall
    return fall * (1 - phase(step, steps_of(1 - cooldown_fraction, total_steps), total_steps))
