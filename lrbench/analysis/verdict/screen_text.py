"""The table of the first screen as words, the same on a terminal, in a pull request and on the page."""

from collections.abc import Sequence

from lrbench.analysis.model import Question, Section
from lrbench.analysis.verdict.screen import Screen, ScreenRow
from lrbench.analysis.verdict.wording import noun_of, relative


def main_section(sections: Sequence[Section]) -> int:
    """Index of the section that is shown first: the most compared runs, of equals the longest budget."""
    sizes = [sum(facts.num_compared for facts in section.workloads) for section in sections]
    return max(range(len(sections)), key=lambda index: (sizes[index], index))


def screen_table(question: Question, screen: Screen) -> tuple[list[str], list[list[str]]]:
    """Heads and rows; a column in which nothing stands is left out."""
    noun = noun_of(question.endpoint, question.direction)
    heads = [
        "schedule",
        "state",
        question.endpoint,
        f"{noun} against {question.reference or 'the best'}",
        "speed",
        "failures",
    ]
    rows = [
        [row.scheduler, row.state, row.value, against_best(row), speed_of(row), failures_of(row)] for row in screen.rows
    ]
    kept = [i for i in range(len(heads)) if i == 0 or any(row[i] for row in rows)]
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]


def against_best(row: ScreenRow) -> str:
    """Write the ratio to the leader or reference with its interval; of itself only that it is it."""
    if row.ratio is None or row.low is None or row.high is None:
        return ""
    if row.ratio == row.low == row.high:
        return "reference" if row.state == "reference" else "smallest"
    return relative(row.ratio, row.low, row.high)


def speed_of(row: ScreenRow) -> str:
    """Write how many times as fast as `constant`."""
    return "" if row.speed is None else f"{row.speed:.2f} x"


def failures_of(row: ScreenRow) -> str:
    """Write how many of the compared runs diverged or did not finish."""
    return f"{row.failures} of {row.num_runs}"
