"""The ladder: the same base rates for every contestant, then each one's own refinement around its best rate.

The first rungs lie around the optimizer's usual rate, whatever else is searched and whatever was found, so every
contestant is offered the same. What follows is a pure function of the finished trials: the widest gap beside the best
rate is halved; where the best rate is an end, a rung is added beyond it. Every second trial of a contestant with
further parameters tries other values of them at its best rate.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from lrbench.search.points import num_values, point_of_values, quasi_random_point, value_at, value_number
from lrbench.search.ranges import contains, in_words, range_document
from lrbench.search.space import RATE, Dimension

NUM_RUNGS = 5
FACTOR = math.sqrt(10)
# Gaps beside the best rate are not halved below this share of a rung, in the logarithm.
_FINEST = 1 / 8


def rungs_of(dimension: Dimension) -> list[float]:
    """The rungs in the order in which they are tried, from the middle outwards.

    Args:
        dimension: of the base rate. The middle rung is its default, moved as little as keeps all rungs in its range; in
            a range too short for the usual factor, the rungs fill it. Of choices, all are rungs.

    Raises:
        ValueError: the range begins at 0 or below.
    """
    ladder: list[Any] = _values(dimension.distribution)
    if not ladder:
        low, high = _ends(dimension.distribution)
        factor = min(FACTOR, (high / low) ** (1 / (NUM_RUNGS - 1)))
        reach = factor ** (NUM_RUNGS // 2)
        usual = dimension.default if isinstance(dimension.default, int | float) else math.sqrt(low * high)
        middle = min(max(usual, low * reach), high / reach)
        ladder = [_rounded(middle * factor**k, low, high) for k in range(-(NUM_RUNGS // 2), NUM_RUNGS // 2 + 1)]
    centre = (len(ladder) - 1) // 2
    return sorted(ladder, key=lambda rate: (abs(ladder.index(rate) - centre), -ladder.index(rate)))


def ladder_point(
    space: Sequence[Dimension], *, seed: int, number: int, minimize: bool, history: Sequence[FrozenTrial]
) -> dict[str, Any]:
    """Point `number` of a ladder.

    Args:
        space: what is searched; without a base rate, only the further parameters are.
        seed: of the further parameters.
        number: of the trial, from 0.
        minimize: whether smaller first objectives are better.
        history: trials that this one may know of; running ones count as tried.

    Raises:
        ValueError: see `rungs_of`.
    """
    rate = next((dimension for dimension in space if dimension.name == RATE), None)
    others = [dimension for dimension in space if dimension.name != RATE]
    rungs = [] if rate is None else rungs_of(rate)
    if number < len(rungs):
        return usual_point(space, rate=rungs[number])
    after = number - len(rungs)
    if rate is None:
        return usual_point(space) if number == 0 else quasi_random_point(others, seed=seed, number=number)
    tried = {float(trial.params[RATE]): trial for trial in history if is_usual(space, trial)}
    found = {r: t.values[0] for r, t in tried.items() if t.state is TrialState.COMPLETE}
    best = min(found, key=lambda r: (found[r] if minimize else -found[r], r)) if found else float(rungs[0])
    if _values(rate.distribution) or (others and after % 2 == 1):
        chosen = next(value for value in [*rungs, best] if float(value) == best)
        return {RATE: chosen} | quasi_random_point(others, seed=seed, number=after)
    return usual_point(space, rate=_next_rate(sorted({*tried, *map(float, rungs)}), best, rate.distribution))


def usual_point(space: Sequence[Dimension], *, rate: float | None = None) -> dict[str, Any]:
    """The defaults of a space, or the middle of a range that does not have its default; at a rate, if given."""

    def value(dimension: Dimension) -> Any:
        if dimension.name == RATE and rate is not None:
            return rate
        if contains(dimension.distribution, dimension.default):
            return dimension.default
        return value_at(dimension.distribution, 0.5)

    return point_of_values(space, value)


def is_usual(space: Sequence[Dimension], trial: FrozenTrial) -> bool:
    """Whether a trial differs from the defaults in its rate only."""
    return RATE in trial.params and trial.params == usual_point(space, rate=trial.params[RATE])


def usual_document(space: Sequence[Dimension]) -> Mapping[str, Any]:
    """The defaults as JSON: the part of the config, beside the space itself, that shapes the points."""
    return {dimension.name: dimension.default for dimension in space}


def _next_rate(tried: Sequence[float], best: float, distribution: BaseDistribution) -> float:
    """Beyond an end that is best; else in the middle of the wider gap beside the best; at last of the widest gap."""
    low, high = _ends(distribution)
    if best == tried[-1] < high:
        return _rounded(best * FACTOR, low, high)
    if best == tried[0] > low:
        return _rounded(best / FACTOR, low, high)
    gaps = list(pairwise(tried))
    beside = [gap for gap in gaps if best in gap and _width(gap) > _FINEST * math.log(FACTOR)]
    # Of equal gaps the one at higher rates: losses rise more steeply there.
    below, above = max(beside or gaps, key=lambda gap: (round(_width(gap), 3), gap))
    return _rounded(math.sqrt(below * above), low, high)


def _width(gap: tuple[float, float]) -> float:
    return math.log(gap[1] / gap[0])


def _rounded(rate: float, low: float, high: float) -> float:
    """To six digits, as people read it, within the range."""
    return min(max(float(f"{rate:.6g}"), low), high)


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    assert isinstance(distribution, FloatDistribution)
    if distribution.low <= 0:
        raise ValueError(
            f"{RATE}: a ladder of rates needs a range above 0, got {in_words(range_document(distribution))}; "
            "hydra.sweeper.sampler=qmc takes this one"
        )
    return distribution.low, distribution.high


def _values(distribution: BaseDistribution) -> list[Any]:
    """All rates in rising order where they are choices, whole numbers or steps; none of a continuum."""
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        return []
    assert isinstance(distribution, CategoricalDistribution | IntDistribution | FloatDistribution)
    values = [value_number(distribution, index) for index in range(num_values(distribution))]
    return sorted(values)
