"""Numbers and names in the sentences of a verdict."""

import math
from collections.abc import Sequence

from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.contenders import Contenders
from lrbench.analysis.statistics.terms import Direction, Unavailable, sign

_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
MANY_TIMES = 3.0  # the ratio from which percents are harder to read than a factor


def number(value: float, metric: str) -> str:
    """Write a value of a metric: accuracies in percent, everything else with five significant digits."""
    return f"{100 * value:.2f} %" if metric.endswith("accuracy") else f"{value:.5g}"


def advantage(value: float, metric: str, direction: Direction) -> str:
    """Write a difference so that positive is better: accuracies in percentage points."""
    better = -sign(direction) * value
    return f"{100 * better:.2f} points" if metric.endswith("accuracy") else f"{better:.3g}"


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


def names(schedulers: Sequence[str], *, most: int = 6, last: str = "and") -> str:
    """List names, the first few of many, with "and" or "or" before the last."""
    if len(schedulers) > most:
        # One name is as short as saying that there is one more.
        return f"{', '.join(schedulers[: most - 1])} {last} {counted_word(len(schedulers) - most + 1)} others"
    *rest, final = schedulers
    return f"{', '.join(rest)} {last} {final}" if rest else final


def counted_word(count: int) -> str:
    """Write a small count as a word: "eight", and 13 as "13"."""
    return _COUNTS[count] if count < len(_COUNTS) else f"{count:,}"


def noun_of(endpoint: str, direction: Direction) -> str:
    """What is compared as a ratio: the errors of an accuracy, what R2 leaves unexplained, the loss of a loss."""
    if direction == "minimize":
        return endpoint.rsplit("/", 1)[-1]
    return "unexplained variance" if endpoint.endswith("/r2") else "errors"


def percent_more(ratio: float) -> str:
    """Write a ratio of errors or losses: "12 % more", "8 % less", "5.2 times the" from three times on."""
    if ratio >= MANY_TIMES:
        return f"{ratio:.3g} times the"
    return f"{100 * (ratio - 1):.0f} % more" if ratio >= 1 else f"{100 * (1 - ratio):.0f} % less"


def relative(ratio: float, low: float, high: float) -> str:
    """Write a ratio with its interval: "+12 % [2, 23]", "x 5.2 [3.1, 8.9]"."""
    if high >= MANY_TIMES:
        return f"x {ratio:.3g} [{low:.3g}, {high:.3g}]"
    return f"{100 * (ratio - 1):+.1f} % [{100 * (low - 1):.1f}, {100 * (high - 1):.1f}]"


def against_reference(family: Contenders) -> str:
    """Write every schedule against the reference: who is better or worse and by how much, alike, undecided."""
    parts = []
    for state, words in (
        ("better", "ends better"),
        ("worse", "ends worse"),
        ("equivalent", "equivalent within {:g} %"),
    ):
        rows = [item for item in family.ranked if item.state == state]
        bounds = [(item.schedule, item.estimate, item.interval.low, item.interval.high) for item in rows]
        ratios = [f"{name} {relative(*map(math.exp, logs))}" for name, *logs in bounds]
        if rows:
            parts.append(f"{words.format(100 * family.margin)}: {names(ratios)}")
    open_ = [item.schedule for item in family.ranked if item.state == "undecided"]
    return "; ".join([*parts, *([f"undecided: {names(open_)}"] if open_ else [])]) + "."


def steps(value: float) -> str:
    """Write a number of steps."""
    return f"{value:,.0f}"
