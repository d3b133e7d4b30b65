"""Schedule-free optimizers: averaging of the weights in place of a decaying rate.

Defazio et al. 2024, arXiv 2405.15682; package schedulefree.

They train at y = (1 - beta) z + beta x, a point between the plain iterate z and the average x of its past,
and are evaluated at x; `evaluation_weights` switches. They are returned in training mode, which their `step`
insists on. Their own warmup is left out: it scales the rate by the same ramp as `warmup=linear`, which every
optimizer has. A schedule must not move their momentum: x is not stored but recovered from y and z with the
current beta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt, Lt

from lrbench.optimizers.extras import import_extra
from lrbench.spec import NonNegative, Positive, Probability

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

Interpolation = Annotated[float, Gt(0), Lt(1)]  # at 0 the average cannot be recovered, at 1 nothing moves


def schedule_free_sgd(
    params: ParamsT,
    *,
    lr: Positive,
    momentum: Interpolation = 0.9,
    weight_decay: NonNegative = 0.0,
    polynomial_weighting: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> Optimizer:
    """Schedule-free gradient descent: z <- z - lr g(y); x <- (1 - c) x + c z.

    Args:
        params: to update.
        lr: base rate; 10 to 50 times that of SGD with momentum, say its authors.
        momentum: beta of the module's formula, in (0, 1).
        weight_decay: L2 penalty at y, added to the gradient.
        polynomial_weighting: r; step k weighs k^r in the average.
        weight_lr_power: p; a step weighs as its largest rate so far to the power p in the average.

    Raises:
        ValueError: the package schedulefree is not installed.
    """
    package = import_extra("schedulefree", optimizer="schedule_free_sgd")
    optimizer = package.SGDScheduleFree(
        params,
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        r=polynomial_weighting,
        weight_lr_power=weight_lr_power,
    )
    return _in_training_mode(optimizer)


def schedule_free_adamw(
    params: ParamsT,
    *,
    lr: Positive,
    beta1: Interpolation = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    polynomial_weighting: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> Optimizer:
    """Schedule-free AdamW: as schedule_free_sgd, with the gradient over its root mean square.

    Args:
        params: to update.
        lr: base rate; 1 to 10 times that of AdamW, say its authors.
        beta1: beta of the module's formula, in (0, 1).
        beta2: decay of the mean of squared gradients, in [0, 1).
        eps: added to the root, > 0.
        weight_decay: decoupled, at y.
        polynomial_weighting: r; step k weighs k^r in the average.
        weight_lr_power: p; a step weighs as its largest rate so far to the power p in the average.

    Raises:
        ValueError: the package schedulefree is not installed.
    """
    package = import_extra("schedulefree", optimizer="schedule_free_adamw")
    optimizer = package.AdamWScheduleFree(
        params,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        r=polynomial_weighting,
        weight_lr_power=weight_lr_power,
    )
    return _in_training_mode(optimizer)


def _in_training_mode(optimizer: Optimizer) -> Optimizer:
    optimizer.train()  # type: ignore[attr-defined]
    return optimizer
