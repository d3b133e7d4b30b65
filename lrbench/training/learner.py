"""What updates the weights: the learner interface, and the sequential learner that every other must equal.

A learner holds K trials that share workload and seed and differ in their rates. The sequential one steps K ordinary
modules with K ordinary `torch.optim` objects; with K = 1 it does exactly what a hand-written loop does.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lrbench.optimizers.evaluation import averages_itself, evaluation_weights
from lrbench.spec import Task
from lrbench.training.averaging import Averaging
from lrbench.training.evaluation import EvaluationSums, as_metrics
from lrbench.training.random_states import (
    generator_states,
    have_drawn,
    host_states,
    load_generator_states,
    random_state,
)

Batch = tuple[Tensor, Tensor]
Metrics = dict[str, float]


class Learner(Protocol):
    """K trials trained together."""

    num_trials: int

    def advance(
        self,
        batches: Iterable[Batch],
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> Tensor:
        """Take one step per batch with each of the given trials.

        Args:
            batches: n of them, on the learner's device.
            trials: the trials still training, ascending.
            lr: shape (len(trials), n), the base rate of each parameter group.
            momentum: one entry a trial: shape (n,), or None to leave the optimizer's own alone.

        Returns:
            Training losses, shape (len(trials), n), float32, on the learner's device, not synchronised.
        """

    def evaluate(
        self, batches: Callable[[], Iterable[Batch]], trials: Sequence[int], *, last: bool = False
    ) -> dict[int, Metrics]:
        """Return the metrics of the task (`Task.metrics`) of each given trial over all examples of the batches.

        Where an example has a class for each token, the means are over tokens. A loss that is not finite makes all NaN.
        `last` evaluates the last weights where `StepOptions.averaging` would have others evaluated.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that `advance` changes, the states of the random generators included."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


@dataclass(frozen=True)
class StepOptions:
    """How one update is made, the same for every trial of a workload.

    Attributes:
        label_smoothing: in [0, 1), for classification training only; evaluation never smooths.
        grad_clip: largest Euclidean norm of the whole gradient, > 0; None does not clip.
        autocast: run forward passes in bfloat16 where torch considers it safe.
        compile: compile the forward pass with torch.compile.
        channels_last: keep image tensors in channels-last memory order.
        accumulation: parts into which each batch is split, whose gradients are summed before the one update.
        averaging: evaluate an average of the weights; None evaluates the last ones.
    """

    label_smoothing: float = 0.0
    grad_clip: float | None = None
    autocast: bool = False
    compile: bool = False
    channels_last: bool = False
    accumulation: int = 1
    averaging: Averaging | None = None


