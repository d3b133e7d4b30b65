"""Transformers: a causal one over tokens, and one over patches of images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models.shapes import image_shape, token_shape
from lrbench.spec import Count


class GPT(nn.Module):
    """GPT-2 (Radford et al. 2019): learned positions, blocks with the norm in front, a norm, a linear output.

    Maps tokens (batch, context), int64, to logits (batch, num_outputs, context); those of a position see no later one.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, width: Count, layers: Count, heads: Count, tied: bool
    ) -> None:
        """Build the layers, with GPT-2's initialisation.

        Args:
            input_shape: (context,).
            num_outputs: kinds of tokens.
            width: of the embeddings, a multiple of `heads`.
            layers: blocks.
            heads: of the attention.
            tied: the output has the weights of the token embedding.

        Raises:
            ValueError: the inputs are not rows of tokens, or `heads` does not divide `width`.
        """
        super().__init__()
        (context,) = token_shape("gpt", input_shape)
        self.tokens = nn.Embedding(num_outputs, width)
        self.positions = nn.Parameter(torch.empty(context, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, num_outputs, bias=False)
        if tied:
            self.output.weight = self.tokens.weight
        _initialise(self, layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits of shape (batch, num_outputs, context)."""
        features = self.norm(self.blocks(self.tokens(tokens) + self.positions))
        logits: Tensor = self.output(features)
        return logits.transpose(1, 2)


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): patches and a class token, then blocks.

    Maps (batch, channels, height, width) to (batch, num_outputs), read from the class token.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, patch: Count, width: Count, layers: Count, heads: Count
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, height, width) of an image.
            num_outputs: classes, or values to regress.
            patch: pixels a side; divides height and width of the image.
            width: of the embeddings, a multiple of `heads`.
            layers: blocks.
            heads: of the attention.

        Raises:
            ValueError: the inputs are not images of whole patches, or `heads` does not divide `width`.
        """
        super().__init__()
        channels, *size = image_shape("vit", input_shape)
        if any(side % patch for side in size):
            raise ValueError(f"model.patch={patch} must divide height and width of dataset inputs of {input_shape}")
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1 + math.prod(side // patch for side in size), width))
        self.blocks = nn.Sequential(*(_Block(width, heads, causal=False) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, num_outputs)
        _initialise(self, layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        patches = self.patches(inputs).flatten(2).transpose(1, 2)
        features = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1) + self.positions
        outputs: Tensor = self.output(self.norm(self.blocks(features)[:, 0]))
        return outputs


class _Block(nn.Module):
    """Attention and two linear layers, each around a shortcut and behind a norm; (batch, length, width)."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"model.width must be a multiple of model.heads={heads}, got {width}")
        self.heads, self.causal = heads, causal
        self.attention_norm = nn.LayerNorm(width)
        self.attention_in = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of the shape of the inputs."""
        features = inputs + self._attention(self.attention_norm(inputs))
        outputs: Tensor = features + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(features))))
        return outputs

    def _attention(self, features: Tensor) -> Tensor:
        parts = self.attention_in(features).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        outputs: Tensor = self.attention_out(mixed.transpose(1, 2).flatten(2))
        return outputs


def _initialise(model: nn.Module, layers: int) -> None:
    """Weights from N(0, 0.02), those that end a shortcut smaller by the square root of their number; zero biases."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            continue
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            ends_shortcut = name.endswith(("attention_out.weight", "mlp_out.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if ends_shortcut else 0.02)
