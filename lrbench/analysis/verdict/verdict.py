"""The verdict: words made from the numbers of an analysis, never stronger than they are.

"No significant difference" is said where a test was made and found none, "not tested" where none was made, and
"not enough workloads to test" where no result of so few could be significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lrbench.analysis.model import Analysis, Section
from lrbench.analysis.verdict.across import across_claims
from lrbench.analysis.verdict.budget import budget_claims
from lrbench.analysis.verdict.claims import Claim
from lrbench.analysis.verdict.final import final_claims
from lrbench.analysis.verdict.recommend import Recommendation, recommend
from lrbench.analysis.verdict.speed import both_claims, speed_claims
from lrbench.analysis.verdict.wording import names


@dataclass(frozen=True)
class SectionVerdict:
    """The verdict on one budget.

    Attributes:
        title: of the section.
        headline: the verdict line; it names the serious findings of the audit.
        claims: in the order in which they are said.
        recommendations: one a workload.
    """

    title: str
    headline: str
    claims: tuple[Claim, ...]
    recommendations: tuple[Recommendation, ...]


@dataclass(frozen=True)
class Verdict:
    """The whole verdict; this is also its machine form (`model.to_plain`)."""

    sections: tuple[SectionVerdict, ...]
    budgets: tuple[Claim, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Every sentence, as a text to print."""
        found: list[str] = []
        for section in self.sections:
            prefix = f"{section.title}: " if len(self.sections) > 1 else ""
            found.append(prefix + section.headline)
            found += [claim.sentence for claim in section.claims if not section.headline.startswith(claim.sentence)]
            found += [item.sentence for item in section.recommendations]
        return (*found, *(claim.sentence for claim in self.budgets))


def verdict(analysis: Analysis) -> Verdict:
    """Put an analysis into words."""
    sections = []
    for section in analysis.sections:
        claims: list[Claim] = []
        for facts in section.workloads:
            claims += final_claims(analysis.question, section, facts.name)
            claims += speed_claims(analysis.question, section, facts.name)
            claims += both_claims(section, facts.name)
        claims += across_claims(analysis.question, section)
        claims += [Claim("trust", None, sentence, ()) for sentence in section.sentences]
        claims += [Claim("trust", None, f.sentence, ()) for f in section.findings if f.severity == "serious"]
        recommended = tuple(recommend(analysis.question, section, facts.name) for facts in section.workloads)
        sections.append(SectionVerdict(section.title, _headline(section, claims), tuple(claims), recommended))
    claims = [Claim("trust", None, finding.sentence, ()) for finding in analysis.findings]
    return Verdict(tuple(sections), (*claims, *budget_claims(analysis)))


def _headline(section: Section, claims: Sequence[Claim]) -> str:
    """One line: the claims over workloads, or of the one workload, then what makes them doubtful."""
    return f"{_result(section, claims)} {_caution(section)}".strip()


def _result(section: Section, claims: Sequence[Claim]) -> str:
    if not section.workloads:
        return "No run has an evaluation of the metric; there is nothing to rank."
    order: tuple[Literal["across", "final"], ...] = ("across", "final")
    for kind in order:
        said = [claim for claim in claims if claim.kind == kind]
        if said and (kind == "across" or len(section.workloads) == 1):
            return said[0].sentence
    leaders = sorted({claim.schedulers[0] for claim in claims if claim.kind == "final" and claim.schedulers})
    if len(leaders) == 1:
        return f"{leaders[0]} has the best mean final value on each of the {len(section.workloads)} workloads."
    if leaders:
        return f"The best mean final value depends on the workload: {names(leaders)}."
    return "There is no ranking; see why below."


def _caution(section: Section) -> str:
    serious = sorted({finding.check for finding in section.findings if finding.severity == "serious"})
    return f"Serious findings of the audit that can change this: {names(serious)}." if serious else ""
