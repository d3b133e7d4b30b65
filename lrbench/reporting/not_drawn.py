"""Pictures that would say nothing, and the words that stand in their place."""

from lrbench.analysis.audit.findings import listed
from lrbench.analysis.model import Section, TimeSummary
from lrbench.analysis.statistics.terms import Unavailable


def without_speed(section: Section) -> dict[str, str]:
    """Workloads on which no time to the target compares, with the reason: there is no plane of speed to draw."""
    judged = {cell.workload for cell in section.cells if isinstance(cell.steps, TimeSummary)}
    return {
        cell.workload: cell.steps.reason
        for cell in section.cells
        if cell.workload not in judged and isinstance(cell.steps, Unavailable)
    }


def without_search(section: Section) -> dict[str, str]:
    """Workloads on which no schedule ran at two rates: there is no curve over rates to draw."""
    searched = {curve.workload for curve in section.rate_curves if len(curve.points) > 1}
    recorded = {curve.workload for curve in section.rate_curves if curve.points}
    return {
        facts.name: "every schedule ran at one base rate" if facts.name in recorded else "no base rate was recorded"
        for facts in section.workloads
        if facts.name not in searched
    }


def without_seeds(section: Section) -> dict[str, str]:
    """Workloads on which every schedule has one run: there is no spread to draw."""
    spread = {cell.workload for cell in section.cells if cell.num_runs > 1}
    reason = "one run a schedule, so there is no spread over seeds"
    return {facts.name: reason for facts in section.workloads if facts.name not in spread}


def without_tests(section: Section) -> dict[str, str]:
    """Workloads on which no pair of schedules was tested, with the reason: nothing can be claimed of any."""
    tested = {
        pair.workload
        for pair in section.pairs
        if not (isinstance(pair.final_p_holm, Unavailable) and isinstance(pair.time_p_holm, Unavailable))
    }
    return {
        pair.workload: f"no pair was tested: {pair.final_p_holm.reason}"
        for pair in section.pairs
        if pair.workload not in tested and isinstance(pair.final_p_holm, Unavailable)
    }


def sentences_on(absent: dict[str, str], section: Section) -> list[str]:
    """Say once for each reason what is not drawn; without naming the workloads where it is all of them."""
    by_reason: dict[str, list[str]] = {}
    for workload, reason in absent.items():
        by_reason.setdefault(reason, []).append(workload)
    everywhere = len(section.workloads)
    return [
        f"Not drawn: {reason}." if len(workloads) == everywhere else f"Not drawn for {listed(workloads)}: {reason}."
        for reason, workloads in by_reason.items()
    ]
