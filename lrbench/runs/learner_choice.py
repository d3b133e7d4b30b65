"""Which learner trains K trials faster, measured on a few steps of the real work.

Stacking wins where Python dominates and loses where one trial already fills the core (convolutions on a CPU); where the
border lies depends on model, batch, K, machine and torch, so nothing but a measurement knows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import torch

from lrbench.data import Splits
from lrbench.training import Learner, NotStackableError, batch_order
from lrbench.trials import Trial, Workload, build_learner

_STEPS = 4  # of one measurement
_ROUNDS = 5  # of which the fastest counts: anything else on the machine only slows
_FEWEST_ROUNDS, _CLEAR_RATIO = 2, 1.5  # so many are enough where one learner is so much faster
_MEASURED_ALONE = 2  # trials that stand for all, stepped in turn


@dataclass(frozen=True)
class Choice:
    """A learner and why it was taken, in words."""

    learner: Literal["sequential", "fused"]
    reason: str


def choose_learner(workload: Workload, trials: Sequence[Trial], data: Splits, *, seed: int) -> Choice:
    """Measure both learners on throw-away copies; the random state is left as it was.

    Args:
        workload: what the trials share.
        trials: K points.
        data: on the workload's device.
        seed: of the weights and batches that are used.
    """
    is_cuda = workload.device.type == "cuda"
    if len(trials) == 1 and not is_cuda:  # there, a stack of one has its steps recorded
        return Choice("sequential", "one trial")
    devices = [workload.device] if is_cuda else []
    with torch.random.fork_rng(devices=devices):
        alone = build_learner(workload, trials[:_MEASURED_ALONE], data, seed=seed, learner="sequential")
        try:
            fused = build_learner(workload, trials, data, seed=seed, learner="fused")
            ratio = _speed_ratio(fused, alone, workload, data, seed)
        except NotStackableError as error:
            return Choice("sequential", f"these trials cannot be stacked: {error}")
    how = f"{ratio:.2g} times as fast as one by one, measured on {len(trials)} trials of this workload"
    return Choice("fused" if ratio > 1 else "sequential", f"stacked they are {how}")


def _speed_ratio(a: Learner, b: Learner, workload: Workload, data: Splits, seed: int) -> float:
    """How many times as many trial-steps a second `a` takes, measured in turn: a burst of other work hits both."""
    found: dict[Learner, list[float]] = {a: [], b: []}
    for round_ in range(1 + _ROUNDS):  # the first warms up, and compiles
        order = batch_order(
            seed=seed,
            num_train=len(data.train),
            batch_size=workload.batch_size,
            begin=round_ * _STEPS,
            end=(round_ + 1) * _STEPS,
        )
        batches = list(islice(data.train.batches(order), _STEPS))
        for learner, seconds in found.items():
            trials = range(learner.num_trials)
            lr = np.full((len(trials), _STEPS), 1e-6)  # the same work at any rate, and none diverges
            began = time.perf_counter()
            learner.advance(batches, trials, lr, [None] * len(trials)).cpu()
            seconds.append((time.perf_counter() - began) / len(trials))
        if round_ >= _FEWEST_ROUNDS:
            ratio = min(found[b][1:]) / min(found[a][1:])
            if max(ratio, 1 / ratio) > _CLEAR_RATIO:
                break
    return ratio
