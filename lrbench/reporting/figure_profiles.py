"""Part 7: target ECDF and performance profile, both step functions that end higher for the faster schedule."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from lrbench.analysis.model import Profile, Section, TargetEcdf
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.reporting.layout import draw_sheet, sheets_of
from lrbench.reporting.pictures import Mark, Picture
from lrbench.reporting.styles import Style, Styles
from lrbench.reporting.words import number

_HEIGHT = 2.5
_HOVERED = 20


def profile_pictures(section: Section, styles: Styles, *, stem: str) -> list[Picture]:
    """Draw what is available of the two."""
    pictures = []
    if not isinstance(section.ecdf, Unavailable):
        pictures.append(_ecdf_picture(section.ecdf, styles, name=f"{stem}-ecdf"))
    if not isinstance(section.profiles, Unavailable):
        pictures.append(_profile_picture(section.profiles, styles, name=f"{stem}-profile"))
    return pictures


def _ecdf_picture(curves: Sequence[TargetEcdf], styles: Styles, *, name: str) -> Picture:
    by_name = {curve.scheduler: curve for curve in curves}
    (sheet,) = sheets_of([("targets of the ladder", [style for style in styles.values() if style.name in by_name])])
    figure, stacks = draw_sheet(sheet, heights=[_HEIGHT])
    note = "Every rung of the target ladder counts once a workload and seed. Bands: 95 %, too narrow where targets of "
    picture = Picture(
        name, "Targets reached by a fraction of the budget", figure, note + "one run depend on each other."
    )
    for block, (axes,) in zip(sheet.blocks, stacks, strict=True):
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.04), xlabel="fraction of the budget")
        for style in block.styles:
            curve = by_name[style.name]
            if curve.low is not None and curve.high is not None:
                axes.fill_between(
                    curve.fractions, curve.low, curve.high, step="post", color=style.color, linewidth=0,
                    alpha=0.45 / (len(block.styles) + 2), gid=f"band_{style.key}",
                )  # fmt: skip
            _steps(axes, curve.fractions, curve.share, style)
            for x, y in _some(curve.fractions, curve.share):
                words = (
                    f"{curve.scheduler}\n{100 * y:.3g} % of {curve.num_targets} targets by {100 * x:.3g} % of budget"
                )
                picture.marks.append(Mark(axes, x, y, words, (style.key,)))
    for (axes,) in stacks[::3]:
        axes.set_ylabel("share of targets reached")
    return picture


def _profile_picture(curves: Sequence[Profile], styles: Styles, *, name: str) -> Picture:
    num_workloads = max((curve.num_workloads for curve in curves), default=0)
    plural = "s" if num_workloads != 1 else ""
    by_name = {curve.scheduler: curve for curve in curves}
    present = [style for style in styles.values() if style.name in by_name]
    (sheet,) = sheets_of([(f"{num_workloads} workload{plural}", present)])
    figure, stacks = draw_sheet(sheet, heights=[_HEIGHT])
    picture = Picture(
        name,
        "Performance profile: workloads on which a schedule is within a factor of the fastest",
        figure,
        f"n = {num_workloads} workload{plural}. The score is the area under the line up to tau_max.",
    )
    last = max((curve.taus[-1] for curve in curves if curve.taus), default=8.0)
    for block, (axes,) in zip(sheet.blocks, stacks, strict=True):
        axes.set_xscale("log")
        axes.set(xlim=(1, last), ylim=(-0.02, 1.04), xlabel="tau: time to target / fastest time (log scale)")
        ticks = [tau for tau in (1, 1.5, 2, 3, 4, 6, 8) if tau <= last]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{tau:g}" for tau in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        for style in block.styles:
            curve = by_name[style.name]
            _steps(axes, curve.taus, curve.share, style)
            scores = ", ".join(f"{number(s.exact)} (tau_max {s.tau_max:g})" for s in curve.scores)
            for x, y in _some(curve.taus, curve.share):
                words = f"{curve.scheduler}\nwithin {x:.3g} x the fastest on {100 * y:.3g} % of {curve.num_workloads}"
                picture.marks.append(Mark(axes, x, y, f"{words}\nscore {scores}", (style.key,)))
    for (axes,) in stacks[::3]:
        axes.set_ylabel("share of workloads")
    return picture


def _steps(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style) -> None:
    every = max(1, len(x) // 6)
    axes.plot(
        x, y, drawstyle="steps-post", color=style.color, linestyle=style.line, marker=style.marker, markersize=4,
        markevery=(int(style.key[1:]) % every, every), gid=style.key,
    )  # fmt: skip


def _some(x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    every = max(1, len(x) // _HOVERED)
    return list(zip(x[::every], y[::every], strict=True))
