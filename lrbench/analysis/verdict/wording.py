"""Numbers and names in the sentences of a verdict."""

from collections.abc import Sequence

from lrbench.analysis.audit.findings import listed
from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.terms import Direction, Interval, Unavailable, sign


def number(value: float, metric: str) -> str:
    """Write a value of a metric: accuracies in percent, everything else with five significant digits."""
    return f"{100 * value:.2f} %" if metric.endswith("accuracy") else f"{value:.5g}"


def advantage(value: float, metric: str, direction: Direction) -> str:
    """Write a difference so that positive is better: accuracies in percentage points."""
    better = -sign(direction) * value
    return f"{100 * better:.2f} points" if metric.endswith("accuracy") else f"{better:.3g}"


def advantage_interval(interval: Interval, metric: str, direction: Direction) -> str:
    """Write the interval of a difference, positive = better: "[0.01, 0.03]"."""
    bounds = sorted((-sign(direction) * interval.low, -sign(direction) * interval.high))
    if metric.endswith("accuracy"):
        return f"[{100 * bounds[0]:.2f}, {100 * bounds[1]:.2f}]"
    return f"[{bounds[0]:.3g}, {bounds[1]:.3g}]"


def summary(found: MeanOfSeeds, metric: str) -> str:
    """Write a mean with what is known of it: "0.931 [0.92, 0.94], n = 5" or "over 4 of 5"."""
    if isinstance(found.mean, Unavailable):
        return found.mean.reason
    text = number(found.mean, metric)
    if found.interval is not None:
        text += f" [{number(found.interval.low, metric)}, {number(found.interval.high, metric)}]"
    counted = (
        f"n = {found.num_seeds}" if found.num_ok == found.num_seeds else f"over {found.num_ok} of {found.num_seeds}"
    )
    return f"{text} ({counted})"


def p_value(p: float) -> str:
    """Write a p value: "p = 0.012", "p < 0.0001"."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def names(schedulers: Sequence[str], *, most: int = 6) -> str:
    """List names, the first few of many."""
    if len(schedulers) > most:
        return f"{', '.join(schedulers[:most])} and {len(schedulers) - most} others"
    return listed(schedulers)


def steps(value: float) -> str:
    """Write a number of steps."""
    return f"{value:,.0f}"
