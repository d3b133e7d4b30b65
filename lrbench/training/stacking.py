"""One forward pass through K trials of a module: hand-stacked layers where there are some, vmap where not.

What a module does is only known by running it, so a candidate is compared with the module itself before it is used:
same outputs in training mode, same use of the random stream.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from lrbench.training.memory import is_out_of_memory
from lrbench.training.random_states import have_drawn, host_states
from lrbench.training.stacked_layers import ForwardPass, UnknownLayerError, run_layers, stacked_layers

# (parameters, buffers, inputs of shape (batch, ...), training) -> (outputs of shape (num_trials, batch, ...), the
# buffers after the pass); parameters and buffers by name, each (num_trials, *shape), are not changed.
Forward = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, bool], tuple[Tensor, dict[str, Tensor]]]

_TOLERANCE = 1e-3  # relative; rounding stays below, a wrong mask or a mixed-up trial does not


class NotStackableError(ValueError):
    """The trials of this model or optimizer cannot be trained as one; the message says why."""


def stacked_forward(model: nn.Module, inputs: Tensor) -> Forward:
    """Find a forward pass over many trials that computes what the module computes.

    Args:
        model: any of the trials; left as it is.
        inputs: a training batch on the model's device.

    Raises:
        NotStackableError: neither way gives the module's outputs.
    """
    reasons = []
    for way in (layered_forward, vmap_forward):
        try:
            forward = way(model)
            _compare(forward, model, inputs)
        except (UnknownLayerError, NotStackableError) as error:
            reasons.append(str(error))
        else:
            return forward
    raise NotStackableError(f"{type(model).__name__} cannot be stacked: {'; '.join(reasons)}")


def layered_forward(model: nn.Module) -> Forward:
    """Build the forward pass from hand-stacked layers.

    Raises:
        UnknownLayerError: there is a layer without one.
    """
    layers = stacked_layers(model)

    def forward(
        parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        num_trials = len(next(iter(parameters.values())))
        stack = ForwardPass(parameters, buffers, dict(buffers), num_trials, training)
        return run_layers(layers, inputs, stack), stack.new_buffers

    return forward


def vmap_forward(model: nn.Module) -> Forward:
    """Build the forward pass with torch.func; every trial draws the same random numbers, as it would alone."""
    module = deepcopy(model)
    # Attention on a CPU is one; whether stacking pays all the same is measured.
    warnings.filterwarnings(
        "ignore", "There is a performance drop because we have not yet implemented the batching rule"
    )

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(module, (parameters, buffers), (inputs,))
        return outputs

    every = torch.vmap(one, in_dims=(0, 0, None), randomness="same")

    def forward(
        parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Tensor, training: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if module.training != training:
            module.train(training)
        # BatchNorm changes its buffers in place.
        new_buffers = {name: buffer.clone() if training else buffer for name, buffer in buffers.items()}
        return every(dict(parameters), new_buffers, inputs), new_buffers

    return forward


def _compare(forward: Forward, model: nn.Module, inputs: Tensor) -> None:
    """Run two trials with different weights, together and one by one.

    Raises:
        NotStackableError: torch refuses, or the outputs, buffers or random numbers drawn differ.
    """
    alone = [deepcopy(model).train(), deepcopy(model).train()]
    with torch.no_grad():
        for parameter in alone[1].parameters():
            parameter.mul_(0.9)
    parameters, buffers = torch.func.stack_module_state(alone)
    with torch.no_grad():
        try:
            host = host_states()
            with _random_state_restored(inputs.device):
                outputs, new_buffers = forward(parameters, buffers, inputs, True)
                drawn = torch.rand(1, device=inputs.device)
            if have_drawn(host):
                # A recorded or compiled step would use the same numbers for ever.
                raise NotStackableError("it draws random numbers from Python's or numpy's generator")
        except (RuntimeError, ValueError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            raise NotStackableError(f"torch.vmap refuses it ({str(error).splitlines()[0]})") from error
        for row, module in enumerate(alone):
            with _random_state_restored(inputs.device):
                expected = module(inputs)
                drawn_alone = torch.rand(1, device=inputs.device)
            if not (torch.equal(drawn, drawn_alone) and _close(outputs[row], expected)):
                raise NotStackableError(
                    "its outputs differ from those of a trial alone (it draws other random numbers)"
                )
            for name, buffer in module.named_buffers():
                if not _close(new_buffers[name][row], buffer):
                    raise NotStackableError(f"its buffer {name} differs from that of a trial alone")


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return bool((a - b).abs().max() <= _TOLERANCE * b.abs().max()) if b.numel() else True


@contextmanager
def _random_state_restored(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
