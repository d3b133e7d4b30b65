"""Pictures of rate tables; the only place that draws them, and the only one that needs matplotlib.

Up to `OVERLAID` schedules share one pair of axes and differ in colour, line style and marker; more get a panel each,
since nobody tells thirty lines apart.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lrbench.schedules.rates import Rates

__all__ = ["OVERLAID", "draw_rates", "save_figure"]

OVERLAID = 7
# Okabe and Ito's palette, safe for the colour blind, without its yellow, which is too light on white.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "X", "P")
_MOST_COLUMNS = 5


def draw_rates(tables: Mapping[str, Rates], *, note: str = "") -> Figure:
    """Draw rate against step, and below it the momentum where a schedule moves it.

    Args:
        tables: by label, at least one.
        note: a sentence under the picture.
    """
    figure = _overlaid(tables) if len(tables) <= OVERLAID else _panels(tables)
    if note:
        figure.supxlabel(note, fontsize="small", color="0.3")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG or SVG, as the name ends; the same figure gives the same bytes."""
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "lrbench", "svg.fonttype": "none"}):
        figure.savefig(path, dpi=150, metadata=metadata)


def _overlaid(tables: Mapping[str, Rates]) -> Figure:
    moving = any(rates.momentum is not None for rates in tables.values())
    figure = Figure(figsize=(8, 6 if moving else 4.5), layout="constrained")
    heights = [3, 1] if moving else [1]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for index, (label, rates) in enumerate(tables.items()):
        style = {"color": _COLORS[index], "linestyle": _LINES[index], "marker": _MARKERS[index], "markersize": 5}
        offset = (index + 0.5) / len(tables)
        _plot(axes[0], rates.lr, marks=offset, label=label, **style)
        if rates.momentum is not None:
            _plot(axes[1], rates.momentum, marks=offset, **style)
    _label_rate(axes[0])
    if moving:
        axes[1].set_ylabel("momentum")
        axes[1].grid(color="0.9")
    axes[-1].set_xlabel("step (parameter updates completed before)")
    if len(tables) == 1:
        axes[0].set_title(next(iter(tables)))
    else:
        figure.legend(loc="outside upper center", ncols=min(4, len(tables)), handlelength=4, frameon=False)
    return figure


def _panels(tables: Mapping[str, Rates]) -> Figure:
    """Small multiples on one scale; momentum, where it moves, is the dashed grey line of a panel."""
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(tables))))
    rows = math.ceil(len(tables) / columns)
    figure = Figure(figsize=(2.6 * columns, 1.9 * rows + 0.6), layout="constrained")
    axes: Sequence[Axes] = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    moving = False
    for (label, rates), panel in zip(tables.items(), axes, strict=False):
        _plot(panel, rates.lr, color=_COLORS[0])
        panel.set_title(label, fontsize="medium")
        _label_rate(panel, label="")
        if rates.momentum is not None:
            moving = True
            other = panel.twinx()
            _plot(other, rates.momentum, color="0.5", linestyle="--")
            other.set_ylim(0, 1)
            other.set_ylabel("momentum", fontsize="small", color="0.4")
    for panel in islice(axes, len(tables), None):
        panel.remove()
    for index in range(max(0, len(tables) - columns), len(tables)):
        axes[index].tick_params(labelbottom=True)
    figure.supylabel("learning rate")
    figure.suptitle("rate against step" + (", momentum dashed" if moving else ""), fontsize="medium")
    return figure


def _plot(axes: Axes, values: NDArray[np.float64], *, marks: float | None = None, **style: object) -> None:
    """One line with a few markers, each line's at its own place; flat from each step to the next where that shows."""
    if marks is not None:
        distance = max(1, len(values) // 6)
        style["markevery"] = (int(marks * distance), distance)
    else:
        style.pop("marker", None)
    drawstyle = "steps-post" if len(values) <= 100 else "default"
    axes.plot(np.arange(len(values)), values, linewidth=1.6, drawstyle=drawstyle, **style)


def _label_rate(axes: Axes, label: str = "learning rate") -> None:
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(color="0.9")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
