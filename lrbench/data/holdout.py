"""Who is held out: stratified parts of a dataset, fixed for ever and the same for every seed."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray

from lrbench.spec import derived_seed

HeldOutFraction = Annotated[float, Gt(0), Lt(1)]

TRAIN, VALIDATION, TEST = 0, 1, 2


def held_out_count(num_examples: int, fraction: float, *, parameter: str) -> int:
    """Return how many of the examples a fraction holds out, rounded half up.

    Args:
        num_examples: to choose from, >= 0.
        fraction: in (0, 1).
        parameter: dotted name of the fraction in the config, for the message.

    Raises:
        ValueError: if none would be held out, or none left.
    """
    count = math.floor(fraction * num_examples + 0.5)
    if not 0 < count < num_examples:
        raise ValueError(
            f"{parameter} must hold out at least one of {num_examples} examples and leave one, got {fraction}"
        )
    return count


def stratified(targets: NDArray[np.int64], fraction: float, *, parameter: str) -> NDArray[np.bool_]:
    """Choose a fixed random fraction of every class.

    Shares are by largest remainder, so that the total depends on the number of examples alone and can be
    known without reading the targets. A larger fraction keeps what a smaller one held out, up to rounding.

    Args:
        targets: shape (n,), classes from 0.
        fraction: in (0, 1), of each class.
        parameter: dotted name of the fraction in the config; parameters choose independently of each other.

    Returns:
        Shape (n,); True is held out, for `held_out_count` examples.

    Raises:
        ValueError: if a class would keep no example.
    """
    count = held_out_count(len(targets), fraction, parameter=parameter)
    sizes = np.bincount(targets)
    # Integers, so that no rounding error moves an example.
    shares, remainders = np.divmod(sizes * count, len(targets))
    remainders[sizes - shares == 1] -= len(targets)  # the last of a class is held out last
    shares[np.argsort(-remainders, kind="stable")[: count - shares.sum()]] += 1
    emptied = np.flatnonzero((shares == sizes) & (sizes > 0))
    if len(emptied):
        raise ValueError(
            f"{parameter} must leave an example of every class, got {fraction}, "
            f"which takes all {sizes[emptied[0]]} of class number {emptied[0]}"
        )
    # The raw stream of a bit generator is guaranteed never to change; those of numpy's and torch's
    # permutations are not, and a changed split would silently make old and new runs incomparable.
    lottery = np.random.PCG64(derived_seed("held out", parameter)).random_raw(len(targets))
    by_class = np.lexsort((lottery, targets))
    first_of_class = np.cumsum(sizes) - sizes
    place = np.arange(len(targets)) - first_of_class[targets[by_class]]
    held_out = np.zeros(len(targets), dtype=bool)
    held_out[by_class] = place < shares[targets[by_class]]
    return held_out


def partition(
    targets: NDArray[np.int64], is_test: NDArray[np.bool_], *, validation_fraction: float
) -> NDArray[np.int8]:
    """Assign each example to TRAIN, VALIDATION or TEST.

    Args:
        targets: shape (n,), classes from 0.
        is_test: shape (n,), the examples that are never trained on.
        validation_fraction: of the others, by class.

    Returns:
        Shape (n,).
    """
    part = np.where(is_test, TEST, TRAIN).astype(np.int8)
    others = np.flatnonzero(~is_test)
    held_out = stratified(targets[others], validation_fraction, parameter="dataset.validation_fraction")
    part[others[held_out]] = VALIDATION
    return part


def divided(
    num_examples: int,
    targets: NDArray[np.int64] | None,
    *,
    test_fraction: float,
    validation_fraction: float,
) -> NDArray[np.int8]:
    """Assign each example of a set that came undivided to TRAIN, VALIDATION or TEST.

    Args:
        num_examples: n.
        targets: shape (n,), classes from 0, each divided alike; None divides without them.
        test_fraction: of all.
        validation_fraction: of the others.

    Returns:
        Shape (n,).
    """
    classes = np.zeros(num_examples, dtype=np.int64) if targets is None else targets
    is_test = stratified(classes, test_fraction, parameter="dataset.test_fraction")
    return partition(classes, is_test, validation_fraction=validation_fraction)


def content_digest(source: str, part: NDArray[np.int8], preprocessing: Mapping[str, object]) -> str:
    """Return the sha256 (hex) of what shapes training: the source's digest, the split, the preprocessing."""
    content = {
        "source": source,
        "part": hashlib.sha256(part.tobytes()).hexdigest(),
        "preprocessing": dict(preprocessing),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
