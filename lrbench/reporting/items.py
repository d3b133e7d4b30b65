"""What a part of the report is made of: plain items that the page lays out by their `kind`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from lrbench.analysis.audit.findings import Finding
from lrbench.reporting.pictures import Picture
from lrbench.reporting.tables import Table


@dataclass(frozen=True)
class Lines:
    """A list of sentences."""

    lines: Sequence[str]
    style: str = ""
    kind: str = "list"


@dataclass(frozen=True)
class Facts:
    """Terms with their meaning."""

    pairs: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Findings:
    """What the fairness audit found."""

    findings: Sequence[Finding]
    kind: str = "findings"


@dataclass(frozen=True)
class Claims:
    """Sentences of the verdict, each after the word that says what it is about."""

    claims: Sequence[tuple[str, str]]
    kind: str = "claims"


@dataclass(frozen=True)
class Words:
    """One paragraph; the style `reason` sets off why something is absent."""

    text: str
    style: str = "reason"
    kind: str = "words"


@dataclass(frozen=True)
class Drawn:
    """A picture that has become markup, which is not escaped again."""

    name: str
    title: str
    note: str
    svg: Markup
    kind: str = "figure"


Item = Lines | Facts | Findings | Claims | Words | Picture | Drawn | Table


@dataclass
class Group:
    """What one budget, or no budget in particular, has to say in one part.

    Attributes:
        title: empty where there is only one budget.
        items: in order.
        about: what it holds, in words.
        budget: number of the budget, 0 = the shortest; None is about all of them.
        folds: whether a reader can fold it away.
        folded: whether it begins so.
    """

    title: str
    items: Sequence[Item]
    about: str = ""
    budget: int | None = None
    folds: bool = False
    folded: bool = False


@dataclass
class Part:
    """One of the eleven parts."""

    title: str
    lead: str
    groups: list[Group] = field(default_factory=list)
