"""The first screen: one sentence, one table, and what speaks against it, for somebody who has ten seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lrbench.analysis.field import CONSTANT
from lrbench.analysis.model import Question, Section
from lrbench.analysis.statistics.contenders import Contender, Contenders
from lrbench.analysis.statistics.over_workloads import OverWorkloads
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import cells_on, family_on
from lrbench.analysis.verdict.reversals import reversal_sentence
from lrbench.analysis.verdict.wording import (
    MANY_TIMES,
    against_reference,
    counted_word,
    names,
    noun_of,
    number,
    percent_more,
)

Word = Literal[
    "best", "may be best", "equivalent", "worse", "not compared", "reference", "better", "undecided"
]  # the last three with a reference only
_MOST_AGAINST = 3
_FEW = 4  # contenders that are all named
_LONGEST = 140  # characters of a finding on the first screen


@dataclass(frozen=True)
class ScreenRow:
    """One schedule on the first screen.

    Attributes:
        state: *best* is the only one that may be it; *not compared* lacks seeds, or there was no comparison.
        value: mean final value in words, of one workload; "" over several.
        ratio, low, high: error or loss over that of the leader or reference, with its simultaneous interval; None if
            not compared.
        speed: times as fast to the target as `constant`; None if either has no time.
        failures: compared runs that diverged or did not finish, of `num_runs`.
    """

    scheduler: str
    state: Word
    value: str
    ratio: float | None
    low: float | None
    high: float | None
    speed: float | None
    failures: int
    num_runs: int


@dataclass(frozen=True)
class Screen:
    """What a reader of ten seconds sees of one budget.

    Attributes:
        sentence: what to use.
        advice: which of several to take and why, "" where there is no choice.
        rows: the best first.
        against: at most three sentences that speak against it.
    """

    sentence: str
    advice: str
    rows: tuple[ScreenRow, ...]
    against: tuple[str, ...]


def screen_of(question: Question, section: Section, otherwise: str) -> Screen:
    """Assemble the first screen of a section.

    Args:
        question: of the analysis.
        section: a budget.
        otherwise: the sentence where nothing could be compared.
    """
    family = family_over(section)
    rows = _rows(question, section, family)
    if isinstance(family, Unavailable):
        return Screen(otherwise, "", rows, _against(section, None))
    sentence = f"{_use(family, section)} {_constant(question, family)}".strip()
    advice = _advice(section, rows) if family.reference is None else ""
    return Screen(sentence, advice, rows, _against(section, family))


def family_over(section: Section) -> Contenders | Unavailable:
    """The comparison that a section's verdict rests on: over its workloads, or on its only one."""
    if len(section.workloads) == 1:
        return family_on(section, section.workloads[0].name)
    over = section.over_workloads
    return over if isinstance(over, Unavailable) else over.these


def speed_against_constant(section: Section, scheduler: str) -> float | None:
    """How many times as fast as `constant`: over workloads the geometric mean, on one the ratio of medians."""
    if not isinstance(section.across, Unavailable) and len(section.workloads) > 1:
        for item in section.across.overall:
            if item.scheduler == scheduler and not isinstance(item.speed_up, Unavailable):
                return item.speed_up.factor
        return None
    times = {
        cell.scheduler: cell.steps.median
        for cell in section.cells
        if not isinstance(cell.steps, Unavailable) and not isinstance(cell.steps.median, Unavailable)
    }
    if len(section.workloads) != 1 or scheduler not in times or CONSTANT not in times:
        return None
    return times[CONSTANT] / times[scheduler]


def _use(family: Contenders, section: Section) -> str:
    if family.reference is not None:
        return f"Against {family.reference} {_on(section)}, {against_reference(family)}"
    on = _on(section)
    best = family.names
    worse = [item.schedule for item in family.ranked if not item.is_contender]
    if not worse:
        if all(item.within_margin for item in family.ranked):
            return f"Use any of {names(best)}: they are equivalent within {100 * family.margin:g} % {on}."
        return f"Nothing is decided between {names(best)} {on}: none is shown to end worse than another."
    others = f"the {counted_word(len(worse))} others are" if len(worse) > 2 else f"{names(worse)} {_are(worse)}"
    if len(best) == 1:
        return f"Use {best[0]}: {others} shown to end worse {on}."
    if len(best) <= _FEW:
        return f"Use {names(best, last='or')}: {others} shown to end worse {on}."
    count = f"{counted_word(len(best)).capitalize()} of {len(family.ranked)} schedules may be the best {on}"
    return f"{count}; {names(worse)} {_are(worse)} shown to end worse."


def _on(section: Section) -> str:
    return f"on these {len(section.workloads)} workloads" if len(section.workloads) > 1 else f"on {_only(section)}"


def _constant(question: Question, family: Contenders) -> str:
    """What `constant` costs, where that is shown against the leader."""
    found = next((item for item in family.ranked if item.schedule == CONSTANT), None)
    if found is None or found.state == "leader" or found.interval.low <= 0 or family.reference is not None:
        return ""
    noun = noun_of(question.endpoint, question.direction)
    than = "of" if math.exp(found.estimate) >= MANY_TIMES else "than"
    return f"Constant has {percent_more(math.exp(found.estimate))} {noun} {than} {family.names[0]}."


