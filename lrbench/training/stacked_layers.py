"""Layers for K trials at once, without vmap: the trials are channels of one tensor, or matrices of one batch.

A chain of common layers (`nn.Sequential`, nested or not) runs as one call a layer for all trials. Where every trial
sees the same values (the inputs), they are not repeated: the first linear layer is one matrix product with the K
weights on top of each other, the first convolution one convolution with K times the filters.

Linear layers compute weights times inputs, features before examples: for few outputs that is three times as fast as
inputs times weights, and the gradients of the weights come out contiguous.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Layout(Enum):
    """Where the trial axis is."""

    SHARED = auto()  # (batch, channels, ...): the same for every trial
    CHANNELS = auto()  # (batch, num_trials * channels, ...)
    LEADING = auto()  # (num_trials, features, batch)


@dataclass
class ForwardPass:
    """What a forward pass reads, and the buffers that it replaces.

    Attributes:
        parameters: by name, (num_trials, *shape).
        buffers: by name, (num_trials, *shape); never changed in place.
        new_buffers: by name, what training would have done to the buffers in place.
        num_trials: K.
        training: whether BatchNorm and dropout are in training mode.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    new_buffers: dict[str, Tensor]
    num_trials: int
    training: bool


Layer = Callable[[Tensor, Layout, ForwardPass], tuple[Tensor, Layout]]


class UnknownLayerError(ValueError):
    """There is no stacked form of a layer, or none for the shape it is given."""


def stacked_layers(model: nn.Module) -> list[Layer]:
    """Find the stacked form of every layer of a chain.

    Raises:
        UnknownLayerError: the model is no chain, or has a layer without stacked form.
    """
    names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
    return [_stacked(layer, names) for layer in _chain(model)]


def run_layers(layers: list[Layer], inputs: Tensor, stack: ForwardPass) -> Tensor:
    """Pass inputs, shape (batch, ...), through all trials; outputs have shape (num_trials, batch, num_outputs)."""
    values, layout = inputs, Layout.SHARED
    for layer in layers:
        values, layout = layer(values, layout, stack)
    if layout is Layout.LEADING:
        return values.transpose(1, 2)
    if layout is Layout.SHARED:
        return values.expand(stack.num_trials, *values.shape)
    return _apart(values, stack.num_trials).transpose(0, 1)


def _chain(module: nn.Module) -> list[nn.Module]:
    has_hooks = module._forward_hooks or module._forward_pre_hooks
    if has_hooks:
        raise UnknownLayerError(f"{type(module).__name__} has forward hooks")
    # A subclass is a chain as long as it does not say otherwise; ours only differ in how they are built.
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        return [layer for child in module for layer in _chain(child)]
    return [module]


def _stacked(layer: nn.Module, names: Mapping[int, str]) -> Layer:
    # Exact classes: a subclass may compute something else.
    kind = type(layer)
    if kind in _ELEMENTWISE:
        return lambda values, layout, stack: (layer(values), layout)
    if kind in _CHANNELWISE:
        return lambda values, layout, stack: (layer(_images(values, layout)), layout)
    if isinstance(layer, nn.Flatten) and kind is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return _flatten
    if isinstance(layer, nn.Dropout) and kind is nn.Dropout:
        return _dropout(layer.p)
    if isinstance(layer, nn.Linear) and kind is nn.Linear:
        return _linear(names[id(layer.weight)], _name(layer.bias, names))
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and kind in _CONVOLUTIONS and layer.padding_mode == "zeros":
        return _convolution(layer, names[id(layer.weight)], _name(layer.bias, names))
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and kind in _BATCH_NORMS and layer.momentum is not None:
        return _batch_norm(layer, names)
    raise UnknownLayerError(f"{kind.__name__} has no stacked form")


_ELEMENTWISE = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus)
_CHANNELWISE = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
)
_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d}
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _name(tensor: Tensor | None, names: Mapping[int, str]) -> str | None:
    return None if tensor is None else names[id(tensor)]


def _images(values: Tensor, layout: Layout) -> Tensor:
    if layout is Layout.LEADING:
        raise UnknownLayerError("a layer for images or sequences follows a linear one")
    return values


def _apart(values: Tensor, num_trials: int) -> Tensor:
    """Give the trials among the channels an axis of their own: (batch, num_trials, channels, ...)."""
    return values.view(len(values), num_trials, -1, *values.shape[2:])


def _in_channels(values: Tensor, layout: Layout, num_trials: int) -> Tensor:
    if layout is Layout.CHANNELS:
        return values
    return values.repeat(1, num_trials, *[1] * (values.ndim - 2))


