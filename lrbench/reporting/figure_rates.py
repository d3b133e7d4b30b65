"""Part 5: rate against final value, one line a schedule, the chosen rate ringed, diverged runs in a strip on top."""

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lrbench.analysis.model import Question, RateCurve, RatePoint, Section
from lrbench.analysis.statistics.terms import Direction, sign
from lrbench.reporting.layout import draw_sheet, plain_numbers, say, sheets_of
from lrbench.reporting.not_drawn import without_search
from lrbench.reporting.pictures import FAINT, GRID, INK, Mark, Picture
from lrbench.reporting.styles import Style, Styles
from lrbench.reporting.words import axis_of, number

_STRIP, _HEIGHT = 0.2, 2.1


def rate_pictures(section: Section, styles: Styles, question: Question, *, stem: str) -> list[Picture]:
    """Draw the rates of every workload on a logarithmic axis, of those on which a schedule ran at several."""
    curves = {(curve.workload, curve.scheduler): curve for curve in section.rate_curves if curve.points}
    names = [facts.name for facts in section.workloads if facts.name not in without_search(section)]
    panels = [(name, [style for style in styles.values() if (name, style.name) in curves]) for name in names]
    pictures = []
    for sheet in sheets_of(panels):
        figure, stacks = draw_sheet(sheet, heights=[_STRIP, _HEIGHT], gaps=[0.04])
        picture = Picture(
            f"{stem}{sheet.suffix}",
            f"Final {question.metric} against the base rate" + (f": {sheet.heading}" if sheet.heading else ""),
            figure,
            "A line joins the means over seeds; faint points are single runs. Ringed: the chosen rate. In the strip on "
            "top: rates at which runs diverged, whatever they printed. Arrows: values beyond the axis.",
        )
        for block, (strip, axes) in zip(sheet.blocks, stacks, strict=True):
            all_here = [curve for (workload, _), curve in curves.items() if workload == block.workload]
            # One scale for all panels of a workload, so that they can be compared.
            limits = value_limits(_values(all_here), direction=question.direction)
            rates = [point.rate for curve in all_here for point in curve.points if point.rate > 0]
            if limits is None or not rates:
                say(axes, "no finished run at any rate")
                strip.set_axis_off()
                continue
            _frame(strip, axes, min(rates), max(rates), limits)
            for position, style in enumerate(block.styles):
                curve = curves[block.workload, style.name]
                _line(axes, curve, style, question, picture.marks)
                height = (position + 0.5) / len(block.styles)
                _diverged(strip, curve, style, height, picture.marks)
        for _, axes in stacks[::3]:
            axes.set_ylabel(axis_of(question.metric, question), fontsize=7.5)
        pictures.append(picture)
    return pictures


def value_limits(values: Iterable[float], *, direction: Direction, reach: float = 4.0) -> tuple[float, float] | None:
    """Return limits that show the good end whole and cut what is far beyond the middle on the bad end.

    One run just short of divergence would otherwise flatten all differences among the good ones.

    Args:
        values: finite.
        direction: of the values.
        reach: how far the bad end may be from the best, in distances of the median from the best.
    """
    costs = sorted(sign(direction) * value for value in values)
    if not costs:
        return None
    best, middle, last = costs[0], costs[len(costs) // 2], costs[-1]
    bad = min(last, best + reach * (middle - best)) if middle > best else last
    margin = 0.06 * (bad - best) or 0.05 * abs(best) or 1.0
    ends = (sign(direction) * (best - margin), sign(direction) * (bad + margin))
    return min(ends), max(ends)


def _values(curves: Iterable[RateCurve]) -> list[float]:
    return [point.mean for curve in curves for point in curve.points if point.mean is not None]


def _frame(strip: Axes, axes: Axes, low: float, high: float, limits: tuple[float, float]) -> None:
    pad = max((high / low) ** 0.05, 1.15)
    for part in (strip, axes):
        part.set_xscale("log")
        part.set_xlim(low / pad, high * pad)
    axes.set_ylim(*limits)
    wide = high / low > 30
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0), numticks=8))
    for part in (strip, axes):
        part.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("base learning rate (log scale)")
    plain_numbers(axes, x=False)
    strip.set_ylim(0, 1)
    strip.set_facecolor(GRID)
    strip.grid(visible=False)
    strip.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    for spine in strip.spines.values():
        spine.set_visible(False)
    strip.annotate(
        "diverged", (-0.01, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=6.5, color=FAINT
    )


def _line(axes: Axes, curve: RateCurve, style: Style, question: Question, marks: list[Mark]) -> None:
    points = [point for point in curve.points if point.mean is not None]
    low, high = axes.get_ylim()
    axes.plot(
        [p.rate for p in points], [p.mean for p in points if p.mean is not None], color=style.color,
        linestyle=style.line, marker=style.marker, markersize=4.5, gid=style.key,
    )  # fmt: skip
    singles = [(p.rate, value) for p in points if len(p.values) > 1 for value in p.values]
    if singles:
        axes.plot(
            [x for x, _ in singles], [y for _, y in singles], ".", color=style.color, alpha=0.35, markersize=3,
            gid=style.key,
        )  # fmt: skip
    for point in points:
        assert point.mean is not None
        y = min(max(point.mean, low), high)
        if y != point.mean:
            arrow = "^" if point.mean > high else "v"
            axes.plot([point.rate], [y], arrow, color=style.color, markersize=5, clip_on=False, gid=style.key)
        if point.rate == curve.chosen:
            axes.plot(
                [point.rate], [y], "o", color=INK, markerfacecolor="none", markersize=9, markeredgewidth=1.2,
                gid=style.key, zorder=4, clip_on=False,
            )  # fmt: skip
        marks.append(Mark(axes, point.rate, y, _words(curve, point, question), (style.key,)))


def _diverged(strip: Axes, curve: RateCurve, style: Style, height: float, marks: list[Mark]) -> None:
    for point in curve.points:
        if point.num_diverged:
            strip.plot(
                [point.rate], [height], style.marker, color=style.color, markersize=4, gid=style.key, clip_on=False
            )
            total = point.num_diverged + len(point.values)
            words = f"{curve.scheduler}\nrate {number(point.rate)}: {point.num_diverged} of {total} runs diverged"
            marks.append(Mark(strip, point.rate, height, words, (style.key,)))


def _words(curve: RateCurve, point: RatePoint, question: Question) -> str:
    assert point.mean is not None
    lines = [
        curve.scheduler,
        f"rate {number(point.rate)}: {question.metric} {number(point.mean)}, n = {len(point.values)}",
    ]
    if point.num_diverged:
        lines.append(f"{point.num_diverged} more diverged")
    if point.rate == curve.chosen:
        edge = f", the {curve.at_edge} tried: extend the search" if curve.at_edge else ""
        lines.append(f"chosen{edge}")
    return "\n".join(lines)
