"""The multilayer perceptron: the default model, since it takes any input and trains in seconds."""

import math
from typing import Literal

from torch import nn

from lrbench.spec import Count, Probability

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class MLP(nn.Sequential):
    """Hidden layers of linear, BatchNorm (if asked for), activation, dropout; then a linear output.

    Maps (batch, *input_shape), flattened, to (batch, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        hidden: list[Count],
        activation: Literal["relu", "gelu", "silu", "tanh"],
        dropout: Probability,
        batch_norm: bool,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: of one example.
            num_outputs: classes, or values to regress.
            hidden: width of each hidden layer, each >= 1; [] makes the model linear.
            activation: after each hidden layer.
            dropout: probability with which a hidden unit is dropped in training, in [0, 1).
            batch_norm: normalise each hidden layer before its activation.
        """
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for next_width in hidden:
            # BatchNorm subtracts the mean, so a bias in front of it would do nothing.
            layers.append(nn.Linear(width, next_width, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(next_width))
            layers.append(_ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = next_width
        super().__init__(*layers, nn.Linear(width, num_outputs))
