"""The weights that an evaluation should see, when they are not those that train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeGuard

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@contextmanager
def evaluation_weights(
    model: nn.Module,
    optimizer: Optimizer,
    calibration: Callable[[], Iterable[Tensor]],
    average: Sequence[Tensor] | None = None,
) -> Iterator[None]:
    """Put the weights to evaluate into the model, and back the training's on leaving, bit for bit.

    Without an average, optimizers without `train()` and `eval()` of their own are evaluated where they train: nothing
    happens. The others (schedule-free) are switched to their averaged weights. BatchNorm statistics were gathered at
    the training weights and do not fit these, so they are recomputed from the calibration inputs, as the
    README of schedulefree says.

    Args:
        model: the modes of its modules (training or evaluation) are as before on leaving too, errors
            included.
        optimizer: over the model's parameters; in training mode on leaving, with unchanged state.
        calibration: gives batches of training inputs on the model's device, at least one, each (batch,
            *input_shape); called only if needed. The random stream is not used unless it does.
        average: what to evaluate, a tensor for each parameter of the model; not with optimizers that average.
    """
    own = optimizer if averages_itself(optimizer) else None
    if own is None and average is None:
        yield
        return
    import torch

    if own is not None:
        own.train()  # so that what is saved are training weights, whatever came before
    trained = [*model.parameters(), *model.buffers()]
    # The optimizer could go back by itself, but only up to rounding: evaluating would change the training.
    saved = [tensor.detach().clone() for tensor in trained]
    with _modes_restored(model):
        try:
            if average is None:
                assert own is not None
                own.eval()
            else:
                with torch.no_grad():
                    for parameter, value in zip(model.parameters(), average, strict=True):
                        parameter.copy_(value)
            # Before the first update the average is the training weights, and the statistics fit. Left alone,
            # step 0 is the same evaluation for every optimizer.
            if average is not None or any(optimizer.state.values()):
                _recompute_batch_norm(model, calibration)
            yield
        finally:
            if own is not None:
                own.train()
            with torch.no_grad():
                for tensor, value in zip(trained, saved, strict=True):
                    tensor.copy_(value)


class _Averaging(Protocol):
    """An optimizer that trains at other weights than it is evaluated at."""

    def train(self) -> None: ...
    def eval(self) -> None: ...


def averages_itself(optimizer: object) -> TypeGuard[_Averaging]:
    """Whether it trains at other weights than it is evaluated at."""
    return hasattr(optimizer, "train") and hasattr(optimizer, "eval")


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there are statistics that belong to the weights at which they were gathered."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in model.modules())


def _recompute_batch_norm(model: nn.Module, calibration: Callable[[], Iterable[Tensor]]) -> None:
    """Replace running statistics by their plain average over the calibration batches."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    try:
        with _modes_restored(model), torch.no_grad():
            # Only the norms train (torch's swa_utils.update_bn trains all): dropout would draw from the
            # training's random stream, and would widen the statistics of a network that is evaluated without
            # it.
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # torch's word for a cumulative average
                norm.train()
            for inputs in calibration():
                model(inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextmanager
def _modes_restored(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
