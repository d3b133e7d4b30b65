"""What the two ways of reading a tracking store have in common: the raw tables they deliver."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrbench.results.schema import COLUMNS
from lrbench.typos import did_you_mean

_METRICS = frozenset(c.name for c in COLUMNS if c.level == "evaluation" and c.dtype == "Float64")
_STEP_BITS = 40  # of the 64 that hold a run and a step
_SPLITS = ("train/", "val/", "test/")


@dataclass(frozen=True)
class Points:
    """The points of one metric, one a run and step, in any order.

    Attributes:
        run: (num_points,) position of the run in `Tables.runs`.
        step: (num_points,) updates completed.
        value: (num_points,) NaN is NaN; +-inf is +-the largest double, as MLflow stores it.
    """

    run: npt.NDArray[np.int32]
    step: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """Runs of lrbench as MLflow stores them.

    Attributes:
        runs: run_id, run_name, experiment, status, start_time (epoch milliseconds).
        tags, params: run_id, key, value (all strings).
        points: by metric; those that `is_read` names.
    """

    runs: pd.DataFrame
    tags: pd.DataFrame
    params: pd.DataFrame
    points: Mapping[str, Points]


def is_read(metric: str) -> bool:
    """Whether the frame shows a metric: those of the schema, and whatever else was measured on a split."""
    return metric in _METRICS or metric.startswith(_SPLITS)


def last_points(
    run: npt.NDArray[np.int32],
    step: npt.NDArray[np.int64],
    timestamp: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
) -> Points:
    """Of points that were stored twice, keep the last by timestamp; arguments in any order, (num_stored,) each."""
    at = pack(run, step)
    order = np.argsort(at, kind="stable")
    if (np.diff(at[order]) == 0).any():
        # The value is the tie-breaker, so that the order in which a store delivers does not matter; NaN is last.
        order = np.lexsort((value, timestamp, at))
        order = order[np.append(np.diff(at[order]) != 0, True)]
    return Points(run[order], step[order], value[order])


def pack(run: npt.NDArray[np.integer], step: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Put a run's position and a step into one number that orders by run, then step."""
    return (run.astype(np.int64) << _STEP_BITS) + step


def unpack(packed: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Give run and step back."""
    return packed >> _STEP_BITS, packed & (2**_STEP_BITS - 1)


def choose_experiments(known: Collection[str], wanted: Sequence[str] | None, uri: str) -> list[str]:
    """The wanted names, or all.

    Raises:
        ValueError: one does not exist; names those that do.
    """
    if wanted is None:
        return sorted(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"no experiment {name!r} in {uri}{did_you_mean(name, known)} it has {sorted(known)}")
    return list(wanted)
