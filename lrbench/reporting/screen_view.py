"""The first screen as the page lays it out: rows with bars, in percent of the width of a bar."""

import math
from dataclasses import dataclass

from lrbench.analysis.model import Question
from lrbench.analysis.verdict.screen import Screen, ScreenRow
from lrbench.analysis.verdict.screen_text import against_best, failures_of, speed_of
from lrbench.reporting.styles import Style, Styles

_MOST = math.log(4)  # of the logarithm of a ratio on the axis of the bars; what is beyond ends at the edge


@dataclass(frozen=True)
class Bar:
    """The interval of one schedule against the leader: from `left` over `width`, the ratio at `dot`, in percent."""

    left: float
    width: float
    dot: float


@dataclass(frozen=True)
class ViewRow:
    """One row in words; `bar` is None where nothing was compared."""

    style: Style
    state: str
    value: str
    against: str
    speed: str
    failures: str
    bar: Bar | None


@dataclass(frozen=True)
class ScreenView:
    """What the page shows of one budget; `zero` and `margin` are where equal and the margin's end lie on the bars."""

    title: str
    sentence: str
    advice: str
    against: tuple[str, ...]
    rows: tuple[ViewRow, ...]
    zero: float
    margin: float
    has_values: bool
    is_compared: bool


def view_of(title: str, screen: Screen, styles: Styles, question: Question) -> ScreenView:
    """Place the bars of a screen on one logarithmic axis."""
    bounds = [math.log(value) for row in screen.rows for value in (row.low, row.high) if value]
    low = max(-_MOST, min([*bounds, -math.log1p(question.margin)]))
    high = min(_MOST, max([*bounds, math.log1p(question.margin)]))

    def place(ratio: float) -> float:
        return round(100 * (min(max(math.log(ratio), low), high) - low) / (high - low), 1)

    def bar(row: ScreenRow) -> Bar | None:
        if not row.ratio or not row.low or not row.high:
            return None
        return Bar(place(row.low), round(place(row.high) - place(row.low), 1), place(row.ratio))

    rows = tuple(
        ViewRow(
            styles[row.scheduler], row.state, row.value, against_best(row), speed_of(row), failures_of(row), bar(row)
        )
        for row in screen.rows
    )
    return ScreenView(
        title=title,
        sentence=screen.sentence,
        advice=screen.advice,
        against=screen.against,
        rows=rows,
        zero=place(1),
        margin=place(1 + question.margin),
        has_values=any(row.value for row in rows),
        is_compared=any(row.bar for row in rows),
    )
