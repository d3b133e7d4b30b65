"""Which examples make up each batch: a pure function of the seed and the step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lrbench.spec import derived_seed


def batch_order(*, seed: int, num_train: int, batch_size: int, begin: int, end: int) -> Iterator[Tensor]:
    """Yield the example indices of batches `begin` to `end - 1`.

    Every epoch is a fresh permutation that depends on (seed, epoch) alone, so a resumed run sees the batches it would
    have seen. The incomplete batch at the end of an epoch is dropped.

    Args:
        seed: the run's seed.
        num_train: examples in the training split.
        batch_size: examples a step, at most num_train.
        begin: first step, zero-based.
        end: one past the last step.

    Yields:
        int64 tensors of shape (batch_size,).
    """
    steps_per_epoch = num_train // batch_size
    epoch, permutation = -1, torch.empty(0, dtype=torch.int64)
    for step in range(begin, end):
        if step // steps_per_epoch != epoch:
            epoch = step // steps_per_epoch
            generator = torch.Generator().manual_seed(derived_seed("batch order", seed, epoch))
            permutation = torch.randperm(num_train, generator=generator)
        first = (step % steps_per_epoch) * batch_size
        yield permutation[first : first + batch_size]


def augmentation_generator(*, seed: int, step: int) -> torch.Generator:
    """Return the CPU random generator that augments the batch of one step."""
    return torch.Generator().manual_seed(derived_seed("augmentation", seed, step))
