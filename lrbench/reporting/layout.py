"""Where things stand in a picture: sheets of panels placed in inches, and the key that names the schedules.

Inches and no automatic layout: a solver takes seconds for a page of panels, and moves them when a name changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lrbench.reporting.pictures import FAINT
from lrbench.reporting.styles import ONE_PANEL, Style, panels_of, shortened

WIDTH = 10.0  # of every sheet; the page shows it at 960 pixels
_LEFT, _RIGHT, _BETWEEN = 0.72, 0.15, 0.62
_KEY_ROW, _KEY_COLUMN = 0.17, 2.3
_TITLE, _UNDER = 0.26, 0.5
_LABEL_BELOW, _LABEL_LEFT = 0.23, 0.5
_MOST_COLUMNS, _MOST_BLOCKS = 3, 6


@dataclass(frozen=True)
class Block:
    """One place for a plot: a workload and the schedules that share its panel."""

    workload: str
    title: str
    styles: list[Style]


@dataclass(frozen=True)
class Sheet:
    """The blocks of one picture; `suffix` makes its file name unique, `heading` names what it holds."""

    suffix: str
    heading: str
    blocks: list[Block]


def sheets_of(panels: Sequence[tuple[str, Sequence[Style]]]) -> list[Sheet]:
    """Arrange what is drawn so that no panel shows more lines than there are colours.

    Args:
        panels: the title of each workload (or task), in order, with the schedules that have something to show there.

    Returns:
        Sheets of several workloads, one panel each, where they have few schedules; a workload of many has a sheet of
        its own with a panel for every eight schedules, on one scale.
    """
    found: list[tuple[str, list[Block]]] = []
    for name, styles in panels:
        parts = panels_of(styles)
        if len(parts) > 1:
            blocks = [
                Block(name, f"{shortened(name, 32)} ({number} of {len(parts)})", part)
                for number, part in enumerate(parts, 1)
            ]
            found.append((name, blocks))
            continue
        block = Block(name, shortened(name, 44), parts[0])
        if found and not found[-1][0] and len(found[-1][1]) < _MOST_BLOCKS:
            found[-1][1].append(block)
        else:
            found.append(("", [block]))
    return [
        Sheet(f"-{index}" if len(found) > 1 else "", heading, blocks)
        for index, (heading, blocks) in enumerate(found, 1)
    ]


def draw_sheet(
    sheet: Sheet, *, heights: Sequence[float], gaps: Sequence[float] = ()
) -> tuple[Figure, list[list[Axes]]]:
    """Make a figure with a column of axes for every block, and its key.

    Args:
        sheet: its blocks share one key when all their schedules fit into a panel, else each has its own.
        heights: of the stacked axes of a block from top to bottom, inches.
        gaps: between them, len(heights) - 1, inches.

    Returns:
        The figure, and the axes by [block][position].
    """
    everyone = sorted({style for block in sheet.blocks for style in block.styles}, key=lambda style: int(style.key[1:]))
    shared = len(everyone) <= ONE_PANEL
    columns = min(_MOST_COLUMNS, len(sheet.blocks))
    rows = math.ceil(len(sheet.blocks) / columns)
    width = (WIDTH - _LEFT - _RIGHT - (columns - 1) * _BETWEEN) / columns
    own_key = 0.0 if shared else max(key_height(len(b.styles), width) for b in sheet.blocks)
    top_key = key_height(len(everyone), WIDTH - _LEFT) if shared else 0.0
    block_height = _TITLE + own_key + sum(heights) + sum(gaps) + _UNDER
    figure = new_figure(top_key + rows * block_height + 0.05)
    if shared:
        draw_key(figure, everyone, left=_LEFT, top=0.05, width=WIDTH - _LEFT)
    found = []
    for index, block in enumerate(sheet.blocks):
        left = _LEFT + index % columns * (width + _BETWEEN)
        top = 0.05 + top_key + index // columns * block_height
        if not shared:
            draw_key(figure, block.styles, left=left, top=top, width=width)
        top += own_key + _TITLE
        stack: list[Axes] = []
        for height, gap in zip(heights, [*gaps, 0.0], strict=True):
            stack.append(axes_at(figure, left=left, top=top, width=width, height=height))
            top += height + gap
        title_of(stack[0], block.title)
        found.append(stack)
    return figure, found


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Make an empty sheet, inches."""
    return Figure(figsize=(width, height))


def axes_at(figure: Figure, *, left: float, top: float, width: float, height: float) -> Axes:
    """Place axes in inches from the upper left corner."""
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    )
    # Fixed places again: to find free ones, all ticks would be laid out three times.
    axes.xaxis.set_label_coords(0.5, -_LABEL_BELOW / height)
    axes.yaxis.set_label_coords(-_LABEL_LEFT / width, 0.5)
    return axes


def title_of(axes: Axes, words: str) -> None:
    """Write a title at a fixed height; finding a free one costs as much as drawing the axes."""
    axes.set_title(words, y=1.0)


def key_height(num_schedules: int, width: float) -> float:
    """Height of a key in inches."""
    return math.ceil(num_schedules / _key_columns(width)) * _KEY_ROW + 0.08


def draw_key(figure: Figure, styles: Sequence[Style], *, left: float, top: float, width: float) -> None:
    """Name the schedules with their line and marker; in the page a click on an entry hides the schedule."""
    columns = _key_columns(width)
    height = key_height(len(styles), width)
    axes = axes_at(figure, left=left, top=top, width=width, height=height)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    rows = math.ceil(len(styles) / columns)
    for index, style in enumerate(styles):
        x, y = index // rows * min(_KEY_COLUMN, width), (index % rows + 0.6) * _KEY_ROW
        axes.plot(
            [x, x + 0.18, x + 0.36], [y, y, y],
            color=style.color, linestyle=style.line, marker=style.marker, markevery=[1], gid=f"key_{style.key}",
            clip_on=False,
        )  # fmt: skip
        axes.text(x + 0.44, y, style.label, va="center", fontsize=7.5, gid=f"key_{style.key}")


def plain_numbers(axes: Axes, *, x: bool = True, y: bool = True) -> None:
    """Write numbers in full (20000, 0.001): no offsets, no powers that a reader must add in the head."""
    formatter = FuncFormatter(lambda value, _: tick(value))
    if x:
        axes.xaxis.set_major_formatter(formatter)
    if y:
        axes.yaxis.set_major_formatter(formatter)


def few_steps(axes: Axes) -> None:
    """Mark whole steps only, few enough to fit side by side."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def tick(value: float) -> str:
    """Write a tick: 25k, 1.5M, 0.03, 1e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def say(axes: Axes, words: str) -> None:
    """Write words where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, _wrapped(words, 44), transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=7.5
    )


def _wrapped(words: str, width: int) -> str:
    lines, line = [], ""
    for word in words.split():
        if line and len(line) + len(word) + 1 > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def _key_columns(width: float) -> int:
    return max(1, int(width // _KEY_COLUMN))
