"""Looking more than once at paired seeds, without claiming more than alpha (docs/metrics.md, row 19).

Planned looks spend the level by a boundary of Wang and Tsiatis (1987): at n of n_max seeds the score must exceed
C (n / n_max)^(delta - 1/2), and its nominal level is turned into a threshold for
Student's t at n - 1 degrees of freedom.
Without a plan, the e-process of the t statistic (Lai 1976; Wang and Ramdas, arXiv 2310.03722) holds at every n at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from lrbench.analysis.statistics.simultaneous import quantile
from lrbench.analysis.statistics.terms import MIN_SEEDS, FloatArray, Interval, Unavailable

DELTA = (
    0.25  # between O'Brien and Fleming (0), who hardly ever stop early, and Pocock (1/2), who pays for it at the end
)
PRIOR_SCALE = 4.0  # g of the e-process: effects of about two standard deviations are expected
LOOKS = (5, 10, 20)  # planned where nobody says otherwise
_GRID_STEP = 0.02  # of the scores; the level is exact to five digits
_NUM_PATHS = 500_000  # what is left is exact to a hundredth or two of the level
_FEWEST_CROSSINGS = 100
_SIMULATED_LEVEL = 0.0025

PairState = Literal["out", "equivalent", "continue", "exhausted"]


@dataclass(frozen=True)
class Look:
    """One planned look.

    Attributes:
        num_seeds: in all, at this look.
        level: nominal one-sided level.
        threshold: of Student's t with num_seeds - 1 degrees of freedom.
        total: one-sided level over all looks.
    """

    num_seeds: int
    level: float
    threshold: float
    total: float


@dataclass(frozen=True)
class PairLook:
    """What one look says of a pair, first - second in log cost.

    Attributes:
        state: `out` where one of them is shown worse, `exhausted` where no planned look is left.
        worse: 0 or 1, which of them; None unless `out`.
        estimate: mean difference of the paired seeds.
        interval: repeated confidence interval: holds at all looks at once.
        num_seeds: paired seeds seen.
        method: for people.
    """

    state: PairState
    worse: int | None
    estimate: float
    interval: Interval
    num_seeds: int
    method: str


def planned_looks(num_seeds: Sequence[int], *, level: float, delta: float = DELTA) -> tuple[Look, ...]:
    """Spend a one-sided level over planned looks.

    Args:
        num_seeds: at each look, ascending, the first at least three.
        level: of one side of one comparison, over all looks, in (0, 1/2).
        delta: shape of the boundary, in [0, 1/2].

    Raises:
        ValueError: the numbers do not ascend, or a value is outside its range.
    """
    plan = tuple(int(n) for n in num_seeds)
    if not plan or plan[0] < MIN_SEEDS or any(b <= a for a, b in pairwise(plan)):
        raise ValueError(f"looks must be ascending numbers of seeds from {MIN_SEEDS} on, got {list(num_seeds)}")
    if not 0 < level < 0.5 or not 0 <= delta <= 0.5:
        raise ValueError(f"level must be in (0, .5) and delta in [0, .5], got {level} and {delta}")
    factors = _factors(plan, max(level, _SIMULATED_LEVEL), delta)
    levels = [p * factor for p, factor in zip(_levels(plan, level, delta), factors, strict=True)]
    return tuple(Look(n, p, float(quantile(p, n - 1)), level) for n, p in zip(plan, levels, strict=True))


def crossing_probability(information: npt.ArrayLike, bounds: npt.ArrayLike) -> float:
    """Probability that a standardised sum ever exceeds its bound (Armitage, McPherson and Rowe 1969).

    Args:
        information: (num_looks,) ascending, proportional to the number of seeds.
        bounds: (num_looks,) of the score at each.
    """
    times, limits = np.asarray(information, dtype=np.float64), np.asarray(bounds, dtype=np.float64)
    times = times / times[0]
    total = float(special.ndtr(-limits[0]))
    grid, weights, density = _start(limits[0])
    for before, now, limit in zip(times, times[1:], limits[1:], strict=False):
        step = math.sqrt(now - before)
        total += float((weights * density) @ special.ndtr((grid - limit * math.sqrt(now)) / step))
        upper = limit * math.sqrt(now)
        following, next_weights = _simpson(-9 * math.sqrt(now), upper, step)
        kernel = np.exp(-(((following[:, None] - grid[None, :]) / step) ** 2) / 2) / (step * math.sqrt(2 * math.pi))
        grid, weights, density = following, next_weights, kernel @ (weights * density)
    return total


def e_value(differences: npt.ArrayLike, *, prior_scale: float = PRIOR_SCALE) -> FloatArray:
    """E-process of the t statistic after the first n paired differences, for every n.

    E_n = (1 + n g)^(-1/2) ((1 + t^2 / v) / (1 + t^2 / (v (1 + n g))))^((v + 1) / 2) with v = n - 1: the likelihood
    ratio of the t statistic when the effect is normal with variance g. P(any E_n >= 1 / alpha) <= alpha without an
    effect.

    Args:
        differences: (..., num_seeds), finite.
        prior_scale: g.

    Returns:
        (..., num_seeds); 1 for the first seed, inf where all differences are equal and not zero.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(d).all():
        raise ValueError("a difference is not finite; a diverged run counts with its cost at step 0")
    n = np.arange(1, d.shape[-1] + 1, dtype=np.float64)
    mean = np.cumsum(d, axis=-1) / n
    squares = np.maximum(np.cumsum(d**2, axis=-1) - n * mean**2, 0.0)
    # t^2 / v = n mean^2 / sum of squares about the mean
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(mean == 0, 0.0, n * mean**2 / squares)
        grown = 1 + n * prior_scale
        values = grown**-0.5 * ((1 + ratio) / (1 + ratio / grown)) ** (n / 2)
    values = np.where(np.isinf(ratio), np.inf, values)
    values[..., 0] = 1.0
    return values


