"""Residual networks for CIFAR (He et al. 2016, arXiv 1512.03385, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models.shapes import image_shape
from lrbench.spec import Count


class CifarResNet(nn.Module):
    """Three stages of residual blocks, each twice as wide as the one before; global average; linear output.

    Maps (batch, channels, height, width) to (batch, num_outputs). ResNet-20 has 0.27 M parameters on CIFAR-10, as in
    the paper: its shortcuts have none (option A), BatchNorm included.
    """

    def __init__(
        self, *, input_shape: tuple[int, ...], num_outputs: int, blocks_per_stage: Count, channels: Count
    ) -> None:
        """Build the layers, with the initialisation of He et al. 2015 (arXiv 1502.01852).

        Args:
            input_shape: (channels, height, width).
            num_outputs: classes, or values to regress.
            blocks_per_stage: n, which gives 6n + 2 layers.
            channels: of the first stage; 16 in the paper.

        Raises:
            ValueError: the inputs are not images.
        """
        super().__init__()
        colours, _, _ = image_shape(f"resnet{6 * blocks_per_stage + 2}", input_shape)
        self.stem = nn.Sequential(*_conv_norm(colours, channels, stride=1), nn.ReLU())
        blocks: list[nn.Module] = []
        width = channels
        for next_width in (channels, 2 * channels, 4 * channels):
            for _ in range(blocks_per_stage):
                blocks.append(_ResidualBlock(width, next_width))
                width = next_width
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.output.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs of shape (batch, num_outputs)."""
        features: Tensor = self.blocks(self.stem(inputs))
        outputs: Tensor = self.output(features.mean(dim=(2, 3)))
        return outputs


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; where the width grows, height and width are halved."""

    def __init__(self, width: int, next_width: int) -> None:
        super().__init__()
        self.stride = 1 if width == next_width else 2
        self.new_channels = next_width - width
        self.residual = nn.Sequential(
            *_conv_norm(width, next_width, stride=self.stride),
            nn.ReLU(),
            *_conv_norm(next_width, next_width, stride=1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features of shape (batch, next_width, height / stride, width / stride)."""
        # Option A: take every second pixel and fill the new channels with zeros. The paper does not say where
        # the zeros go; they are split evenly before and after, as in the implementations that reproduce its
        # errors.
        before = self.new_channels // 2
        after = self.new_channels - before
        shortcut = F.pad(inputs[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, after))
        return F.relu(shortcut + self.residual(inputs))


def _conv_norm(width: int, next_width: int, *, stride: int) -> tuple[nn.Module, nn.Module]:
    conv = nn.Conv2d(width, next_width, kernel_size=3, stride=stride, padding=1, bias=False)
    return conv, nn.BatchNorm2d(next_width)
