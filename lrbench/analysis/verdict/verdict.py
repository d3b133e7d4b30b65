"""The verdict: words made from the numbers of an analysis, never stronger than they are.

"No significant difference" is said where a test was made and found none, "not tested" where none was made, and
"not enough workloads to test" where no result of so few could be significant.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lrbench.analysis.model import Analysis, Section
from lrbench.analysis.statistics.terms import Unavailable
from lrbench.analysis.verdict.across import across_claims
from lrbench.analysis.verdict.budget import budget_claims
from lrbench.analysis.verdict.claims import Claim, cells_on
from lrbench.analysis.verdict.final import final_claims
from lrbench.analysis.verdict.recommend import Recommendation, recommend
from lrbench.analysis.verdict.screen import Screen, family_over, screen_of
from lrbench.analysis.verdict.speed import both_claims, speed_claims
from lrbench.analysis.verdict.wording import names


@dataclass(frozen=True)
class SectionVerdict:
    """The verdict on one budget.

    Attributes:
        title: of the section.
        headline: the verdict line, the sentence of the first screen.
        screen: what a reader of ten seconds sees.
        claims: in the order in which they are said.
        recommendations: one a workload.
    """

    title: str
    headline: str
    screen: Screen
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
        screen = screen_of(analysis.question, section, _otherwise(section, claims))
        sections.append(SectionVerdict(section.title, screen.sentence, screen, tuple(claims), recommended))
    claims = [Claim("trust", None, finding.sentence, ()) for finding in analysis.findings]
    return Verdict(tuple(sections), (*claims, *budget_claims(analysis)))


def _otherwise(section: Section, claims: Sequence[Claim]) -> str:
    """The sentence where nothing could be compared: what was observed, or why there is nothing."""
    if not section.workloads:
        return "No run has an evaluation of the metric; there is nothing to rank."
    said = [claim for claim in claims if claim.kind == "final"]
    if len(section.workloads) == 1:
        return said[0].sentence if said else "There is no ranking; see why below."
    family = family_over(section)
    reason = f" Not tested: {family.reason}." if isinstance(family, Unavailable) else ""
    tops = [best for facts in section.workloads if (best := _top(section, facts.name))]
    if not tops:
        return "There is no ranking; see why below."
    if all(best == tops[0] for best in tops):
        have = "has" if len(tops[0]) == 1 else "share"
        return f"{names(tops[0])} {have} the best mean final value on each of the {len(tops)} workloads.{reason}"
    leaders = sorted({name for best in tops for name in best})
    return f"The best mean final value depends on the workload: {names(leaders)}.{reason}"


def _top(section: Section, workload: str) -> list[str]:
    """Who has the best rank on a workload, all of those who share it."""
    ranked = [cell for cell in cells_on(section, workload) if cell.num_ok]
    return sorted(cell.scheduler for cell in ranked if cell.rank == ranked[0].rank)
