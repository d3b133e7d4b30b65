"""Part 9: every seed of every schedule as a point of a strip, with the mean and its interval."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.figure_rates import value_limits
from lrbench.reporting.layout import WIDTH, axes_at, new_figure, plain_numbers, say, title_of
from lrbench.reporting.not_drawn import without_seeds
from lrbench.reporting.pictures import FAINT, GRID, INK, Mark, Picture
from lrbench.reporting.styles import Styles, shortened
from lrbench.reporting.words import axis_of, mean_of, number

_ROW, _LEFT, _STRIP, _GAP = 0.24, 1.95, 0.7, 0.35


def seed_pictures(
    section: Section, styles: Styles, question: Question, order: Sequence[str], *, stem: str
) -> list[Picture]:
    """Draw two workloads side by side a sheet, those with several seeds; schedules are rows in the order given."""
    names = [facts.name for facts in section.workloads if facts.name not in without_seeds(section)]
    if not names:
        return []
    columns = min(2, len(names))
    width = (WIDTH - _LEFT - 0.15 - (columns - 1) * _GAP) / columns
    rows_height = max(0.6, _ROW * len(order))
    # A sheet fills about a printed page, however many schedules it has.
    most = columns * max(1, min(-(-len(names) // columns), int(8.0 // (rows_height + 0.85))))
    pictures = []
    for number_of_sheet, start in enumerate(range(0, len(names), most), 1):
        chunk = names[start : start + most]
        figure = new_figure(-(-len(chunk) // columns) * (rows_height + 0.85) + 0.05)
        suffix = f"-{number_of_sheet}" if len(names) > most else ""
        picture = Picture(
            f"{stem}{suffix}",
            f"Final {question.endpoint} of every seed",
            figure,
            "A point is one run; the bar is the mean over the seeds that did not diverge, the line its 95 % interval "
            "(Student t, from three seeds on). Crosses in the strip on the right: runs that diverged.",
        )
        for index, workload in enumerate(chunk):
            left = _LEFT + index % columns * (width + _GAP)
            top = 0.3 + index // columns * (rows_height + 0.85)
            axes = axes_at(figure, left=left, top=top, width=width - _STRIP, height=rows_height)
            strip = axes_at(figure, left=left + width - _STRIP + 0.04, top=top, width=_STRIP - 0.04, height=rows_height)
            title_of(axes, shortened(workload, 44))
            cells = {cell.scheduler: cell for cell in section.cells if cell.workload == workload}
            _strips(axes, strip, cells, styles, question, order, picture.marks, named=index % columns == 0)
        pictures.append(picture)
    return pictures


def _strips(
    axes: Axes,
    strip: Axes,
    cells: dict[str, Cell],
    styles: Styles,
    question: Question,
    order: Sequence[str],
    marks: list[Mark],
    *,
    named: bool,
) -> None:
    finals = [run.final for cell in cells.values() for run in cell.runs if run.final is not None]
    limits = value_limits(finals, direction=question.direction)
    for part in (axes, strip):
        part.set_ylim(len(order) - 0.4, -0.6)
        part.set_yticks([])
        part.grid(visible=False)
    strip.set_facecolor(GRID)
    strip.set(xlim=(0, 1), xticks=[0.5], xticklabels=["diverged"])
    strip.tick_params(length=0)
    for spine in strip.spines.values():
        spine.set_visible(False)
    if limits is None:
        say(axes, "no run has a final value")
        strip.set_axis_off()
        return
    axes.set_xlim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(axis_of(question.endpoint, question))
    plain_numbers(axes, y=False)
    for row, scheduler in enumerate(order):
        style = styles[scheduler]
        if named:
            axes.annotate(
                style.label, (0, row), xycoords=("axes fraction", "data"), xytext=(-8, 0),
                textcoords="offset points", ha="right", va="center", fontsize=7.5, gid=f"key_{style.key}",
            )  # fmt: skip
        cell = cells.get(scheduler)
        if cell is None:
            continue
        values = [(run, run.final) for run in cell.runs if run.final is not None]
        for position, (run, value) in enumerate(values):
            x = min(max(value, limits[0]), limits[1])
            y = row + 0.36 * ((position + 0.5) / len(values) - 0.5)
            axes.plot([x], [y], style.marker, color=style.color, markersize=4, alpha=0.75, gid=style.key, clip_on=False)
            seed = "" if run.seed is None else f", seed {run.seed}"
            marks.append(Mark(axes, x, y, f"{scheduler}{seed}\n{number(value)}; {mean_of(cell.final)}", (style.key,)))
        if cell.final.interval is not None:
            bounds = [cell.final.interval.low, cell.final.interval.high]
            axes.plot(bounds, [row, row], color=INK, linewidth=0.9, alpha=0.75, gid=style.key)
        if not isinstance(cell.final.mean, Unavailable):
            axes.plot([cell.final.mean] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.4, gid=style.key)
        _crosses(strip, cell, row, style.key, marks)


def _crosses(strip: Axes, cell: Cell, row: int, key: str, marks: list[Mark]) -> None:
    seeds = [run.seed for run in cell.runs if run.state == "diverged"]
    for position, seed in enumerate(seeds):
        x = (position + 0.5) / len(seeds)
        strip.plot([x], [row], "x", color=FAINT, markersize=4.5, gid=key)
        named = "" if seed is None else f", seed {seed}"
        marks.append(Mark(strip, x, row, f"{cell.scheduler}{named}\ndiverged", (key,)))
