"""MNIST-1D: ten hand-drawn curves, randomly padded, scaled, shifted, sheared and drowned in noise.

The same numbers as `make_dataset()` of the package mnist1d (Greydanus and Kobak 2024, arXiv:2011.14439;
Apache 2.0), which needs no download either, but resets numpy's, Python's and torch's global random states.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lrbench.data.holdout import HeldOutFraction, held_out_count, partition
from lrbench.data.splits import Splits
from lrbench.spec import Task

SEED = 42
NUM_EXAMPLES, NUM_TEST, NUM_CLASSES = 5000, 1000, 10
LENGTH = 40  # of a finished example
CANVAS = 72  # points on which templates are stretched before they are thinned to LENGTH
MIN_PADDING, MAX_PADDING = 36, 60
SCALE, SHEAR, MAX_SHIFT = 0.4, 0.75, 48
CORRELATED_NOISE, INDEPENDENT_NOISE, CORRELATION_LENGTH = 0.25, 0.02, 2

TEMPLATES = np.array(
    [
        [5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5],
        [5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5],
        [5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5],
        [5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5],
        [5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5],
        [5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5],
        [5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5],
        [5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5],
        [5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Mnist1d:
    """4,000 + 1,000 generated curves of 40 points in ten classes.

    Attributes:
        validation_fraction: of the 4,000, by class.
    """

    validation_fraction: HeldOutFraction = 0.1

    task: ClassVar[Task] = Task.CLASSIFICATION
    input_shape: ClassVar[tuple[int, ...]] = (1, LENGTH)
    num_outputs: ClassVar[int] = NUM_CLASSES
    max_epochs: ClassVar[float | None] = None

    @property
    def num_train(self) -> int:
        """See Dataset.num_train."""
        rest = NUM_EXAMPLES - NUM_TEST
        return rest - held_out_count(rest, self.validation_fraction, parameter="dataset.validation_fraction")

    def check(self) -> None:
        """See Dataset.check."""
        assert self.num_train > 0  # the property refuses an impossible fraction

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import in_memory_splits

        inputs, targets = generate()
        is_test = np.arange(NUM_EXAMPLES) >= NUM_EXAMPLES - NUM_TEST
        return in_memory_splits(
            inputs[:, None],
            targets,
            partition(targets, is_test, validation_fraction=self.validation_fraction),
            augmentation="none",
            # Of the recipe, not of its floats, whose last bits depend on the build of numpy.
            source_digest=hashlib.sha256(f"mnist1d seed {SEED}".encode() + TEMPLATES.tobytes()).hexdigest(),
        )


def generate() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Make the dataset: inputs (5000, 40), centred and scaled as a whole, and targets (5000,).

    The last 1,000 are the test examples.
    """
    from scipy.ndimage import gaussian_filter1d

    # The legacy generator, because the package draws from it, and draw for draw in the package's order.
    random = np.random.RandomState(SEED)
    templates = _whitened_templates()
    grid = np.linspace(0, 1, CANVAS)
    targets = np.repeat(np.arange(NUM_CLASSES), NUM_EXAMPLES // NUM_CLASSES)
    signal, correlated, independent = (np.empty((NUM_EXAMPLES, CANVAS)) for _ in range(3))
    shear = np.empty((NUM_EXAMPLES, 1))
    for i, digit in enumerate(targets):
        padding = MIN_PADDING + int(random.rand() * (MAX_PADDING - MIN_PADDING + 1))
        # 1e-8, so that a zero of the template is told from padding, which the correlated noise fills.
        padded = np.concatenate([templates[digit] + 1e-8, np.zeros(padding)])
        stretched = np.interp(grid, np.linspace(0, 1, len(padded)), padded)
        stretched *= 1 + SCALE * (random.rand() - 0.5)
        signal[i] = np.roll(stretched, random.choice(MAX_SHIFT))
        correlated[i] = random.randn(CANVAS)
        independent[i] = random.randn(CANVAS)
        shear[i] = SHEAR * (random.rand() - 0.5)
    correlated = gaussian_filter1d(CORRELATED_NOISE * correlated, CORRELATION_LENGTH)
    curves = np.where(signal != 0, signal, correlated) + INDEPENDENT_NOISE * independent
    curves -= shear * np.linspace(-0.5, 0.5, CANVAS)
    thinned = np.stack([np.interp(np.linspace(0, 1, LENGTH), grid, curve) for curve in curves])
    order = random.permutation(NUM_EXAMPLES)
    inputs = thinned[order]
    return (inputs - inputs.mean()) / inputs.std(), targets[order]


def _whitened_templates() -> NDArray[np.float64]:
    centred = TEMPLATES - TEMPLATES.mean(1, keepdims=True)
    scaled = centred / centred.std(1, keepdims=True)
    result: NDArray[np.float64] = (scaled - scaled[:, :1]) / 6
    return result
