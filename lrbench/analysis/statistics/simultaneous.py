"""Intervals of all differences between the schedules of one workload that hold at the same time.

Every claim about a workload follows from them, so all of them are right when the intervals are, and false claims of
any kind together stay below alpha. Two scales are needed at a handful of seeds:

*own*: the variances of the two schedules (Welch 1947), at one-sided level alpha / 3(k - 1), because comparing one with
all others is k - 1 comparisons. It guards against schedules of different noise, but has few degrees of freedom.

*typical*: the mean standard deviation of the workload's schedules, at alpha / k(k - 1), because the best and the worst
of k equals are the extremes of k(k - 1) / 2 pairs. It guards against a variance that is small by chance.

The interval is the wider of both. Neither is enough alone: `scripts/simulate_claims.py report` has the rates.

With a reference only the k - 1 differences from it are estimated, at levels alpha / (k + 1) and alpha / 2(k - 1); the
intervals of all other pairs are those that follow from them, so that they hold at the same time and cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from lrbench.analysis.statistics.terms import TIE_TOLERANCE, FloatArray

FEWEST_PAIRED = 4  # below it pairing costs more degrees of freedom than it removes noise


@dataclass(frozen=True)
class Noise:
    """What the seeds of k schedules say of their means' accuracy, for any number of workloads at once.

    Attributes:
        variances: (..., k) of one seed.
        degrees: (..., k) degrees of freedom of each.
        num_seeds: (k,).
        paired: (...) whether the effect of the seeds was removed.
    """

    variances: FloatArray
    degrees: FloatArray
    num_seeds: npt.NDArray[np.int64]
    paired: npt.NDArray[np.bool_]


def noise_of(costs: Sequence[FloatArray]) -> Noise:
    """Estimate the noise of schedules whose seeds differ.

    Args:
        costs: for each schedule (..., num_seeds), the numbers of seeds may differ; finite.
    """
    num_seeds = np.array([c.shape[-1] for c in costs])
    variances = np.stack([c.var(axis=-1, ddof=1) for c in costs], axis=-1)
    degrees = np.broadcast_to(num_seeds - 1.0, variances.shape)
    return Noise(variances, degrees, num_seeds, np.zeros(variances.shape[:-1], bool))


def shared_noise_of(costs: FloatArray) -> Noise:
    """Estimate the noise of schedules that share their seeds, and remove the effect of the seeds where it is visible.

    It is removed where the residuals' variances are smaller, by their mean standard deviation, than the schedules' own:
    not where seeds do not matter, nor where one noisy schedule would spread its noise over all others, nor where
    nothing but the effect of the seeds varies.

    Args:
        costs: (..., num_seeds, k), finite; seed s is row s of every schedule.
    """
    n, k = costs.shape[-2:]
    alone = noise_of([costs[..., i] for i in range(k)])
    if k < 2 or (n < FEWEST_PAIRED and k > 2):
        return alone
    centred = costs - costs.mean(axis=-2, keepdims=True)
    residuals = centred - centred.mean(axis=-1, keepdims=True)
    degrees = (n - 1) * (k - 1) / k
    variances = (residuals**2).sum(axis=-2) / degrees
    left, whole = np.sqrt(variances).sum(axis=-1), np.sqrt(alone.variances).sum(axis=-1)
    # Of two schedules the smaller of two estimates would be chosen too often by chance: pairs are paired. Where the
    # seeds explain all there is, no scale would be left.
    paired = ((left < whole) | (k == 2)) & (left > TIE_TOLERANCE * whole)
    chosen = paired[..., None]
    return Noise(
        np.where(chosen, variances, alone.variances),
        np.where(chosen, degrees, alone.degrees),
        alone.num_seeds,
        paired,
    )


def typical_deviation(noise: Noise) -> tuple[FloatArray, FloatArray]:
    """Mean standard deviation of the schedules, each without its bias at few seeds, weighted by degrees of freedom.

    One noisy schedule moves it less than it moves the mean variance, one quiet schedule less than the geometric mean.

    Returns:
        (...) the standard deviation and (...) its degrees of freedom.
    """
    half = noise.degrees / 2
    unbiased = np.sqrt(noise.variances * half) * np.exp(special.gammaln(half) - special.gammaln(half + 0.5))
    total = noise.degrees.sum(axis=-1)
    return (noise.degrees * unbiased).sum(axis=-1) / total, total


def own_errors(noise: Noise) -> tuple[FloatArray, FloatArray]:
    """Welch's standard errors of all differences and their degrees of freedom, (..., k, k) each."""
    share = noise.variances / noise.num_seeds
    total = share[..., :, None] + share[..., None, :]
    weight = share**2 / noise.degrees
    with np.errstate(invalid="ignore"):
        degrees = total**2 / (weight[..., :, None] + weight[..., None, :])
    numbers = noise.num_seeds
    if numbers.min() < FEWEST_PAIRED and (numbers.size == 2 or numbers.min() < numbers.max()):
        # Welch's degrees of freedom are too many where the noisier side has three seeds; the smaller side's hold.
        fewer = np.minimum.outer(numbers, numbers)
        short = (fewer < FEWEST_PAIRED) & ~noise.paired[..., None, None]
        degrees = np.where(short, fewer - 1.0, degrees)
    # Two schedules without any variance: no noise at all, whatever the degrees of freedom.
    return np.sqrt(total), np.where(total > 0, degrees, 1.0)


