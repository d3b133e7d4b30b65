"""Models of tokens and of entities, which are numbers that each stand for a learned vector."""

import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models.shapes import token_shape
from lrbench.spec import Count


class GRULM(nn.Module):
    """Recurrent language model: embedding, GRU layers, linear output at every position.

    Maps tokens (batch, context), int64, to logits (batch, num_outputs, context). torch.vmap has no rule for a GRU, so
    trials train one by one.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, width: Count, hidden_size: Count, layers: Count
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (context,).
            num_outputs: kinds of tokens.
            width: of the embeddings.
            hidden_size: units of each layer.
            layers: on top of each other.

        Raises:
            ValueError: the inputs are not rows of tokens.
        """
        super().__init__()
        token_shape("gru_lm", input_shape)
        self.tokens = nn.Embedding(num_outputs, width)
        self.gru = nn.GRU(width, hidden_size, num_layers=layers, batch_first=True)
        self.output = nn.Linear(hidden_size, num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of shape (batch, num_outputs, context)."""
        states, _ = self.gru(self.tokens(tokens))
        logits: Tensor = self.output(states)
        return logits.transpose(1, 2)


class CharMLP(nn.Sequential):
    """Neural probabilistic language model (Bengio et al. 2003), as makemore has it for names.

    The embeddings of the tokens before, side by side, a tanh layer, a linear output. Maps tokens (batch, context),
    int64, to logits (batch, num_outputs) of the next.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, width: Count, hidden_size: Count) -> None:
        """Build the layers.

        Args:
            input_shape: (context,).
            num_outputs: kinds of tokens.
            width: of the embeddings.
            hidden_size: units of the hidden layer.

        Raises:
            ValueError: the inputs are not rows of tokens.
        """
        (context,) = token_shape("char_mlp", input_shape)
        super().__init__(
            nn.Embedding(num_outputs, width),
            nn.Flatten(),
            nn.Linear(context * width, hidden_size),
            nn.Tanh(),
            nn.Linear(hidden_size, num_outputs),
        )


class DistMult(nn.Module):
    """Facts as products (Yang et al. 2015, arXiv 1412.6575): a tail's score is the sum of head * relation * tail.

    Maps (batch, 2), int64, a head and a relation, to scores of all entities as tails, (batch, num_outputs).
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, num_relations: Count, width: Count) -> None:
        """Make a vector for each entity and relation.

        Args:
            input_shape: (2,).
            num_outputs: entities.
            num_relations: of the graph.
            width: of the vectors.

        Raises:
            ValueError: the inputs are not pairs.
        """
        super().__init__()
        if tuple(input_shape) != (2,):
            raise ValueError(
                "model=distmult needs pairs of head and relation, as dataset=triples has, "
                f"got dataset inputs of shape {input_shape}"
            )
        self.entities = nn.Embedding(num_outputs, width)
        self.relations = nn.Embedding(num_relations, width)
        for embedding in (self.entities, self.relations):
            nn.init.xavier_uniform_(embedding.weight)

    def forward(self, pairs: Tensor) -> Tensor:
        """Return scores of shape (batch, num_outputs)."""
        heads, relations = self.entities(pairs[:, 0]), self.relations(pairs[:, 1])
        return F.linear(heads * relations, self.entities.weight)
