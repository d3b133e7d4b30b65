"""The point of a finished study that is trained on fresh seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lrbench.search.ladder import is_usual
from lrbench.search.ranges import config_value
from lrbench.search.space import RATE, Dimension

FINALS = "values_of_seeds"  # user attribute of a trial: its first objective by tuning seed
_FEWEST_RATES = 3


@dataclass(frozen=True)
class Choice:
    """A point to be measured.

    Attributes:
        trial: the best trial.
        point: config values by dotted name: those of the best trial, but for the rate of a ladder, see `choose`.
    """

    trial: FrozenTrial
    point: dict[str, Any]


def choose(space: Sequence[Dimension], trials: Sequence[FrozenTrial], best: FrozenTrial, *, minimize: bool) -> Choice:
    """Choose the point of a ladder: its best trial, at the lowest point of a smooth curve of log cost over log rate.

    The best of a few noisy rates is often luck, so that another tuning would choose another one (docs/protocol.md). The
    curve is that of the trials which differ in their rate only; their cost is the loss, or one minus what is maximized.

    Args:
        space: what was searched.
        trials: of the study.
        best: of them.
        minimize: whether smaller values are better.

    Returns:
        The best trial's own point where fewer than three rates were judged or costs have no logarithm.
    """
    point = {name: config_value(value) for name, value in best.params.items()}
    costs = ladder_costs(space, trials, minimize=minimize)
    positive = [cost for row in costs.values() for cost in row if cost > 0]
    if len(costs) < _FEWEST_RATES or not positive or min(min(row) for row in costs.values()) < 0:
        return Choice(best, point)
    # No error at all in one small validation split counts as half of the smallest error seen.
    least = min(positive) / 2
    from lrbench.analysis.statistics.rate_choice import lowest_nearby  # scipy takes a second

    rates = sorted(costs)
    means = [math.fsum(math.log(max(cost, least)) for cost in costs[rate]) / len(costs[rate]) for rate in rates]
    lowest, _ = lowest_nearby([math.log(rate) for rate in rates], means)
    return Choice(best, point | {RATE: float(f"{math.exp(lowest):.6g}")})


def ladder_costs(
    space: Sequence[Dimension], trials: Sequence[FrozenTrial], *, minimize: bool
) -> dict[float, list[float]]:
    """Costs of the trials that differ in their rate only: rate -> one a tuning seed, lower is better."""
    judged = [t for t in trials if t.state is TrialState.COMPLETE and FINALS in t.user_attrs and is_usual(space, t)]
    return {
        float(t.params[RATE]): [v if minimize else 1 - v for v in t.user_attrs[FINALS]]
        for t in judged
        if isinstance(t.params.get(RATE), float)
    }
