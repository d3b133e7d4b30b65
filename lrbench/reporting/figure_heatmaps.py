"""Part 4: schedule x workload, by final value and by speed; hatched = diverged, blank = missing."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.terms import Unavailable, sign
from lrbench.reporting.layout import axes_at, new_figure, tick
from lrbench.reporting.pictures import FAINT, GRID, INK, PAPER, Mark, Picture
from lrbench.reporting.styles import Styles, distinct_labels
from lrbench.reporting.words import mean_of, share_of, time_of

_ROW, _LEFT = 0.24, 1.95
_COLORS = colormaps["cividis"]
_HATCH = "////"


def heatmap_pictures(
    section: Section, styles: Styles, question: Question, order: Sequence[str], *, stem: str
) -> list[Picture]:
    """Draw the finals and the times to target of all cells, best schedule on top.

    Args:
        section: one budget.
        styles: of the schedules.
        question: for the metric and its direction.
        order: of the rows.
        stem: of the file names.
    """
    finals = {
        (c.workload, c.scheduler): c.final.mean for c in section.cells if not isinstance(c.final.mean, Unavailable)
    }
    times = {
        (c.workload, c.scheduler): c.steps.median
        for c in section.cells
        if not isinstance(c.steps, Unavailable) and not isinstance(c.steps.median, Unavailable)
    }
    legend = (
        "Light = best of its workload, dark = worst. Hatched = runs diverged (all of them where grey). Blank = missing."
    )
    pictures = [
        _heatmap(
            f"{stem}-final", f"Final {question.endpoint}, mean over the seeds that did not diverge", legend,
            finals, sign(question.direction), section, styles, order,
        )
    ]  # fmt: skip
    if times:
        pictures.append(
            _heatmap(
                f"{stem}-speed",
                "Median steps to target",
                f"{legend} – = not reached.",
                times,
                1,
                section,
                styles,
                order,
            )
        )
    return pictures


def _heatmap(
    name: str,
    title: str,
    note: str,
    values: dict[tuple[str, str], float],
    cost: int,
    section: Section,
    styles: Styles,
    order: Sequence[str],
) -> Picture:
    workloads = [facts.name for facts in section.workloads]
    column = float(np.clip(7.0 / len(workloads), 0.5, 1.5))
    labels = distinct_labels(workloads, 20)
    top = 0.25 + 0.053 * max(map(len, labels))  # slanted names above the columns
    figure = new_figure(top + _ROW * len(order) + 0.1)
    axes = axes_at(figure, left=_LEFT, top=top, width=column * len(workloads), height=_ROW * len(order))
    axes.set(xlim=(0, len(workloads)), ylim=(len(order), 0))
    axes.grid(visible=False)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    picture = Picture(name, title, figure, note)
    cells = {(c.workload, c.scheduler): c for c in section.cells}
    for column_index, (workload, label) in enumerate(zip(workloads, labels, strict=True)):
        axes.text(
            column_index + 0.5, -0.25, label, rotation=62, ha="left", va="bottom", fontsize=7,
            rotation_mode="anchor",
        )  # fmt: skip
        shade = _shades({s: cost * values[workload, s] for s in order if (workload, s) in values})
        for row, scheduler in enumerate(order):
            cell = cells.get((workload, scheduler))
            if cell is not None and cell.num_runs:
                value = values.get((workload, scheduler))
                _cell(axes, row, column_index, cell, value, shade.get(scheduler), styles[scheduler].key)
                picture.marks.append(Mark(axes, column_index + 0.5, row + 0.5, _words(cell), (styles[scheduler].key,)))
    for row, scheduler in enumerate(order):
        style = styles[scheduler]
        axes.text(-0.32 / column, row + 0.5, style.label, ha="right", va="center", fontsize=7.5, gid=f"key_{style.key}")
        axes.plot(
            [-0.16 / column], [row + 0.5], style.marker, color=style.color, markersize=5, clip_on=False,
            gid=f"key_{style.key}",
        )  # fmt: skip
    return picture


def _shades(costs: dict[str, float]) -> dict[str, float]:
    """Place costs on 1 (best) to 0 (worst); all alike are the middle."""
    if not costs:
        return {}
    low, high = min(costs.values()), max(costs.values())
    return {name: (high - cost) / (high - low) if high > low else 0.5 for name, cost in costs.items()}


def _cell(axes: Axes, row: int, column: int, cell: Cell, value: float | None, shade: float | None, key: str) -> None:
    fill = GRID if shade is None else to_hex(_COLORS(0.15 + 0.85 * shade))
    if shade is None and cell.num_diverged < cell.num_runs:
        fill = PAPER
    bright = shade is None or shade > 0.4
    stripes = FAINT if shade is None else ("#3a3a42" if bright else "#e8e8ec")
    ink = INK if shade is None else ("#101014" if bright else "#fafafa")
    axes.add_artist(Rectangle((column + 0.02, row + 0.04), 0.96, 0.92, facecolor=fill, linewidth=0, gid=key))
    if cell.num_diverged:
        axes.add_artist(
            Rectangle(
                (column + 0.02, row + 0.04), 0.96, 0.92, fill=False, hatch=_HATCH, linewidth=0,
                edgecolor=stripes, gid=key,
            )
        )  # fmt: skip
    text = "–" if value is None else tick(value)
    if cell.num_diverged == cell.num_runs:
        text = "diverged"
    # A hatch behind figures makes them hard to read, so they stand on a plate of the cell's colour.
    plate = {"facecolor": fill, "linewidth": 0, "boxstyle": "square,pad=0.12"} if cell.num_diverged else None
    axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5, color=ink, gid=key, bbox=plate)


def _words(cell: Cell) -> str:
    diverged = f"\ndiverged: {share_of(cell.diverged)}" if cell.num_diverged else ""
    return (
        f"{cell.scheduler} on {cell.workload}\nfinal {mean_of(cell.final)}"
        f"\nmedian steps to target: {time_of(cell)}{diverged}"
    )
