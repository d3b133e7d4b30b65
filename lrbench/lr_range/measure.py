"""Train fresh models under a growing rate, and smooth what their losses did."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer

from lrbench.spec import Budget
from lrbench.trials import Trial, Workload, build_training

DIVERGED_ABOVE = 4.0  # times the lowest smoothed loss so far, as in fastai
_MEMORIES = 40  # smoothing windows in the whole range


@dataclass(frozen=True)
class RangeTest:
    """What was measured.

    Attributes:
        lr: rate of each step, growing geometrically, shape (num_steps,).
        losses: training loss of the batch of each step, before its update, shape (num_seeds, num_steps); NaN from the
            step on at which a seed diverged.
        seeds: of the rows of `losses`.
    """

    lr: NDArray[np.float64]
    losses: NDArray[np.float64]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class SmoothedCurve:
    """Smoothed loss against rate; every array has the shape (num_steps,).

    Attributes:
        lr: geometric mean of the rates that the smoothed losses of a step come from, with the same weights. Against the
            rate of the step itself, the curve would lag behind by the length of the smoothing.
        median: over seeds, a diverged one counting as infinite; NaN where that makes it infinite.
        lowest: smallest over the seeds that have not diverged; NaN where all have.
        highest: largest over the same.
    """

    lr: NDArray[np.float64]
    median: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def range_test(
    workload: Workload,
    make_optimizer: Callable[[Iterable[Any]], Optimizer],
    *,
    min_lr: float,
    max_lr: float,
    num_steps: int,
    seeds: Sequence[int],
) -> RangeTest:
    """Train one fresh model a seed under a growing rate, lr_t = min_lr (max_lr / min_lr)^(t / (num_steps - 1)).

    A seed ends at a loss that is not finite, or when its smoothed loss exceeds `DIVERGED_ABOVE` times the lowest so
    far; the other seeds go on. Nothing of the caller's changes: the models are made here and thrown away, and torch's
    random state is put back.

    Args:
        workload: data, model and batch size; its budget and evaluations are not used.
        make_optimizer: builds an optimizer for parameter groups; its own rate is not used.
        min_lr: first rate, > 0.
        max_lr: last rate, > min_lr.
        num_steps: updates a seed, >= 2.
        seeds: each fixes initial weights, batch order, augmentation and dropout; at least one.
    """
    lr = np.geomspace(min_lr, max_lr, num_steps)
    budget = Budget(total_steps=num_steps, steps_per_epoch=workload.budget.steps_per_epoch)
    workload = replace(workload, budget=budget, eval_every=1.0)
    trial = Trial(name="range_test", schedule=_rate_unused, make_optimizer=make_optimizer)
    # Building a training seeds every device's generator.
    devices = range(torch.cuda.device_count()) if workload.device.type == "cuda" else ()
    with torch.random.fork_rng(devices):
        losses = np.stack([_losses_of_seed(workload, trial, lr, seed=seed) for seed in seeds])
    return RangeTest(lr=lr, losses=losses, seeds=tuple(seeds))


def smoothed_curve(test: RangeTest) -> SmoothedCurve:
    """Smooth every seed by a debiased exponential mean over the steps, then take the median and the whole range."""
    mean = _RunningMean(len(test.lr))
    smoothed = np.stack([mean.add(column) for column in test.losses.T], axis=1)
    mean = _RunningMean(len(test.lr))
    log_lr = np.array([mean.add(value) for value in np.log(test.lr)])
    diverged = np.isnan(smoothed)
    median = np.median(np.where(diverged, np.inf, smoothed), axis=0)
    lowest = np.where(diverged, np.inf, smoothed).min(axis=0)
    highest = np.where(diverged, -np.inf, smoothed).max(axis=0)
    median, lowest, highest = (np.where(np.isfinite(array), array, np.nan) for array in (median, lowest, highest))
    return SmoothedCurve(lr=np.exp(log_lr), median=median, lowest=lowest, highest=highest)


def first_divergence(test: RangeTest) -> tuple[int, int] | None:
    """Step (zero-based) and seed of the first divergence; None when no seed diverged."""
    diverged = np.isnan(test.losses)
    if not diverged.any():
        return None
    step = int(diverged.any(axis=0).argmax())
    return step, test.seeds[int(diverged[:, step].argmax())]


def smoothing_steps(num_steps: int) -> float:
    """Steps that the smoothing remembers, >= 1: a fixed share of the range of rates, however finely it is stepped."""
    return max(1.0, num_steps / _MEMORIES)


class _RunningMean:
    """Debiased exponential mean of what was added: sum_s beta^(t-s) x_s / sum_s beta^(t-s), beta = 1 - 1 / memory."""

    def __init__(self, num_steps: int) -> None:
        self._beta = 1 - 1 / smoothing_steps(num_steps)
        self._total: Any = 0.0
        self._weight = 0.0

    def add(self, value: Any) -> Any:
        """Add a number or an array, and return the mean so far."""
        self._total = self._beta * self._total + value
        self._weight = self._beta * self._weight + 1
        return self._total / self._weight


def _rate_unused(step: NDArray[np.int64], total_steps: int) -> NDArray[np.float64]:
    """The table of rates that a training wants; the range test hands its own to the learner."""
    return np.ones(len(step))


def _losses_of_seed(workload: Workload, trial: Trial, lr: NDArray[np.float64], *, seed: int) -> NDArray[np.float64]:
    training = build_training(workload, [trial], seed=seed, read_test=False)
    losses = np.full(len(lr), np.nan)
    mean, lowest = _RunningMean(len(lr)), math.inf
    for step, batch in enumerate(training.train_batches()):
        loss = training.learner.advance([batch], [0], lr[np.newaxis, step : step + 1], [None]).item()
        smoothed = mean.add(loss)
        if not math.isfinite(loss) or smoothed > DIVERGED_ABOVE * lowest:
            break
        losses[step], lowest = loss, min(lowest, smoothed)
    return losses
