"""The one picture of the first screen: speed against final value, the whole comparison in one plane."""

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lrbench.analysis.model import Question
from lrbench.analysis.verdict.screen import Screen, ScreenRow
from lrbench.analysis.verdict.screen_text import against_best, speed_of
from lrbench.analysis.verdict.wording import noun_of
from lrbench.reporting.layout import axes_at, new_figure
from lrbench.reporting.pictures import FAINT, GRID, Mark, Picture
from lrbench.reporting.styles import Style, Styles

_WIDTH, _HEIGHT = 4.9, 3.1
_LINE = 0.145  # inches between two names
_WORSE = 0.45  # opacity of what is shown to end worse
_LOG_FROM = 4.0  # ratio of the largest to the smallest value of an axis


def screen_picture(screen: Screen, styles: Styles, question: Question, *, margin: float) -> Picture | None:
    """Draw every schedule with a speed and a comparison; None where there are not two of them.

    Args:
        screen: of the section that is shown first.
        styles: of its schedules.
        question: for the names of the axes.
        margin: of equivalence, drawn as a band.
    """
    rows = [row for row in screen.rows if row.speed is not None and row.ratio is not None]
    if len(rows) < 2:
        return None
    figure = new_figure(_HEIGHT, _WIDTH)
    axes = axes_at(figure, left=0.62, top=0.08, width=_WIDTH - 1.5, height=_HEIGHT - 0.55)
    picture = Picture("01-screen", "Speed against final value", figure)
    axes.axhspan(1, 1 + margin, color=GRID, alpha=0.6, linewidth=0)
    for row in rows:
        _point(axes, row, styles[row.scheduler], picture)
    noun = noun_of(question.endpoint, question.direction)
    axes.set_xlabel("times as fast to the target as constant (right is faster)")
    axes.set_ylabel(f"{noun} against the smallest (lower is better)")
    _limits(axes, rows)
    _name(axes, rows, styles)
    return picture


def _limits(axes: Axes, rows: list[ScreenRow]) -> None:
    """Room round the points; long intervals may leave the picture. Logarithmic where a line would press the points."""
    speeds = [row.speed for row in rows if row.speed is not None]
    ratios = [row.ratio for row in rows if row.ratio is not None]
    for values, name in ((speeds, "x"), (ratios, "y")):
        low, high = min(values), max(values)
        axis = axes.xaxis if name == "x" else axes.yaxis
        if high / low > _LOG_FROM:
            axes.set(**{f"{name}scale": "log", f"{name}lim": (low / (high / low) ** 0.08, high * (high / low) ** 0.15)})
            axis.set_major_locator(LogLocator(numticks=6))
        else:
            room = max(high - low, 0.05)
            axes.set(**{f"{name}lim": (low - 0.08 * room, high + 0.25 * room)})
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    most = axes.get_ylim()[1]
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g} x"))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * (value - 1):+.3g} %" if most < _LOG_FROM else f"x {value:.3g}")
    )


def _point(axes: Axes, row: ScreenRow, style: Style, picture: Picture) -> None:
    assert row.speed is not None
    assert row.ratio is not None
    opacity = _WORSE if row.state == "worse" else 1.0
    if row.low is not None and row.high is not None:
        axes.plot([row.speed] * 2, [row.low, row.high], color=style.color, linewidth=1, alpha=0.35, gid=style.key)
    axes.plot([row.speed], [row.ratio], style.marker, color=style.color, markersize=7, alpha=opacity, gid=style.key)
    words = f"{row.scheduler}: {row.state}\n{against_best(row)}\nspeed {speed_of(row)}"
    picture.marks.append(Mark(axes, row.speed, row.ratio, words, (style.key,)))


def _name(axes: Axes, rows: list[ScreenRow], styles: Styles) -> None:
    """Write the names in a column at the right edge, in the order of the points, and a thin line to each."""
    height = axes.get_window_extent().height / axes.figure.dpi
    ordered = sorted(rows, key=lambda row: (row.ratio or 0, row.scheduler))
    drawn = axes.transData.transform([(row.speed or 1, row.ratio or 1) for row in ordered])
    wanted = [float(y) * height for _, y in axes.transAxes.inverted().transform(drawn)]
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + _LINE) if places else place)
    over = max(0.0, places[-1] - height)
    for index in range(len(places) - 1, -1, -1):  # pushed down again from the top edge
        limit = places[index + 1] - _LINE if index + 1 < len(places) else height
        places[index] = min(places[index], limit) if over else places[index]
    for row, place in zip(ordered, places, strict=True):
        style = styles[row.scheduler]
        axes.annotate(
            style.label, (row.speed or 1, row.ratio or 1), xytext=(1.03, place / height), textcoords="axes fraction",
            fontsize=7.5, va="center", gid=style.key, annotation_clip=False, color=style.color,
            arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.4, "alpha": 0.6, "shrinkB": 4},
        )  # fmt: skip
