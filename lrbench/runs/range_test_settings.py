"""What a range test is asked for; apart, since the test itself needs torch."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

PICTURES = (".png", ".svg")


@dataclass(frozen=True)
class RangeTestSettings:
    """What a range test is asked for.

    Attributes:
        min_lr, max_lr: first and last rate, 0 < min_lr < max_lr.
        num_steps: updates a seed, >= 10.
        num_seeds: >= 1.
        out: where to put a copy of the picture, or None.

    Raises:
        ValueError: naming the setting, the rule and the value.
    """

    min_lr: float = 1e-6
    max_lr: float = 10.0
    num_steps: int = 200
    num_seeds: int = 3
    out: Path | None = None

    def __post_init__(self) -> None:
        for name, value in (("min_lr", self.min_lr), ("max_lr", self.max_lr)):
            if not isfinite(value):
                raise ValueError(f"{name} must be a finite number, got '{value}'")
        if not self.min_lr > 0:
            raise ValueError(f"min_lr must be greater than 0, got {self.min_lr:g}")
        if not self.max_lr > self.min_lr:
            raise ValueError(f"max_lr must be greater than min_lr={self.min_lr:g}, got {self.max_lr:g}")
        if self.num_steps < 10:
            raise ValueError(f"num_steps must be at least 10, got {self.num_steps}")
        if self.num_seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.num_seeds}")
        if self.out is not None and self.out.suffix not in PICTURES:
            raise ValueError(f"out must end in {' or '.join(PICTURES)}, got {str(self.out)!r}")
        if self.out is not None and not self.out.absolute().parent.is_dir():
            raise ValueError(f"out={self.out}: there is no directory {self.out.absolute().parent}")
