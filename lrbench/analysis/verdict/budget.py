"""Advice for the budget that a person has: from runs planned for it, else from runs stopped there, which is weaker."""

from lrbench.analysis.model import Analysis, Cell, Question, Section, SweepPoint
from lrbench.analysis.statistics.terms import Unavailable, sign
from lrbench.analysis.verdict.claims import Claim, standing
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
    section, workload = next(
        (section, facts.name)
        for section in analysis.sections
        for facts in section.workloads
        if (facts.task, facts.total_steps) == (task, length)
    )
    at = f"at {100 * length / longest:.3g} % of the longest budget" if length < longest else "at the longest budget"
    value = summary(best.final, question.endpoint)
    sentence = f"{task} {at} ({steps(length)} steps, planned for them): {best.scheduler}, {question.endpoint} {value}"
    if len(here) < 2:
        return Claim("budget", workload, f"{sentence}; it is the only schedule.", (best.scheduler,))
    found = standing(
        section.pairs, workload, best.scheduler, by="final", direction=question.direction, alpha=question.alpha
    )
    if found.worse and not (found.alike or found.untested):
        sentence += ", better than every other schedule"
    if found.alike:
        sentence += f"; no significant difference to {names([row.other for row in found.alike])}"
    if found.untested and not (found.worse or found.alike):
        sentence += f", best of {len(here)}, not tested"
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
        if len(values) > 1:
            best = min(values, key=lambda pair: (sign(question.direction) * pair[1], pair[0].scheduler))[0]
            point = next(point for point in best.path if point.fraction == fraction)
            value = summary(point.value, question.metric)
            said.append(f"at {fraction:.0%} (step {steps(point.step)}) {best.scheduler}, {value}")
    if not said:
        return []
    sentence = (
        f"{workload}, stopped early: {'; '.join(said)} leads in {question.metric}. Not tested, and these runs were "
        f"planned for {steps(total)} steps: planned for less, schedules that decay late would do better."
    )
    return [Claim("budget", workload, sentence, ())]


def _at(cell: Cell, fraction: float) -> float | None:
    mean = next((point.value.mean for point in cell.path if point.fraction == fraction), None)
    return None if mean is None or isinstance(mean, Unavailable) else mean


def _rank(point: SweepPoint) -> float:
    return float("inf") if isinstance(point.rank, Unavailable) else point.rank
