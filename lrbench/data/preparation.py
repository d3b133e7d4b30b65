"""From raw arrays to splits: held-out parts, normalisation by the training part, tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lrbench.data.augmentation import AUGMENTATIONS
from lrbench.data.holdout import TEST, TRAIN, VALIDATION, content_digest
from lrbench.data.splits import Augmentation, Split, Splits

CHUNK = 1000  # examples converted to float64 at a time, to bound memory


def channel_sums(inputs: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sum what mean and deviation need; sums of parts add up to the sums of the whole, exactly for integers.

    Args:
        inputs: shape (n, num_channels, *size).

    Returns:
        Shape (3, num_channels): count, sum, sum of squares. Whole numbers below 2^53 are exact in float64,
        so uint8 images give the same sums in whatever order and parts they are read.
    """
    sums = np.zeros((3, inputs.shape[1]))
    for first in range(0, len(inputs), CHUNK):
        chunk = inputs[first : first + CHUNK].astype(np.float64)
        axes = (0, *range(2, chunk.ndim))
        sums[0] += chunk.size // chunk.shape[1]
        sums[1] += chunk.sum(axis=axes)
        np.square(chunk, out=chunk)
        sums[2] += chunk.sum(axis=axes)
    return sums


def mean_and_deviation(sums: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, each of shape (num_channels,), float32.

    A constant channel gets deviation 1: it becomes zeros, not NaN.
    """
    mean = sums[1] / sums[0]
    deviation = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0))
    deviation[deviation == 0] = 1
    return torch.from_numpy(mean).float(), torch.from_numpy(deviation).float()


def normalise(inputs: NDArray[np.generic], mean: Tensor, deviation: Tensor) -> Tensor:
    """Return (inputs - mean) / deviation by channel, float32, shape (n, num_channels, *size)."""
    per_channel = (-1, *[1] * (inputs.ndim - 2))
    # Rows first: a convolution rounds differently on another memory order, and decoders deliver channels last.
    tensor = torch.from_numpy(np.ascontiguousarray(inputs)).to(torch.float32, copy=True)
    return tensor.sub_(mean.view(per_channel)).div_(deviation.view(per_channel))


def in_memory_splits(
    inputs: NDArray[np.generic],
    targets: NDArray[np.int64],
    part: NDArray[np.int8],
    *,
    augmentation: Augmentation,
    source_digest: str,
    preprocessing: Mapping[str, object] | None = None,
) -> Splits:
    """Cut labelled arrays into splits and normalise them by channel with the statistics of the training part.

    Args:
        inputs: shape (n, num_channels, *size), any real dtype.
        targets: shape (n,), classes from 0.
        part: shape (n,), as `partition` gives it.
        augmentation: name of what the training batches go through.
        source_digest: sha256 (hex) of what inputs and targets were made from.
        preprocessing: how they were made from it, where there was a choice.
    """
    rows = {p: np.flatnonzero(part == p) for p in (TRAIN, VALIDATION, TEST)}
    train_inputs = inputs[rows[TRAIN]]
    mean, deviation = mean_and_deviation(channel_sums(train_inputs))

    def split(p: int) -> Split:
        chosen = train_inputs if p == TRAIN else inputs[rows[p]]
        return Split(normalise(chosen, mean, deviation), torch.from_numpy(targets[rows[p]]))

    return Splits(
        train=split(TRAIN),
        validation=split(VALIDATION),
        test=split(TEST),
        augment=AUGMENTATIONS[augmentation],
        digest=content_digest(source_digest, part, {"normalise": "channel", **(preprocessing or {})}),
    )


def encoded_splits(
    inputs: NDArray[np.generic],
    targets: NDArray[np.generic],
    part: NDArray[np.int8],
    *,
    source_digest: str,
    preprocessing: Mapping[str, object],
) -> Splits:
    """Cut arrays into splits as they are; for arguments see `in_memory_splits`.

    Args:
        inputs: shape (n, *input_shape), float32, or int64 for what a model embeds.
        targets: shape (n, ...).
        part: shape (n,).
        source_digest: of what they were made from.
        preprocessing: how they were made from it.
    """

    def split(p: int) -> Split:
        rows = np.flatnonzero(part == p)
        return Split(torch.from_numpy(inputs[rows]), torch.from_numpy(targets[rows]))

    digest = content_digest(source_digest, part, preprocessing)
    return Splits(train=split(TRAIN), validation=split(VALIDATION), test=split(TEST), augment=None, digest=digest)
