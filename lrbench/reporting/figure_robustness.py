"""Part 10: rank intervals, and the finals against the planned length when a task was run with several."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from lrbench.analysis.model import Across, Analysis, Question, SweepPoint
from lrbench.analysis.statistics.ranks import RankInterval
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.figure_rates import value_limits
from lrbench.reporting.layout import axes_at, draw_sheet, new_figure, plain_numbers, say, sheets_of, tick, title_of
from lrbench.reporting.pictures import Mark, Picture
from lrbench.reporting.styles import Styles
from lrbench.reporting.words import axis_of, between, mean_of, number

_ROW, _LEFT, _WIDTH, _GAP = 0.22, 2.0, 3.6, 0.4


def rank_picture(across: Across, styles: Styles, order: Sequence[str], *, name: str) -> Picture | None:
    """Draw how far the ranks by final value and by speed move when seeds are resampled; None without intervals."""
    rows = {row.scheduler: row for row in across.overall}
    finals = {s: rows[s].ranks for s in order if s in rows}
    speeds = {s: rows[s].speed_ranks for s in order if s in rows}
    known = [
        (title, {s: r for s, r in column.items() if not isinstance(r, Unavailable)})
        for title, column in (("rank by final value", finals), ("rank by speed (profile score)", speeds))
    ]
    if not any(column for _, column in known):
        return None
    height = _ROW * len(order)
    figure = new_figure(height + 0.85)
    picture = Picture(
        name,
        "Rank intervals: how far a rank moves when seeds are resampled",
        figure,
        f"n = {len(across.workloads)} workloads. Points are ranks in the field, lines their bootstrap intervals.",
    )
    for index, (title, column) in enumerate(known):
        axes = axes_at(figure, left=_LEFT + index * (_WIDTH + _GAP), top=0.3, width=_WIDTH, height=height)
        title_of(axes, title)
        if not column:
            say(axes, next((r.reason for r in speeds.values() if isinstance(r, Unavailable)), "not available"))
            continue
        _rank_rows(axes, column, styles, order, picture.marks, named=index == 0)
    return picture


def _rank_rows(
    axes: Axes,
    column: dict[str, RankInterval],
    styles: Styles,
    order: Sequence[str],
    marks: list[Mark],
    *,
    named: bool,
) -> None:
    axes.set(xlim=(0.5, len(order) + 0.5), ylim=(len(order) - 0.4, -0.6), yticks=[], xlabel="rank (1 = best)")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    for row, scheduler in enumerate(order):
        style, rank = styles[scheduler], column.get(scheduler)
        if named:
            axes.annotate(
                style.label, (0, row), xycoords=("axes fraction", "data"), xytext=(-8, 0),
                textcoords="offset points", ha="right", va="center", fontsize=7.5, gid=f"key_{style.key}",
            )  # fmt: skip
        if rank is None:
            continue
        axes.plot([rank.interval.low, rank.interval.high], [row, row], color=style.color, gid=style.key)
        axes.plot([rank.rank], [row], style.marker, color=style.color, gid=style.key, clip_on=False)
        words = (
            f"{scheduler}\nrank {number(rank.rank)} {between(rank.interval)}, first in {100 * rank.share_first:.0f} %"
        )
        marks.append(Mark(axes, rank.rank, row, words, (style.key,)))


def sweep_pictures(analysis: Analysis, styles: Styles, question: Question, *, stem: str) -> list[Picture]:
    """Draw finals against the planned length; every point was tuned and trained for its own length."""
    points: dict[str, list[SweepPoint]] = {}
    for point in analysis.sweep:
        points.setdefault(point.task, []).append(point)
    panels = [(task, [styles[name] for name in sorted({p.scheduler for p in here})]) for task, here in points.items()]
    pictures = []
    for sheet in sheets_of(panels):
        figure, stacks = draw_sheet(sheet, heights=[2.4])
        picture = Picture(
            f"{stem}{sheet.suffix}",
            f"Final {question.endpoint} against the planned budget" + (f": {sheet.heading}" if sheet.heading else ""),
            figure,
            "Every point is its own set of runs, planned for that length. Lines only guide the eye.",
        )
        for block, (axes,) in zip(sheet.blocks, stacks, strict=True):
            here = points[block.workload]
            lengths = sorted({point.total_steps for point in here})
            means = [p.final.mean for p in here if not isinstance(p.final.mean, Unavailable)]
            limits = value_limits(means, direction=question.direction)
            if limits is None:
                say(axes, "no schedule has a final value")
                continue
            axes.set_xscale("log")
            axes.set_ylim(*limits)
            axes.set_xlim(lengths[0] / 1.15, lengths[-1] * 1.15)
            axes.xaxis.set_major_locator(FixedLocator(lengths))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
            axes.set_xlabel("planned budget (steps, log scale)")
            plain_numbers(axes, x=False)
            for style in block.styles:
                own = [(p, p.final.mean) for p in here if p.scheduler == style.name]
                shown = [(p, mean) for p, mean in own if not isinstance(mean, Unavailable)]
                axes.plot(
                    [p.total_steps for p, _ in shown], [mean for _, mean in shown], color=style.color,
                    linestyle=style.line, marker=style.marker, gid=style.key,
                )  # fmt: skip
                for p, mean in shown:
                    words = f"{p.scheduler}, {number(p.total_steps)} steps\n{mean_of(p.final)}"
                    picture.marks.append(Mark(axes, p.total_steps, mean, words, (style.key,)))
        for (axes,) in stacks[::3]:
            axes.set_ylabel(axis_of(question.endpoint, question), fontsize=7.5)
        pictures.append(picture)
    return pictures
