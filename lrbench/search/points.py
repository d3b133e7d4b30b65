"""Points of a space that need no history, quasi-random and random; a point has its active dimensions only."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.search.space import RATE, Dimension, parents_first
from lrbench.spec import derived_seed


def quasi_random_point(
    space: Sequence[Dimension], *, seed: int, number: int, shares_rate: bool = False
) -> dict[str, Any]:
    """Point `number` of a scrambled Sobol sequence (Owen 1998), a coordinate for each dimension, active or not.

    Any first 2^k points fill the space evenly, so a study that stops early still covered all of it.

    Args:
        space: what is searched.
        seed: of the sequence.
        number: from 0.
        shares_rate: whether the base rate is the same in every space, see `shared_rate`.
    """
    if not space:
        return {}
    drawn = _sobol(len(space), derived_seed("suggestion", seed), number)
    coordinates = dict(zip((dimension.name for dimension in space), drawn, strict=True))
    if shares_rate and space[0].name == RATE:
        coordinates[RATE] = _shared_coordinate(seed, number)
    return point_of_values(space, lambda d: value_at(d.distribution, coordinates[d.name]))


def shared_rate(distribution: BaseDistribution, *, seed: int, number: int) -> Any:
    """The base rate of a trial, whatever else is searched: contestants see the same rates.

    A one-dimensional Sobol sequence with a scramble of its own is the first coordinate of a sequence of any dimension,
    so points of which it is a part fill their space as evenly as before.
    """
    return value_at(distribution, _shared_coordinate(seed, number))


def random_point(space: Sequence[Dimension], *, seed: int, number: int) -> dict[str, Any]:
    """A point whose every value is a function of (seed, number, name): other dimensions do not move it."""

    def draw(dimension: Dimension) -> Any:
        generator = np.random.default_rng(derived_seed("suggestion", seed, number, dimension.name))
        return value_at(dimension.distribution, generator.random())

    return point_of_values(space, draw)


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


def point_of_values(space: Sequence[Dimension], value_of: Callable[[Dimension], Any]) -> dict[str, Any]:
    """Give every active dimension a value; in the order of the space."""
    drawn: dict[str, Any] = {}
    for dimension in parents_first(space):
        if dimension.is_active(drawn):
            drawn[dimension.name] = value_of(dimension)
    return {dimension.name: drawn[dimension.name] for dimension in space if dimension.name in drawn}


def _shared_coordinate(seed: int, number: int) -> float:
    return float(_sobol(1, derived_seed("rate", seed), number)[0])


def _sobol(num_dimensions: int, seed: int, number: int) -> npt.NDArray[np.float64]:
    from scipy.stats import qmc  # takes a second, and a word that is wrong shall be answered before

    sequence = qmc.Sobol(num_dimensions, scramble=True, rng=seed)
    if number > 0:  # scipy's overflows at 0
        sequence.fast_forward(number)
    drawn: npt.NDArray[np.float64] = sequence.random(1)[0]
    return drawn
