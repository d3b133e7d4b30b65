"""Closed-loop families beyond torch's plateau: they see the validation loss of every evaluation.

Each controller has torch's interface for such schedulers, `step(metrics)` and a state dictionary, and moves
`optimizer.param_groups[...]["lr"]`. Patience is given as a fraction of the run's evaluations, so that it stretches
with the budget; rates are ratios of the base rate.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt

from lrbench.spec import Count, Fraction, FractionOrZero, NonNegative, Positive, Ratio, steps_of

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["change_on_plateau", "greedy", "sklearn_adaptive"]

Shrink = Annotated[float, Gt(0), Lt(1)]
Grow = Annotated[float, Ge(1)]


class _Controller:
    """What the controllers share: scaling the rates within bounds, and their state."""

    def __init__(self, optimizer: Optimizer, *, min_ratio: float, max_ratio: float) -> None:
        self.optimizer = optimizer
        self.bounds = [(min_ratio * g["lr"], max_ratio * g["lr"]) for g in optimizer.param_groups]
        self.best = float("inf")
        self.num_bad = 0

    def scale(self, factor: float) -> None:
        """Multiply every group's rate, within its bounds."""
        for group, (low, high) in zip(self.optimizer.param_groups, self.bounds, strict=True):
            group["lr"] = min(max(group["lr"] * factor, low), high)

    def state_dict(self) -> dict[str, Any]:
        """Return what `step` changes."""
        return {k: list(v) if isinstance(v, deque) else v for k, v in vars(self).items() if k != "optimizer"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            own = getattr(self, name)
            setattr(self, name, deque(value, maxlen=own.maxlen) if isinstance(own, deque) else value)


class GreedyLR(_Controller):
    """See `greedy`."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        factor: float,
        patience: int,
        window: int,
        threshold: float,
        min_ratio: float,
        max_ratio: float,
    ) -> None:
        super().__init__(optimizer, min_ratio=min_ratio, max_ratio=max_ratio)
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.recent: deque[float] = deque(maxlen=window)
        self.num_good = 0

    def step(self, metrics: float) -> None:
        """Take the loss of one evaluation into account."""
        self.recent.append(metrics)
        smoothed = sum(self.recent) / len(self.recent)
        if smoothed < self.best - self.threshold:
            self.best = smoothed
            self.num_good, self.num_bad = self.num_good + 1, 0
        else:
            self.num_good, self.num_bad = 0, self.num_bad + 1
        if self.num_good > self.patience:
            self.scale(1 / self.factor)
            self.num_good = 0
        elif self.num_bad > self.patience:
            self.scale(self.factor)
            self.num_bad = 0


def greedy(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_evaluations: Count,
    factor: Shrink = 0.9,
    patience_fraction: FractionOrZero = 0.05,
    window_fraction: Fraction = 0.1,
    threshold: NonNegative = 1e-6,
    min_ratio: Ratio = 0.01,
    max_ratio: Grow = 10.0,
) -> GreedyLR:
    """Divide the rate by `factor` while the smoothed loss improves, multiply by it while it does not.

    GreedyLR, arXiv 2512.14527, as in transformers: the loss is a moving average, and more than `patience` improvements
    (or failures) in a row are needed. transformers' absolute bounds on the rate are ratios here, and its reset to the
    first rate after a long stay at the lowest one, which the paper does not have, is left out.

    Args:
        optimizer: its `lr` is the first rate.
        total_steps: the budget; not used, the evaluations are what counts.
        num_evaluations: evaluations after the first update; passed in by the harness.
        factor: in (0, 1).
        patience_fraction: consecutive evaluations that must be exceeded, as a fraction of all.
        window_fraction: evaluations averaged, as a fraction of all; at least one.
        threshold: absolute gain that counts as one.
        min_ratio: lowest rate, of the base rate.
        max_ratio: highest rate, of the base rate.
    """
    return GreedyLR(
        optimizer,
        factor=factor,
        patience=steps_of(patience_fraction, num_evaluations),
        window=steps_of(window_fraction, num_evaluations, at_least=1),
        threshold=threshold,
        min_ratio=min_ratio,
        max_ratio=max_ratio,
    )


class ChangeOnPlateau(_Controller):
    """See `change_on_plateau`."""

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        patience: int,
        raise_until: int,
        raise_factor: float,
        lower_factor: float,
        threshold: float,
        min_ratio: float,
        max_ratio: float,
    ) -> None:
        super().__init__(optimizer, min_ratio=min_ratio, max_ratio=max_ratio)
        self.patience = patience
        self.raise_until = raise_until
        self.raise_factor = raise_factor
        self.lower_factor = lower_factor
        self.threshold = threshold
        self.num_seen = 0

    def step(self, metrics: float) -> None:
        """Take the loss of one evaluation into account."""
        self.num_seen += 1
        if metrics < self.best * (1 - self.threshold):
            self.best, self.num_bad = metrics, 0
        else:
            self.num_bad += 1
        if self.num_bad > self.patience:
            self.scale(self.raise_factor if self.num_seen <= self.raise_until else self.lower_factor)
            self.num_bad = 0


def change_on_plateau(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_evaluations: Count,
    patience_fraction: FractionOrZero = 0.1,
    raise_fraction: FractionOrZero = 0.8,
    raise_factor: Grow = 2.0,
    lower_factor: Shrink = 0.1,
    threshold: Ratio = 1e-4,
    min_ratio: Ratio = 0.0,
    max_ratio: Grow = 10.0,
) -> ChangeOnPlateau:
    """Raise the rate on a plateau to escape it, except late in the budget, where a plateau lowers it.

    Wu et al. 2019, arXiv 1908.06477 (LRBench): the change early on is a switch to a larger rate, in the last 20 % of
    the budget to a smaller one. Their code compares the loss with an attribute that it never updates, so it acts on
    every evaluation; this follows the paper.

    Args:
        optimizer: its `lr` is the first rate.
        total_steps: the budget; not used, the evaluations are what counts.
        num_evaluations: evaluations after the first update; passed in by the harness.
        patience_fraction: evaluations without gain that are tolerated, as a fraction of all.
        raise_fraction: leading part of the evaluations in which a plateau raises the rate.
        raise_factor: >= 1.
        lower_factor: in (0, 1).
        threshold: relative gain that counts as one.
        min_ratio: lowest rate, of the base rate.
        max_ratio: highest rate, of the base rate.
    """
    return ChangeOnPlateau(
        optimizer,
        patience=steps_of(patience_fraction, num_evaluations),
        raise_until=steps_of(raise_fraction, num_evaluations),
        raise_factor=raise_factor,
        lower_factor=lower_factor,
        threshold=threshold,
        min_ratio=min_ratio,
        max_ratio=max_ratio,
    )


class SklearnAdaptive(_Controller):
    """See `sklearn_adaptive`."""

    def __init__(
        self, optimizer: Optimizer, *, divisor: float, num_no_change: int, tol: float, min_ratio: float
    ) -> None:
        super().__init__(optimizer, min_ratio=min_ratio, max_ratio=1.0)
        self.divisor = divisor
        self.num_no_change = num_no_change
        self.tol = tol

    def step(self, metrics: float) -> None:
        """Take the loss of one evaluation into account."""
        self.num_bad = self.num_bad + 1 if metrics > self.best - self.tol else 0
        # Unlike torch's plateau, any new minimum is the next one's measure, however small the gain.
        self.best = min(self.best, metrics)
        if self.num_bad >= self.num_no_change:
            self.scale(1 / self.divisor)
            self.num_bad = 0


def sklearn_adaptive(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_evaluations: Count,
    divisor: Annotated[float, Gt(1)] = 5.0,
    patience_fraction: Fraction = 0.25,
    tol: Positive = 1e-3,
    min_ratio: Ratio = 1e-5,
) -> SklearnAdaptive:
    """Divide the rate by 5 whenever the loss fails to fall by `tol` in `n_iter_no_change` evaluations in a row.

    scikit-learn's `learning_rate="adaptive"` of SGDClassifier, with its `tol` (absolute) and the five epochs of
    `n_iter_no_change` as a fraction of the evaluations. scikit-learn looks at the training loss of an epoch and ends
    the fit below a rate of 1e-6; here it is the validation loss, and the rate stays at `min_ratio`.

    Args:
        optimizer: its `lr` is the first rate.
        total_steps: the budget; not used, the evaluations are what counts.
        num_evaluations: evaluations after the first update; passed in by the harness.
        divisor: > 1.
        patience_fraction: of the evaluations; at least one.
        tol: absolute gain that counts as one.
        min_ratio: lowest rate, of the base rate.
    """
    return SklearnAdaptive(
        optimizer,
        divisor=divisor,
        num_no_change=steps_of(patience_fraction, num_evaluations, at_least=1),
        tol=tol,
        min_ratio=min_ratio,
    )