def e_threshold(num_seeds: int, *, alpha: float, prior_scale: float = PRIOR_SCALE) -> float | Unavailable:
    """The |t| at which the e-process reaches 1 / alpha after so many seeds."""
    v, grown = num_seeds - 1, 1 + num_seeds * prior_scale
    # ((1 + x) / (1 + x / grown)) = needed, for x = t^2 / v
    needed = (math.sqrt(grown) / alpha) ** (2 / num_seeds) if num_seeds > 1 else math.inf
    if needed >= grown:
        return Unavailable(f"{num_seeds} seeds cannot reach alpha = {alpha:g}")
    return math.sqrt(v * (needed - 1) / (1 - needed / grown))


def look_at_pair(
    differences: npt.ArrayLike, plan: Sequence[Look], *, margin: float, selection: float = 0.0
) -> PairLook:
    """Judge one pair at the planned look that its number of seeds is.

    Args:
        differences: (num_seeds,) log cost of the first minus that of the second, paired by seed.
        plan: of `planned_looks`, of which the number of seeds is one.
        margin: of equivalence.
        selection: variance that the choice of its rate adds to each side's mean log cost, see `rate_choice`; more seeds
            do not take it away.

    Raises:
        ValueError: a difference is not finite, or the number of seeds is no planned look.
    """
    d = _checked(differences)
    look = next((item for item in plan if item.num_seeds == d.size), None)
    if look is None:
        raise ValueError(f"looks are planned at {[item.num_seeds for item in plan]} seeds, got {d.size}")
    found = _judge(d, look.threshold, margin, 1 - 2 * look.total, "planned looks", selection)
    if found.state == "continue" and look is plan[-1]:
        return PairLook("exhausted", None, found.estimate, found.interval, found.num_seeds, found.method)
    return found


def look_with_power(
    differences: npt.ArrayLike, plan: Sequence[Look], *, selection: float = 0.0, power: float = 0.8
) -> Look | None:
    """The first look to come that shows the difference with this power, if the observed difference and noise are true.

    Looks before it may show it as well, so the power is at least that much.

    Args:
        differences: (num_seeds,) as `look_at_pair`.
        plan: of `planned_looks`.
        selection: as `look_at_pair`.
        power: in (0, 1).

    Returns:
        None where the last look has less power.
    """
    d = _checked(differences)
    mean, variance = float(d.mean()), float(d.var(ddof=1))
    for look in plan:
        n, noise = look.num_seeds, variance / look.num_seeds + 2 * selection
        if n <= d.size or not noise:
            continue
        # The square of a noncentral t is a noncentral F.
        if 1 - special.ncfdtr(1, n - 1, mean**2 / noise, look.threshold**2) >= power:
            return look
    return None


