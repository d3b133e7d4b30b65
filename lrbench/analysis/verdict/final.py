"""Who ends best on one workload, by how much, and who cannot be told apart."""

import math
from collections.abc import Mapping

from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.contenders import Contender, Contenders
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Claim, cells_on, family_on
from lrbench.analysis.verdict.wording import against_reference, names, noun_of, relative, summary


def final_claims(question: Question, section: Section, workload: str) -> list[Claim]:
    """Say who ends best on a workload; one claim, or none for a workload without cells."""
    cells = cells_on(section, workload)
    ranked = [cell for cell in cells if cell.num_ok]
    everyone = tuple(cell.scheduler for cell in cells)
    if not ranked:
        if all(cell.num_diverged == cell.num_runs for cell in cells):
            sentence = (
                f"{workload}: all runs of {names(everyone)} diverged, so there is no ranking; search lower rates."
            )
        else:
            sentence = f"{workload}: no run of {names(everyone)} finished without diverging, so there is no ranking."
        return [Claim("final", workload, sentence, ())]
    leader = ranked[0]
    value = f"{question.endpoint} {summary(leader.final, question.endpoint)}"
    if len(cells) == 1:
        sentence = (
            f"{workload}: {leader.scheduler} is the only schedule ({value}{_diverged(leader)}); there is nothing to "
            "compare it with."
        )
        return [Claim("final", workload, sentence, (leader.scheduler,))]
    family = family_on(section, workload)
    if isinstance(family, Unavailable):
        lead = _observed(question, leader, ranked, value, family.reason)
    else:
        lead = _compared(question, family, {cell.scheduler: cell for cell in cells})
    parts = [lead, *_rest(cells)]
    return [Claim("final", workload, f"{workload}: {' '.join(parts)}", tuple(cell.scheduler for cell in ranked))]


def _compared(question: Question, family: Contenders, cells: Mapping[str, Cell]) -> str:
    """Who may be the best, and everybody against the one with the smallest cost, by simultaneous intervals."""
    noun, (leader, *others) = noun_of(question.endpoint, question.direction), family.ranked
    if family.reference is not None:
        cell = cells[family.reference]
        value = f"{question.endpoint} {summary(cell.final, question.endpoint)}{_diverged(cell)}"
        return f"{noun} against {family.reference} ({value}), {against_reference(family)}"
    cell = cells[leader.schedule]
    name = f"{leader.schedule} ({question.endpoint} {summary(cell.final, question.endpoint)}{_diverged(cell)})"
    if len(family.names) > 1:
        said = [f"{names(family.names)} may be the best; {name} leads by geometric mean."]
    elif len(others) + 1 == len(cells):
        said = [f"{name} ends better than every other schedule."]
    else:
        said = [f"{name} ends better than every other schedule that is compared."]
    for state, words in (
        ("worse", f"Worse, in {noun} against it"),
        ("equivalent", f"Equivalent within {100 * family.margin:g} %"),
        ("undecided", "Undecided"),
    ):
        rows = [f"{item.schedule} {_ratio(item)}" for item in others if item.state == state]
        if rows:
            said.append(f"{words}: {names(rows)}.")
    if family.left_out:
        said.append(f"Not compared: {names([f'{name} ({reason})' for name, reason in family.left_out])}.")
    return " ".join(said)


def _ratio(item: Contender) -> str:
    if item.beaten_by and item.interval.low <= 0:
        return f"(than {item.beaten_by[0]})"
    return relative(*(math.exp(value) for value in (item.estimate, item.interval.low, item.interval.high)))


def _observed(question: Question, leader: Cell, ranked: list[Cell], value: str, reason: str) -> str:
    """The observed order, of which nothing is claimed."""
    name = f"{leader.scheduler} ({value}{_diverged(leader)})"
    if leader.num_diverged:
        return (
            "every schedule has runs that diverged, so none is ranked; the smallest share of them has "
            f"{name}. Not tested: {reason}."
        )
    tied = [cell.scheduler for cell in ranked[1:] if cell.rank == leader.rank]
    if tied:
        shared = names([leader.scheduler, *tied])
        return f"{shared} share the best final value ({value}{_diverged(leader)}). Not tested: {reason}."
    return f"{name} has the best final value of {len(ranked)}{_behind(question, ranked)}. Not tested: {reason}."


def _rest(cells: list[Cell]) -> list[str]:
    """How diverged runs count, and who has no final value at all."""
    said = []
    lost = [cell for cell in cells if not cell.num_ok]
    if any(cell.num_ok and cell.num_diverged for cell in cells):
        said.append("In comparisons a diverged run counts as the value at step 0, and in ranks as the last.")
    diverged = [cell.scheduler for cell in lost if cell.num_diverged]
    unfinished = [cell.scheduler for cell in lost if not cell.num_diverged]
    if diverged:
        said.append(f"Without a run that did not diverge, and so last: {names(diverged)}.")
    if unfinished:
        said.append(f"Not ranked, since no run finished: {names(unfinished)}.")
    return said


def _behind(question: Question, ranked: list[Cell]) -> str:
    """Without tests: the next value, as it is."""
    if len(ranked) < 2:
        return ""
    return f", before {ranked[1].scheduler} ({summary(ranked[1].final, question.endpoint)}{_diverged(ranked[1])})"


def _diverged(cell: Cell) -> str:
    """A mean over what did not diverge flatters, so it says so."""
    if not cell.num_diverged:
        return ""
    are = "is" if cell.num_diverged == 1 else "are"
    return f"; {cell.num_diverged} of its {cell.num_runs} runs diverged and {are} not in the mean"
