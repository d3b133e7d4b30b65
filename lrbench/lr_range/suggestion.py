"""Read the range of useful rates off the losses of a range test."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrbench.lr_range.measure import RangeTest, first_divergence, smoothed_curve, smoothing_steps

SHARE = 0.1  # of the whole fall: learning has begun when this much is gained, and ended when it is lost again
HIGH_OVER_SUGGESTED = 3.0  # see `suggest`
_NUM_SIGMAS = 4.0  # what a change of the loss must exceed to be no accident
_LEAST_CHANGE = 0.01  # of the loss at the start, for losses without noise


@dataclass(frozen=True)
class Suggestion:
    """What a range test says; None where it cannot, and the reason says what to change.

    Attributes:
        low: where learning begins.
        high: where it ends; rates above are too large.
        suggested: a base rate to begin with.
        reasons: sentences, at least one.
    """

    low: float | None
    high: float | None
    suggested: float | None
    reasons: list[str]


def suggest(test: RangeTest) -> Suggestion:
    """Read low, high and suggested rate off the median smoothed loss.

    * low: the loss has fallen by `SHARE` of its whole fall ("when the accuracy starts to increase", Smith 2017, 3.3);
    * high: past its lowest point the loss has not yet risen by `SHARE` of its fall ("slows, becomes ragged, or starts
      to fall"); the lowest point itself lies anywhere on what is often a flat bottom. At most the last rate before the
      first seed diverged;
    * suggested: steepest descent against the logarithm of the rate (fastai's `steep`), but at most a third of high.
      A rate that is survived for a few steps is too large for a whole training: the best one is within a factor of two
      of the largest that converges, and a cautious one a third or a quarter of it (Smith 2017, 3.3, after Bengio 2012).

    The level that the loss falls from is its mean over the first smoothing window. A fall or rise counts when it
    exceeds the noise of the smoothed loss, estimated from differences of successive losses.
    """
    fall = _find_fall(test)
    if isinstance(fall, str):
        return Suggestion(None, None, None, [fall])
    high, why_high = _high(test, fall)
    low, why_low = _low(test, fall)
    if low is not None and high is not None and low >= high:
        why_low = f"no low: learning begins at {_shown(low)}, not before it ends: try more seeds and a larger num_steps"
        return Suggestion(None, high, None, [why_low, why_high, "no suggestion without a low"])
    suggested, why_suggested = _suggested(fall, low, high)
    return Suggestion(low, high, suggested, [why_low, why_high, why_suggested])


@dataclass(frozen=True)
class _Fall:
    """A fall of the median smoothed loss.

    Attributes:
        lr: see SmoothedCurve.lr.
        level: finite part of SmoothedCurve.median, shape (num_finite,).
        first, bottom: steps where the fall begins to be looked for, and where the loss is lowest.
        sigma: standard deviation of a single loss.
        risen: first step past `bottom` where the loss has risen again, or None.
        half_window: steps to either side over which slopes are taken, >= 1.
    """

    lr: NDArray[np.float64]
    level: NDArray[np.float64]
    first: int
    bottom: int
    sigma: float
    risen: int | None
    half_window: int

    @property
    def onset_level(self) -> float:
        """Loss at which learning has begun."""
        return float(self.level[self.first] - SHARE * (self.level[self.first] - self.level[self.bottom]))

    @property
    def onset(self) -> int:
        """First step from which on, up to `bottom`, the loss stays below `onset_level`; early wiggles are none."""
        return 1 + int(np.flatnonzero(self.level[: self.bottom] > self.onset_level)[-1])


def _find_fall(test: RangeTest) -> _Fall | str:
    """The fall, or a sentence saying that there is none."""
    memory = smoothing_steps(len(test.lr))
    curve = smoothed_curve(test)
    level = curve.median[np.isfinite(curve.median)]
    first = math.ceil(memory) - 1
    min_lr, max_lr = _shown(test.lr[0]), _shown(test.lr[-1])
    diverged = first_divergence(test)
    if diverged is not None and diverged[0] <= first + 1:
        return f"seed {diverged[1]} diverges at step {diverged[0]} already: lower min_lr, which is {min_lr}"
    bottom = first + int(np.argmin(level[first:]))
    fall, sigma = level[first] - level[bottom], _sigma(test.losses)
    # The variance of an exponential mean of independent losses is that of one, divided by 2 memory - 1.
    least = max(_NUM_SIGMAS * sigma / math.sqrt(2 * memory - 1), _LEAST_CHANGE * abs(level[first]))
    above = np.flatnonzero(level[bottom:] > level[bottom] + max(least, SHARE * fall))
    risen = bottom + int(above[0]) if above.size else None
    if fall < least:
        if risen is not None or diverged is not None:
            return f"the loss rises without having fallen: lower min_lr, which is {min_lr}"
        return f"the loss neither falls nor rises between {min_lr} and {max_lr}: raise max_lr"
    return _Fall(curve.lr, level, first, bottom, sigma, risen, half_window=max(1, round(memory)))


def _low(test: RangeTest, fall: _Fall) -> tuple[float | None, str]:
    start = float(fall.level[fall.first])
    fallen_before = float(np.median(test.losses[:, 0])) - start
    if fallen_before > max(_NUM_SIGMAS * fall.sigma, start - fall.onset_level):
        return None, f"no low: the loss falls from the first step on: lower min_lr, which is {_shown(test.lr[0])}"
    low = float(fall.lr[fall.onset])
    return low, (
        f"low {_shown(low)}: the loss has fallen by {SHARE:.0%} of its whole fall, "
        f"{start:.4g} to {fall.level[fall.bottom]:.4g}"
    )


def _high(test: RangeTest, fall: _Fall) -> tuple[float | None, str]:
    diverged = first_divergence(test)
    rises_at = math.inf if fall.risen is None else float(fall.lr[fall.risen - 1])
    diverges_at = math.inf if diverged is None else float(test.lr[diverged[0] - 1])
    high = min(rises_at, diverges_at)
    if math.isinf(high):
        return None, f"no high: the loss has not risen by {_shown(test.lr[-1])}: raise max_lr"
    if diverged is not None and diverges_at < rises_at:
        return high, f"high {_shown(high)}: the last step before seed {diverged[1]} diverged"
    return high, f"high {_shown(high)}: above, the loss rises by {SHARE:.0%} of its fall or more"


def _suggested(fall: _Fall, low: float | None, high: float | None) -> tuple[float | None, str]:
    if high is None:
        return None, "no suggestion without a high"
    steepest = _steepest(fall)
    cap = high / HIGH_OVER_SUGGESTED
    if low is not None and cap < low:
        return low, f"suggested {_shown(low)}: low itself, which is above a third of high; the range is narrow"
    if steepest <= cap:
        return (
            steepest,
            f"suggested {_shown(steepest)}: the loss falls fastest there, against the logarithm of the rate",
        )
    return cap, (
        f"suggested {_shown(cap)}: a third of high; the loss falls fastest at {_shown(steepest)}, but a rate survived "
        "for a few steps is too large for a whole training (Smith 2017)"
    )


def _steepest(fall: _Fall) -> float:
    """Rate of the steepest descent, by secants a smoothing window to either side."""
    steps = np.arange(fall.onset, fall.bottom + 1)
    left = np.maximum(steps - fall.half_window, fall.first)
    right = np.minimum(steps + fall.half_window, len(fall.level) - 1)
    slopes = (fall.level[right] - fall.level[left]) / np.log(fall.lr[right] / fall.lr[left])
    return float(fall.lr[steps[np.argmin(slopes)]])


def _sigma(losses: NDArray[np.float64]) -> float:
    """Standard deviation of a single loss about its trend, from successive differences; outliers do not count."""
    differences = np.abs(np.diff(losses, axis=1))
    # 1.4826 makes a median absolute deviation a standard deviation; a difference has the variance of two losses.
    return float(1.4826 * np.nanmedian(differences) / math.sqrt(2)) if np.isfinite(differences).any() else 0.0


def _shown(rate: float) -> str:
    return f"{rate:.3g}"
