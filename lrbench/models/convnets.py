"""Small convolutional networks, for images and for sequences."""

from typing import Annotated

from annotated_types import MinLen
from torch import nn

from lrbench.models.shapes import image_shape, sequence_shape
from lrbench.spec import Count

Channels = Annotated[list[Count], MinLen(1)]


class LeNet(nn.Sequential):
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling for tanh, averages and RBF outputs.

    Maps (batch, channels, height, width) to (batch, num_outputs); 61,706 parameters for 28x28 and 32x32 grey
    images of ten classes.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        """Build the layers.

        Raises:
            ValueError: the inputs are not images, or too small for two unpadded 5x5 convolutions.
        """
        channels, height, width = image_shape("lenet", input_shape, min_size=12)
        # The paper pads the 28x28 digits to 32x32; images that have the 32 pixels are taken as they are.
        padding = 2 if min(height, width) < 32 else 0
        pooled = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
        super().__init__(
            nn.Conv2d(channels, 6, kernel_size=5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * pooled[0] * pooled[1], 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_outputs),
        )


class CNN(nn.Sequential):
    """Stages of 3x3 convolution, BatchNorm (if asked for), ReLU, 2x2 max pooling; average; linear output.

    Maps (batch, channels, height, width) to (batch, num_outputs); the number of weights does not depend on
    the size of the images.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, channels: Channels, batch_norm: bool) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, height, width).
            num_outputs: classes, or values to regress.
            channels: of each stage, each >= 1; every stage halves height and width.
            batch_norm: normalise each stage before its ReLU.

        Raises:
            ValueError: the inputs are not images, or too small to be halved by every stage.
        """
        width, _, _ = image_shape("cnn", input_shape, min_size=2 ** len(channels))
        layers: list[nn.Module] = []
        for next_width in channels:
            layers.append(nn.Conv2d(width, next_width, kernel_size=3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(next_width))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            width = next_width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_outputs))


class CNN1d(nn.Sequential):
    """The convolutional baseline of MNIST-1D (Greydanus and Kobak 2020, arXiv 2011.14439).

    Convolutions of stride 2, the first of width 5 and the others of width 3, each with a ReLU; then a linear
    output on all positions. Maps (batch, channels, length) to (batch, num_outputs); with three times 25
    channels on (1, 40) these are the paper's 5,210 parameters.
    """

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int, channels: Channels) -> None:
        """Build the layers.

        Args:
            input_shape: (channels, length).
            num_outputs: classes, or values to regress.
            channels: of each convolution, each >= 1.

        Raises:
            ValueError: the inputs are not sequences, or shorter than the first convolution.
        """
        width, length = sequence_shape("cnn1d", input_shape, min_length=3)
        layers: list[nn.Module] = []
        for index, next_width in enumerate(channels):
            kernel_size = 5 if index == 0 else 3
            layers += [nn.Conv1d(width, next_width, kernel_size, stride=2, padding=1), nn.ReLU()]
            width, length = next_width, (length + 2 - kernel_size) // 2 + 1
        super().__init__(*layers, nn.Flatten(), nn.Linear(width * length, num_outputs))
