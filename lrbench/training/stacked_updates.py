"""SGD and Adam on stacked tensors, each trial with its own rate and hyperparameters; torch's formulas and states.

Everything that differs between trials or changes with the step is computed on the host in double precision, as torch
does, and reaches the update as one row of a table: (num_coefficients, num_trials). So a step needs no host
synchronisation, and a compiled one no recompilation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from lrbench.training.stacking import NotStackableError

Hyperparameters = Sequence[Mapping[str, Any]]  # the param_group of every trial


class Update(Protocol):
    """How one parameter group of a stack is updated; what all trials of a stack must have in common."""

    num_coefficients: ClassVar[int]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""

    @property
    def decay(self) -> bool:
        """Whether any trial decays its weights."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of torch's state tensors."""

    def coefficients(
        self, trials: Hyperparameters, lr: NDArray[np.float64], momentum: NDArray[np.float64], done: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Compute what the updates need.

        Args:
            trials: K parameter groups.
            lr: shape (K, n), of this group.
            momentum: shape (K, n), the momentum or first beta.
            done: shape (K,), steps taken before.

        Returns:
            Shape (num_coefficients, K, n).
        """

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Sequence[Tensor],
    ) -> None:
        """Update parameters and state in place.

        Args:
            parameters: by name, (K, *shape).
            gradients: by name; absent where the loss does not depend on the parameter.
            state: by slot and name, (K, *shape).
            coefficients: num_coefficients of shape (K,).
        """


@dataclass(frozen=True)
class SGDUpdate:
    """torch.optim.SGD.

    Attributes:
        names: of the parameters.
        nesterov: see there.
        momentum: whether any trial has momentum; zero is as good as none, so this is no difference.
        decay: whether any trial decays its weights; likewise.
    """

    names: tuple[str, ...]
    nesterov: bool
    momentum: bool = field(compare=False)
    decay: bool = field(compare=False)
    num_coefficients: ClassVar[int] = 4

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of torch's state."""
        return ("momentum_buffer",) if self.momentum else ()

    def coefficients(
        self, trials: Hyperparameters, lr: NDArray[np.float64], momentum: NDArray[np.float64], done: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """See Update: rate, momentum, share of the gradient, weight decay."""
        # The first gradient enters the buffer whole; and without momentum there is no dampening.
        whole = (momentum == 0) | (done[:, None] + np.arange(lr.shape[1]) == 0)
        share = np.where(whole, 1.0, 1.0 - _column(trials, "dampening"))
        return np.stack([lr, momentum, share, np.broadcast_to(_column(trials, "weight_decay"), lr.shape)])

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Sequence[Tensor],
    ) -> None:
        """See Update."""
        views = _Views(coefficients)
        for name in self.names:
            parameter, gradient = parameters[name], gradients.get(name)
            if gradient is None:
                continue
            lr, momentum, share, decay = views.of(parameter)
            if self.decay:
                gradient = torch.addcmul(gradient, parameter, decay)
            if self.momentum:
                buffer = state["momentum_buffer"][name]
                buffer.mul_(momentum).addcmul_(gradient, share)
                gradient = torch.addcmul(gradient, buffer, momentum) if self.nesterov else buffer
            parameter.addcmul_(gradient, lr, value=-1)


@dataclass(frozen=True)
class AdamUpdate:
    """torch.optim.Adam and AdamW, without amsgrad.

    Attributes:
        names: of the parameters.
        decoupled: AdamW's weight decay instead of an L2 penalty.
        decay: whether any trial decays its weights; zero is as good as none, so this is no difference.
    """

    names: tuple[str, ...]
    decoupled: bool
    decay: bool = field(compare=False)
    num_coefficients: ClassVar[int] = 6
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def coefficients(
        self, trials: Hyperparameters, lr: NDArray[np.float64], momentum: NDArray[np.float64], done: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """See Update: step size, 1 - beta1, 1 - beta2, root of the second bias correction, eps, weight decay."""
        step = done[:, None] + np.arange(1, lr.shape[1] + 1)
        beta2 = np.array([[group["betas"][1]] for group in trials])
        decay = _column(trials, "weight_decay")
        return np.stack(
            [
                lr / (1.0 - momentum**step),
                1.0 - momentum,
                np.broadcast_to(1.0 - beta2, lr.shape),
                np.sqrt(1.0 - beta2**step),
                np.broadcast_to(_column(trials, "eps"), lr.shape),
                1.0 - lr * decay if self.decoupled else np.broadcast_to(decay, lr.shape),
            ]
        )

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Sequence[Tensor],
    ) -> None:
        """See Update."""
        views = _Views(coefficients)
        for name in self.names:
            parameter, gradient = parameters[name], gradients.get(name)
            if gradient is None:
                continue
            step_size, share1, share2, correction, eps, decay = views.of(parameter)
            if self.decay and self.decoupled:
                parameter.mul_(decay)
            elif self.decay:
                gradient = torch.addcmul(gradient, parameter, decay)
            mean, square = state["exp_avg"][name], state["exp_avg_sq"][name]
            mean.lerp_(gradient, share1)
            square.lerp_(gradient * gradient, share2)
            denominator = square.sqrt().div_(correction).add_(eps)
            parameter.addcmul_(mean / denominator, step_size, value=-1)


def make_updates(optimizer: Optimizer, names: Mapping[int, str]) -> tuple[Update, ...]:
    """Describe an optimizer's parameter groups; trials with equal descriptions can share a stack.

    Args:
        optimizer: over a module's parameters.
        names: of those parameters, by id.

    Raises:
        NotStackableError: an optimizer, or an option of it, that has no stacked form.
    """
    kind = type(optimizer)
    if kind not in (SGD, Adam, AdamW):
        raise NotStackableError(f"{kind.__name__} has no stacked update; SGD, Adam and AdamW have")
    updates: list[Update] = []
    for group in optimizer.param_groups:
        for option in ("maximize", "amsgrad"):
            if group.get(option):
                raise NotStackableError(f"{kind.__name__} with {option}=True has no stacked update")
        members = tuple(names[id(parameter)] for parameter in group["params"])
        decay = group["weight_decay"] != 0
        if kind is SGD:
            momentum = group["momentum"] != 0
            updates.append(SGDUpdate(members, nesterov=group["nesterov"], momentum=momentum, decay=decay))
        else:
            decoupled = kind is AdamW or group.get("decoupled_weight_decay", False)
            updates.append(AdamUpdate(members, decoupled=decoupled, decay=decay))
    return tuple(updates)


def merged(alike: Sequence[tuple[Update, ...]]) -> tuple[Update, ...]:
    """Make one description of several equal ones: with momentum and decay if any of them has it."""
    return tuple(_merged(group) for group in zip(*alike, strict=True))


def _merged(group: Sequence[Update]) -> Update:
    decay = any(update.decay for update in group)
    first = group[0]
    if isinstance(first, SGDUpdate):
        momentum = any(isinstance(update, SGDUpdate) and update.momentum for update in group)
        return replace(first, momentum=momentum, decay=decay)
    assert isinstance(first, AdamUpdate)
    return replace(first, decay=decay)


def own_momentum(group: Mapping[str, Any]) -> float:
    """Return the momentum, or first beta, of a parameter group."""
    return float(group["betas"][0] if "betas" in group else group["momentum"])


class _Views:
    """Coefficients in the shapes in which they broadcast over parameters; few shapes, many parameters."""

    def __init__(self, coefficients: Sequence[Tensor]) -> None:
        self._coefficients = coefficients
        self._by_ndim: dict[int, list[Tensor]] = {}

    def of(self, parameter: Tensor) -> list[Tensor]:
        """Views of shape (K, 1, ...), with as many axes as the parameter."""
        if parameter.ndim not in self._by_ndim:
            shape = (-1, *[1] * (parameter.ndim - 1))
            self._by_ndim[parameter.ndim] = [c.view(shape) for c in self._coefficients]
        return self._by_ndim[parameter.ndim]


def _column(trials: Hyperparameters, key: str) -> NDArray[np.float64]:
    return np.array([[float(group[key])] for group in trials])
