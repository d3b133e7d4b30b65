"""Which parameters weight decay acts on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(model: nn.Module, *, decay_norm_and_bias: bool) -> list[dict[str, Any]]:
    """Split a model's parameters into those that decay and those that do not.

    Norm layers and biases are told by having fewer than two dimensions (as in timm and nanoGPT), which also
    covers classes that torch does not know, and by belonging to a LayerNorm, the one whose weights can have
    more.

    Args:
        model: its parameters, each once.
        decay_norm_and_bias: True makes one group; False adds a second one, whose weight decay is zero, for
            norm layers and biases. A group without parameters is left out.

    Returns:
        Parameter groups as torch optimizers take them; parameters keep the model's order within a group.
    """
    if decay_norm_and_bias:
        return [{"params": list(model.parameters())}]
    from torch import nn

    layer_norms = {
        parameter for module in model.modules() if isinstance(module, nn.LayerNorm) for parameter in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for parameter in model.parameters():
        (exempt if parameter.ndim < 2 or parameter in layer_norms else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
