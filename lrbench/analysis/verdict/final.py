"""Who ends best on one workload, by how much, and who cannot be told apart."""

from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Against, Claim, Standing, cells_on, standing
from lrbench.analysis.verdict.wording import advantage, advantage_interval, names, p_value, summary


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
    found = standing(
        section.pairs, workload, leader.scheduler, by="final", direction=question.direction, alpha=question.alpha
    )
    parts = [_lead(question, leader, ranked, found, value), *_rest(cells, found)]
    return [Claim("final", workload, f"{workload}: {' '.join(parts)}", tuple(cell.scheduler for cell in ranked))]


def _lead(question: Question, leader: Cell, ranked: list[Cell], found: Standing, value: str) -> str:
    """The sentence about the best mean: shown best, best of some, or not distinguishable."""
    name = f"{leader.scheduler} ({value}{_diverged(leader)})"
    if leader.num_diverged:
        return f"every schedule has runs that diverged, so none is ranked; the smallest share of them has {name}."
    tied = [cell.scheduler for cell in ranked[1:] if cell.rank == leader.rank]
    if tied:
        name = f"{leader.scheduler} and {names(tied)} share the best final value ({value}{_diverged(leader)})"
    if not (found.worse or found.alike):
        lead = f"{name}." if tied else f"{name} has the best final value of {len(ranked)}{_behind(question, ranked)}."
        reason = next((row.p_holm.reason for row in found.untested if isinstance(row.p_holm, Unavailable)), "")
        return f"{lead} Not tested: {reason}."
    if found.worse and not found.alike and not found.untested:
        return f"{name} ends better than every other schedule; {_closest(question, found.worse)}."
    lead = f"{name}." if tied else f"{name} has the best mean final value."
    if found.worse:
        others = names([row.other for row in found.worse])
        lead += f" It is shown to end better than {others}; {_closest(question, found.worse)}."
    if found.alike:
        others = names([row.other for row in found.alike])
        lead += f" No significant difference to {others}: {_closest(question, found.alike)}."
    return lead


def _rest(cells: list[Cell], found: Standing) -> list[str]:
    """Who was not tested although others were, and who has no final value at all."""
    said = []
    lost = [cell for cell in cells if not cell.num_ok]
    if found.untested and (found.worse or found.alike):
        reasons: dict[str, list[str]] = {}
        for row in found.untested:
            reason = row.p_holm.reason if isinstance(row.p_holm, Unavailable) else ""
            if row.other not in {cell.scheduler for cell in lost}:
                reasons.setdefault(reason, []).append(row.other)
        said += [f"Not tested against {names(others)}: {reason}." for reason, others in reasons.items()]
    if cells[0].num_diverged == 0 and any(cell.num_ok and cell.num_diverged for cell in cells):
        said.append("Schedules of which a run diverged rank last; in tests such a run counts as the value at step 0.")
    diverged = [cell.scheduler for cell in lost if cell.num_diverged]
    unfinished = [cell.scheduler for cell in lost if not cell.num_diverged]
    if diverged:
        said.append(f"Without a run that did not diverge, and so last: {names(diverged)}.")
    if unfinished:
        said.append(f"Not ranked, since no run finished: {names(unfinished)}.")
    return said


def _closest(question: Question, rows: tuple[Against, ...]) -> str:
    """The difference to the nearest of them, with its interval and adjusted p."""

    def size(row: Against) -> float:
        return abs(row.difference) if isinstance(row.difference, float) else float("inf")

    row = min(rows, key=lambda r: (size(r), r.other))
    assert isinstance(row.difference, float)
    assert isinstance(row.p_holm, float)
    amount = advantage(row.difference, question.endpoint, question.direction)
    if row.interval is not None:
        amount += f" {advantage_interval(row.interval, question.endpoint, question.direction)}"
    return f"ahead of {row.other} by {amount}, {p_value(row.p_holm)} after Holm"


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
