"""The families that `torch.optim.lr_scheduler` has, with every length given as a fraction of the budget.

Each function takes `(optimizer, total_steps, *, ...)` and returns the torch scheduler, stepped once per optimizer
step. The rate they scale is the optimizer's own `lr`: the peak, for the cyclic ones. Called with a step or an array of
steps in the optimizer's place they give the multiple of that rate, as the pure families do. torch is imported inside,
so that a config can be checked against these signatures without paying for the import.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from annotated_types import Ge, Gt

from lrbench.spec import Count, Fraction, FractionOrZero, Fractions, Positive, Probability, Ratio, steps_of

if TYPE_CHECKING:
    from torch.optim import Optimizer, lr_scheduler

__all__ = [
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "exponential",
    "linear",
    "multiplicative",
    "multistep",
    "one_cycle",
    "plateau",
    "polynomial",
    "step",
]

F = TypeVar("F", bound=Callable[..., Any])


def _of_steps(family: F) -> F:
    """Let a family also be called as the pure ones are, with steps: (step, total_steps, ...) gives the factor there."""

    @functools.wraps(family)
    def either(optimizer: Any, total_steps: int, **parameters: Any) -> Any:
        if hasattr(optimizer, "param_groups"):
            return family(optimizer, total_steps, **parameters)
        from lrbench.schedules.compose import tabulated

        return tabulated(functools.partial(family, **parameters), optimizer, total_steps)

    return cast("F", either)


PositiveRatio = Annotated[float, Gt(0), "of the base rate"]
AtLeastOne = Annotated[float, Ge(1)]


@_of_steps
def constant(
    optimizer: Optimizer,
    total_steps: int,
    *,
    initial_ratio: PositiveRatio = 1.0,
    initial_fraction: FractionOrZero = 0.0,
) -> lr_scheduler.LRScheduler:
    """Keep the rate: `initial_ratio` for the first `initial_fraction` of the budget, then 1 (torch ConstantLR).

    The defaults are a flat line; ConstantLR's own (a third for five steps, then 1) surprise people.
    """
    from torch.optim import lr_scheduler

    return lr_scheduler.ConstantLR(optimizer, factor=initial_ratio, total_iters=steps_of(initial_fraction, total_steps))


@_of_steps
def step(
    optimizer: Optimizer, total_steps: int, *, gamma: Ratio = 0.1, interval_fraction: Fraction = 0.34
) -> lr_scheduler.LRScheduler:
    """Multiply by gamma every `interval_fraction` of the budget: gamma^floor(t/s) (He et al. 2016; torch StepLR)."""
    from torch.optim import lr_scheduler

    return lr_scheduler.StepLR(optimizer, step_size=steps_of(interval_fraction, total_steps, at_least=1), gamma=gamma)


@_of_steps
def multistep(
    optimizer: Optimizer,
    total_steps: int,
    *,
    gamma: Ratio = 0.1,
    milestone_fractions: Fractions | None = None,
) -> lr_scheduler.LRScheduler:
    """Multiply by gamma at each milestone: gamma^#{milestones <= t} (He et al. 2016; torch MultiStepLR).

    Args:
        optimizer: its `lr` is the first rate.
        total_steps: the budget.
        gamma: factor at each milestone.
        milestone_fractions: fractions of the budget, any order; [0.5, 0.75] unless given.
    """
    from torch.optim import lr_scheduler

    fractions = [0.5, 0.75] if milestone_fractions is None else milestone_fractions
    return lr_scheduler.MultiStepLR(optimizer, milestones=[steps_of(f, total_steps) for f in fractions], gamma=gamma)


@_of_steps
def exponential(optimizer: Optimizer, total_steps: int, *, end_ratio: PositiveRatio = 0.01) -> lr_scheduler.LRScheduler:
    """Decay geometrically to `end_ratio` at the end of the budget: end_ratio^(t/T) (torch ExponentialLR)."""
    from torch.optim import lr_scheduler

    return lr_scheduler.ExponentialLR(optimizer, gamma=end_ratio ** (1 / total_steps))


@_of_steps
def multiplicative(
    optimizer: Optimizer, total_steps: int, *, factor: Ratio = 0.9, interval_fraction: Fraction = 0.05
) -> lr_scheduler.LRScheduler:
    """Multiply by `factor` at the end of every `interval_fraction` of the budget (torch MultiplicativeLR).

    With an interval of one epoch it is the lambda that PyKEEN searches, factor in {0.85, 0.9, 0.95}.
    """
    from torch.optim import lr_scheduler

    interval = steps_of(interval_fraction, total_steps, at_least=1)
    return lr_scheduler.MultiplicativeLR(optimizer, lambda step: factor if step % interval == 0 else 1.0)


@_of_steps
def polynomial(optimizer: Optimizer, total_steps: int, *, power: Positive = 1.0) -> lr_scheduler.LRScheduler:
    """Decay to zero as (1 - t/T)^power (DeepLab, Chen et al. 2018; torch PolynomialLR)."""
    from torch.optim import lr_scheduler

    return lr_scheduler.PolynomialLR(optimizer, total_iters=total_steps, power=power)


@_of_steps
def linear(
    optimizer: Optimizer, total_steps: int, *, start_ratio: PositiveRatio = 1.0, end_ratio: Ratio = 0.0
) -> lr_scheduler.LRScheduler:
    """Move in a straight line from `start_ratio` to `end_ratio`, reached at step T (torch LinearLR).

    To zero it is the budgeted schedule of Li et al. 2020 (1905.04753), also known as D2Z (2502.15938).
    """
    from torch.optim import lr_scheduler

    return lr_scheduler.LinearLR(optimizer, start_factor=start_ratio, end_factor=end_ratio, total_iters=total_steps)


@_of_steps
def cosine(optimizer: Optimizer, total_steps: int, *, min_ratio: Ratio = 0.0) -> lr_scheduler.LRScheduler:
    """Fall along half a cosine, m + (1-m)(1+cos(pi t/T))/2, m = min_ratio (SGDR 1608.03983; CosineAnnealingLR).

    torch's class climbs again after T_max; T_max is the budget here, so within it the rate never rises.
    """
    from torch.optim import lr_scheduler

    return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=min_ratio * _base_lr(optimizer))


@_of_steps
def cosine_restarts(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_cycles: Count = 3,
    cycle_multiplier: Count = 2,
    min_ratio: Ratio = 0.0,
) -> lr_scheduler.LRScheduler:
    """Restart a cosine `num_cycles` times, each cycle `cycle_multiplier` times as long (SGDR 1608.03983).

    torch's CosineAnnealingWarmRestarts. The first cycle is the shortest whole number of steps with which the last
    cycle ends at the end of the budget, or, where the lengths do not divide it, is cut a few steps short of its
    minimum; a restart just before the end would throw the run's result away.
    """
    from torch.optim import lr_scheduler

    unit_lengths = sum(cycle_multiplier**i for i in range(num_cycles))
    return lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer,
        T_0=math.ceil(total_steps / unit_lengths),
        T_mult=cycle_multiplier,
        eta_min=min_ratio * _base_lr(optimizer),
    )


@_of_steps
def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    pct_start: Fraction = 0.3,
    div_factor: AtLeastOne = 25.0,
    final_div_factor: AtLeastOne = 1e4,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
    cycle_momentum: bool = True,
    base_momentum: Probability = 0.85,
    max_momentum: Probability = 0.95,
) -> lr_scheduler.LRScheduler:
    """Rise from lr/div_factor to lr, then fall to lr/div_factor/final_div_factor (Smith 1708.07120; OneCycleLR).

    Momentum (or Adam's first beta) moves the other way between base_momentum and max_momentum: it overwrites the
    optimizer's own unless `cycle_momentum` is false.
    """
    from torch.optim import lr_scheduler

    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=_base_lr(optimizer),
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        anneal_strategy=anneal_strategy,
        three_phase=three_phase,
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


@_of_steps
def cyclic(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_cycles: Count = 4,
    min_ratio: Ratio = 0.1,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    end_ratio: PositiveRatio = 0.1,
    cycle_momentum: bool = False,
    base_momentum: Probability = 0.85,
    max_momentum: Probability = 0.95,
) -> lr_scheduler.LRScheduler:
    """Swing between min_ratio * lr and lr in `num_cycles` whole triangles (Smith 1506.01186; torch CyclicLR).

    Args:
        optimizer: its `lr` is the peak.
        total_steps: the budget.
        num_cycles: triangles in the budget; the last one ends with it.
        min_ratio: foot of the triangles, as a ratio of the peak.
        mode: constant amplitude, halved each cycle, or decayed each step (`exp_range`).
        end_ratio: amplitude left at the end of the budget in mode `exp_range` only.
        cycle_momentum: move momentum against the rate; off here, since it overwrites the optimizer's own and fails
            for optimizers that have none.
        base_momentum: momentum at the peak.
        max_momentum: momentum at the foot.
    """
    from torch.optim import lr_scheduler

    return lr_scheduler.CyclicLR(
        optimizer,
        base_lr=min_ratio * _base_lr(optimizer),
        max_lr=_base_lr(optimizer),
        step_size_up=total_steps / (2 * num_cycles),  # type: ignore[arg-type]  # torch takes floats here
        mode=mode,
        gamma=end_ratio ** (1 / total_steps),
        cycle_momentum=cycle_momentum,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )


@_of_steps
def plateau(
    optimizer: Optimizer,
    total_steps: int,
    *,
    num_evaluations: Count,
    factor: Annotated[float, Gt(0)] = 0.1,
    patience_fraction: FractionOrZero = 0.1,
    threshold: Ratio = 1e-4,
    cooldown_fraction: FractionOrZero = 0.0,
    min_ratio: Ratio = 0.0,
) -> lr_scheduler.ReduceLROnPlateau:
    """Multiply by `factor` when the validation loss has not improved for a while (torch ReduceLROnPlateau).

    Args:
        optimizer: its `lr` is the first rate.
        total_steps: the budget.
        num_evaluations: evaluations after the first update; passed in by the harness.
        factor: in (0, 1).
        patience_fraction: evaluations without gain that are tolerated, as a fraction of all evaluations.
        threshold: relative gain that counts as one.
        cooldown_fraction: evaluations ignored after a cut, as a fraction of all.
        min_ratio: smallest rate, of the base rate.
    """
    from torch.optim import lr_scheduler

    if factor >= 1:
        raise ValueError(f"scheduler.factor must be in (0, 1), got {factor}")
    return lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=steps_of(patience_fraction, num_evaluations),
        threshold=threshold,
        cooldown=steps_of(cooldown_fraction, num_evaluations),
        min_lr=min_ratio * _base_lr(optimizer),
    )


def _base_lr(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])
