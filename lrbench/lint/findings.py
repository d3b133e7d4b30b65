"""What a rule has to say."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is, or may be, set up wrongly.

    Attributes:
        rule: short name, the same for every finding of one rule, e.g. `ends-mid-cycle`.
        severity: `error`: the run cannot be made, or cannot be what was meant. `warning`: it runs, and most likely
            does not do what was meant. `note`: intended by some, a surprise to others.
        message: what is wrong, with the numbers, and the fix, as an override or code.
        line: of the source, one-based; None for findings about a configuration.
    """

    rule: str
    severity: Severity
    message: str
    line: int | None = None