def own_level(alpha: float, num_schedules: int, *, has_reference: bool = False) -> float:
    """One-sided level of a comparison by the own variances."""
    if has_reference and num_schedules > 2:
        return alpha / (num_schedules + 1)
    # Of three schedules this is the level of all pairs; with more, the typical variance is there as well.
    return alpha / ((2 if num_schedules == 2 else 3) * (num_schedules - 1))


def typical_level(alpha: float, num_schedules: int, *, has_reference: bool = False) -> float:
    """One-sided level of a comparison by the typical variance: of all pairs, or of those with the reference."""
    return alpha / ((2 if has_reference else num_schedules) * (num_schedules - 1))


def quantile(level: float, degrees: npt.ArrayLike) -> FloatArray:
    """Upper quantile of Student's t, without the rounding of 1 - level."""
    return np.asarray(-special.stdtrit(degrees, level), dtype=np.float64)


def half_widths(
    noise: Noise, *, alpha: float, selection: npt.ArrayLike = 0.0, reference: int | None = None
) -> FloatArray:
    """Half widths of the simultaneous intervals of all differences.

    Args:
        noise: of k schedules, two or more.
        alpha: probability that any claim of one workload is false, in (0, 1).
        selection: (...) variance that the choice of its rate adds to each schedule, see `rate_choice`.
        reference: index of the schedule that all others are compared with; None compares all pairs.

    Returns:
        (..., k, k), zero where nothing varies.
    """
    k, has_reference = noise.num_seeds.size, reference is not None
    error, degrees = own_errors(noise)
    critical = quantile(own_level(alpha, k, has_reference=has_reference), degrees)
    own, added = critical * error, critical**2 * 2 * np.asarray(selection)[..., None, None]
    if k == 2:
        return np.asarray(np.sqrt(own**2 + added))  # both scales are the same
    deviation, total = typical_deviation(noise)
    inverse = 1 / noise.num_seeds
    scale = deviation[..., None, None] * np.sqrt(inverse[:, None] + inverse[None, :])
    typical = quantile(typical_level(alpha, k, has_reference=has_reference), total)[..., None, None] * scale
    half = np.sqrt(np.maximum(own, typical) ** 2 + added)
    return np.asarray(half if reference is None else through_reference(half, reference))


def through_reference(half: FloatArray, reference: int) -> FloatArray:
    """Half widths of all pairs that follow from those with the reference, (..., k, k): the sum of both sides' own."""
    to_reference = half[..., reference].copy()
    to_reference[..., reference] = 0
    return np.asarray(to_reference[..., :, None] + to_reference[..., None, :])
