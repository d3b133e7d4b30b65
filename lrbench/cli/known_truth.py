"""Two problems whose ranking of schedules is known, with the closed forms that say so; see `lrbench.data.synthetic`."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrbench.data.synthetic import OPTIMUM, expected_quadratic_loss, expected_regression_loss, log_spaced_curvature
from lrbench.spec import evaluation_steps

Floats = NDArray[np.float64]

NUM_SEEDS = 6
STEPS = 200
EVAL_EVERY = 0.05
CONDITION_NUMBER = 10.0
SCHEDULES = ("constant", "linear")


@dataclass(frozen=True)
class Problem:
    """A synthetic workload and what is known of it.

    Attributes:
        dataset: its name, and that of the model that goes with it.
        model: see dataset.
        num_dimensions: weights.
        batch_size: examples a step.
        base_lr: of both schedules.
        floor: loss of the best weights.
        winner: the schedule that is better and faster.
        expected: rates (STEPS,) to the expected loss before the first step and after each, (STEPS + 1,).
    """

    dataset: str
    model: str
    num_dimensions: int
    batch_size: int
    base_lr: float
    floor: float
    winner: str
    expected: Callable[["Problem", Floats], Floats]

    def rates(self, schedule: str) -> Floats:
        """The rate of every step by the formula of the schedule, written down a second time on purpose."""
        decay = 1 - np.arange(STEPS) / STEPS
        return self.base_lr * (decay if schedule == "linear" else np.ones(STEPS))

    def losses(self, schedule: str) -> Floats:
        """Expected loss before the first step and after each."""
        return self.expected(self, self.rates(schedule))

    def time_to(self, schedule: str, excess: float) -> float:
        """First evaluation at which the expected loss is at most `excess` above the floor; inf for none."""
        losses = self.losses(schedule)
        steps = evaluation_steps(STEPS, EVAL_EVERY)
        return next((float(step) for step in steps if losses[step] <= self.floor + excess), math.inf)

    @property
    def target_excess(self) -> float:
        """How far above the floor the target is: the winner gets there before the end, the other does not."""
        ends = [self.losses(schedule)[-1] - self.floor for schedule in SCHEDULES]
        return math.sqrt(ends[0] * ends[1])

    def words(self, directory: Path) -> list[str]:
        """The command line of all its runs, which keep their records in `directory`."""
        return [
            f"dataset={self.dataset}",
            f"dataset.num_dimensions={self.num_dimensions}",
            f"dataset.condition_number={CONDITION_NUMBER}",
            "dataset.num_examples=40000",  # so many more than a run sees that two seeds share few
            f"model={self.model}",
            f"scheduler={','.join(SCHEDULES)}",
            f"seed={','.join(map(str, range(NUM_SEEDS)))}",
            "optimizer=sgd",
            "optimizer.momentum=0",
            f"optimizer.lr={self.base_lr}",
            "budget=steps",
            f"budget.steps={STEPS}",
            f"budget.eval_every={EVAL_EVERY}",
            f"training.batch_size={self.batch_size}",
            f"results_dir='{directory}'",
            "device=cpu",
        ]


def _quadratic(problem: Problem, rates: Floats) -> Floats:
    curvature = log_spaced_curvature(problem.num_dimensions, CONDITION_NUMBER)
    return expected_quadratic_loss(
        rates, curvature=curvature, noise_std=1.0, batch_size=problem.batch_size, initial=0.0, optimum=OPTIMUM
    )


def _regression(problem: Problem, rates: Floats) -> Floats:
    curvature = log_spaced_curvature(problem.num_dimensions, CONDITION_NUMBER)
    return expected_regression_loss(
        rates, curvature=curvature, batch_size=problem.batch_size, initial=0.0, optimum=OPTIMUM
    )


# Many weights average the noise, so that a few seeds are enough; too many would make the regression unstable.
_NOISE = 0.5 * float(log_spaced_curvature(128, CONDITION_NUMBER).sum())
PROBLEMS = (
    Problem("noisy_quadratic", "diagonal", 128, 4, 0.5, _NOISE, "linear", _quadratic),
    Problem("linear_regression", "linear", 16, 16, 0.2, 0.0, "constant", _regression),
)
