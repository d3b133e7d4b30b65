"""Points of a space that need no history, quasi-random and random; a point has its active dimensions only."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.search.space import Dimension, parents_first
from lrbench.spec import derived_seed


def quasi_random_point(space: Sequence[Dimension], *, seed: int, number: int) -> dict[str, Any]:
    """Point `number` of a scrambled Sobol sequence (Owen 1998), a coordinate for each dimension, active or not.

    Any first 2^k points fill the space evenly, so a study that stops early still covered all of it.
    """
    if not space:
        return {}
    from scipy.stats import qmc  # takes a second, and a word that is wrong shall be answered before

    sequence = qmc.Sobol(len(space), scramble=True, rng=derived_seed("suggestion", seed))
    if number > 0:  # scipy's overflows at 0
        sequence.fast_forward(number)
    coordinates = dict(zip((dimension.name for dimension in space), sequence.random(1)[0], strict=True))
    return _point(space, lambda d: value_at(d.distribution, coordinates[d.name]))


def random_point(space: Sequence[Dimension], *, seed: int, number: int) -> dict[str, Any]:
    """A point whose every value is a function of (seed, number, name): other dimensions do not move it."""

    def draw(dimension: Dimension) -> Any:
        generator = np.random.default_rng(derived_seed("suggestion", seed, number, dimension.name))
        return value_at(dimension.distribution, generator.random())

    return _point(space, draw)


def value_at(distribution: BaseDistribution, u: float) -> Any:
    """The value at a share of the distribution, by its inverse cumulative function.

    Args:
        distribution: uniform, or uniform in the logarithm.
        u: in [0, 1).
    """
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        if distribution.log:
            low, high = math.log(distribution.low), math.log(distribution.high)
            value = math.exp(low + u * (high - low))
        else:
            value = distribution.low + u * (distribution.high - distribution.low)
        return min(max(value, distribution.low), distribution.high)
    if isinstance(distribution, IntDistribution) and distribution.log:
        # Half a unit more on both sides gives the first and the last number their share.
        low, high = math.log(distribution.low - 0.5), math.log(distribution.high + 0.5)
        value = round(math.exp(low + u * (high - low)))
        return min(max(value, distribution.low), distribution.high)
    return value_number(distribution, math.floor(u * num_values(distribution)))


def num_values(distribution: BaseDistribution) -> int:
    """How many values a distribution has: of choices, of whole numbers, or with a step."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    assert distribution.step is not None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def value_number(distribution: BaseDistribution, index: int) -> Any:
    """The value at an index below `num_values`, in rising order."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[index]
    if isinstance(distribution, IntDistribution):
        return distribution.low + index * distribution.step
    assert isinstance(distribution, FloatDistribution)
    # In decimals: 0.1 + 2 * 0.1 shall be 0.3.
    return float(Decimal(str(distribution.low)) + index * Decimal(str(distribution.step)))


def _point(space: Sequence[Dimension], value_of: Callable[[Dimension], Any]) -> dict[str, Any]:
    """Give every active dimension a value; in the order of the space."""
    drawn: dict[str, Any] = {}
    for dimension in parents_first(space):
        if dimension.is_active(drawn):
            drawn[dimension.name] = value_of(dimension)
    return {dimension.name: drawn[dimension.name] for dimension in space if dimension.name in drawn}
