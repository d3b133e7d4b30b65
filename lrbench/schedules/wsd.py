"""Families that hold the rate and cool it down at the end: WSD, trapezoid, knee, slanted triangle.

Their published forms include a straight warmup, counted in fractions of the whole budget, so they have one of
their own. Every function takes `step`, an int or an array of ints (any shape), zero-based, and `total_steps`
>= 1, and returns the multiple of the base rate, a float or a float64 array of that shape.
"""

from typing import Annotated, Literal, assert_never

import numpy as np
from annotated_types import Ge

from lrbench.schedules.factors import Floats, check_phases, factor, half_cosine, lift, phase
from lrbench.spec import Fraction, FractionOrZero, Positive, Ratio, steps_of

__all__ = ["knee", "power_cooldown", "slanted_triangular", "trapezoid", "wsd"]

Cooldown = Literal["linear", "cosine", "mirror_cosine", "1-sqrt", "1-square", "sqrt", "exponential"]
AtLeastOne = Annotated[float, Ge(1)]


@factor
def wsd(
    step: Floats,
    total_steps: int,
    *,
    decay_fraction: Fraction = 0.2,
    shape: Cooldown = "1-sqrt",
    warmup_fraction: FractionOrZero = 0.0,
    start_ratio: Ratio = 0.01,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Warm up, stay at 1, decay (WSD: MiniCPM 2404.06395; cooldown shapes: Hägele et al. 2405.18392).

    The decay goes from 1 at u = 0 to m at u = 1; at and past the end: m. With s the shape below it is m +
    (1-m) s(u): linear 1-u; cosine (1+cos(pi u))/2; mirror_cosine 2(1-u) - (1+cos(pi u))/2; 1-sqrt 1-sqrt(u);
    1-square 1-u^2; sqrt sqrt(1-u). `exponential` is m^u itself, MiniCPM's and Hägele's.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        decay_fraction: length of the decay, of the budget.
        shape: of the decay; 1-sqrt is the best of Hägele et al.
        warmup_fraction: length of the straight climb, of the budget.
        start_ratio: rate of step 0 when there is a climb: 0.01 in Hägele's code, `min_ratio` in transformers.
        min_ratio: m.

    Raises:
        ValueError: warmup and decay do not fit in the budget, or an exponential decay to zero.
    """
    check_phases(warmup_fraction=warmup_fraction, decay_fraction=decay_fraction)
    if shape == "exponential" and min_ratio == 0:
        raise ValueError("scheduler.min_ratio must be above 0 for scheduler.shape=exponential, got 0")
    warmup_steps, decay_start = _phases(total_steps, warmup_fraction, decay_fraction)
    decay = _cooldown(phase(step, decay_start, total_steps), shape, min_ratio)
    return np.where(step < warmup_steps, lift(phase(step, 0, warmup_steps), start_ratio), decay)


@factor
def trapezoid(
    step: Floats,
    total_steps: int,
    *,
    warmup_fraction: FractionOrZero = 0.1,
    decay_fraction: FractionOrZero = 0.1,
    start_ratio: Ratio = 0.01,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Climb, hold 1, fall, all in straight lines: Crowded Valley's `ltr`, 2007.01547 (10 %, 80 %, 10 %).

    At and past the end: m = min_ratio. It is `wsd` with the linear cooldown under its older name.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        warmup_fraction: length of the climb, of the budget.
        decay_fraction: length of the fall, of the budget.
        start_ratio: rate of step 0 when there is a climb; 0, as published, wastes the first update.
        min_ratio: m.

    Raises:
        ValueError: climb and fall do not fit in the budget.
    """
    check_phases(warmup_fraction=warmup_fraction, decay_fraction=decay_fraction)
    warmup_steps, decay_start = _phases(total_steps, warmup_fraction, decay_fraction)
    fall = lift(1 - phase(step, decay_start, total_steps), min_ratio)
    return np.where(step < warmup_steps, lift(phase(step, 0, warmup_steps), start_ratio), fall)


@factor
def knee(
    step: Floats,
    total_steps: int,
    *,
    explore_fraction: FractionOrZero = 0.5,
    warmup_fraction: FractionOrZero = 0.0,
    start_ratio: Ratio = 0.01,
) -> Floats:
    """Warm up, explore at 1, exploit in a straight line to zero (explore-exploit, 2003.03977).

    At and past the end: zero. The authors' code divides by the warmup's length even without one; their paper
    makes the warmup optional.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        explore_fraction: steps at 1, of the budget; about half of it in the paper.
        warmup_fraction: straight climb before, of the budget.
        start_ratio: rate of step 0 when there is a climb.

    Raises:
        ValueError: the two fractions sum to more than 1.
    """
    check_phases(warmup_fraction=warmup_fraction, explore_fraction=explore_fraction)
    warmup_steps = steps_of(warmup_fraction, total_steps)
    explore_end = steps_of(min(1.0, warmup_fraction + explore_fraction), total_steps)
    exploit = 1 - phase(step, explore_end, total_steps)
    return np.where(step < warmup_steps, lift(phase(step, 0, warmup_steps), start_ratio), exploit)


@factor
def slanted_triangular(
    step: Floats, total_steps: int, *, cut_fraction: FractionOrZero = 0.1, ratio: AtLeastOne = 32.0
) -> Floats:
    """Climb steeply, fall slowly: (1 + p (ratio - 1)) / ratio, p = t/cut, then 1 - (t-cut) / (T-cut).

    ULMFiT, 1801.06146. At and past the end: 1/ratio, also the first rate. The paper divides by cut
    (1/cut_frac - 1), which is T - cut only where cut is not rounded; with its rounding p can fall below zero.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget, T.
        cut_fraction: length of the climb, of the budget.
        ratio: peak over lowest rate.
    """
    cut = steps_of(cut_fraction, total_steps)
    slant = np.where(step < cut, phase(step, 0, cut), 1 - phase(step, cut, total_steps))
    return lift(slant, 1 / ratio)


@factor
def power_cooldown(
    step: Floats,
    total_steps: int,
    *,
    timescale_fraction: Fraction = 0.05,
    power: Positive = 0.5,
    decay_fraction: FractionOrZero = 0.2,
    shape: Cooldown = "linear",
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Fall as (1 + t/s)^-power, multiplied in the last steps by a cooldown to m.

    Zhai et al., 2106.04560, and timm's `rsqrt`. The cooldown shrinks what max(m, (1 + t/s)^-power) has above
    m; at and past the end: m. Power 0.5 is Big Vision's reciprocal square root; other powers are timm's
    `power`.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        timescale_fraction: s, of the budget, at least one step; Big Vision takes the length of the warmup.
        power: exponent of the decay.
        decay_fraction: length of the cooldown, of the budget.
        shape: of the cooldown, as in `wsd`.
        min_ratio: m.

    Raises:
        ValueError: an exponential cooldown to zero.
    """
    if shape == "exponential" and min_ratio == 0:
        raise ValueError("scheduler.min_ratio must be above 0 for scheduler.shape=exponential, got 0")
    timescale = steps_of(timescale_fraction, total_steps, at_least=1)
    stable = np.maximum((1 + step / timescale) ** -power, min_ratio)
    done = phase(step, total_steps - steps_of(decay_fraction, total_steps), total_steps)
    if shape == "exponential":
        return stable ** (1 - done) * min_ratio**done
    return min_ratio + (stable - min_ratio) * _cooldown(done, shape, 0.0)


def _phases(total_steps: int, warmup_fraction: float, decay_fraction: float) -> tuple[int, int]:
    """Last step of the warmup and first of the decay; rounding may not make the two overlap."""
    warmup_steps = steps_of(warmup_fraction, total_steps)
    return warmup_steps, max(warmup_steps, total_steps - steps_of(decay_fraction, total_steps))


def _cooldown(share: Floats, shape: Cooldown, min_ratio: float) -> Floats:
    """From 1 at share 0 to min_ratio at share 1."""
    match shape:
        case "linear":
            return lift(1 - share, min_ratio)
        case "cosine":
            return lift(half_cosine(share), min_ratio)
        case "mirror_cosine":
            # Mirrored at the straight line; rounding may not take it below zero.
            return lift(np.maximum(2 * (1 - share) - half_cosine(share), 0.0), min_ratio)
        case "1-sqrt":
            return lift(1 - np.sqrt(share), min_ratio)
        case "1-square":
            return lift(1 - share**2, min_ratio)
        case "sqrt":
            return lift(np.sqrt(1 - share), min_ratio)
        case "exponential":
            fall: Floats = min_ratio**share
            return fall
    assert_never(shape)
