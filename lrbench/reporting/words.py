"""Numbers and labels in words, the same in pictures, tables and hover texts; n goes with every number."""

from lrbench.analysis.model import Cell, Question, TimeSummary
from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.terms import Direction, Interval, Share, Unavailable


def number(value: float) -> str:
    """Write four significant digits, and whole numbers from 1000 on in full: 0.9731, 12,500, 3e-05."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def between(interval: Interval | None) -> str:
    """Write "[low, high]", or nothing where there is no interval."""
    return "" if interval is None else f"[{number(interval.low)}, {number(interval.high)}]"


def count(mean: MeanOfSeeds) -> str:
    """Write over how many runs a mean goes: "n = 5", or "over 4 of 5" when some diverged."""
    if mean.num_ok == mean.num_seeds:
        return f"n = {mean.num_seeds}"
    return f"over {mean.num_ok} of {mean.num_seeds}"


def mean_of(mean: MeanOfSeeds) -> str:
    """Write a mean with its interval and n."""
    if isinstance(mean.mean, Unavailable):
        return f"{mean.mean.reason} (n = {mean.num_seeds})"
    return " ".join(part for part in (number(mean.mean), between(mean.interval), f"({count(mean)})") if part)


def time_of(cell: Cell) -> str:
    """Write the median steps to target with the runs that reached it."""
    if isinstance(cell.steps, Unavailable):
        return cell.steps.reason
    return median_of(cell.steps)


def median_of(time: TimeSummary) -> str:
    """Write a median time, or that it was not reached, with how many reached it."""
    reached = "" if isinstance(time.share, Unavailable) else f" ({time.share.count} of {time.share.total} reached it)"
    return (f"not reached{reached}") if isinstance(time.median, Unavailable) else f"{number(time.median)}{reached}"


def share_of(share: Share | Unavailable) -> str:
    """Write "2 of 5 [0.12, 0.77]"."""
    if isinstance(share, Unavailable):
        return share.reason
    return f"{share.count} of {share.total} {between(share.interval)}".strip()


def or_reason(value: float | Unavailable | None, absent: str = "–") -> str:
    """Write a number, why there is none, or `absent` for None."""
    if value is None:
        return absent
    return value.reason if isinstance(value, Unavailable) else number(value)


def p_value(p: float) -> str:
    """Write three significant digits, so that 0.0499 does not read as 0.05, and never 0."""
    return "<\u00a00.001" if p < 0.001 else f"{p:.3g}"


def better_is(direction: Direction) -> str:
    """Say which way is better."""
    return "lower is better" if direction == "minimize" else "higher is better"


def axis_of(metric: str, question: Question) -> str:
    """Label an axis with a metric, its unit where the metric has one, and which way is better."""
    unit = "share, " if metric.endswith("accuracy") else ""
    return f"{metric} ({unit}{better_is(question.direction)})"