def _advice(section: Section, rows: Sequence[ScreenRow]) -> str:
    """Among those that may be the best: the fastest, then the cheapest, then `constant`, which needs no schedule."""
    open_ = [row for row in rows if row.state in ("may be best", "equivalent")]
    if len(open_) < 2:
        return ""
    timed = [row for row in open_ if row.speed is not None]
    if not timed:
        return ""
    top = max(round(row.speed, 2) for row in timed if row.speed is not None)
    fast = [row.scheduler for row in timed if row.speed is not None and round(row.speed, 2) == top]
    speed = f"{top:.2f} times as fast to the target as constant; observed, not tested"
    if len(fast) == 1:
        return f"Of those that may be best take {fast[0]}, the fastest: {speed}."
    steps = {
        name: sum(c.tuning_steps + c.compared_steps for c in section.costs if c.scheduler == name) for name in fast
    }
    cheap = [name for name in fast if steps[name] == min(steps.values())]
    if len(cheap) == 1:
        return f"Of those that may be best {names(fast)} are equally fast ({speed}); {cheap[0]} took fewer steps."
    if CONSTANT in cheap:
        return f"Of those that may be best {names(cheap)} are equally fast and cheap; constant is the simplest."
    return f"Of those that may be best {names(cheap)} are equally fast and cheap: a tie."


def _rows(question: Question, section: Section, family: Contenders | Unavailable) -> tuple[ScreenRow, ...]:
    words = {} if isinstance(family, Unavailable) else {item.schedule: item for item in family.ranked}
    order = [*words, *(name for name in _observed_order(section) if name not in words)]
    is_only = sum(item.is_contender for item in words.values()) == 1
    return tuple(
        _row(question, section, name, words.get(name), _word(question, words.get(name), is_only=is_only))
        for name in order
    )


def _row(question: Question, section: Section, name: str, found: Contender | None, state: Word) -> ScreenRow:
    cells = [cell for cell in section.cells if cell.scheduler == name]
    value = ""
    if len(section.workloads) == 1 and cells and not isinstance(cells[0].final.mean, Unavailable):
        value = number(cells[0].final.mean, question.endpoint)
    bounds = None if found is None else [math.exp(v) for v in (found.estimate, found.interval.low, found.interval.high)]
    ratio, low, high = (None, None, None) if bounds is None else bounds
    return ScreenRow(
        scheduler=name,
        state=state,
        value=value,
        ratio=ratio,
        low=low,
        high=high,
        speed=speed_against_constant(section, name),
        failures=sum(cell.num_diverged + cell.num_incomplete for cell in cells),
        num_runs=sum(cell.num_runs for cell in cells),
    )


def _word(question: Question, found: Contender | None, *, is_only: bool) -> Word:
    if found is None:
        return "not compared"
    if question.reference is not None and found.state != "leader":
        return found.state
    if not found.is_contender:
        return "worse"
    if found.state == "equivalent":
        return "equivalent"
    return "best" if is_only else "may be best"


def _observed_order(section: Section) -> list[str]:
    """By mean rank, without a claim."""
    if not isinstance(section.across, Unavailable):
        known = [item.scheduler for item in section.across.overall]
    else:
        known = [cell.scheduler for cell in cells_on(section, _only(section))] if len(section.workloads) == 1 else []
    return [*known, *(name for name in section.schedulers if name not in known)]


def _against(section: Section, family: Contenders | None) -> tuple[str, ...]:
    kinds: dict[str, list[str]] = {}
    for finding in section.findings:
        if finding.severity == "serious":
            kinds.setdefault(finding.check, []).append(finding.sentence)
    said = [_short(sentences[0], len(sentences) - 1) for sentences in [*kinds.values()][:2]]
    said += [sentence for sentence in (reversal_sentence(section), _elsewhere(section, family)) if sentence]
    said += [sentence for sentence in section.sentences if sentence not in said]
    flips = [flip for flip in section.robustness.flips if flip.by == "final"]
    if flips:
        said.append(f"Without {flips[0].without}, {flips[0].behind} would come before {flips[0].ahead} in the ranking.")
    return tuple(said[:_MOST_AGAINST])


def _elsewhere(section: Section, family: Contenders | None) -> str:
    """Whether the claims hold of other workloads of this kind."""
    over = section.over_workloads
    if family is None or not isinstance(over, OverWorkloads):
        return ""
    worse = [item.schedule for item in family.ranked if not item.is_contender]
    if not worse:
        return ""
    if isinstance(over.alike, Unavailable):
        return "Nothing of this is shown for other workloads than these."
    kept = [item.schedule for item in over.alike.ranked if not item.is_contender]
    if not kept:
        return "Of other workloads like these none of it is shown."
    if len(kept) < len(worse):
        return f"Of other workloads like these only {names(kept)} {_are(kept)} shown to end worse."
    return ""


def _short(sentence: str, others: int) -> str:
    """A finding cut at the end of a clause, and how many more there are of its kind."""
    text = sentence
    if len(text) > _LONGEST:
        end = max(text.rfind(mark, 0, _LONGEST) for mark in ("; ", ". ", ": ", ", "))
        text = f"{text[: end if end > 0 else _LONGEST]} …"
    return f"{text} ({others} more like it below)" if others else text


def _only(section: Section) -> str:
    return section.workloads[0].name


def _are(subjects: Sequence[str]) -> str:
    return "is" if len(subjects) == 1 else "are"
