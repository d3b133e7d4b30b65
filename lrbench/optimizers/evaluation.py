"""The weights that an evaluation should see, when they are not those that train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@contextmanager
def evaluation_weights(
    model: nn.Module, optimizer: Optimizer, calibration: Callable[[], Iterable[Tensor]]
) -> Iterator[None]:
    """Put the weights to evaluate into the model, and back the training's on leaving, bit for bit.

    Optimizers without `train()` and `eval()` of their own are evaluated where they train: nothing happens.
    The others (schedule-free) are switched to their averaged weights. BatchNorm statistics were gathered at
    the training weights and do not fit these, so they are recomputed from the calibration inputs, as the
    README of schedulefree says.

    Args:
        model: the modes of its modules (training or evaluation) are as before on leaving too, errors
            included.
        optimizer: over the model's parameters; in training mode on leaving, with unchanged state.
        calibration: gives batches of training inputs on the model's device, at least one, each (batch,
            *input_shape); called only if needed. The random stream is not used unless it does.
    """
    if not (hasattr(optimizer, "train") and hasattr(optimizer, "eval")):
        yield
        return
    import torch

    optimizer.train()  # so that what is saved are training weights, whatever came before
    trained = [*(p for group in optimizer.param_groups for p in group["params"]), *model.buffers()]
    # The optimizer could go back by itself, but only up to rounding: evaluating would change the training.
    saved = [tensor.detach().clone() for tensor in trained]
    with _modes_restored(model):
        try:
            optimizer.eval()
            # Before the first update the average is the training weights, and the statistics fit. Left alone,
            # step 0 is the same evaluation for every optimizer.
            if any(optimizer.state.values()):
                _recompute_batch_norm(model, calibration)
            yield
        finally:
            optimizer.train()
            with torch.no_grad():
                for tensor, value in zip(trained, saved, strict=True):
                    tensor.copy_(value)


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
