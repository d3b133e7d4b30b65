"""What can be said over several workloads, and what cannot."""

from lrbench.analysis.audit.findings import plural
from lrbench.analysis.model import Across, Question, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.claims import Claim
from lrbench.analysis.verdict.wording import against_reference, names, p_value


def across_claims(question: Question, section: Section) -> list[Claim]:
    """Say who is better over workloads; nothing for one workload, where the claims about it say it all."""
    if len(section.workloads) < 2:
        return []
    across = section.across
    found = _families(section)
    if isinstance(across, Unavailable):
        if len(section.schedulers) < 2:
            return []
        sentence = f"Over {len(section.workloads)} workloads nothing is compared: {across.reason}."
        return [*found, Claim("across", None, sentence, ())]
    order = tuple(item.scheduler for item in across.overall)
    said = [_tests(question, across), _ranks(across)]
    if across.left_out:
        said.append(f"Left out of this: {names([f'{name} ({why})' for name, why in across.left_out], most=3)}.")
    if section.robustness.flips:
        flip = section.robustness.flips[0]
        count = len(section.robustness.flips)
        said.append(
            f"The order depends on the field: without {flip.without}, {flip.behind} comes before {flip.ahead} "
            f"({count} such {'reversal' if count == 1 else 'reversals'})."
        )
    return [*found, Claim("across", None, " ".join(part for part in said if part), order)]


def _families(section: Section) -> list[Claim]:
    """Who may be the best on these workloads, and on others like these: the primary claims (row 18)."""
    over = section.over_workloads
    if isinstance(over, Unavailable):
        return []
    claims = []
    for where, family in (
        (f"On these {len(section.workloads)} workloads", over.these),
        ("On workloads like these", over.alike),
    ):
        if isinstance(family, Unavailable):
            claims.append(Claim("across", None, f"{where}: nothing is claimed; {family.reason}.", ()))
            continue
        if family.reference is not None:
            sentence = f"{where}, against {family.reference}, {against_reference(family)}"
            claims.append(Claim("across", None, sentence, family.names))
            continue
        worse = [item.schedule for item in family.ranked if not item.is_contender]
        rest = f"; {names(worse)} {'is' if len(worse) == 1 else 'are'} shown to end worse" if worse else ""
        sentence = f"{where} {names(family.names)} may be the best{rest} ({family.method})."
        claims.append(Claim("across", None, sentence, family.names))
    return claims


def _tests(question: Question, across: Across) -> str:
    count = len(across.workloads)
    over = f"Over {count} {'workload' if count == 1 else 'workloads'}"
    if isinstance(across.tests, Unavailable):
        return f"{over}: {across.tests.reason}."
    shown = [test for test in across.tests if test.better is not None]
    tied = [test for test in across.tests if not test.attainable]
    rest = len(across.tests) - len(shown) - len(tied)
    undecided = f"; {plural(rest, 'other pair')}: no significant difference" if rest else ""
    if tied:
        undecided += f"; {plural(len(tied), 'pair')} tied on too many workloads to test"
    if not shown and not rest:
        least = min(test.num_tied for test in tied)
        return f"{over}: too many ties to test: every pair is equal on {least} workloads or more."
    if not shown:
        by = f"exact Wilcoxon, Holm, alpha {question.alpha:g}"
        what = "any two schedules" if not tied else f"{plural(rest, 'pair')} of schedules{undecided.partition(';')[2]}"
        return f"{over}: no significant difference between {what} ({by})."
    beaten: dict[str, list[str]] = {}
    for test in shown:
        assert test.better is not None
        beaten.setdefault(test.better, []).append(test.second if test.better == test.first else test.first)
    order = [item.scheduler for item in across.overall]
    largest = max(test.p_holm for test in shown)
    parts = [f"{winner} ends better than {names(beaten[winner])}" for winner in order if winner in beaten]
    of_them = ", the largest of them" if len(shown) > 1 else ""
    return f"{over}: {'; '.join(parts)} (exact Wilcoxon, {p_value(largest)} after Holm{of_them}){undecided}."


def _ranks(across: Across) -> str:
    """The best mean rank with its interval, which is a description, not a test."""
    best = across.overall[0]
    tied = [item.scheduler for item in across.overall[1:] if item.mean_rank == best.mean_rank]
    if tied:
        return (
            f"{names([best.scheduler, *tied])} share the best mean rank, {best.mean_rank:.2f} of {len(across.overall)}."
        )
    text = f"{best.scheduler} has the best mean rank, {best.mean_rank:.2f} of {len(across.overall)}"
    if isinstance(best.ranks, Unavailable):
        return f"{text} (no interval: {best.ranks.reason})."
    interval = best.ranks.interval
    return (
        f"{text}: place {best.ranks.rank:g}, over resampled seeds [{interval.low:g}, {interval.high:g}] and first in "
        f"{best.ranks.share_first:.0%} of them."
    )
