"""Families that repeat a cosine: hard restarts, decaying cycles, an echo, cycles with their own warmup.

In the formulas z = t/T is the share of the budget that is done, m = min_ratio. Every function takes `step`,
an int or an array of ints (any shape), zero-based, and `total_steps` >= 1, and returns the multiple of the
base rate, a float or a float64 array of that shape.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge

from lrbench.schedules.factors import Floats, factor, half_cosine, lift, phase
from lrbench.spec import Count, Fraction, FractionOrZero, Probability, Ratio, steps_of

__all__ = ["cosine_cycles", "cosine_echo", "cosine_hard_restarts", "coslog", "warm_cosine_cycles"]

AtLeastOne = Annotated[float, Ge(1)]


@factor
def cosine_hard_restarts(step: Floats, total_steps: int, *, num_cycles: Count = 3) -> Floats:
    """Fall along `num_cycles` equal cosines from 1 to 0 (transformers `cosine_with_restarts`).

    At and past the end: zero. transformers takes (num_cycles z) mod 1 in floats, which from 49 cycles on misses
    restarts by rounding and gives those steps zero instead of one; the product is taken in whole steps here.
    """
    share = (num_cycles * step) % total_steps / total_steps
    return np.where(step < total_steps, half_cosine(share), 0.0)


@factor
def coslog(step: Floats, total_steps: int, *, num_cycles: Count = 4, min_ratio: Ratio = 0.0) -> Floats:
    """Climb and fall in cycles that each last twice as long: m + (1-m) (1 - cos(2 pi log2(1 + (2^n - 1) z))) / 2.

    coslog4 of RealMLP (Holzmueller et al. 2024, 2407.04491) for n = 4. It begins, and each cycle ends, at m. At and
    past the end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        num_cycles: n.
        min_ratio: m.
    """
    z = np.minimum(step / total_steps, 1.0)
    return lift((1 - np.cos(2 * np.pi * np.log2(1 + (2.0**num_cycles - 1) * z))) / 2, min_ratio)


@factor
def cosine_cycles(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 3,
    cycle_multiplier: AtLeastOne = 1.0,
    cycle_decay: Ratio = 0.5,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Restart a cosine from a lower peak each time: m + (d^i - m) (1 + cos(pi t_i/T_i)) / 2.

    timm's cosine with `cycle_mul` and `cycle_decay`; optax and Keras (`m_mul`) have the same. 1608.03983 has
    d = 1. The cycles fill the budget exactly, so their boundaries may fall between steps. At and past the
    end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        num_cycles: cosines in the budget.
        cycle_multiplier: T_(i+1) / T_i.
        cycle_decay: d, peak of a cycle over the peak before it. A peak below m counts as m.
        min_ratio: m.
    """
    lengths = cycle_multiplier ** np.arange(num_cycles, dtype=np.float64)
    ends = np.cumsum(lengths) / lengths.sum() * total_steps
    starts = np.concatenate([[0.0], ends[:-1]])
    # The tolerance lets a boundary that is a whole step up to rounding be that step.
    cycle = np.minimum(np.searchsorted(ends, step + 1e-9, side="right"), num_cycles - 1)
    share = np.clip((step - starts[cycle]) / (ends - starts)[cycle], 0.0, 1.0)
    share = np.where(step < total_steps, share, 1.0)
    peak = np.maximum(cycle_decay ** cycle.astype(np.float64), min_ratio)
    return min_ratio + (peak - min_ratio) * half_cosine(share)


@factor
def cosine_echo(
    step: Floats,
    total_steps: int,
    *,
    echo_fraction: Fraction = 0.6,
    echo_ratio: Ratio = 0.3,
    warmup_fraction: FractionOrZero = 0.1,
) -> Floats:
    """Fall along a cosine to zero, then warm up to a smaller one and fall again (init2winit `cosine_echo`).

    At and past the end: zero.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        echo_fraction: length of the first cosine, of the budget.
        echo_ratio: peak of the second cosine, of the base rate (init2winit's `echo_attenuation`).
        warmup_fraction: straight climb at the start of the second part, as a fraction of *that part*.
    """
    first_steps = steps_of(echo_fraction, total_steps)
    peak_step = first_steps + steps_of(warmup_fraction, total_steps - first_steps)
    climb = phase(step, first_steps, peak_step)
    echo = echo_ratio * np.where(step < peak_step, climb, half_cosine(phase(step, peak_step, total_steps)))
    return np.where(step < first_steps, half_cosine(phase(step, 0, first_steps)), echo)


@factor
def warm_cosine_cycles(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 2,
    warmup_fraction: Probability = 0.05,
    start_ratio: Ratio = 0.01,
    min_ratio: Ratio = 0.0,
) -> Floats:
    """Repeat a straight warmup and a cosine to m `num_cycles` times (AlgoPerf submission `cyclic_lr`).

    One cycle is transformers' `cosine` with its warmup. At and past the end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget; where the cycles do not divide it, some are a step shorter.
        num_cycles: cycles in the budget, 1 or 2 in the submission.
        warmup_fraction: climb as a fraction of *each cycle*.
        start_ratio: rate at the first step of each climb, of the base rate.
        min_ratio: m.
    """
    scaled = num_cycles * step
    share = np.where(step < total_steps, scaled % total_steps / total_steps, 1.0)
    fall = lift(half_cosine((share - warmup_fraction) / (1 - warmup_fraction)), min_ratio)
    if warmup_fraction == 0:
        return fall
    return np.where(share < warmup_fraction, lift(share / warmup_fraction, start_ratio), fall)
