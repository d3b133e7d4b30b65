"""Tests across workloads (docs/metrics.md, row 14; Demsar 2006).

Scores have shape (num_workloads, num_schedules), one seed mean a cell, no cell missing; diverged =
`terms.worst`. Pairs are numbered by column.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from lrbench.analysis.statistics.pairs import holm
from lrbench.analysis.statistics.ranks import ranks
from lrbench.analysis.statistics.terms import (
    TIE_TOLERANCE,
    BoolArray,
    Direction,
    FloatArray,
    Unavailable,
    as_costs,
    stats_extra,
    without_noise,
)


@dataclass(frozen=True)
class Friedman:
    """Friedman's test in its two forms.

    Attributes:
        mean_ranks: one a schedule, 1 = best.
        num_workloads: blocks.
        chi2: tie-corrected, as scipy computes it.
        p_value: of `chi2`, num_schedules - 1 degrees of freedom.
        chi2_demsar: Demsar's formula, without the correction for ties, hence smaller where there are any.
        p_value_demsar: of `chi2_demsar`.
        f_demsar: Iman and Davenport's F of `chi2_demsar`; None (infinite) when all workloads agree completely.
        p_value_f: of `f_demsar`; None likewise, since no probability is 0.
    """

    mean_ranks: tuple[float, ...]
    num_workloads: int
    chi2: float
    p_value: float
    chi2_demsar: float
    p_value_demsar: float
    f_demsar: float | None
    p_value_f: float | None


@dataclass(frozen=True)
class Nemenyi:
    """All pairs of mean ranks: p values (num_schedules, num_schedules), critical difference at alpha."""

    mean_ranks: FloatArray
    p_values: FloatArray
    critical_difference: float
    alpha: float


@dataclass(frozen=True)
class SignedRanks:
    """Wilcoxon's signed-rank test of one pair over workloads, exact also with ties.

    Attributes:
        first: column number.
        second: column number.
        sum_first: sum of the ranks of the workloads on which `first` is better, ties of the pair split in
            half.
        sum_second: the same for `second`.
        p_value: two-sided, exact.
        p_holm: after Holm over all pairs.
        significant: p_holm <= alpha.
        num_tied: workloads on which both are equal.
        attainable: whether any result of the workloads that are not tied could have been significant.
    """

    first: int
    second: int
    sum_first: float
    sum_second: float
    p_value: float
    p_holm: float
    significant: bool
    num_tied: int
    attainable: bool


def smallest_num_workloads(num_schedules: int, *, alpha: float = 0.05) -> int:
    """Return the fewest workloads at which one pair can be significant after Holm over all pairs.

    The smallest exact two-sided p is 2 / 2^W, and Holm multiplies the smallest by the number of pairs.

    Raises:
        ValueError: fewer than two schedules, or alpha outside (0, 1).
    """
    if num_schedules < 2 or not 0 < alpha < 1:
        raise ValueError(f"needs two schedules or more and alpha in (0, 1), got {num_schedules} and {alpha}")
    return math.ceil(math.log2(2 * math.comb(num_schedules, 2) / alpha) - 1e-12)


def friedman(scores: npt.ArrayLike, *, direction: Direction) -> Friedman | Unavailable:
    """Test whether all schedules rank alike (Friedman 1937; Iman and Davenport 1980)."""
    placed = ranks(_blocks(scores), direction=direction)
    n, k = placed.shape
    if k < 3 or n < 2:
        return Unavailable(f"Friedman's test needs 3 schedules and 2 workloads, got {k} and {n}")
    if (placed == placed[:, :1]).all():
        return Unavailable("all schedules are tied on every workload")
    corrected = stats.friedmanchisquare(*placed.T)
    average = placed.mean(axis=0)
    chi2 = float(12 * n / (k * (k + 1)) * ((average**2).sum() - k * (k + 1) ** 2 / 4))
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-9 * n * k else None
    return Friedman(
        mean_ranks=tuple(average.tolist()),
        num_workloads=n,
        chi2=float(corrected.statistic),
        p_value=float(corrected.pvalue),
        chi2_demsar=chi2,
        p_value_demsar=float(stats.chi2.sf(chi2, k - 1)),
        f_demsar=f,
        p_value_f=float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))) if f is not None else None,
    )


def nemenyi(scores: npt.ArrayLike, *, direction: Direction, alpha: float = 0.05) -> Nemenyi | Unavailable:
    """Compare all mean ranks (Nemenyi 1963, by scikit-posthocs), for the critical-difference diagram only.

    Whether a pair differs depends here on the other schedules of the field; conclusions come from
    `wilcoxon_holm`.
    """
    placed = ranks(_blocks(scores), direction=direction)
    n, k = placed.shape
    refusal = _too_few(n, k, alpha)
    if refusal is not None:
        return refusal
    p_values = stats_extra("scikit_posthocs").posthoc_nemenyi_friedman(placed).to_numpy(dtype=np.float64)
    quantile = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return Nemenyi(placed.mean(axis=0), p_values, quantile * math.sqrt(k * (k + 1) / (6 * n)), alpha)


def wilcoxon_holm(
    scores: npt.ArrayLike, *, direction: Direction, alpha: float = 0.05
) -> list[SignedRanks] | Unavailable:
    """Compare all pairs by exact signed-rank tests with Holm's correction (Benavoli et al. 2016).

    Assumes that differences on different workloads can be compared in size.
    """
    costs = as_costs(_blocks(scores), direction=direction)
    refusal = _too_few(costs.shape[0], costs.shape[1], alpha)
    if refusal is not None:
        return refusal
    pairs = list(combinations(range(costs.shape[1]), 2))
    tests = [signed_ranks(costs[:, a], costs[:, b]) for a, b in pairs]
    raw = np.array([p for _, _, p in tests])
    found = []
    for i, ((a, b), (plus, minus, p), q) in enumerate(zip(pairs, tests, holm(raw), strict=True)):
        num_tied = int(_tied(costs[:, a], costs[:, b]).sum())
        # With ties the smallest p is 2 / 2^(those that are none): Holm again, as if this pair had reached it.
        smallest = min(1.0, 2.0 ** (1 - len(costs) + num_tied))
        attainable = bool(holm(np.where(np.arange(raw.size) == i, smallest, raw))[i] <= alpha)
        found.append(SignedRanks(a, b, plus, minus, p, float(q), bool(q <= alpha), num_tied, attainable))
    return found


def signed_ranks(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[float, float, float]:
    """Return the rank sums in favour of each of two columns of costs, and the exact two-sided p value.

    Differences are ranked by size with zeros included and split between both sides, as Demsar does; equal up
    to float noise is equal. Conditional on the ties, every assignment of signs is equally likely.

    Args:
        first: (num_workloads,) costs, lower is better; inf = diverged.
        second: (num_workloads,).

    Returns:
        (sum for first, sum for second, p).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(_tied(a, b), 0.0, a - b)
    sizes = np.asarray(stats.rankdata(without_noise(abs(difference))), dtype=np.float64)
    split = sizes[difference == 0].sum() / 2
    for_first = float(sizes[difference < 0].sum() + split)
    for_second = float(sizes[difference > 0].sum() + split)
    return for_first, for_second, _exact_p(np.sign(difference) * sizes)


