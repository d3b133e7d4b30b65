"""The picture of a range test: loss against rate, and where the suggestion lies on it."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrbench.lr_range import RangeTest, Suggestion, smoothed_curve
from lrbench.spec import Task

_BLUE = "#0072B2"
_ORANGE = "#D55E00"
_LOSS = {
    Task.CLASSIFICATION: "training loss of a batch (cross entropy, nats)",
    Task.TOKENS: "training loss of a batch (cross entropy a token, nats)",
    Task.REGRESSION: "training loss of a batch (half squared error)",
    Task.OWN_LOSS: "training loss of a batch (the model's own)",
}
# Colour and style; the styles differ too, for readers without colours.
_MARKS = {"low": ("0.25", ":"), "suggested": (_ORANGE, "-"), "high": ("0.25", "--")}


def draw_range_test(test: RangeTest, suggestion: Suggestion, *, title: str, task: Task) -> Figure:
    """Draw single losses, the band of all seeds, their median, and the three rates of the suggestion."""
    curve = smoothed_curve(test)
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(test.lr[0], test.lr[-1])
    for losses in test.losses:
        axes.plot(test.lr, losses, color="0.75", linewidth=0.6, zorder=1)
    axes.plot([], [], color="0.75", linewidth=0.6, label="single losses")
    several = len(test.seeds) > 1
    if several:
        label = f"smoothed, range of {len(test.seeds)} seeds"
        axes.fill_between(curve.lr, curve.lowest, curve.highest, color=_BLUE, alpha=0.25, linewidth=0, label=label)
    axes.plot(
        curve.lr, curve.median, color=_BLUE, linewidth=2, label="smoothed, median of seeds" if several else "smoothed"
    )
    for name, (color, style) in _MARKS.items():
        rate = getattr(suggestion, name)
        if rate is not None:
            axes.axvline(rate, color=color, linestyle=style, linewidth=1.8, label=f"{name} {rate:.3g}")
    _mark_divergence(axes, test)
    _limit_losses(axes, test)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(_LOSS[task])
    axes.set_title(title)
    axes.grid(color="0.9")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mark_divergence(axes: Axes, test: RangeTest) -> None:
    """A cross on the lower edge at the rate of each seed's divergence."""
    diverged = np.isnan(test.losses)
    rates = test.lr[diverged.argmax(axis=1)[diverged.any(axis=1)]]
    if len(rates):
        edge = axes.get_xaxis_transform()
        crosses = axes.plot(rates, np.zeros(len(rates)), "kx", markersize=8, label="a seed diverged", transform=edge)
        crosses[0].set(clip_on=False, zorder=5)


def _limit_losses(axes: Axes, test: RangeTest) -> None:
    """Show the fall at full height: the losses before a divergence would flatten it."""
    median = smoothed_curve(test).median
    if not np.isfinite(median[0]):
        return
    lowest, first = float(np.nanmin(test.losses)), float(median[0])
    height = max(first - lowest, 0.05 * abs(first))
    axes.set_ylim(lowest - 0.08 * height, first + 0.5 * height)