def look_at_open_end(differences: npt.ArrayLike, *, alpha: float, margin: float) -> PairLook | Unavailable:
    """Judge one pair at any number of seeds and as often as wanted, by the e-process.

    Args:
        differences: as `look_at_pair`.
        alpha: two-sided, over all looks ever taken.
        margin: of equivalence.
    """
    d = _checked(differences)
    threshold = e_threshold(d.size, alpha=alpha)
    if isinstance(threshold, Unavailable):
        return threshold
    return _judge(d, threshold, margin, 1 - alpha, "e-process, any number of looks")


def _judge(
    d: FloatArray, threshold: float, margin: float, level: float, method: str, selection: float = 0.0
) -> PairLook:
    middle, half = float(d.mean()), threshold * math.sqrt(float(d.var(ddof=1)) / d.size + 2 * selection)
    interval = Interval(middle - half, middle + half, level, method)
    bound = math.log1p(margin)
    if half < abs(middle):
        return PairLook("out", 0 if middle > 0 else 1, middle, interval, d.size, method)
    state: PairState = "equivalent" if abs(middle) + half < bound else "continue"
    return PairLook(state, None, middle, interval, d.size, method)


def _checked(differences: npt.ArrayLike) -> FloatArray:
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 1 or d.size < MIN_SEEDS or not np.isfinite(d).all():
        raise ValueError(f"a look needs {MIN_SEEDS} finite paired differences or more, got {d.tolist()}")
    return d


@lru_cache(maxsize=256)
def _levels(plan: tuple[int, ...], level: float, delta: float) -> tuple[float, ...]:
    """Nominal levels of the looks for normal scores."""
    constant = _constant(plan, level, delta)
    return tuple(float(special.ndtr(-constant * (n / plan[-1]) ** (delta - 0.5))) for n in plan)


@lru_cache(maxsize=256)
def _factors(plan: tuple[int, ...], level: float, delta: float) -> tuple[float, ...]:
    """What each look may spend, relative to its nominal level for normal scores.

    The t statistics of neighbouring looks agree less than scores do, so that the normal boundary is crossed too
    often: by 4 % of the level at 5, 10, 20 seeds, by 15 % at every seed. By simulation every look gets what brings the
    share of studies that have crossed to what it would be for normal scores.
    """
    levels = _levels(plan, level, delta)
    bounds = -special.ndtri(np.array(levels))
    rng = np.random.default_rng(0)
    sums, squares = np.zeros(_NUM_PATHS), np.zeros(_NUM_PATHS)
    up, down = np.zeros(_NUM_PATHS, bool), np.zeros(_NUM_PATHS, bool)
    factors = []
    for i, (before, n) in enumerate(zip((0, *plan), plan, strict=False)):
        score = rng.standard_normal(_NUM_PATHS)
        sums += math.sqrt(n - before) * score
        squares += score**2 + (rng.chisquare(n - before - 1, _NUM_PATHS) if n > before + 1 else 0.0)
        t = sums / np.sqrt(n * (squares - sums**2 / n) / (n - 1))
        spent = crossing_probability(plan[: i + 1], bounds[: i + 1])
        left = round(2 * _NUM_PATHS * spent) - int(up.sum()) - int(down.sum())
        factor = 1.0
        if i and left >= _FEWEST_CROSSINGS:  # what too few paths would tell is left to the looks after it
            either = np.concatenate([t[~up], -t[~down]])
            threshold = np.partition(either, -left)[-left]
            factor = min(1.0, float(special.stdtr(n - 1, -threshold)) / levels[i])
        factors.append(factor)
        critical = quantile(levels[i] * factor, n - 1)
        up |= t > critical
        down |= -t > critical
    return tuple(factors)


@lru_cache(maxsize=256)
def _constant(plan: tuple[int, ...], level: float, delta: float) -> float:
    shape = (np.array(plan) / plan[-1]) ** (delta - 0.5)
    low = float(-special.ndtri(level))
    return float(
        optimize.brentq(
            lambda c: math.log(crossing_probability(plan, c * shape) / level), low - 1e-9, low + 3.0, xtol=1e-6
        )
    )


def _start(limit: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    grid, weights = _simpson(-9.0, limit, 1.0)
    return grid, weights, np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)


def _simpson(low: float, high: float, scale: float) -> tuple[FloatArray, FloatArray]:
    """Points and weights of Simpson's rule, fine for densities of that scale."""
    num = 2 * math.ceil((high - low) / (2 * 5 * _GRID_STEP * scale)) + 1
    points = np.linspace(low, high, num)
    weights = np.full(num, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return points, weights * (points[1] - points[0]) / 3
