"""The 8x8 digits that ship with scikit-learn: no download, seconds to train."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from lrbench.data.cache import DEFAULT_CACHE_DIR, Arrays, cached_arrays
from lrbench.data.holdout import HeldOutFraction, held_out_count, partition, stratified
from lrbench.data.splits import Augmentation, Splits
from lrbench.spec import Task

NUM_EXAMPLES = 1797


@dataclass(frozen=True, kw_only=True)
class Digits:
    """1,797 handwritten digits, 8x8, 17 grey levels (Alpaydin and Kaynak 1998; scikit-learn load_digits).

    Attributes:
        test_fraction: of all examples, by class; the published set comes undivided.
        validation_fraction: of the others, by class.
        augmentation: of training batches.
        cache_dir: where the decoded images are kept.
    """

    test_fraction: HeldOutFraction = 0.2
    validation_fraction: HeldOutFraction = 0.2
    augmentation: Augmentation = "none"
    cache_dir: str = DEFAULT_CACHE_DIR

    task: ClassVar[Task] = Task.CLASSIFICATION
    input_shape: ClassVar[tuple[int, ...]] = (1, 8, 8)
    num_outputs: ClassVar[int] = 10
    max_epochs: ClassVar[float | None] = None

    @property
    def num_train(self) -> int:
        """See Dataset.num_train."""
        rest = NUM_EXAMPLES - held_out_count(NUM_EXAMPLES, self.test_fraction, parameter="dataset.test_fraction")
        return rest - held_out_count(rest, self.validation_fraction, parameter="dataset.validation_fraction")

    def check(self) -> None:
        """See Dataset.check."""
        assert self.num_train > 0  # the property refuses impossible fractions

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import in_memory_splits

        key = {"source": "sklearn.datasets.load_digits", "version": version("scikit-learn")}
        arrays, digest = cached_arrays(self.cache_dir, "digits", key, _decode)
        targets = arrays["targets"]
        is_test = stratified(targets, self.test_fraction, parameter="dataset.test_fraction")
        part = partition(targets, is_test, validation_fraction=self.validation_fraction)
        return in_memory_splits(arrays["inputs"], targets, part, augmentation=self.augmentation, source_digest=digest)


def _decode() -> Arrays:
    """Read what sklearn.datasets.load_digits reads, without the two seconds that its import takes."""
    package = find_spec("sklearn")  # found, not imported
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, delimiter=",", dtype=np.int64)  # whole numbers from 0 to 16, the class in the last column
    return {"inputs": rows[:, :-1].reshape(-1, 1, 8, 8).astype(np.uint8), "targets": rows[:, -1]}