def _tied(a: FloatArray, b: FloatArray) -> BoolArray:
    with np.errstate(invalid="ignore"):
        close = abs(a - b) <= TIE_TOLERANCE * np.maximum(abs(a), abs(b))
        return np.asarray((a == b) | close & np.isfinite(a - b), dtype=bool)


def _exact_p(signed: FloatArray) -> float:
    """Two-sided p of signed ranks: scipy's where its table is exact, else the distribution over all signs."""
    nonzero = signed[signed != 0]
    if nonzero.size == 0:
        return 1.0
    if nonzero.size == signed.size and np.unique(abs(signed)).size == signed.size:
        return float(stats.wilcoxon(signed, method="exact").pvalue)
    # Average ranks are multiples of one half, so that doubled they index the table of sums.
    doubled = np.rint(2 * abs(nonzero)).astype(int)
    ways = np.ones(1)
    for rank in doubled:
        ways = np.concatenate([ways, np.zeros(rank)]) + np.concatenate([np.zeros(rank), ways])
    centre = doubled.sum() / 2
    distance = abs(np.rint(2 * nonzero[nonzero > 0].sum()) - centre)
    extreme = abs(np.arange(ways.size) - centre) >= distance
    return float(ways[extreme].sum() / ways.sum())


def _blocks(scores: npt.ArrayLike) -> FloatArray:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must be (num_workloads, num_schedules), not empty, got shape {array.shape}")
    return array


def _too_few(num_workloads: int, num_schedules: int, alpha: float) -> Unavailable | None:
    if num_schedules < 2:
        return Unavailable("there is only one schedule")
    needed = smallest_num_workloads(num_schedules, alpha=alpha)
    if num_workloads >= needed:
        return None
    return Unavailable(
        f"not enough workloads to test: {num_workloads}, and no result of fewer than {needed} can be "
        f"significant at alpha = {alpha:g} between {num_schedules} schedules"
    )
