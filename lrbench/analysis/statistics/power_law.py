"""The multi-power law: the loss of a training, from its rates alone (Luo et al. 2025, arXiv 2503.12811).

    L(t) = L0 + A (S(t) + S0)^-alpha - B sum_{k=2..t} (e_{k-1} - e_k) [1 - (1 + C e_k^-gamma (S(t) - S(k-1)))^-beta]

with S(t) = e_1 + ... + e_t. The first term is training at the rates as they come; each fall of the rate then takes off
what it will, and the more of it the more is trained at the rate it fell to. A rise puts the same on.
"""

import numpy as np
import numpy.typing as npt

from lrbench.analysis.statistics.terms import FloatArray

_MOST_CELLS = 1_000_000  # of the table of steps and falls that is held at once: 8 MB


def multi_power_law(
    rates: npt.ArrayLike,
    steps: npt.ArrayLike,
    *,
    L0: float,
    A: float,
    alpha: float,
    B: float,
    C: float,
    beta: float,
    gamma: float,
    S0: float = 0.0,
) -> FloatArray:
    """Predict the loss after some numbers of updates; see the module for the formula.

    It takes (number of steps asked for) x (number of changes of the rate) operations: where the rate stays, nothing.

    Args:
        rates: (num_updates,) e_k >= 0, one an update, relative to the peak rate; `rates[0]` is e_1, the rate of the
            first update, and nothing falls before it. Without the warmup, whose rises teach the law nothing: what it
            trained is S0.
        steps: t, any shape, whole numbers within 0..num_updates: updates completed, of those in `rates`.
        L0: loss that is left after endless training.
        A: what there is to gain at the peak rate: loss above L0 where S(t) + S0 is 1.
        alpha: exponent of that gain.
        B: what an infinitely long training after the rate fell from 1 to 0 gains.
        C: how fast a fall takes effect, per unit of S.
        beta: exponent of that.
        gamma: by how much faster, in updates, it does at a low rate.
        S0: S of the updates before `rates`, at least 0.

    Returns:
        Of the shape of `steps`. A fall after which nothing was trained (a rate of 0) has taken off nothing.

    Raises:
        ValueError: a rate is negative or not finite, or a step is outside 0..num_updates.
    """
    e, at = np.asarray(rates, dtype=np.float64), np.asarray(steps)
    if e.ndim != 1 or not (np.isfinite(e) & (e >= 0)).all():
        raise ValueError(f"rates must be a list of finite numbers, none below 0, got {e}")
    if at.size and (at.min() < 0 or at.max() > e.size or (at != np.floor(at)).any()):
        raise ValueError(f"steps must be whole numbers within 0..{e.size}, the updates that have a rate, got {at}")
    t = at.reshape(-1).astype(np.int64)
    trained = np.concatenate([[0.0], np.cumsum(e)])  # S(0), S(1), ...
    before = np.flatnonzero(np.diff(e) != 0) + 1  # k - 1 of every change
    gains = np.zeros(t.size)
    rows = max(1, _MOST_CELLS // max(1, before.size))
    for first in range(0, t.size, rows):
        some = t[first : first + rows, None]
        since = np.where(some > before, trained[some] - trained[before], 0.0)
        gains[first : first + rows] = annealed(since, e[before], C=C, beta=beta, gamma=gamma) @ (
            e[before - 1] - e[before]
        )
    with np.errstate(divide="ignore"):  # nothing trained and S0 = 0: the law is infinite there
        return np.asarray(L0 + A * (trained[t] + S0) ** -alpha - B * gains).reshape(at.shape)


def annealed(since: FloatArray, rates: FloatArray, *, C: float, beta: float, gamma: float) -> FloatArray:
    """The share of a fall to a rate that has taken effect: 1 - (1 + C e^-gamma since)^-beta.

    Args:
        since: (..., num_falls) S trained since the fall; 0 gives a share of 0, whatever the rate.
        rates: (num_falls,) e, fallen to.
        C: see `multi_power_law`.
        beta: see there.
        gamma: see there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(since > 0, since * rates**-gamma, 0.0)
    return np.asarray(-np.expm1(-beta * np.log1p(C * reach)))
