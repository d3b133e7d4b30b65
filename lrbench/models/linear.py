"""Models with one layer of weights: their loss is convex, so theory says what a schedule should do."""

import math

import torch
from torch import Tensor, nn


class Logistic(nn.Sequential):
    """Multinomial logistic regression on the flattened input: logits W x + b.

    Maps (batch, *input_shape) to (batch, num_outputs).
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


class Linear(nn.Sequential):
    """Linear regression W x (+ b) on the flattened input, from zero weights.

    Zeros make the loss at step 0 that of predicting 0, which the closed forms of the synthetic problems start
    from. Maps (batch, *input_shape) to (batch, num_outputs).
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, bias: bool) -> None:
        layer = nn.Linear(math.prod(input_shape), num_outputs, bias=bias)
        nn.init.zeros_(layer.weight)
        if bias:
            nn.init.zeros_(layer.bias)
        super().__init__(nn.Flatten(), layer)


class Diagonal(nn.Module):
    """Predict every input times its own weight, from zero weights: w * x, elementwise.

    The noisy quadratic in coordinates where its curvature is diagonal. Maps (batch, n) to (batch, n).
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        """Make one weight an input.

        Raises:
            ValueError: the dataset does not have one output for each of a flat vector of inputs.
        """
        super().__init__()
        if input_shape != (num_outputs,):
            raise ValueError(
                "model=diagonal needs one output for each input, as dataset=noisy_quadratic has, "
                f"got dataset inputs of shape {input_shape} and {num_outputs} outputs"
            )
        self.weight = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return w * x, shape (batch, n)."""
        return inputs * self.weight
