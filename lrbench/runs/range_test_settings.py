"""What a range test is asked for; apart, since the test itself needs torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RangeTestSettings:
    """Options of the command.

    Attributes:
        min_lr, max_lr: first and last rate, 0 < min_lr < max_lr.
        num_steps: updates a seed, >= 10.
        num_seeds: >= 1.
        out: where to put a copy of the picture, or None.
    """

    min_lr: float = 1e-6
    max_lr: float = 10.0
    num_steps: int = 200
    num_seeds: int = 3
    out: Path | None = None
