"""Schedules made of schedules, and schedules from a file.

The parts are open-loop schedules of either shape (see `lrbench.schedules.rates`). A torch-style part counts as the
factor that it gives a base rate of one; the momentum it may move is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import MinLen
from numpy.typing import NDArray

from lrbench.delimited import plain_numbers, read_delimited
from lrbench.schedules.factors import Floats, factor
from lrbench.spec import Fraction, Positive, steps_of

__all__ = ["from_csv", "product", "sequence"]

Parts = Annotated[list[Callable[..., Any]], MinLen(1)]


@factor
def sequence(
    step: Floats, total_steps: int, *, parts: Parts, fractions: Annotated[list[Fraction], MinLen(1)]
) -> Floats:
    """Play schedules one after the other; each sees its own share of the budget as its whole budget.

    torch SequentialLR, optax join_schedules, LRBench's piecewise policies. Unlike with SequentialLR, no part is
    stepped before its turn, and none sees the steps of another. Past the end the last rate stays.

    Args:
        step: zero-based.
        total_steps: the budget.
        parts: at least one schedule.
        fractions: of the budget, one a part, adding up to 1.

    Raises:
        ValueError: the counts differ, the fractions do not add up to 1, or a part is closed-loop.
    """
    if len(parts) != len(fractions) or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"scheduler.fractions must have one entry for each of the {len(parts)} parts and add up to 1, "
            f"got {fractions}"
        )
    ends = [steps_of(share, total_steps) for share in np.cumsum(fractions)]
    begins = [0, *ends[:-1]]
    shares = zip(parts, begins, ends, strict=True)
    table = np.concatenate([_factors(part, end - begin) for part, begin, end in shares if end > begin])
    return _look_up(table, step)


@factor
def product(step: Floats, total_steps: int, *, parts: Parts) -> Floats:
    """Multiply schedules that all run over the whole budget (torch ChainedScheduler, init2winit compound).

    Args:
        step: zero-based; past the end the last rate stays.
        total_steps: the budget.
        parts: at least one schedule.

    Raises:
        ValueError: a part is closed-loop.
    """
    return _look_up(np.prod([_factors(part, total_steps) for part in parts], axis=0), step)


@factor
def from_csv(step: Floats, total_steps: int, *, file: str, reference: Positive | None = None) -> Floats:
    """Follow a table of rates, such as the one that `lrbench preview out=lr.csv` writes.

    The rates are divided by `reference`, the largest of them unless given, so that the table's peak is the base rate
    `optimizer.lr` and can be searched like any other. A table of another length than the budget is stretched by
    linear interpolation; past the end the last rate stays.

    Args:
        step: zero-based.
        total_steps: the budget.
        file: CSV with a column `lr`, rows in order of step; see `lrbench.delimited`.
        reference: the rate that counts as 1.

    Raises:
        ValueError: the file or its column is missing, or a rate is no finite, non-negative number; names the row.
    """
    rates = _read_rates(Path(file).expanduser())
    scale = reference if reference is not None else float(rates.max())
    if scale <= 0:
        raise ValueError(f"scheduler.file={file}: every rate is zero")
    if len(rates) != total_steps:
        rates = np.interp(np.linspace(0, len(rates) - 1, total_steps), np.arange(len(rates)), rates)
    return _look_up(rates / scale, step)


def _factors(part: Callable[..., Any], total_steps: int) -> NDArray[np.float64]:
    """Tabulate one part over its own budget, as multiples of a base rate of one."""
    import torch

    from lrbench.schedules.rates import make_rates

    def unit_sgd(parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0, momentum=0.9)

    rates = make_rates(part, unit_sgd, total_steps=total_steps, num_evaluations=1, name="a part of the schedule")
    if rates.closed_loop:
        raise ValueError(
            "scheduler.parts must be open-loop, and so must a schedule whose factors are asked for; what plateau and "
            "greedy do depends on the training"
        )
    return rates.lr


def tabulated(family: Callable[..., Any], step: Any, total_steps: int) -> Any:
    """The multiple of the base rate at `step` that a torch-style family gives; steps past the end count as the last.

    Args:
        family: hyperparameters bound.
        step: zero-based, an int or an array of ints.
        total_steps: the budget.

    Returns:
        A float for an int, else a float64 array of the shape of `step`.

    Raises:
        ValueError: it depends on the validation loss.
    """
    found = _look_up(_factors(family, total_steps), np.maximum(np.asarray(step, dtype=np.float64), 0))
    return float(found) if np.ndim(step) == 0 else found


def _look_up(table: NDArray[np.float64], step: Floats) -> Floats:
    return table[np.minimum(step.astype(np.int64), len(table) - 1)]


def _read_rates(path: Path) -> NDArray[np.float64]:
    try:
        table = read_delimited(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"scheduler.file must be a CSV of rates: {error}") from error
    columns = table.columns | plain_numbers(table.columns)
    if "lr" not in columns:
        raise ValueError(f"scheduler.file={path} needs a column lr, it has {', '.join(columns)}")
    rates = []
    for row, text in zip(table.rows, columns["lr"].to_pylist(), strict=True):
        try:
            rate = float(text)
        except (TypeError, ValueError):
            rate = math.nan
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"scheduler.file={path}, row {row}: lr must be finite and not negative, got {text!r}")
        rates.append(rate)
    return np.array(rates)
