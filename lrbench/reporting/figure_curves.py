"""Part 6: learning curves with bands, and the learning rate below them on the same step axis."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lrbench.analysis.model import LearningCurve, Question, Section
from lrbench.reporting.figure_rates import value_limits
from lrbench.reporting.layout import draw_sheet, few_steps, plain_numbers, say, sheets_of
from lrbench.reporting.pictures import Mark, Picture
from lrbench.reporting.styles import Style, Styles
from lrbench.reporting.words import axis_of, number

_HEIGHT, _RATE_HEIGHT = 2.1, 0.95
_MOST_POINTS = 120  # of a drawn curve: more than a panel has pixels to tell apart
_HOVERED = 10  # points of a curve that answer the pointer
_REACH = 10.0  # of the value axis: curves come down from far above where they end
_LOG_FROM = 30.0  # ratio of the largest rate of two schedules above which a linear axis flattens one


def curve_pictures(section: Section, styles: Styles, question: Question, *, stem: str) -> list[Picture]:
    """Draw every learning curve, the median over seeds with the range over them."""
    curves = {(curve.workload, curve.scheduler): curve for curve in section.learning_curves if curve.steps}
    horizons = {facts.name: facts.total_steps for facts in section.workloads}
    panels = [(name, [style for style in styles.values() if (name, style.name) in curves]) for name in horizons]
    pictures = []
    for sheet in sheets_of([(name, present) for name, present in panels if present]):
        figure, stacks = draw_sheet(sheet, heights=[_HEIGHT, _RATE_HEIGHT], gaps=[0.1])
        picture = Picture(
            f"{stem}{sheet.suffix}",
            f"{question.metric} while training, and the learning rate"
            + (f": {sheet.heading}" if sheet.heading else ""),
            figure,
            "Lines are medians over seeds, bands reach from the smallest to the largest. A line that ends early "
            "diverged or was cut off by the axis, which shows what happens after the first tenth of the budget.",
        )
        for block, (axes, below) in zip(sheet.blocks, stacks, strict=True):
            here = [curve for (workload, _), curve in curves.items() if workload == block.workload]
            horizon = float(horizons[block.workload])
            limits = value_limits(_late_values(here, horizon), direction=question.direction, reach=_REACH)
            if limits is None:
                say(axes, "no finite evaluation after the first tenth of the budget")
                below.set_axis_off()
                continue
            axes.set_ylim(*limits)
            _step_axis(axes, below, horizon)
            _rate_axis(below, here)
            for style in block.styles:
                _draw(axes, below, curves[block.workload, style.name], style, question, picture.marks)
        for axes, below in stacks[::3]:
            axes.set_ylabel(axis_of(question.metric, question), fontsize=7.5)
            below.set_ylabel("learning rate", fontsize=7.5)
        pictures.append(picture)
    return pictures


def _late_values(curves: Iterable[LearningCurve], horizon: float) -> list[float]:
    return [
        value
        for curve in curves
        for step, value in zip(curve.steps, curve.middle, strict=True)
        if value is not None and step >= 0.1 * horizon
    ]


def _step_axis(axes: Axes, below: Axes, horizon: float) -> None:
    plain_numbers(axes)
    for part in (axes, below):
        part.set_xlim(-0.02 * horizon, 1.02 * horizon)
        few_steps(part)
    axes.tick_params(labelbottom=False)
    below.set_xlabel("step (parameter updates)")


def _rate_axis(below: Axes, curves: Sequence[LearningCurve]) -> None:
    peaks = [max(rates) for curve in curves if (rates := [r for r in curve.rates if r is not None])]
    positive = [peak for peak in peaks if peak > 0]
    if not positive:
        say(below, "learning rates are not recorded")
    elif max(positive) > _LOG_FROM * min(positive):
        # Down to a thousandth of the smallest peak: a cosine ends at 0, which a logarithm does not have.
        below.set_yscale("log")
        below.set_ylim(min(positive) / 1000, 1.5 * max(positive))
        below.yaxis.set_major_locator(LogLocator(numticks=4))
        below.yaxis.set_minor_locator(NullLocator())
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        below.set_ylim(-0.04 * max(positive), 1.08 * max(positive))
        below.yaxis.set_major_locator(MaxNLocator(nbins=3))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))


def _draw(axes: Axes, below: Axes, curve: LearningCurve, style: Style, question: Question, marks: list[Mark]) -> None:
    chosen = _thinned(len(curve.steps), _MOST_POINTS)
    steps = [curve.steps[i] for i in chosen]
    line: dict[str, Any] = {"color": style.color, "linestyle": style.line, "gid": style.key}
    every = max(1, len(steps) // 5)
    first = int(style.key[1:]) % every
    axes.plot(
        steps, [_or_nan(curve.middle[i]) for i in chosen], marker=style.marker, markersize=4, markevery=(first, every),
        **line,
    )  # fmt: skip
    band = [(curve.steps[i], low, high) for i in chosen if (low := curve.low[i]) is not None
            and (high := curve.high[i]) is not None]  # fmt: skip
    if band:
        xs, lows, highs = zip(*band, strict=True)
        axes.fill_between(xs, lows, highs, color=style.color, alpha=0.16, linewidth=0, gid=f"band_{style.key}")
    rates = [_or_nan(curve.rates[i]) for i in chosen]
    below.plot(steps, rates, **line)
    for i in _thinned(len(curve.steps), _HOVERED):
        value, rate = curve.middle[i], curve.rates[i]
        if value is None:
            continue
        low, high = curve.low[i], curve.high[i]
        extent = f" [{number(low)}, {number(high)}]" if low is not None and high is not None else ""
        words = (
            f"{curve.scheduler}, step {number(curve.steps[i])}\n{question.metric} {number(value)}{extent}, "
            f"n = {curve.num_runs}"
        )
        words += "" if rate is None else f"\nlearning rate {number(rate)}"
        bottom, top = axes.get_ylim()
        if bottom <= value <= top:
            marks.append(Mark(axes, curve.steps[i], value, words, (style.key,)))
        if rate is not None and (rate > 0 or below.get_yscale() == "linear"):
            marks.append(Mark(below, curve.steps[i], rate, words, (style.key,)))


def _thinned(count: int, most: int) -> list[int]:
    """Indices from 0 to count - 1, both ends included, at most `most`."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
