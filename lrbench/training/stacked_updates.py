"""SGD and Adam on stacked tensors, each trial with its own rate and hyperparameters; torch's formulas and states.

Everything that differs between trials or changes with the step is computed on the host in double precision, as torch
does, and reaches the update as one row of a table: (num_coefficients, num_trials). So a step needs no host
synchronisation, and a compiled one no recompilation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import repeat
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
        coefficients: Tensor,
    ) -> None:
        """Update parameters and state in place.

        Args:
            parameters: by name, (K, *shape).
            gradients: by name; absent where the loss does not depend on the parameter.
            state: by slot and name, (K, *shape).
            coefficients: shape (num_coefficients, K).
        """


@dataclass(frozen=True)
class SGDUpdate:
    """torch.optim.SGD.

    Attributes:
        names: of the parameters.
        nesterov: see there.
        momentum: whether any trial has momentum; zero is as good as none, so this is no difference.
        dampening: whether any trial dampens; likewise.
        decay: whether any trial decays its weights; likewise.
    """

    names: tuple[str, ...]
    nesterov: bool
    momentum: bool = field(compare=False)
    dampening: bool = field(compare=False)
    decay: bool = field(compare=False)
    num_coefficients: ClassVar[int] = 4

    @property
    def slots(self) -> tuple[str, ...]:
        """See Update."""
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
        coefficients: Tensor,
    ) -> None:
        """See Update."""
        names = [name for name in self.names if name in gradients]
        if _one_by_one(parameters, names):
            self._update_one_by_one(names, parameters, gradients, state, coefficients)
            return
        views = _Views(coefficients)
        for name in names:
            parameter, gradient = parameters[name], gradients[name]
            lr, momentum, share, decay = views.of(parameter)
            if self.decay:
                gradient = torch.addcmul(gradient, parameter, decay)
            if self.momentum:
                buffer = state["momentum_buffer"][name]
                if self.dampening:
                    buffer.mul_(momentum).addcmul_(gradient, share)
                else:
                    torch.addcmul(gradient, buffer, momentum, out=buffer)
                gradient = torch.addcmul(gradient, buffer, momentum) if self.nesterov else buffer
            parameter.addcmul_(gradient, lr, value=-1)

    def _update_one_by_one(
        self,
        names: Sequence[str],
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Tensor,
    ) -> None:
        buffers = _rows(state["momentum_buffer"], names) if self.momentum else repeat(())
        rows = zip(coefficients.t().tolist(), _rows(parameters, names), _rows(gradients, names), buffers, strict=False)
        for (lr, momentum, share, decay), parameter, gradient, buffer in rows:
            torch._fused_sgd_(
                parameter,
                gradient,
                buffer,
                weight_decay=decay,
                momentum=momentum,
                lr=lr,
                dampening=1.0 - share,
                nesterov=self.nesterov,
                maximize=False,
                is_first_step=False,
            )


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
    num_coefficients: ClassVar[int] = 9
    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def coefficients(
        self, trials: Hyperparameters, lr: NDArray[np.float64], momentum: NDArray[np.float64], done: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """See Update: rate, betas, eps, weight decay, step; and with the bias corrections, step size, root, decay."""
        step = done[:, None] + np.arange(1.0, lr.shape[1] + 1)
        beta2 = np.array([[group["betas"][1]] for group in trials])
        eps, decay = _column(trials, "eps"), _column(trials, "weight_decay")
        rows = [
            lr,
            momentum,
            beta2,
            eps,
            decay,
            step,
            lr / (1.0 - momentum**step),
            np.sqrt(1.0 - beta2**step),
            1.0 - lr * decay if self.decoupled else decay,
        ]
        return np.stack([np.broadcast_to(row, lr.shape) for row in rows])

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Tensor,
    ) -> None:
        """See Update."""
        names = [name for name in self.names if name in gradients]
        if _one_by_one(parameters, names):
            self._update_one_by_one(names, parameters, gradients, state, coefficients)
            return
        _, beta1, beta2, eps, _, _, step_size, root, decay = coefficients.unbind()
        views = _Views(torch.stack([1 - beta1, 1 - beta2, eps, step_size, root, decay]))
        for name in names:
            parameter, gradient = parameters[name], gradients[name]
            share1, share2, eps, step_size, root, decay = views.of(parameter)
            if self.decay and self.decoupled:
                parameter.mul_(decay)
            elif self.decay:
                gradient = torch.addcmul(gradient, parameter, decay)
            mean, square = state["exp_avg"][name], state["exp_avg_sq"][name]
            mean.lerp_(gradient, share1)
            square.lerp_(gradient * gradient, share2)
            denominator = square.sqrt().div_(root).add_(eps)
            parameter.addcmul_(torch.div(mean, denominator, out=denominator), step_size, value=-1)

    def _update_one_by_one(
        self,
        names: Sequence[str],
        parameters: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        state: Mapping[str, Mapping[str, Tensor]],
        coefficients: Tensor,
    ) -> None:
        kernel = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        rows = zip(
            coefficients.t().tolist(),
            _rows(parameters, names),
            _rows(gradients, names),
            _rows(state["exp_avg"], names),
            _rows(state["exp_avg_sq"], names),
            strict=True,
        )
        for (lr, beta1, beta2, eps, decay, step, *_), parameter, gradient, mean, square in rows:
            kernel(
                parameter,
                gradient,
                mean,
                square,
                [],
                [torch.tensor(step)] * len(names),
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=decay,
                eps=eps,
                amsgrad=False,
                maximize=False,
            )


# Parameters of a trial above which torch's own kernel, called once a trial, beats operations on all trials at once:
# those take several passes over memory that no longer fits in the cache. Measured with 32 trials on one core.
_LARGE = 10_000


def _one_by_one(parameters: Mapping[str, Tensor], names: Sequence[str]) -> bool:
    if torch.compiler.is_compiling():  # then one pass is made of it anyway
        return False
    size = sum(parameters[name].numel() // len(parameters[name]) for name in names)
    return size > _LARGE and parameters[names[0]].device.type == "cpu"


def _rows(tensors: Mapping[str, Tensor], names: Sequence[str]) -> Iterator[tuple[Tensor, ...]]:
    """The tensors of each trial."""
    # Contiguous, which a gradient need not be: torch's kernels take for granted that all have the same strides.
    return zip(*(tensors[name].detach().contiguous().unbind() for name in names), strict=True)


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
            dampening = group["dampening"] != 0
            updates.append(SGDUpdate(members, group["nesterov"], momentum, dampening, decay))
        else:
            decoupled = kind is AdamW or group.get("decoupled_weight_decay", False)
            updates.append(AdamUpdate(members, decoupled, decay))
    return tuple(updates)


def merged(alike: Sequence[tuple[Update, ...]]) -> tuple[Update, ...]:
    """Make one description of several equal ones: with momentum, dampening and decay if any of them has it."""
    return tuple(_merged(group) for group in zip(*alike, strict=True))


def _merged(group: Sequence[Any]) -> Any:
    # Exactly the fields that do not make descriptions differ.
    flags = [item.name for item in fields(group[0]) if not item.compare]
    return replace(group[0], **{flag: any(getattr(update, flag) for update in group) for flag in flags})


def own_momentum(group: Mapping[str, Any]) -> float:
    """Return the momentum, or first beta, of a parameter group."""
    return float(group["betas"][0] if "betas" in group else group["momentum"])


class _Views:
    """Coefficients in the shapes in which they broadcast over parameters; few shapes, many parameters."""

    def __init__(self, coefficients: Tensor) -> None:
        self._coefficients = coefficients.to(torch.float32)
        self._by_ndim: dict[int, tuple[Tensor, ...]] = {}

    def of(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """Views of shape (K, 1, ...), with as many axes as the parameter."""
        if parameter.ndim not in self._by_ndim:
            shape = (*self._coefficients.shape, *[1] * (parameter.ndim - 1))
            self._by_ndim[parameter.ndim] = self._coefficients.view(shape).unbind()
        return self._by_ndim[parameter.ndim]


def _column(trials: Hyperparameters, key: str) -> NDArray[np.float64]:
    return np.array([[float(group[key])] for group in trials])
