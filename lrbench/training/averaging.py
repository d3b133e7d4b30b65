"""Averages of the weights of the last steps, which are evaluated in the place of the weights themselves.

The question that they answer: whether a constant rate with an average does what a decay does (Sandler et al., arXiv
2301.11312; Hägele et al., arXiv 2405.18392).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Averaging:
    """How the average follows the weights: after every update, average += share * (weights - average).

    Attributes:
        kind: `tail` is the plain mean over the last `num_steps` of the budget; before them there is no average.
            `ema` is the plain mean over the first `num_steps`, and then decays by 1 - 1 / num_steps a step.
        num_steps: >= 1.
        total_steps: the budget.
    """

    kind: Literal["tail", "ema"]
    num_steps: int
    total_steps: int

    def share(self, step: int) -> float:
        """Share of the newest weights in the average after `step` updates; 0 where there is no average yet."""
        if self.kind == "ema":
            return 1 / min(step, self.num_steps) if step else 0.0
        averaged = step - (self.total_steps - self.num_steps)
        return 1 / averaged if averaged > 0 else 0.0
