"""The report for a pull request: the verdict line, a table a budget, the rest folded away."""

import re

from lrbench.analysis.model import Analysis, Cell, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.verdict import Verdict
from lrbench.analysis.verdict.wording import number, summary


def markdown(analysis: Analysis, said: Verdict) -> str:
    """A short report for a pull request: the verdict line, a table, the rest of the words folded away."""
    question = analysis.question
    lines = ["# Learning-rate schedules compared", ""]
    for section, words in zip(analysis.sections, said.sections, strict=True):
        lines += [f"## {plain(section.title)}", "", f"**{plain(words.headline)}**", ""]
        lines += [
            "| workload | rank | schedule | runs ok | " + _cell(question.endpoint) + " | steps to target | rate |"
        ]
        lines += ["|---|---|---|---|---|---|---|"]
        for cell in by_rank(section):
            rank = "" if isinstance(cell.rank, Unavailable) else f"{cell.rank:g}"
            rate = "" if cell.rate is None else f"{cell.rate:g}"
            columns = [
                cell.workload, rank, cell.scheduler, f"{cell.num_ok}/{cell.num_runs}",
                summary(cell.final, question.endpoint), _steps(cell), rate,
            ]  # fmt: skip
            lines.append(f"| {' | '.join(_cell(text) for text in columns)} |")
        lines += ["", "<details><summary>What can be said, and how sure it is</summary>", ""]
        lines += [f"- {plain(claim.sentence)}" for claim in words.claims]
        lines += [f"- {plain(item.sentence)}" for item in words.recommendations]
        lines += ["", "</details>", ""]
    lines += [f"- {plain(claim.sentence)}" for claim in said.budgets]
    versions = ", ".join(f"{name} {version}" for name, version in question.versions)
    lines += [
        "",
        f"Curves and targets: {plain(question.metric)} ({question.direction}). Intervals {1 - question.alpha:.0%}; "
        f"bootstrap of {question.num_resamples} resamples, seed {question.bootstrap_seed}. {versions}.",
        "",
    ]
    return "\n".join(lines)


def by_rank(section: Section) -> list[Cell]:
    """Order the cells of a section by workload, then from the best final value to the worst."""

    def place(cell: Cell) -> float:
        return float("inf") if isinstance(cell.rank, Unavailable) else cell.rank

    return sorted(section.cells, key=lambda cell: (cell.workload, place(cell), cell.scheduler))


def _steps(cell: Cell) -> str:
    if isinstance(cell.steps, Unavailable):
        return "not judged"
    if isinstance(cell.steps.median, Unavailable):
        return "not reached"
    return f"{number(cell.steps.median, 'steps')} (n = {cell.num_runs})"


def _cell(text: str) -> str:
    """Text in a table of Markdown, where a bar would begin a new column."""
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """Text that stays text in Markdown: names in it begin no HTML, link, picture or code, and no new line."""
    text = "".join(character if character.isprintable() else " " for character in text)
    text = re.sub(r"[\\`]", r"\\\g<0>", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    return re.sub(r"\](?=[(\[:])", r"\\]", text)