def _flatten(values: Tensor, layout: Layout, stack: ForwardPass) -> tuple[Tensor, Layout]:
    if layout is Layout.LEADING:
        return values, layout
    return values.flatten(1), layout  # the trial is the slowest index of the channels, so it stays outermost


def _dropout(p: float) -> Layer:
    def layer(values: Tensor, layout: Layout, stack: ForwardPass) -> tuple[Tensor, Layout]:
        if not stack.training or layout is Layout.SHARED:
            return F.dropout(values, p, stack.training), layout
        # One mask for all trials, drawn in the order in which each would draw it alone: they share the seed.
        if layout is Layout.LEADING:
            return values * F.dropout(_ones_like(values[0].t()), p).t(), layout
        apart = _apart(values, stack.num_trials)
        mask = F.dropout(_ones_like(apart[:, 0]), p)
        return (apart * mask.unsqueeze(1)).flatten(1, 2), layout

    return layer


def _ones_like(values: Tensor) -> Tensor:
    return torch.ones_like(values, memory_format=torch.contiguous_format)


def _linear(weight_name: str, bias_name: str | None) -> Layer:
    def layer(values: Tensor, layout: Layout, stack: ForwardPass) -> tuple[Tensor, Layout]:
        weight = stack.parameters[weight_name]
        bias = None if bias_name is None else stack.parameters[bias_name].unsqueeze(2)
        if values.ndim != (3 if layout is Layout.LEADING else 2):
            raise UnknownLayerError("a linear layer acts on more than one axis")
        if layout is Layout.SHARED:
            rows, columns = weight.flatten(0, 1), values.t()
            product = rows @ columns if bias is None else torch.addmm(bias.flatten(0, 1), rows, columns)
            return product.view(stack.num_trials, -1, len(values)), Layout.LEADING
        if layout is Layout.CHANNELS:
            values = _apart(values, stack.num_trials).permute(1, 2, 0)
        product = torch.bmm(weight, values) if bias is None else torch.baddbmm(bias, weight, values)
        return product, Layout.LEADING

    return layer


def _convolution(conv: nn.Conv1d | nn.Conv2d, weight_name: str, bias_name: str | None) -> Layer:
    convolve = _CONVOLUTIONS[type(conv)]
    num_axes = len(conv.kernel_size)

    def layer(values: Tensor, layout: Layout, stack: ForwardPass) -> tuple[Tensor, Layout]:
        values = _images(values, layout)
        if values.ndim != num_axes + 2:
            raise UnknownLayerError("a convolution acts on inputs without batch axis")
        weight = stack.parameters[weight_name]
        bias = None if bias_name is None else stack.parameters[bias_name]
        groups = conv.groups
        if layout is Layout.CHANNELS or groups > 1:
            values = _in_channels(values, layout, stack.num_trials)
            groups *= stack.num_trials
        values = convolve(
            values,
            weight.flatten(0, 1),
            None if bias is None else bias.flatten(),
            conv.stride,
            conv.padding,
            conv.dilation,
            groups,
        )
        return values, Layout.CHANNELS

    return layer


def _batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, names: Mapping[int, str]) -> Layer:
    weight_name, bias_name = _name(norm.weight, names), _name(norm.bias, names)
    mean_name, var_name = _name(norm.running_mean, names), _name(norm.running_var, names)
    count_name = _name(norm.num_batches_tracked, names)

    def layer(values: Tensor, layout: Layout, stack: ForwardPass) -> tuple[Tensor, Layout]:
        mean = var = None
        if mean_name is not None and var_name is not None and count_name is not None:
            mean, var = stack.buffers[mean_name], stack.buffers[var_name]
            if stack.training:
                mean, var = mean.clone(), var.clone()
                stack.new_buffers[mean_name], stack.new_buffers[var_name] = mean, var
                stack.new_buffers[count_name] = stack.buffers[count_name] + 1
        if layout is Layout.LEADING:
            channels = values.flatten(0, 1).unsqueeze(0)  # one long sequence with the examples as positions
        else:
            channels = _in_channels(values, layout, stack.num_trials)
        normalised = F.batch_norm(
            channels,
            _flat(mean),
            _flat(var),
            _flat(None if weight_name is None else stack.parameters[weight_name]),
            _flat(None if bias_name is None else stack.parameters[bias_name]),
            stack.training or mean is None,
            0.0 if norm.momentum is None else norm.momentum,
            norm.eps,
        )
        if layout is Layout.LEADING:
            return normalised.view_as(values), layout
        return normalised, Layout.CHANNELS

    return layer


def _flat(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.view(math.prod(tensor.shape))
