"""The words every other module uses: tasks, budgets, run states, evaluations, and the domains of parameters.

Nothing here imports torch, pandas, hydra or mlflow; this is the lowest layer.
"""

import hashlib
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

# Domains of user-given numbers. A function whose parameters carry these is checked against them before it is
# called from a config (`lrbench.config.validate`), and property tests draw from them. All floats are finite.
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Lt(1)]  # dropout, momentum, label smoothing: one itself is useless
Fraction = Annotated[float, Gt(0), Le(1)]  # of the budget
FractionOrZero = Annotated[float, Ge(0), Le(1)]
Ratio = Annotated[float, Ge(0), Le(1)]  # of the base rate
Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Fractions = Annotated[list[Fraction], MinLen(1)]

MOST_STEPS = 100_000_000

# What code of others raises when it is given what it cannot take; the parts of a user are called with these in mind.
PART_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, StopIteration, TypeError, ValueError,
)  # fmt: skip

# Keys of a component's config file that say what it is; all others, but `_target_`, are its parameters.
DOCUMENTATION = frozenset({"name", "purpose", "formula", "source", "libraries", "search"})


Direction = Literal["maximize", "minimize"]

# What is measured of a split, and which way is better. Accuracies are shares; nothing else is written in percent.
METRICS: dict[str, Direction] = {
    "loss": "minimize",
    "accuracy": "maximize",
    "balanced_accuracy": "maximize",
    "perplexity": "minimize",
    "rmse": "minimize",
    "r2": "maximize",
}


class Task(StrEnum):
    """What is asked of a dataset, and with it the loss and what is measured beside it.

    `classification`: mean cross entropy, and `balanced_accuracy`, the mean over classes of their accuracies.
    `tokens`: the same with a class for each token, means over tokens, and `perplexity`, the exponential of the loss.
    `regression`: mean over examples of half the squared error summed over outputs; `rmse` is over examples and outputs.
    `own_loss`: the model itself gives the loss of each example.

    What does not exist for a task is missing, not NaN.
    """

    CLASSIFICATION = "classification"
    TOKENS = "tokens"
    REGRESSION = "regression"
    OWN_LOSS = "own_loss"

    @property
    def metrics(self) -> tuple[str, ...]:
        """What an evaluation measures, the loss first."""
        return _MEASURED[self]

    @property
    def has_classes(self) -> bool:
        """Whether targets are classes."""
        return self in (Task.CLASSIFICATION, Task.TOKENS)

    @property
    def objective(self) -> str:
        """By which validation metric runs are judged where nobody says otherwise."""
        return "val/accuracy" if self is Task.CLASSIFICATION else "val/loss"


_MEASURED = {
    Task.CLASSIFICATION: ("loss", "accuracy", "balanced_accuracy"),
    Task.TOKENS: ("loss", "accuracy", "perplexity"),
    Task.REGRESSION: ("loss", "rmse", "r2"),
    Task.OWN_LOSS: ("loss",),
}


def direction_of(metric: str) -> Direction | None:
    """Say which way a metric of ours such as `val/rmse` is better; None for one that we do not know."""
    split, _, name = metric.partition("/")
    return METRICS.get(name) if split in ("train", "val", "test") else None


class RunState(StrEnum):
    """How a run ended, in the words of the analysis.

    `ok`: reached its budget with finite losses. `diverged`: the loss stopped being finite, or the run ended worse than
    it began. `incomplete`: not finished, or ended before its budget. `missing`: planned but absent, so it never labels
    a record.
    """

    OK = "ok"
    DIVERGED = "diverged"
    INCOMPLETE = "incomplete"
    MISSING = "missing"


def run_state(
    *, first_loss: float, last_loss: float, last_step: int, total_steps: int, has_improved: bool = False
) -> RunState:
    """Judge one run by its first and last validation loss and how far it came.

    Divergence is judged first: a diverged run stops early on purpose, which must not make it `incomplete`.

    Args:
        first_loss: at step 0.
        last_loss: at the end.
        last_step: updates completed.
        total_steps: the budget.
        has_improved: the headline metric is another than the loss, and ended better than at step 0: with label noise,
            accuracy rises and so does the loss.
    """
    if not math.isfinite(last_loss):
        return RunState.DIVERGED
    if last_step < total_steps:
        return RunState.INCOMPLETE
    return RunState.DIVERGED if last_loss > first_loss and not has_improved else RunState.OK