class SequentialLearner:
    """One module and one optimizer a trial, stepped in turn; the reference."""

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        *,
        task: Task,
        device: torch.device,
        options: StepOptions,
        calibration: Callable[[], Iterable[Tensor]],
    ) -> None:
        """Take over models (on their device) and their optimizers.

        Args:
            models: one a trial, identically initialised.
            optimizers: one a trial, over that trial's parameters, as `make_optimizer` built them.
            task: decides loss and accuracy.
            device: where batches arrive.
            options: see StepOptions.
            calibration: training inputs with which BatchNorm statistics of averaged weights are recomputed before an
                evaluation (schedule-free optimizers only).
        """
        self.num_trials = len(models)
        self._models = list(models)
        self._optimizers = list(optimizers)
        self._task = task
        self._device = device
        self._options = options
        self._calibration = calibration
        if options.channels_last:
            self._models = [m.to(memory_format=torch.channels_last) for m in self._models]
        self._forward: list[Callable[[Tensor], Tensor]] = [
            torch.compile(m) if options.compile else m for m in self._models
        ]
        self._loss = _training_loss(task, options.label_smoothing)
        self._steps_taken = [0] * self.num_trials
        self._averages: list[list[Tensor]] = []
        if options.averaging is not None:
            refuse_own_average(self._optimizers)
            self._averages = [[p.detach().clone() for p in m.parameters()] for m in self._models]

    @property
    def models(self) -> list[nn.Module]:
        """The modules, one a trial."""
        return self._models

    def advance(
        self,
        batches: Iterable[Batch],
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> Tensor:
        """See Learner.advance."""
        steppers = [
            self._stepper(k, lr[row].tolist(), None if m is None else m.tolist())
            for row, (k, m) in enumerate(zip(trials, momentum, strict=True))
        ]
        for k in trials:
            self._models[k].train()
        losses: list[list[Tensor]] = [[] for _ in trials]
        host = host_states() if len(trials) > 1 else None
        for index, (inputs, targets) in enumerate(batches):
            inputs = self._arrange(inputs)
            # All trials draw the dropout masks that each would draw alone.
            rewind = random_state(self._device, host) if len(trials) > 1 else _nothing
            for row, step in enumerate(steppers):
                rewind()
                losses[row].append(step(index, inputs, targets))
            if host is not None:  # models that leave these generators alone shall not pay for them at every step
                host = host_states() if have_drawn(host) else None
        return torch.stack([torch.stack(row) for row in losses]).float()

    def _stepper(
        self, k: int, lr: list[float], momentum: list[float] | None
    ) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Bind one trial's update: what a hand-written loop does, and nothing else."""
        forward, optimizer, loss_of = self._forward[k], self._optimizers[k], self._loss
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        num_parts = self._options.accumulation
        weights = [p.detach() for p in self._models[k].parameters()]
        groups = [(group, float(group.get("lr_scale", 1.0))) for group in optimizer.param_groups]
        grad_clip, autocast, averaging = self._options.grad_clip, self._autocast, self._options.averaging

        def parts_of(inputs: Tensor, targets: Tensor) -> Iterable[Batch]:
            if num_parts == 1:
                return ((inputs, targets),)
            return zip(inputs.chunk(num_parts), targets.chunk(num_parts), strict=True)

        def step(index: int, inputs: Tensor, targets: Tensor) -> Tensor:
            for group, scale in groups:
                group["lr"] = lr[index] * scale
                if momentum is not None:
                    _set_momentum(group, momentum[index])
            optimizer.zero_grad()
            losses = []
            for part, part_targets in parts_of(inputs, targets):
                with autocast():
                    loss = loss_of(forward(part), part_targets)
                    loss = loss if num_parts == 1 else loss / num_parts
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
            if grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, grad_clip)
            optimizer.step()
            self._steps_taken[k] += 1
            if averaging is not None and (share := averaging.share(self._steps_taken[k])):
                torch._foreach_lerp_(self._averages[k], weights, share)
            return losses[0] if num_parts == 1 else torch.stack(losses).sum()

        return step

    def evaluate(
        self, batches: Callable[[], Iterable[Batch]], trials: Sequence[int], *, last: bool = False
    ) -> dict[int, Metrics]:
        """See Learner.evaluate."""
        return {k: self._evaluate_one(k, batches(), None if last else self._average(k)) for k in trials}

    def _average(self, k: int) -> list[Tensor] | None:
        """The average of a trial's weights; None where there is none yet, or none is asked for."""
        averaging = self._options.averaging
        return self._averages[k] if averaging and averaging.share(self._steps_taken[k]) else None

    def _evaluate_one(self, k: int, batches: Iterable[Batch], average: list[Tensor] | None) -> Metrics:
        model, forward = self._models[k], self._forward[k]
        with evaluation_weights(model, self._optimizers[k], self._calibration, average):
            model.eval()
            sums = EvaluationSums(self._task, num_trials=1, device=self._device)
            with torch.inference_mode(), self._autocast():
                for inputs, targets in batches:
                    outputs = forward(self._arrange(inputs)).float()
                    sums.add(_summed_loss(self._task, outputs, targets)[None], outputs[None], targets)
            model.train()
        return as_metrics(self._task, sums.means()[:, 0].tolist())

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._options.autocast:
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _arrange(self, inputs: Tensor) -> Tensor:
        if self._options.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def state_dict(self) -> dict[str, Any]:
        """See Learner.state_dict."""
        return {
            "models": [m.state_dict() for m in self._models],
            "optimizers": [o.state_dict() for o in self._optimizers],
            "steps_taken": list(self._steps_taken),
            "averages": self._averages,
            **generator_states(self._device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner.load_state_dict."""
        for model, saved in zip(self._models, state["models"], strict=True):
            model.load_state_dict(saved)
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._steps_taken = list(state["steps_taken"])
        for averages, saved in zip(self._averages, state["averages"], strict=True):
            for average, value in zip(averages, saved, strict=True):
                average.copy_(value)
        load_generator_states(state, self._device)


def refuse_own_average(optimizers: Iterable[Optimizer]) -> None:
    """Refuse to average what an optimizer averages.

    Raises:
        ValueError: there is such an optimizer.
    """
    for optimizer in optimizers:
        if averages_itself(optimizer):
            raise ValueError(f"training.average must be none with {type(optimizer).__name__}, which averages itself")


def _nothing() -> None:
    pass


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _training_loss(task: Task, label_smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    if not task.has_classes:
        return lambda outputs, targets: _summed_loss(task, outputs, targets) / len(targets)
    if label_smoothing:
        return lambda outputs, targets: F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)
    return F.cross_entropy


def _summed_loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over examples and their tokens, so that batches of unequal size average right."""
    if task is Task.OWN_LOSS:
        return outputs.sum()
    if task is Task.REGRESSION:
        return 0.5 * ((outputs - targets) ** 2).sum()
    return F.cross_entropy(outputs, targets, reduction="sum")
