"""The fused learner: K trials of one module as one stacked module, each with its own rates.

Row k of K is the sequential learner's trial k up to rounding: same initial weights, batches and dropout masks. Trials
whose optimizers differ in more than numbers (class, nesterov, parameter groups) make separate stacks, stepped in turn
on each batch; so do the parts of a stack that memory does not hold at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lrbench.spec import Task
from lrbench.training.learner import Batch, StepOptions
from lrbench.training.stack import Named, Stack, make_stack
from lrbench.training.stacked_updates import SGDUpdate, Update, make_updates, merged, own_momentum
from lrbench.training.stacking import stacked_forward


class FusedLearner:
    """K trials trained as one stacked model; see Learner."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        task: Task,
        device: torch.device,
        options: StepOptions,
        example: Tensor,
        max_stack: int | None = None,
    ) -> None:
        """Stack K copies of a module.

        Args:
            model: with the initial weights that all trials share, on its device; left as it is.
            optimizers: one a trial, all over the parameters of this module; only read.
            task: decides loss and accuracy.
            device: where batches arrive.
            options: see StepOptions.
            example: a batch of training inputs, on which the stacked module is compared with the module.
            max_stack: most trials in one stack, >= 1; None for no limit. Changes memory and speed, not results.

        Raises:
            NotStackableError: the module or an optimizer has no stacked form.
        """
        self.num_trials = len(optimizers)
        self._model = model
        self._optimizers = list(optimizers)
        self._task = task
        self._device = device
        self._options = options
        self._names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
        updates = [make_updates(optimizer, self._names) for optimizer in optimizers]
        self._forward = stacked_forward(model, self._arrange(example))
        limit = max_stack or self.num_trials
        self._stacks = [
            make_stack(model, trials[first : first + limit], merged([updates[k] for k in trials]))
            for trials in _alike(updates)
            for first in range(0, len(trials), limit)
        ]
        self._ended: dict[int, Stack] = {}  # one row each

    def advance(
        self,
        batches: Iterable[Batch],
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> Tensor:
        """See Learner.advance."""
        self._select(trials)
        tables = [self._table(stack, trials, lr, momentum) for stack in self._stacks]
        losses: list[list[Tensor]] = [[] for _ in self._stacks]
        share_random_stream = len(self._stacks) > 1
        for index, (inputs, targets) in enumerate(batches):
            inputs = self._arrange(inputs)
            random_state = torch.get_rng_state() if share_random_stream else None
            for stack, table, stack_losses in zip(self._stacks, tables, losses, strict=True):
                if random_state is not None:
                    torch.set_rng_state(random_state)
                stack_losses.append(self._step(stack, inputs, targets, table[index]))
        order = [k for stack in self._stacks for k in stack.trials]
        found = torch.cat([torch.stack(rows, dim=1) for rows in losses])
        return found[[order.index(k) for k in trials]].float()

    def _step(self, stack: Stack, inputs: Tensor, targets: Tensor, coefficients: Tensor) -> Tensor:
        with self._autocast():
            outputs, buffers = self._forward(stack.parameters, stack.buffers, inputs, True)
            losses = _training_losses(self._task, outputs, targets, self._options.label_smoothing)
        trained = stack.trained
        # A trial's loss depends on its own weights only, so the gradient of the sum is that of each.
        found = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(trained, found, strict=True) if gradient is not None}
        with torch.no_grad():
            if self._options.grad_clip is not None:
                gradients = _clipped(gradients, self._options.grad_clip)
            first = 0
            for update in stack.updates:
                rows = coefficients[first : first + update.num_coefficients].unbind()
                update(stack.parameters, gradients, stack.state, rows)
                first += update.num_coefficients
        stack.buffers = buffers
        return losses.detach()

    def _table(
        self,
        stack: Stack,
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> Tensor:
        """Coefficients of a stack's next updates, shape (num_steps, num_coefficients, num_trials), on the device."""
        rows = [trials.index(k) for k in stack.trials]
        moved = [momentum[row] for row in rows]
        parts = []
        for index, update in enumerate(stack.updates):
            if isinstance(update, SGDUpdate) and not update.momentum and any(m is not None for m in moved):
                stack.add_momentum(index)
            groups = [self._optimizers[k].param_groups[index] for k in stack.trials]
            scale = np.array([[float(group.get("lr_scale", 1.0))] for group in groups])
            used = [
                np.full(lr.shape[1], own_momentum(group)) if m is None else m
                for m, group in zip(moved, groups, strict=True)
            ]
            parts.append(update.coefficients(groups, lr[rows] * scale, np.stack(used), stack.done))
        stack.done = stack.done + lr.shape[1]
        table = np.concatenate(parts).transpose(2, 0, 1)
        return torch.from_numpy(table.astype(np.float32)).to(self._device)

    def evaluate(
        self, batches: Callable[[], Iterable[Batch]], trials: Sequence[int]
    ) -> dict[int, tuple[float, float | None]]:
        """See Learner.evaluate."""
        self._select(trials)
        sums = [torch.zeros(2, len(s.trials), device=self._device, dtype=torch.float64) for s in self._stacks]
        count = 0
        with torch.inference_mode(), self._autocast():
            for inputs, targets in batches():
                inputs = self._arrange(inputs)
                for stack, (loss, correct) in zip(self._stacks, sums, strict=True):
                    outputs = self._forward(stack.parameters, stack.buffers, inputs, False)[0].float()
                    loss += _summed_losses(self._task, outputs, targets)
                    if self._task is Task.CLASSIFICATION:
                        correct += (outputs.argmax(dim=2) == targets).sum(dim=1)
                count += len(targets)
        found: dict[int, tuple[float, float | None]] = {}
        for stack, summed in zip(self._stacks, sums, strict=True):
            for k, loss, accuracy in zip(stack.trials, *(summed / count).tolist(), strict=True):
                diverged = not np.isfinite(loss)
                named_accuracy = None if self._task is Task.REGRESSION else float("nan") if diverged else accuracy
                found[k] = (float("nan") if diverged else loss, named_accuracy)
        return {k: found[k] for k in trials}

    def _select(self, trials: Sequence[int]) -> None:
        """Take the trials that ended out of the stacks, so that they cost nothing."""
        wanted = set(trials)
        stacks = []
        for stack in self._stacks:
            kept = [row for row, k in enumerate(stack.trials) if k in wanted]
            if len(kept) < len(stack.trials):
                self._ended |= {k: stack.rows([row]) for row, k in enumerate(stack.trials) if k not in wanted}
                stack = stack.rows(kept)
            if kept:
                stacks.append(stack)
        self._stacks = stacks + [self._ended.pop(k) for k in sorted(wanted & self._ended.keys())]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._options.autocast:
            return torch.autocast(self._device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _arrange(self, inputs: Tensor) -> Tensor:
        if self._options.channels_last and inputs.ndim == 4:
            return inputs.contiguous(memory_format=torch.channels_last)
        return inputs

    def state_dict(self) -> dict[str, Any]:
        """See Learner.state_dict; the sequential learner's document, so either can go on from the other's."""
        places = {
            k: (stack, row) for stack in [*self._stacks, *self._ended.values()] for row, k in enumerate(stack.trials)
        }
        return {
            "models": [self._model_row(*places[k]) for k in range(self.num_trials)],
            "optimizers": [
                {
                    "state": places[k][0].optimizer_row(places[k][1]),
                    "param_groups": optimizer.state_dict()["param_groups"],
                }
                for k, optimizer in enumerate(self._optimizers)
            ],
            "random_state": torch.get_rng_state(),
            "cuda_random_state": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def _model_row(self, stack: Stack, row: int) -> Named:
        tensors = stack.parameters | stack.buffers
        return {name: tensors[own].detach()[row].clone() for name, own in self._saved_names().items()}

    def _saved_names(self) -> Mapping[str, str]:
        """A module's state_dict names -> ours: tied weights have several there, unsaved buffers none."""
        return {name: self._names[id(tensor)] for name, tensor in self._model.state_dict(keep_vars=True).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner.load_state_dict."""
        self._select(range(self.num_trials))
        with torch.no_grad():
            for stack in self._stacks:
                tensors = stack.parameters | stack.buffers
                for row, k in enumerate(stack.trials):
                    for name, own in self._saved_names().items():
                        tensors[own][row] = state["models"][k][name]
                    stack.load_optimizer_row(row, state["optimizers"][k]["state"])
        torch.set_rng_state(state["random_state"])
        if state["cuda_random_state"] is not None:
            torch.cuda.set_rng_state(state["cuda_random_state"], self._device)


def _alike(updates: Sequence[tuple[Update, ...]]) -> list[list[int]]:
    """Trials that can share a stack."""
    found: dict[tuple[Update, ...], list[int]] = {}
    for k, update in enumerate(updates):
        found.setdefault(update, []).append(k)
    return list(found.values())


def _training_losses(task: Task, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Mean loss of each trial, shape (num_trials,); outputs have shape (num_trials, batch, num_outputs)."""
    if task is Task.REGRESSION:
        return _summed_losses(task, outputs, targets) / len(targets)
    return _cross_entropies(outputs, targets, label_smoothing).mean(dim=1)


def _summed_losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over examples, shape (num_trials,)."""
    if task is Task.REGRESSION:
        return 0.5 * ((outputs - targets) ** 2).flatten(1).sum(dim=1)
    return _cross_entropies(outputs, targets, 0.0).sum(dim=1)


def _cross_entropies(outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    num_trials = len(outputs)
    each = F.cross_entropy(
        outputs.flatten(0, 1), targets.repeat(num_trials), reduction="none", label_smoothing=label_smoothing
    )
    return each.view(num_trials, -1)


def _clipped(gradients: Named, largest_norm: float) -> Named:
    """Scale each trial's gradient as nn.utils.clip_grad_norm_ would."""
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()])
    factor = (largest_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    return {name: g * factor.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients.items()}
