"""The grid of a space: every combination of values once, counted without being listed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.search.points import num_values, value_number
from lrbench.search.ranges import in_words, range_document
from lrbench.search.space import Dimension, parents_first

# More whole numbers than this are a slip; choices or a step say that they are meant.
_MOST_WHOLE_NUMBERS = 32


def grid_size(space: Sequence[Dimension]) -> int:
    """Number of different points: an inactive dimension adds none.

    Raises:
        ValueError: naming a dimension that has no finite number of values.
    """
    return sum(math.prod(_radix(d) for d in free) for _, free in _blocks(space))


def grid_point(space: Sequence[Dimension], *, number: int) -> dict[str, Any]:
    """Point `number` of the grid, in mixed radix: the last dimension runs fastest.

    Raises:
        ValueError: the grid has fewer points, or a dimension has no finite number of values.
    """
    rest = number
    for settings, free in _blocks(space):
        size = math.prod(_radix(d) for d in free)
        if rest >= size:
            rest -= size
            continue
        point = dict(settings)
        for dimension in reversed(free):
            rest, index = divmod(rest, _radix(dimension))
            point[dimension.name] = value_number(dimension.distribution, index)
        return {d.name: point[d.name] for d in space if d.name in point}
    raise ValueError(f"the grid has {grid_size(space)} points, the first of them 0; there is no point {number}")


def _blocks(space: Sequence[Dimension]) -> Iterator[tuple[dict[str, Any], list[Dimension]]]:
    """Settings of the dimensions that others depend on, each with the remaining active dimensions, which are free."""
    conditions = {name for dimension in space for name in dimension.when}
    switches = [dimension for dimension in parents_first(space) if dimension.name in conditions]
    for settings in _settings({}, switches):
        yield settings, [d for d in space if d.name not in conditions and d.is_active(settings)]


def _settings(chosen: dict[str, Any], switches: list[Dimension]) -> Iterator[dict[str, Any]]:
    if not switches:
        yield chosen
        return
    first, *others = switches
    if not first.is_active(chosen):
        yield from _settings(chosen, others)
        return
    for index in range(_radix(first)):
        yield from _settings({**chosen, first.name: value_number(first.distribution, index)}, others)


def _radix(dimension: Dimension) -> int:
    distribution = dimension.distribution
    if isinstance(distribution, IntDistribution):
        is_countable = distribution.step > 1 or distribution.high - distribution.low < _MOST_WHOLE_NUMBERS
    elif isinstance(distribution, FloatDistribution):
        is_countable = distribution.step is not None
    else:
        is_countable = isinstance(distribution, CategoricalDistribution)
    if not is_countable:
        raise ValueError(
            f"{dimension.name}: a grid needs choices, a step or at most {_MOST_WHOLE_NUMBERS} whole numbers, got "
            f"{in_words(range_document(distribution))}; search it in choices, or fix it with {dimension.name}=VALUE"
        )
    return num_values(distribution)
