"""Advice for the budget that a person has: from runs planned for it, else from runs stopped there, which is weaker."""

import numpy as np

from lrbench.analysis.model import Analysis, Cell, Question, Section, SweepPoint
from lrbench.analysis.statistics.ranks import ranks
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Claim, family_on
from lrbench.analysis.verdict.wording import names, steps, summary

_SHOWN = (0.25, 0.5)


def budget_claims(analysis: Analysis) -> list[Claim]:
    """Say who is ahead at shorter budgets."""
    if analysis.sweep:
        return _planned(analysis)
    return [
        claim
        for section in analysis.sections
        for facts in section.workloads
        for claim in _stopped(analysis.question, section, facts.name)
    ]


def _planned(analysis: Analysis) -> list[Claim]:
    """From the budget sweep: each length was planned, so each schedule had its own shape at it."""
    claims = []
    for task in sorted({point.task for point in analysis.sweep}):
        points = [point for point in analysis.sweep if point.task == task]
        longest = max(point.total_steps for point in points)
        for length in sorted({point.total_steps for point in points}):
            here = [p for p in points if p.total_steps == length and not isinstance(p.final.mean, Unavailable)]
            if here:
                claims.append(_at_length(analysis, task, here, length, longest))
    return claims


def _at_length(analysis: Analysis, task: str, here: list[SweepPoint], length: int, longest: int) -> Claim:
    question = analysis.question
    best = min(here, key=lambda p: (_rank(p), p.scheduler))
    tied = [p.scheduler for p in here if p is not best and p.rank == best.rank]
    section, workload = next(
        (section, facts.name)
        for section in analysis.sections
        for facts in section.workloads
        if (facts.task, facts.total_steps) == (task, length)
    )
    at = f"at {100 * length / longest:.3g} % of the longest budget" if length < longest else "at the longest budget"
    value = summary(best.final, question.endpoint)
    sentence = f"{task} {at} ({steps(length)} steps, planned for them): {best.scheduler}, {question.endpoint} {value}"
    if tied:
        sentence += f", tied with {names(tied)}"
    if len(here) < 2:
        return Claim("budget", workload, f"{sentence}; it is the only schedule.", (best.scheduler,))
    family = family_on(section, workload)
    if isinstance(family, Unavailable):
        sentence += ", not tested" if tied else f", best of {len(here)}, not tested"
    elif family.names == (best.scheduler,):
        sentence += ", better than every other schedule"
    else:
        sentence += f"; {names(family.names)} may be the best"
    return Claim("budget", workload, f"{sentence}.", (best.scheduler,))


def _stopped(question: Question, section: Section, workload: str) -> list[Claim]:
    """From the curves of runs planned for the whole budget, which says little of schedules planned for less."""
    cells = [cell for cell in section.cells if cell.workload == workload and cell.path and cell.num_ok]
    total = next(facts.total_steps for facts in section.workloads if facts.name == workload)
    if len(cells) < 2:
        return []
    said = []
    for fraction in _SHOWN:
        values = [(cell, mean) for cell in cells if (mean := _at(cell, fraction)) is not None]
        places = ranks(np.array([mean for _, mean in values]), direction=question.direction)
        leaders = [cell for (cell, _), place in zip(values, places, strict=True) if place == min(places)]
        if len(leaders) < len(values):
            point = next(point for point in leaders[0].path if point.fraction == fraction)
            value = summary(point.value, question.metric)
            shared = " share the lead" if len(leaders) > 1 else " leads"
            at = f"at {100 * fraction:g} % (step {steps(point.step)})"
            said.append(f"{at} {names([cell.scheduler for cell in leaders])}{shared}, {value}")
    if not said:
        return []
    sentence = (
        f"{workload}, stopped early: {'; '.join(said)} in {question.metric}. Not tested, and these runs were "
        f"planned for {steps(total)} steps: planned for less, schedules that decay late would do better."
    )
    return [Claim("budget", workload, sentence, ())]


def _at(cell: Cell, fraction: float) -> float | None:
    """Mean value there, None where a run had diverged or there was none, or at step 0, where nobody leads."""
    point = next(point for point in cell.path if point.fraction == fraction)
    mean = point.value.mean
    if point.step == 0 or point.value.num_ok < point.value.num_seeds or isinstance(mean, Unavailable):
        return None
    return mean


def _rank(point: SweepPoint) -> float:
    return float("inf") if isinstance(point.rank, Unavailable) else point.rank
