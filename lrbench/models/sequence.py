"""Networks for sequences: recurrent, causal, and with one look at all positions."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor, nn

from lrbench.models.shapes import sequence_shape
from lrbench.spec import Count


class GRU(nn.Module):
    """The recurrent baseline of MNIST-1D (Greydanus and Kobak 2020, arXiv 2011.14439).

    One GRU layer reads the sequence position by position; a linear output reads its states at all positions.
    Maps (batch, channels, length) to (batch, num_outputs); with 6 units in both directions on (1, 40) these
    are the paper's 5,134 parameters.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, hidden_size: Count, bidirectional: bool
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, length).
            num_outputs: classes, or values to regress.
            hidden_size: units in each direction, >= 1.
            bidirectional: read the sequence from its end too.

        Raises:
            ValueError: the inputs are not sequences.
        """
        super().__init__()
        channels, length = sequence_shape("gru", input_shape)
        self.gru = nn.GRU(channels, hidden_size, batch_first=True, bidirectional=bidirectional)
        num_directions = 2 if bidirectional else 1
        self.output = nn.Linear(length * num_directions * hidden_size, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        states, _ = self.gru(inputs.transpose(1, 2))
        outputs: Tensor = self.output(states.flatten(1))
        return outputs


class TCN(nn.Module):
    """Temporal convolutional network (Bai et al. 2018, arXiv 1803.01271), without its weight norm and dropout.

    Residual blocks of two causal convolutions, whose dilation doubles from block to block; a linear output reads the
    last position. Maps (batch, channels, length) to (batch, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        channels: Annotated[list[Count], MinLen(1)],
        kernel_size: Count,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, length).
            num_outputs: classes, or values to regress.
            channels: of each block; b blocks see 1 + 2 (kernel_size - 1) (2^b - 1) positions.
            kernel_size: of the convolutions.

        Raises:
            ValueError: the inputs are not sequences.
        """
        super().__init__()
        width, _ = sequence_shape("tcn", input_shape)
        blocks: list[nn.Module] = []
        for index, next_width in enumerate(channels):
            blocks.append(_CausalBlock(width, next_width, kernel_size, dilation=2**index))
            width = next_width
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        outputs: Tensor = self.output(self.blocks(inputs)[..., -1])
        return outputs


class _CausalBlock(nn.Module):
    """Two dilated convolutions that look back only, around a shortcut."""

    def __init__(self, width: int, next_width: int, kernel_size: int, *, dilation: int) -> None:
        super().__init__()
        self.before = dilation * (kernel_size - 1)
        self.first = nn.Conv1d(width, next_width, kernel_size, dilation=dilation)
        self.second = nn.Conv1d(next_width, next_width, kernel_size, dilation=dilation)
        self.shortcut = nn.Identity() if width == next_width else nn.Conv1d(width, next_width, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of shape (batch, next_width, length)."""
        features = F.relu(self.first(F.pad(inputs, (self.before, 0))))
        features = F.relu(self.second(F.pad(features, (self.before, 0))))
        return F.relu(features + self.shortcut(inputs))


class TextCNN(nn.Module):
    """Convolutions of several widths side by side, the largest value of each over all positions, a linear output.

    Kim 2014 (arXiv 1408.5882); its word vectors are the weights of the convolutions on one-hot characters. Maps
    (batch, channels, length) to (batch, num_outputs).
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_outputs: int,
        kernel_sizes: Annotated[list[Count], MinLen(1)],
        channels: Count,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, length).
            num_outputs: classes, or values to regress.
            kernel_sizes: positions that each convolution sees.
            channels: of each convolution.

        Raises:
            ValueError: the inputs are not sequences, or shorter than a convolution.
        """
        super().__init__()
        width, _ = sequence_shape("text_cnn", input_shape, min_length=max(kernel_sizes))
        self.convolutions = nn.ModuleList(nn.Conv1d(width, channels, size) for size in kernel_sizes)
        self.output = nn.Linear(channels * len(kernel_sizes), num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        features = torch.cat([F.relu(convolution(inputs)).amax(dim=2) for convolution in self.convolutions], dim=1)
        outputs: Tensor = self.output(features)
        return outputs
