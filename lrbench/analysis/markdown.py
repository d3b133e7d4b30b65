"""The report for a pull request: the first screen in at most 60 lines; the page has the rest."""

import re

from lrbench.analysis.model import Analysis
from lrbench.analysis.verdict.screen_text import main_section, screen_table
from lrbench.analysis.verdict.verdict import SectionVerdict, Verdict

MOST_LINES = 60
_AROUND = 20  # lines that are not rows of the table
_MOST_OTHERS = 8


def markdown(analysis: Analysis, said: Verdict) -> str:
    """A sentence, a table, what speaks against it, and the other budgets in a line each."""
    question, index = analysis.question, main_section(analysis.sections)
    words, section = said.sections[index], analysis.sections[index]
    heads, rows = screen_table(question, words.screen)
    others = [words for number, words in enumerate(said.sections) if number != index]
    most = MOST_LINES - _AROUND - min(len(others), _MOST_OTHERS) - len(analysis.findings)
    lines = [
        f"**{plain(words.screen.sentence)}**",
        "",
        *([plain(words.screen.advice), ""] if words.screen.advice else []),
    ]
    lines += [f"| {' | '.join(map(_cell, heads))} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in rows[:most]]
    if len(rows) > most:
        lines.append(f"| and {len(rows) - most} more, in ranking.csv |" + " |" * (len(heads) - 1))
    lines += ["", *(f"- {plain(sentence)}" for sentence in words.screen.against)]
    lines += [f"- {plain(finding.sentence)}" for finding in analysis.findings]
    lines += _others(others)
    runs = sum(facts.num_compared for facts in section.workloads)
    lines += [
        "",
        f"Budget: {plain(section.title)}; {runs:,} compared runs. Intervals and states hold together at "
        f"{100 * (1 - question.alpha):g} %, equivalence means within {100 * question.margin:g} %; speed is against "
        "constant, to the target, and observed. Everything else is in report.html.",
        "",
    ]
    return "\n".join(lines)


def _others(others: list[SectionVerdict]) -> list[str]:
    shown = [f"- {plain(words.title)}: {plain(words.headline)}" for words in others[:_MOST_OTHERS]]
    rest = len(others) - len(shown)
    return [*(["", "Other budgets:", ""] if shown else []), *shown, *([f"- and {rest} more"] if rest else [])]


def _cell(text: str) -> str:
    """Text in a table of Markdown, where a bar would begin a new column."""
    return plain(text).replace("|", "\\|")


def plain(text: str) -> str:
    """Text that stays text in Markdown: names in it begin no HTML, link, picture or code, and no new line."""
    text = "".join(character if character.isprintable() else " " for character in text)
    text = re.sub(r"[\\`]", r"\\\g<0>", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", r"\\<", text)
    return re.sub(r"\](?=[(\[:])", r"\\]", text)
