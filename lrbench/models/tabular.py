"""The multilayer perceptron for tables."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models.mlp import MLP
from lrbench.spec import Count, Positive, Probability


class TabularMLP(nn.Module):
    """An MLP on embedded features, MLP-PLR(lite) of Gorishniy et al. 2022 (arXiv 2203.05556).

    A feature x becomes relu(linear([cos 2 pi c x, sin 2 pi c x])) with learned frequencies c of its own and a linear
    layer that all share; a column that marks a category, 0 or 1, thus chooses between two vectors. Maps (batch,
    num_features) to (batch, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        frequencies: Count,
        frequency_scale: Positive,
        width: Count,
        hidden: list[Count],
        dropout: Probability,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (num_features,).
            num_outputs: classes, or values to regress.
            frequencies: of each feature.
            frequency_scale: standard deviation of their initial values, in 1 / units of the features.
            width: of a feature's embedding.
            hidden: width of each hidden layer.
            dropout: probability with which a hidden unit is dropped in training.

        Raises:
            ValueError: the inputs are not rows of features.
        """
        super().__init__()
        if len(input_shape) != 1:
            raise ValueError(
                "model=tabular_mlp needs rows of features, as dataset=table has, "
                f"got dataset inputs of shape {input_shape}; model=mlp takes any shape"
            )
        (num_features,) = input_shape
        self.frequencies = nn.Parameter(frequency_scale * torch.randn(num_features, frequencies))
        self.embedding = nn.Linear(2 * frequencies, width)
        self.mlp = MLP(
            input_shape=(num_features, width),
            num_outputs=num_outputs,
            hidden=hidden,
            activation="relu",
            dropout=dropout,
            batch_norm=False,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        angles = 2 * math.pi * self.frequencies * inputs.unsqueeze(2)
        waves = torch.cat([angles.cos(), angles.sin()], dim=2)
        outputs: Tensor = self.mlp(F.relu(self.embedding(waves)))
        return outputs
