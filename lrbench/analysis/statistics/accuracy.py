"""An interval for the accuracy of one schedule that also holds where a few seeds happen to agree.

On a test split of a few hundred images, accuracies move in steps, and three seeds are often equal by chance:
Student's t covers .85 where it promises .95. The interval here is the wider, on each side, of two: Student's t over
seeds, which sees how much seeds differ, and Clopper and Pearson's exact interval of all images of all seeds, which
does not get short where seeds agree by chance.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from lrbench.analysis.statistics.terms import MIN_SEEDS, Interval, Unavailable


def accuracy_interval(accuracies: npt.ArrayLike, *, num_examples: int, level: float = 0.95) -> Interval | Unavailable:
    """Estimate the expected accuracy of a schedule on one test split.

    Args:
        accuracies: (num_seeds,) in [0, 1].
        num_examples: of the test split.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: a value is outside [0, 1] or NaN, or the split is empty.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all() or num_examples < 1:
        raise ValueError(f"accuracies must be in [0, 1] of an example or more, got {values.tolist()} of {num_examples}")
    n = values.size
    if n < MIN_SEEDS:
        return Unavailable(f"too few seeds: {n} of the {MIN_SEEDS} that an interval needs")
    mean = float(values.mean())
    half = float(-special.stdtrit(n - 1, (1 - level) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    total = n * num_examples
    hits, tail = mean * total, (1 - level) / 2
    low = float(special.betaincinv(hits, total - hits + 1, tail)) if mean > 0 else 0.0
    high = float(special.betaincinv(hits + 1, total - hits, 1 - tail)) if mean < 1 else 1.0
    return Interval(
        max(0.0, min(mean - half, low)),
        min(1.0, max(mean + half, high)),
        level,
        "Student t, at least as wide as the exact binomial of all images",
    )
