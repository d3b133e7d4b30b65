"""The fused learner: K trials of one module as one stacked module, each with its own rates.

Row k of K is the sequential learner's trial k up to rounding: same initial weights, batches and dropout masks. Trials
whose optimizers differ in more than numbers (class, nesterov, parameter groups) make separate stacks, stepped in turn
on each batch; so do the halves of a stack that did not fit in memory.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lrbench.optimizers.evaluation import has_batch_norm
from lrbench.spec import Task
from lrbench.training.evaluation import EvaluationSums, as_metrics
from lrbench.training.fused_step import Step, make_step, summed_losses
from lrbench.training.learner import Batch, Metrics, StepOptions
from lrbench.training.memory import is_out_of_memory
from lrbench.training.random_states import generator_states, load_generator_states, random_state
from lrbench.training.recorded_step import RecordedStep, recorder_of
from lrbench.training.stack import Stack, make_stack
from lrbench.training.stacked_updates import SGDUpdate, Update, make_updates, merged, own_momentum
from lrbench.training.stacking import NotStackableError, stacked_forward

T = TypeVar("T")


class FusedLearner:
    """K trials trained as one stacked model; see Learner. A trial once left out by the caller does not come back."""

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
            options: see StepOptions; what is compiled is the whole step, the updates included.
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
        self._max_stack = max_stack or self.num_trials
        self._batch_size = len(example)
        self._names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
        self._updates = [make_updates(optimizer, self._names) for optimizer in optimizers]
        if options.accumulation > 1:
            raise NotStackableError("training.accumulation splits the batches of one trial at a time")
        if options.averaging is not None and has_batch_norm(model):
            raise NotStackableError("BatchNorm's statistics at averaged weights are gathered trial by trial")
        self._forward = stacked_forward(model, self._arrange(example))
        self._steps: dict[tuple[Update, ...], Step] = {}
        self._recorder = recorder_of(device)
        self._stacks = self._new_stacks()
        self._ended: dict[int, Stack] = {}  # one row each

    def _new_stacks(self) -> list[Stack]:
        alike: dict[tuple[Update, ...], list[int]] = {}
        for k, updates in enumerate(self._updates):
            alike.setdefault(updates, []).append(k)
        return [
            make_stack(
                self._model,
                trials[first : first + self._max_stack],
                merged([self._updates[k] for k in trials]),
                averaged=self._options.averaging is not None,
            )
            for trials in alike.values()
            for first in range(0, len(trials), self._max_stack)
        ]

    def advance(
        self,
        batches: Iterable[Batch],
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> Tensor:
        """See Learner.advance."""
        self._select(trials)
        for stack in self._stacks:
            self._prepare(stack, trials, lr, momentum)
        losses = [
            self._take_batch(index, self._arrange(inputs), targets) for index, (inputs, targets) in enumerate(batches)
        ]
        for stack in self._stacks:
            stack.done = stack.done + len(losses)
            stack.steps_taken += len(losses)
        order = [k for stack in self._stacks for k in stack.trials]
        rows = torch.tensor([order.index(k) for k in trials]).to(self._device, non_blocking=True)
        return torch.stack(losses, dim=1).index_select(0, rows).float()

    def _take_batch(self, index: int, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step with every stack; losses in their order."""
        # All stacks draw the dropout masks that each trial would draw alone.
        rewind, is_first = random_state(self._device), True

        def take_step(stack: Stack) -> Tensor:
            nonlocal is_first
            if not is_first:
                rewind()
            is_first = False
            losses = self._take_step(stack, inputs, targets, stack.coefficients[index])
            averaging = self._options.averaging
            if averaging is not None and (share := averaging.share(stack.steps_taken + index + 1)):
                weights = [parameter.detach() for parameter in stack.parameters.values()]
                torch._foreach_lerp_(list(stack.averages.values()), weights, share)
            return losses

        return torch.cat(self._with_every_stack(take_step))

    def _take_step(self, stack: Stack, inputs: Tensor, targets: Tensor, coefficients: Tensor) -> Tensor:
        step = self._step(stack.updates)
        if self._recorder is None:
            losses, stack.buffers = step(stack.parameters, stack.buffers, stack.state, inputs, targets, coefficients)
            return losses
        if stack.recorded is None:
            stack.recorded = RecordedStep(step, stack.parameters, stack.buffers, stack.state, self._recorder)
        return stack.recorded(inputs, targets, coefficients)

    def _step(self, updates: tuple[Update, ...]) -> Step:
        if updates not in self._steps:
            self._steps[updates] = make_step(
                self._forward, updates, task=self._task, options=self._options, autocast=self._autocast
            )
        return self._steps[updates]

    def _with_every_stack(self, work: Callable[[Stack], T]) -> list[T]:
        """Do some work with each stack in turn; a stack that memory does not hold is halved."""
        results: list[T] = []
        while len(results) < len(self._stacks):
            stack = self._stacks[len(results)]
            try:
                results.append(work(stack))
                continue
            except (RuntimeError, MemoryError) as error:
                # A compiled step may have changed some weights before it failed.
                if not is_out_of_memory(error) or len(stack.trials) == 1 or self._options.compile:
                    raise
            # Here and not above, where the error's traceback still holds the tensors that did not fit.
            self._stacks[len(results) : len(results) + 1] = stack.halves()
        return results

    def _prepare(
        self,
        stack: Stack,
        trials: Sequence[int],
        lr: NDArray[np.float64],
        momentum: Sequence[NDArray[np.float64] | None],
    ) -> None:
        """Lay out the coefficients of a stack's next updates."""
        row_of = {k: row for row, k in enumerate(trials)}
        num_steps = lr.shape[1]
        # Rows of ended trials that are still in the stack stand still.
        used_lr = np.stack([lr[row_of[k]] if k in row_of else np.zeros(num_steps) for k in stack.trials])
        moved = [momentum[row_of[k]] if k in row_of else None for k in stack.trials]
        parts = []
        for index, update in enumerate(stack.updates):
            if isinstance(update, SGDUpdate) and not update.momentum and any(m is not None for m in moved):
                stack.add_momentum(index)
            groups = [self._optimizers[k].param_groups[index] for k in stack.trials]
            scale = np.array([[float(group.get("lr_scale", 1.0))] for group in groups])
            used_momentum = np.stack(
                [
                    np.full(num_steps, own_momentum(group)) if m is None else m
                    for m, group in zip(moved, groups, strict=True)
                ]
            )
            parts.append(update.coefficients(groups, used_lr * scale, used_momentum, stack.done))
        table = torch.from_numpy(np.ascontiguousarray(np.concatenate(parts).transpose(2, 0, 1)))
        # Doubles as far as they go; accelerators compute in floats, and some have nothing else.
        stack.coefficients = table if self._device.type == "cpu" else table.float().to(self._device, non_blocking=True)

    def evaluate(
        self, batches: Callable[[], Iterable[Batch]], trials: Sequence[int], *, last: bool = False
    ) -> dict[int, Metrics]:
        """See Learner.evaluate."""
        self._select(trials)
        found = self._with_every_stack(lambda stack: self._evaluate_stack(stack, batches(), last))
        means = torch.cat(found, dim=1).T.tolist()  # the only wait for the device
        order = [k for stack in self._stacks for k in stack.trials]
        metrics = {k: as_metrics(self._task, of_trial) for k, of_trial in zip(order, means, strict=True)}
        return {k: metrics[k] for k in trials}

    def _evaluate_stack(self, stack: Stack, batches: Iterable[Batch], last: bool) -> Tensor:
        """The metrics of the task, shape (num_metrics, num_trials), float64."""
        averaging = self._options.averaging
        is_averaged = not last and averaging is not None and averaging.share(stack.steps_taken) > 0
        parameters = stack.averages if is_averaged else stack.parameters
        sums = EvaluationSums(self._task, num_trials=len(stack.trials), device=self._device)
        with torch.inference_mode(), self._autocast():
            for inputs, targets in batches:
                # So evaluations take no more memory than one trial's, or than a training step.
                size = max(self._batch_size, math.ceil(len(targets) / len(stack.trials)))
                for part, part_targets in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
                    outputs, _ = self._forward(parameters, stack.buffers, self._arrange(part), False)
                    outputs = outputs.float()
                    sums.add(summed_losses(self._task, outputs, part_targets), outputs, part_targets)
        return sums.means()

    def _select(self, trials: Sequence[int]) -> None:
        """Take the trials that ended out of the stacks, so that they cost nothing."""
        wanted = set(trials)
        assert wanted <= {k for stack in self._stacks for k in stack.trials}, "an ended trial came back"
        stacks = []
        for stack in self._stacks:
            kept = [row for row, k in enumerate(stack.trials) if k in wanted]
            # Another number of trials is another compilation; rather train some for nothing.
            few = len(kept) <= len(stack.trials) // 2 if self._options.compile else len(kept) < len(stack.trials)
            if few:
                self._ended |= {k: stack.rows([row]) for row, k in enumerate(stack.trials) if k not in wanted}
                stack = stack.rows(kept)
            if kept:
                stacks.append(stack)
        self._stacks = stacks

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
        models, states, averages = [], [], []
        for k, optimizer in enumerate(self._optimizers):
            stack, row = places[k]
            tensors = stack.parameters | stack.buffers
            models.append({name: tensors[own].detach()[row].clone() for name, own in self._saved_names().items()})
            states.append({**optimizer.state_dict(), "state": stack.optimizer_row(row)})
            averages.append([average[row].clone() for average in stack.averages.values()])
        return {
            "models": models,
            "optimizers": states,
            "steps_taken": [places[k][0].steps_taken for k in range(self.num_trials)],
            "averages": averages if self._options.averaging else [],
            **generator_states(self._device),
        }

    def _saved_names(self) -> Mapping[str, str]:
        """A module's state_dict names -> ours: tied weights have several there, unsaved buffers none."""
        return {name: self._names[id(tensor)] for name, tensor in self._model.state_dict(keep_vars=True).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Learner.load_state_dict."""
        self._stacks, self._ended = self._new_stacks(), {}
        with torch.no_grad():
            for stack in self._stacks:
                # Of a stack's trials those that have ended took fewer, and take no more.
                stack.steps_taken = max(state["steps_taken"][k] for k in stack.trials)
                tensors = stack.parameters | stack.buffers
                for row, k in enumerate(stack.trials):
                    for name, own in self._saved_names().items():
                        tensors[own][row] = state["models"][k][name]
                    stack.load_optimizer_row(row, state["optimizers"][k]["state"])
                    saved = state["averages"][k] if stack.averages else []
                    for average, value in zip(stack.averages.values(), saved, strict=True):
                        average[row] = value
        load_generator_states(state, self._device)
