"""Who is fastest to the target on one workload, and who is both faster and better."""

from lrbench.analysis.model import Cell, Question, Section
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Claim, standing
from lrbench.analysis.verdict.wording import names, number, p_value, steps


def speed_claims(question: Question, section: Section, workload: str) -> list[Claim]:
    """Say who reaches the target first; one claim, none where there is one schedule only."""
    cells = [cell for cell in section.cells if cell.workload == workload]
    facts = next(facts for facts in section.workloads if facts.name == workload)
    if len(cells) < 2:
        return []
    if isinstance(facts.target, Unavailable):
        return [Claim("speed", workload, f"{workload}: speed was not judged, since {facts.target.reason}.", ())]
    goal = f"the target, {question.metric} {number(facts.target.value, question.metric)}"
    timed = sorted((c for c in cells if not isinstance(c.speed_ratio, Unavailable)), key=_ratio)
    refused = [cell for cell in cells if isinstance(cell.steps, Unavailable)]
    if not timed and len(refused) == len(cells):
        assert isinstance(refused[0].steps, Unavailable)
        return [Claim("speed", workload, f"{workload}: speed was not judged: {refused[0].steps.reason}.", ())]
    missed = [c.scheduler for c in cells if isinstance(c.speed_ratio, Unavailable) and c not in refused]
    said = []
    if not timed:
        said.append(f"{workload}: no schedule reached {goal} in half of its runs; who is fastest is unknown.")
    else:
        found = _fastest(workload, timed, goal, facts.eval_interval)
        said += [found, _tested(question, section, timed[0], [cell.scheduler for cell in refused])]
        if missed:
            said.append(f"Missed by more than half of the runs: {names(missed)}.")
    if refused:
        said.append(f"Not timed, evaluated at other steps than most: {names([c.scheduler for c in refused])}.")
    if _refers_to_constant(facts.target):
        said.append("The target comes from constant itself.")
    return [Claim("speed", workload, " ".join(filter(None, said)), tuple(cell.scheduler for cell in timed))]


def both_claims(section: Section, workload: str) -> list[Claim]:
    """Say who is shown to be both faster and better than whom; none where nothing was tested."""
    pairs = [pair for pair in section.pairs if pair.workload == workload]
    if not any(
        not isinstance(p.final_p_holm, Unavailable) and not isinstance(p.time_p_holm, Unavailable) for p in pairs
    ):
        return []
    beaten: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.relation == "dominates":
            beaten.setdefault(pair.first, []).append(pair.second)
        elif pair.reverse == "dominates":
            beaten.setdefault(pair.second, []).append(pair.first)
    everyone = {cell.scheduler for cell in section.cells if cell.workload == workload}
    front = [p.scheduler for p in section.front if p.workload == workload and p.on_front]
    on_front = (
        f" Not beaten in both at once, by the observed means (the Pareto front): {names(front)}." if front else ""
    )
    for winner, losers in beaten.items():
        if len(losers) == len(everyone) - 1:
            sentence = f"{workload}: {winner} dominates: it is shown both faster and better than every other schedule."
            return [Claim("both", workload, sentence, (winner,))]
    if not beaten:
        sentence = f"{workload}: no schedule is shown to be both faster and better than another.{on_front}"
        return [Claim("both", workload, sentence, ())]
    said = "; ".join(f"{winner} dominates {names(losers)}" for winner, losers in sorted(beaten.items()))
    sentence = f"{workload}: shown both faster and better: {said}.{on_front}"
    return [Claim("both", workload, sentence, tuple(sorted(beaten)))]


def _fastest(workload: str, timed: list[Cell], goal: str, eval_interval: float | None) -> str:
    """The fastest median, and by how much."""
    first = timed[0]
    tied = [cell.scheduler for cell in timed[1:] if cell.speed_ratio == first.speed_ratio]
    resolution = f", evaluated every {steps(eval_interval)} steps" if eval_interval is not None else ""
    assert not isinstance(first.steps, Unavailable)
    assert not isinstance(first.steps.median, Unavailable)
    at = f"at step {steps(first.steps.median)} (median of n = {first.num_runs}{resolution})"
    if tied:
        lead = f"{workload}: {names([first.scheduler, *tied])} reach {goal} equally early, first, {at}"
    else:
        lead = f"{workload}: {first.scheduler} reaches {goal}, first, {at}"
    later = [cell for cell in timed[1:] if cell.scheduler not in tied]
    if later:
        lead += f"; {later[0].scheduler} takes {_ratio(later[0]):.2f} times as long"
    return f"{lead}."


def _tested(question: Question, section: Section, first: Cell, refused: list[str]) -> str:
    """Whether it is shown that the first is faster; of those refused it is said apart why they are not timed."""
    found = standing(
        section.pairs, first.workload, first.scheduler, by="time", direction=question.direction, alpha=question.alpha
    )
    said = []
    if found.worse:
        largest = max(row.p_holm for row in found.worse if isinstance(row.p_holm, float))
        others = names([row.other for row in found.worse])
        of_them = ", the largest of them" if len(found.worse) > 1 else ""
        said.append(f"It is shown faster than {others} ({p_value(largest)} after Holm{of_them}).")
    if found.alike:
        said.append(f"No significant difference in speed to {names([row.other for row in found.alike])}.")
    if found.better:
        # Medians and mean times may disagree, where some runs are very late.
        said.append(f"By mean time it is shown slower than {names([row.other for row in found.better])}.")
    reasons: dict[str, list[str]] = {}
    for row in found.untested:
        if isinstance(row.p_holm, Unavailable) and row.other not in refused:
            reasons.setdefault(row.p_holm.reason, []).append(row.other)
    if not said and len(reasons) == 1:
        return f"Not tested: {next(iter(reasons))}."
    said += [f"Not tested against {names(others)}: {reason}." for reason, others in reasons.items()]
    return " ".join(said)


def _ratio(cell: Cell) -> float:
    return float("inf") if isinstance(cell.speed_ratio, Unavailable) else cell.speed_ratio


def _refers_to_constant(target: Target) -> bool:
    return target.self_referential_for is not None
