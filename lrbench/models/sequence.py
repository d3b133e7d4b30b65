"""Recurrent networks."""

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
