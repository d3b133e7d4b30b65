"""Trainings that share their first steps: the trunk is trained once, and each goes on from where its rates part.

A schedule that holds its rate and then cools down (WSD) takes the same steps at every budget until the shortest cools
down; Hägele et al., arXiv 2405.18392, is the case for training that part once. The curves are bit for bit those of
trainings on their own: weights, batches, random numbers and the losses that evaluations average over are the same.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrbench.schedules.rates import Rates
from lrbench.training.loop import Progress, Training


@dataclass(frozen=True)
class _Branch:
    """Where a training leaves the trunk, with all that it takes along."""

    step: int
    seconds: float
    losses: Tensor
    learner_state: dict[str, Any]


def common_steps(rates: Sequence[Rates]) -> int:
    """Number of leading steps at which all tables have the same rate and momentum; 0 for closed-loop schedules."""
    if any(table.closed_loop for table in rates):
        return 0
    shortest = min(len(table.lr) for table in rates)
    first = rates[0]
    same = np.ones(shortest, dtype=bool)
    for table in rates[1:]:
        same &= table.lr[:shortest] == first.lr[:shortest]
        if (table.momentum is None) != (first.momentum is None):
            return 0
        if table.momentum is not None and first.momentum is not None:
            same &= table.momentum[:shortest] == first.momentum[:shortest]
    return shortest if same.all() else int(np.argmin(same))


def train_branches(trainings: Sequence[Training]) -> Iterator[tuple[int, Progress]]:
    """Train several trainings of one trial each, their common steps once.

    Args:
        trainings: fresh, of one workload, seed and point but for their budgets; the longest is the trunk.

    Yields:
        (index of the training, its progress): all evaluations that it would make alone, in its own order.
    """
    trunk = max(range(len(trainings)), key=lambda j: trainings[j].total_steps)
    longest = trainings[trunk]
    shared = {
        j: min(common_steps([longest.rates[0], t.rates[0]]), t.total_steps - 1)
        for j, t in enumerate(trainings)
        if j != trunk
    }
    parting = max(shared.values(), default=0)
    shared[trunk] = parting
    marks = {j: [step for step in t.evaluate_at if step <= shared[j]] for j, t in enumerate(trainings)}
    losses = torch.empty(1, 0)
    evaluated = dict.fromkeys(shared, 0)
    branches: dict[int, _Branch] = {}
    for step in sorted({*shared.values(), *(step for steps in marks.values() for step in steps)}):
        if step > longest.step and (torch.isfinite(losses).all() or not longest.stop_diverged):
            losses = torch.cat([losses, longest.advance_to(step)], dim=1)
        for j, training in enumerate(trainings):
            if step in marks[j] and training.live:
                yield j, training.evaluate_as(longest, losses[:, evaluated[j] : step])
                evaluated[j] = step
            if step == shared[j]:
                state = copy.deepcopy(longest.learner.state_dict())
                branches[j] = _Branch(step, longest.seconds, losses[:, evaluated[j] : step], state)
    for j, training in enumerate(trainings):
        branch = branches[j]
        if not training.live:
            continue
        training.branch_off(branch.step, branch.seconds, branch.losses, branch.learner_state)
        if stopped := training.stop_nonfinite(branch.losses.shape[1]):
            yield j, Progress(training.step, training.seconds, stopped)
        for progress in training:
            yield j, progress
