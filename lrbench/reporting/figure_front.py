"""Part 3: speed against final value, one panel a workload and one for all, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from lrbench.analysis.model import FrontPoint, Question, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.layout import WIDTH, axes_at, draw_key, key_height, new_figure, plain_numbers, say, title_of
from lrbench.reporting.not_drawn import without_speed
from lrbench.reporting.pictures import FAINT, GRID, PAPER, Mark, Picture
from lrbench.reporting.styles import Style, Styles, shortened
from lrbench.reporting.words import axis_of, between, count, number

_LEFT, _GAP, _HEIGHT = 0.72, 0.72, 2.9
_LABELLED = 5  # points on a front that get their name written next to them


def front_pictures(section: Section, styles: Styles, question: Question, *, stem: str) -> list[Picture]:
    """Draw the plane of every workload where speed was judged, and the overall one where there are several."""
    pictures = []
    names = [facts.name for facts in section.workloads if facts.name not in without_speed(section)]
    for index in range(0, len(names), 6):
        chunk = names[index : index + 6]
        suffix = f"-{index // 6 + 1}" if len(names) > 6 else ""
        pictures.append(_planes(section, chunk, styles, question, name=f"{stem}{suffix}"))
    if section.overall_front:
        pictures.append(_overall(section.overall_front, styles, name=f"{stem}-overall"))
    return pictures


def _planes(section: Section, names: Sequence[str], styles: Styles, question: Question, *, name: str) -> Picture:
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    width = min(6.2, (WIDTH - _LEFT - 0.2 - (columns - 1) * _GAP) / columns)
    top = key_height(len(styles), WIDTH - _LEFT) + 0.05
    figure = new_figure(top + rows * (_HEIGHT + 0.85))
    draw_key(figure, list(styles.values()), left=_LEFT, top=0.05, width=WIDTH - _LEFT)
    picture = Picture(
        name,
        "Speed against final value, one point a schedule",
        figure,
        "Left is faster. Filled: on the Pareto front (nothing else is at least as good in both and better in one). "
        "Lines are 95 % intervals. A schedule whose median run missed the target stands in the column “not reached”.",
    )
    horizons = {facts.name: facts.total_steps for facts in section.workloads}
    for index, workload in enumerate(names):
        axes = axes_at(
            figure,
            left=_LEFT + index % columns * (width + _GAP),
            top=top + 0.28 + index // columns * (_HEIGHT + 0.85),
            width=width,
            height=_HEIGHT,
        )
        title_of(axes, shortened(workload, 44))
        points = [point for point in section.front if point.workload == workload]
        counts = {cell.scheduler: count(cell.final) for cell in section.cells if cell.workload == workload}
        if index % columns == 0:
            axes.set_ylabel(axis_of(question.endpoint, question))
        _plane(axes, points, float(horizons[workload]), styles, question, counts, picture.marks)
    return picture


def _plane(
    axes: Axes,
    points: Sequence[FrontPoint],
    horizon: float,
    styles: Styles,
    question: Question,
    counts: Mapping[str, str],
    marks: list[Mark],
) -> None:
    drawn = [point for point in points if not isinstance(point.final, Unavailable)]
    if not drawn:
        say(axes, "no schedule has a final value here")
        return
    column = 1.12 * horizon
    missed = [point for point in drawn if not point.reached or isinstance(point.time, Unavailable)]
    axes.axvspan(1.04 * horizon, 1.22 * horizon, color=GRID, alpha=0.5, linewidth=0)
    axes.set_xlim(0, 1.22 * horizon)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.xaxis.set_major_locator(FixedLocator([t for t in axes.get_xticks() if 0 <= t <= horizon]))
    axes.set_xlabel("median steps to target (updates)")
    plain_numbers(axes)
    axes.annotate(
        "not reached", (column, 0), xycoords=("data", "axes fraction"), xytext=(0, -5), textcoords="offset points",
        ha="center", va="top", fontsize=7, color=FAINT,
    )  # fmt: skip
    for point in drawn:
        style = styles[point.scheduler]
        if point in missed:
            # Side by side in alphabetical order: equal finals would cover each other.
            x = 1.06 * horizon + 0.14 * horizon * (missed.index(point) + 0.5) / len(missed)
        else:
            assert not isinstance(point.time, Unavailable)
            x = point.time
        _point(axes, point, style, x, marks, _words(point, question, counts.get(point.scheduler, "")))
    _name_front(axes, [p for p in drawn if p not in missed], styles)
    lost = [point.scheduler for point in points if point not in drawn]
    if lost:
        axes.annotate(
            "without a final value: " + ", ".join(styles[name].label for name in lost[:3]) + ", …" * (len(lost) > 3),
            (0.01, 0.01), xycoords="axes fraction", fontsize=6.5, color=FAINT,
        )  # fmt: skip


def _overall(points: Sequence[FrontPoint], styles: Styles, *, name: str) -> Picture:
    top = key_height(len(styles), WIDTH - _LEFT) + 0.05
    figure = new_figure(top + 4.3)
    draw_key(figure, list(styles.values()), left=_LEFT, top=0.05, width=WIDTH - _LEFT)
    axes = axes_at(figure, left=_LEFT, top=top + 0.28, width=6.2, height=3.4)
    title_of(axes, "all common workloads")
    picture = Picture(
        name,
        "Speed against final value over all common workloads",
        figure,
        "Right is faster, up is better. The profile score counts a missed target as 0, so no column is needed.",
    )
    drawn = [p for p in points if not isinstance(p.time, Unavailable) and not isinstance(p.final, Unavailable)]
    if not drawn:
        say(axes, "no schedule has both a score of speed and a mean rank")
        return picture
    for point in drawn:
        assert not isinstance(point.time, Unavailable)
        words = f"{point.scheduler}\nprofile score {_maybe(point.time)} {between(point.time_interval)}"
        words += f"\nmean rank {_maybe(point.final)} {between(point.final_interval)}{_membership(point)}"
        _point(axes, point, styles[point.scheduler], point.time, picture.marks, words)
    _name_front(axes, drawn, styles)
    axes.invert_yaxis()
    axes.set_xlabel("performance-profile score of speed (0 to 1, higher is faster)")
    axes.set_ylabel("mean rank of the final value (1 = best)")
    return picture


def _point(axes: Axes, point: FrontPoint, style: Style, x: float, marks: list[Mark], words: str) -> None:
    assert not isinstance(point.final, Unavailable)
    y = point.final
    lines: dict[str, Any] = {"color": style.color, "linewidth": 0.9, "alpha": 0.75, "gid": style.key}
    if point.time_interval is not None and x == point.time:
        axes.add_line(Line2D([point.time_interval.low, point.time_interval.high], [y, y], **lines))
    if point.final_interval is not None:
        axes.add_line(Line2D([x, x], [point.final_interval.low, point.final_interval.high], **lines))
    axes.plot(
        [x], [y], style.marker, color=style.color, markersize=6.5 if point.on_front else 5.5, gid=style.key,
        markerfacecolor=style.color if point.on_front else PAPER, zorder=3, clip_on=False,
    )  # fmt: skip
    marks.append(Mark(axes, x, y, words, (style.key,)))


def _name_front(axes: Axes, points: Sequence[FrontPoint], styles: Styles) -> None:
    """Write names next to points of the front; the others are in the key and under the pointer."""
    for point in [p for p in points if p.on_front][:_LABELLED]:
        style = styles[point.scheduler]
        assert not isinstance(point.time, Unavailable)
        assert not isinstance(point.final, Unavailable)
        axes.annotate(
            style.label, (point.time, point.final), xytext=(5, 4), textcoords="offset points", fontsize=7,
            gid=style.key, annotation_clip=False,
        )  # fmt: skip


def _words(point: FrontPoint, question: Question, over: str) -> str:
    time = "not reached by the median run" if not point.reached else f"{_maybe(point.time)} steps to target"
    return (
        f"{point.scheduler}\n{time} {between(point.time_interval)}"
        f"\n{question.endpoint} {_maybe(point.final)} {between(point.final_interval)} ({over}){_membership(point)}"
    )


def _membership(point: FrontPoint) -> str:
    where = "on the front" if point.on_front else "behind the front"
    if isinstance(point.membership, Unavailable):
        return f"\n{where}"
    return f"\n{where}; in {100 * point.membership:.0f} % of resamples on it"


def _maybe(value: float | Unavailable) -> str:
    return value.reason if isinstance(value, Unavailable) else number(value)
