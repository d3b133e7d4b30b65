"""The tensors of trials that are trained as one: a leading trial axis on everything a single trial has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrbench.training.recorded_step import RecordedStep
from lrbench.training.stacked_updates import SGDUpdate, Update

Named = dict[str, Tensor]


@dataclass
class Stack:
    """Weights, buffers and optimizer state of some trials.

    Attributes:
        trials: their numbers, one a row of every tensor.
        updates: one a parameter group.
        parameters: by name, (num_trials, *shape), leaves; those require gradients that do in the module.
        buffers: by name, (num_trials, *shape).
        state: of the optimizer, by torch's name for it and parameter name, (num_trials, *shape).
        done: shape (num_trials,), steps taken.
        averages: of the weights, by name, like parameters; empty where none are asked for.
        steps_taken: by the trials that are still training; also by optimizers that keep no state.
        coefficients: of the next updates, (num_steps, num_coefficients, num_trials).
        recorded: its step, where steps are recorded and one was taken; bound to these very tensors.
    """

    trials: list[int]
    updates: tuple[Update, ...]
    parameters: Named
    buffers: Named
    state: dict[str, Named]
    done: NDArray[np.int64]
    averages: Named = field(default_factory=dict)
    steps_taken: int = 0
    coefficients: Tensor = field(default_factory=lambda: torch.empty(0, 0, 0))
    recorded: RecordedStep | None = None

    def rows(self, rows: Sequence[int]) -> "Stack":
        """Copy some rows into a stack of their own, without coefficients."""

        def copied(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, torch.tensor(list(rows), device=tensor.device))

        return self._part(rows, copied)

    def halves(self) -> "list[Stack]":
        """Split into two stacks that share this one's memory, coefficients included."""
        middle = len(self.trials) // 2
        return [self._slice(0, middle), self._slice(middle, len(self.trials))]

    def _slice(self, begin: int, end: int) -> "Stack":
        part = self._part(range(begin, end), lambda tensor: tensor[begin:end])
        part.coefficients = self.coefficients[..., begin:end]
        return part

    def _part(self, rows: Sequence[int], take: Callable[[Tensor], Tensor]) -> "Stack":
        def part(tensors: Named) -> Named:
            return {
                name: take(tensor.detach()).requires_grad_(tensor.requires_grad) for name, tensor in tensors.items()
            }

        return Stack(
            trials=[self.trials[row] for row in rows],
            updates=self.updates,
            parameters=part(self.parameters),
            buffers=part(self.buffers),
            state={slot: part(tensors) for slot, tensors in self.state.items()},
            done=self.done[list(rows)],
            averages=part(self.averages),
            steps_taken=self.steps_taken,
        )

    def add_momentum(self, index: int) -> None:
        """Give a group trained without momentum its buffers: a schedule moves the momentum from zero."""
        update = self.updates[index]
        assert isinstance(update, SGDUpdate)
        self.updates = (*self.updates[:index], replace(update, momentum=True), *self.updates[index + 1 :])
        self.state = _with_state(self.state, self.updates, self.parameters)
        self.recorded = None

    def optimizer_row(self, row: int) -> dict[int, dict[str, Tensor]]:
        """One trial's state in the form in which torch's optimizers save it."""
        if not self.done[row]:
            return {}
        document: dict[int, dict[str, Tensor]] = {}
        for index, name in enumerate(name for update in self.updates for name in update.names):
            slots = {slot: tensors[name][row].clone() for slot, tensors in self.state.items() if name in tensors}
            if "exp_avg" in slots:
                slots["step"] = torch.tensor(float(self.done[row]))
            document[index] = slots
        return document

    def load_optimizer_row(self, row: int, document: Mapping[int, Mapping[str, Any]]) -> None:
        """Restore what `optimizer_row`, or an optimizer of torch, saved."""
        index = 0
        self.done[row] = 0
        for group, update in enumerate(list(self.updates)):
            for name in update.names:
                saved = document.get(index, {})
                if saved.get("momentum_buffer") is not None and "momentum_buffer" not in update.slots:
                    self.add_momentum(group)
                for slot, tensors in self.state.items():
                    if name in tensors:
                        value = saved.get(slot)
                        tensors[name][row] = 0 if value is None else value
                        self.done[row] = max(self.done[row], 0 if value is None else int(saved.get("step", 1)))
                index += 1


def make_stack(
    model: nn.Module, trials: Sequence[int], updates: tuple[Update, ...], *, averaged: bool = False
) -> Stack:
    """Repeat a module once a trial, before its first step; with averages of the weights where they are asked for."""

    def repeated(tensor: Tensor) -> Tensor:
        # Contiguous: rows are reshaped without a copy.
        copy = tensor.detach().expand(len(trials), *tensor.shape).clone(memory_format=torch.contiguous_format)
        return copy.requires_grad_(tensor.requires_grad)

    parameters = {name: repeated(parameter) for name, parameter in model.named_parameters()}
    return Stack(
        trials=list(trials),
        updates=updates,
        parameters=parameters,
        buffers={name: repeated(buffer) for name, buffer in model.named_buffers()},
        state=_with_state({}, updates, parameters),
        done=np.zeros(len(trials), dtype=np.int64),
        averages={name: p.detach().clone() for name, p in parameters.items()} if averaged else {},
    )


def _with_state(old: Mapping[str, Named], updates: Sequence[Update], parameters: Named) -> dict[str, Named]:
    state: dict[str, Named] = {}
    for update in updates:
        for slot in update.slots:
            known = old.get(slot, {})
            state.setdefault(slot, {}).update(
                {
                    name: known[name] if name in known else torch.zeros_like(parameters[name].detach())
                    for name in update.names
                }
            )
    return state
