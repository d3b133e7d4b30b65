"""Pictures of rate tables; the only place that draws them, and the only one that needs matplotlib.

Up to `OVERLAID` schedules share one pair of axes and differ in colour, line style and marker; more get a panel each,
since nobody tells thirty lines apart.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

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
_MOST_FLATTENED = 3  # highest over lowest peak of panels on one scale


def draw_rates(tables: Mapping[str, Rates], *, note: str = "") -> Figure:
    """Draw rate against step, and below it the momentum where a schedule moves it.

    Args:
        tables: by label, at least one.
        note: a sentence under the picture.
    """
    figure = _overlaid(tables) if len(tables) <= OVERLAID else _panels(tables)
    figure.supxlabel("step (parameter updates)" + (f"\n{note}" if note else ""), fontsize="medium")
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
    _scale(axes[0], max(float(rates.lr.max()) for rates in tables.values()))
    axes[0].set_ylabel("learning rate")
    if moving:
        axes[1].set_ylabel("momentum")
        axes[1].grid(color="0.9")
    if len(tables) == 1:
        axes[0].set_title(next(iter(tables)))
    else:
        figure.legend(loc="outside upper center", ncols=min(4, len(tables)), handlelength=4, frameon=False)
    return figure


def _panels(tables: Mapping[str, Rates]) -> Figure:
    """Small multiples; momentum, where it moves, is the dashed grey line of a panel.

    They share one scale unless that would flatten some: Noam's base rate, for one, is not a rate.
    """
    peaks = [float(rates.lr.max()) for rates in tables.values()]
    shared = max(peaks) <= _MOST_FLATTENED * min(peaks)
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(len(tables))))
    rows = math.ceil(len(tables) / columns)
    figure = Figure(figsize=(2.6 * columns, 1.9 * rows + 0.6), layout="constrained")
    axes: Sequence[Axes] = list(figure.subplots(rows, columns, sharex=True, sharey=shared, squeeze=False).flat)
    moving = False
    for (label, rates), peak, panel in zip(tables.items(), peaks, axes, strict=False):
        _plot(panel, rates.lr, color=_COLORS[0])
        panel.set_title(label, fontsize="medium")
        _scale(panel, max(peaks) if shared else peak)
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
    remarks = ["momentum dashed"] * moving + ["each panel has its own scale"] * (not shared)
    if remarks:
        figure.suptitle(", ".join(remarks), fontsize="medium")
    return figure


def _plot(axes: Axes, values: NDArray[np.float64], *, marks: float | None = None, **style: Any) -> None:
    """One line with a few markers, each line's at its own place; flat over a step where steps are wide."""
    if marks is not None:
        distance = max(1, len(values) // 6)
        style["markevery"] = (int(marks * distance), distance)
    else:
        style.pop("marker", None)
    drawstyle = "steps-post" if len(values) <= 100 else "default"
    axes.plot(np.arange(len(values)), values, linewidth=1.6, drawstyle=drawstyle, **style)


def _scale(axes: Axes, top: float) -> None:
    """From zero, a little below it to show a line at zero, to a little above the peak."""
    axes.set_ylim(-0.02 * (top or 1.0), 1.06 * (top or 1.0))
    axes.grid(color="0.9")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
