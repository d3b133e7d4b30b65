"""Augmentation of a whole batch at once, on its own device, with all randomness from a CPU generator.

Padding is with zeros after normalisation, that is with the mean colour, as in He et al. 2016
(arXiv:1512.03385).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lrbench.data.splits import Augmentation

PADDING = 4


def pad_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by its own -4 to 4 pixels in both directions, filling with zeros.

    Args:
        images: shape (n, num_channels, height, width).
        generator: on the CPU, so that every device sees the same draws.

    Returns:
        Same shape, a new tensor.
    """
    n, num_channels, height, width = images.shape
    offsets = torch.randint(0, 2 * PADDING + 1, (n, 2), generator=generator).to(images.device)
    padded = F.pad(images.contiguous(), (PADDING,) * 4)
    padded_height, padded_width = padded.shape[2:]
    # Row r of a crop is `width` consecutive pixels of the padded batch in memory, so cropping is selecting
    # from all such windows: one copy of whole rows, several times as fast as gathering pixels.
    pixels = padded.view(-1)
    windows = pixels.as_strided((pixels.numel() - width + 1, width), (1, 1))
    plane = torch.arange(n * num_channels, device=images.device).view(n, num_channels, 1)
    row = plane * padded_height + offsets[:, :1, None] + torch.arange(height, device=images.device)
    first_pixel = row * padded_width + offsets[:, 1:, None]
    return windows.index_select(0, first_pixel.view(-1)).view(images.shape)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half; shapes as in `pad_crop`."""
    mirrored = torch.randint(0, 2, (len(images), 1, 1, 1), generator=generator, dtype=torch.bool)
    return torch.where(mirrored.to(images.device), images.flip(-1), images)


def pad_crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Do both, the standard augmentation of CIFAR-10 (He et al. 2016, section 4.2)."""
    return flip(pad_crop(images, generator), generator)


AUGMENTATIONS: Mapping[Augmentation, Callable[[Tensor, torch.Generator], Tensor] | None] = {
    "none": None,
    "pad_crop": pad_crop,
    "pad_crop_flip": pad_crop_flip,
}