@dataclass(frozen=True)
class Budget:
    """The fixed length of a training, in steps.

    Attributes:
        total_steps: parameter updates, >= 1.
        steps_per_epoch: full batches in one pass over the training split; the incomplete batch at the end of an
            epoch is dropped, and since every epoch is shuffled anew, different examples are left out each time.
    """

    total_steps: int
    steps_per_epoch: int

    @property
    def epochs(self) -> float:
        """Passes over the training split."""
        return self.total_steps / self.steps_per_epoch


def resolve_budget(*, steps: int | None, epochs: float | None, num_train: int, batch_size: int) -> Budget:
    """Turn a budget given in steps or in epochs into steps.

    Raises:
        ValueError: unless exactly one of steps and epochs is given, positive and finite, and a batch fits in the
            training split.
    """
    if (steps is None) == (epochs is None):
        raise ValueError(
            "exactly one of budget.steps and budget.epochs must be given, got "
            f"budget.steps={steps}, budget.epochs={epochs}; "
            "write `budget=steps budget.steps=1000` or `budget=epochs budget.epochs=20`"
        )
    if batch_size > num_train:
        raise ValueError(f"training.batch_size must be at most the {num_train} training examples, got {batch_size}")
    steps_per_epoch = num_train // batch_size
    if epochs is not None:
        if not (math.isfinite(epochs) and epochs > 0):
            raise ValueError(f"budget.epochs must be positive and finite, got {epochs}")
        steps = round(epochs * steps_per_epoch)
        if steps < 1:
            raise ValueError(
                f"budget.epochs must give at least one step of {batch_size} examples, got {epochs} epochs of "
                f"{steps_per_epoch} steps"
            )
    assert steps is not None
    if steps < 1:
        raise ValueError(f"budget.steps must be at least 1, got {steps}")
    if steps > MOST_STEPS:
        given = f"budget.steps={steps}" if epochs is None else f"budget.epochs={epochs:g}, {steps:,} steps"
        raise ValueError(f"a budget must be at most {MOST_STEPS:,} steps, whose rates are kept in memory, got {given}")
    return Budget(total_steps=steps, steps_per_epoch=steps_per_epoch)


def steps_of(fraction: float, total_steps: int, *, at_least: int = 0) -> int:
    """Resolve a fraction of the budget to a whole number of steps; every length of a schedule goes through here.

    Rounds half up (not to even), so that equal fractions of growing budgets never shrink.
    """
    # A fraction such as 0.29 of 100 is 28.999999999999996 in floating point.
    return max(at_least, math.floor(fraction * total_steps + 0.5 + 1e-9))


def evaluation_steps(total_steps: int, eval_every: float) -> list[int]:
    """Steps (updates completed) after which a run is evaluated: 0, every `eval_every` of the budget, and the end.

    Args:
        total_steps: the budget, >= 1.
        eval_every: fraction of the budget in (0, 1]; finer than one step means every step.

    Returns:
        Strictly increasing steps from 0 to total_steps inclusive.
    """
    if eval_every * total_steps <= 1:
        return list(range(total_steps + 1))
    num_intervals = math.ceil(1 / eval_every - 1e-9)
    marks = {steps_of(min(1.0, i * eval_every), total_steps) for i in range(num_intervals + 1)}
    return sorted(marks | {0, total_steps})


@dataclass(frozen=True)
class Evaluation:
    """What is known of one trial after `step` updates.

    Attributes:
        step: updates completed, >= 0.
        seconds: training time up to here, evaluations and restarts excluded.
        metrics: by tracker name (`train/loss`, `val/...` and `test/...` of `Task.metrics`). NaN means
            the trial diverged; a metric that was not measured is absent.
        rates: (step, lr, momentum or None) of steps since the previous evaluation, thinned; `step` counts the update
            that used the rate as completed, so the first update of a run is step 1.
    """

    step: int
    seconds: float
    metrics: dict[str, float]
    rates: list[tuple[int, float, float | None]] = field(default_factory=list)


def derived_seed(*words: int | str) -> int:
    """Derive an independent 63-bit seed from words such as ("batch order", seed, epoch).

    A digest, not arithmetic: seed + epoch would make epoch 1 of seed 0 the epoch 0 of seed 1.
    """
    digest = hashlib.sha256("\x1f".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
