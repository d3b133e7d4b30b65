"""LRBench's waves (Wu et al., 1908.06477): triangles, sines, cosines and sawtooths, under three envelopes.

Every family is m + (1-m) wave(x) envelope(x): x = num_cycles t/T counts cycles, and the budget holds a whole
number of them, so that no run ends in the middle of one. LRBench's k0 is m times its k1, and the base rate
here is k1. Its half-period l is T / (2 num_cycles) for the waves and T / num_cycles for the sawtooths.
LRBench's names:

| wave          | start foot             | start peak             |
|---------------|------------------------|------------------------|
| triangle      | TRI, TRI2, TRIEXP      | DTRI, DTRI2, DTRIEXP   |
| sine          | SIN, SIN2, SINEXP      | DSIN, DSIN2, DSINEXP   |
| cosine_wave   | UPCOS, UPCOS2, UPCOSEXP | COS, COS2, COSEXP     |
| sawtooth      |                        | [SIN, COS] RSW, RSW2, RSWEXP |

Every function takes `step`, an int or an array of ints (any shape), zero-based, and `total_steps` >= 1, and
returns the multiple of the base rate, a float or a float64 array of that shape. Past the end it stays at its
value at T.
"""

from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Le

from lrbench.schedules.factors import Floats, factor, half_cosine, lift
from lrbench.spec import Count, Ratio

__all__ = ["cosine_wave", "sawtooth", "sine", "triangle"]

Start = Literal["foot", "peak"]
Envelope = Literal["none", "halving", "exponential"]
PositiveRatio = Annotated[float, Gt(0), Le(1)]


@factor
def triangle(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 4,
    start: Start = "foot",
    envelope: Envelope = "none",
    end_ratio: PositiveRatio = 0.1,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Swing in straight lines: m + (1-m) (1 - |2 frac(x) - 1|) envelope (TRI, DTRI, their 2 and EXP).

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget; past its end the value at T stays.
        num_cycles: cycles in the budget.
        start: the first rate: the foot, or the peak (LRBench's D forms, half a period ahead).
        envelope: `none`; `halving` halves the amplitude at every foot; `exponential` shrinks it every step.
        end_ratio: amplitude left at the end, for `exponential` only; LRBench's gamma is end_ratio^(1/T).
        min_ratio: m, the foot.
    """
    x = _position(step, total_steps, num_cycles, start)
    wave = 1 - np.abs(2 * (x % 1) - 1)
    return lift(wave * _envelope(x, step / total_steps, envelope, end_ratio), min_ratio)


@factor
def sine(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 4,
    start: Start = "foot",
    envelope: Envelope = "none",
    end_ratio: PositiveRatio = 0.1,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Swing along arcs of a sine: m + (1-m) sin(pi frac(x)) envelope (SIN, DSIN, their 2 and EXP).

    A cycle is one arc, |sin(pi t/2l)| in LRBench: round at the peak, with a cusp at the foot. Arguments and
    the value past the end as in `triangle`.
    """
    x = _position(step, total_steps, num_cycles, start)
    return lift(np.sin(np.pi * (x % 1)) * _envelope(x, step / total_steps, envelope, end_ratio), min_ratio)


@factor
def cosine_wave(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 4,
    start: Start = "peak",
    envelope: Envelope = "none",
    end_ratio: PositiveRatio = 0.1,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Swing along a whole cosine: m + (1-m) (1 - cos(2 pi x)) / 2 envelope (COS, UPCOS, their 2 and EXP).

    Round at the peak and at the foot; transformers' `cosine` with num_cycles of it. Arguments and the value
    past the end as in `triangle`; x is half a cycle ahead when the wave starts at its peak.
    """
    x = _position(step, total_steps, num_cycles, start)
    wave = 1 - half_cosine(2 * (x % 1))
    return lift(wave * _envelope(x, step / total_steps, envelope, end_ratio), min_ratio)


@factor
def sawtooth(
    step: Floats,
    total_steps: int,
    *,
    num_cycles: Count = 4,
    shape: Literal["linear", "sine", "cosine"] = "linear",
    envelope: Envelope = "none",
    end_ratio: PositiveRatio = 0.1,
    min_ratio: Ratio = 0.1,
) -> Floats:
    """Fall from the peak to the foot and jump back up: m + (1-m) s(u) envelope, u = 1 - frac(x).

    LRBench's RSW, SINRSW, COSRSW and their 2 and EXP forms. The shapes are u, sin(pi u/2) and (1 - cos(pi u))
    / 2. LRBench writes u = -x - floor(-x), which is 0 instead of 1 at each restart, step 0 included: there
    its rate drops to the foot for one step, against its own figures. Here a restart is at the peak. At and
    past the end: m.

    Args:
        step: zero-based step or array of steps.
        total_steps: the budget.
        num_cycles: falls in the budget.
        shape: of a fall.
        envelope: `none`; `halving` halves the amplitude at every restart; `exponential` shrinks it every
            step.
        end_ratio: amplitude left at the end, for `exponential` only; LRBench's gamma is end_ratio^(1/T).
        min_ratio: m, the foot.
    """
    x = num_cycles * step / total_steps
    left = np.where(step < total_steps, 1 - x % 1, 0.0)
    match shape:
        case "linear":
            fall = left
        case "sine":
            fall = np.sin(np.pi * left / 2)
        case "cosine":
            fall = 1 - half_cosine(left)
    return lift(fall * _envelope(x, step / total_steps, envelope, end_ratio), min_ratio)


def _position(step: Floats, total_steps: int, num_cycles: int, start: Start) -> Floats:
    """Cycles since the last foot at or before step 0, in one division: whole cycles are exact integers."""
    ahead = total_steps if start == "peak" else 0
    return (2 * num_cycles * step + ahead) / (2 * total_steps)


def _envelope(x: Floats, share: Floats, envelope: Envelope, end_ratio: float) -> Floats:
    """Amplitude at x cycles and `share` of the budget."""
    match envelope:
        case "none":
            return np.ones_like(x)
        case "halving":
            return 0.5 ** np.floor(x)
        case "exponential":
            amplitude: Floats = end_ratio**share
            return amplitude
