"""The optimizers of `torch.optim`.

Each factory takes parameters (or parameter groups) and returns the torch optimizer; `lr` is the base rate
that a schedule scales. `fused` selects torch's single-kernel update, several times faster for small models
and equal to the plain one up to rounding; it is there for CPU, CUDA and MPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrbench.spec import NonNegative, Positive, Probability

if TYPE_CHECKING:
    from torch.optim import SGD, Adam, AdamW, RMSprop
    from torch.optim.optimizer import ParamsT


def sgd(
    params: ParamsT,
    *,
    lr: Positive,
    momentum: Probability = 0.9,
    dampening: Probability = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    fused: bool = True,
) -> SGD:
    """Gradient descent with momentum: v <- m v + (1 - d) g; w <- w - lr v (torch SGD, Sutskever et al. 2013).

    Args:
        params: to update.
        lr: base rate.
        momentum: m, in [0, 1); 0 is plain gradient descent.
        dampening: d, in [0, 1).
        nesterov: step along g + m v instead of v.
        weight_decay: L2 penalty, added to the gradient.
        fused: see the module.

    Raises:
        ValueError: nesterov without momentum, or with dampening.
    """
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "optimizer.nesterov=true needs optimizer.momentum > 0 and optimizer.dampening = 0, got "
            f"optimizer.momentum={momentum}, optimizer.dampening={dampening}"
        )
    from torch.optim import SGD

    return SGD(
        params,
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=fused,
    )


def adam(
    params: ParamsT,
    *,
    lr: Positive,
    beta1: Probability = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    fused: bool = True,
) -> Adam:
    """Step along the mean gradient over its root mean square (torch Adam; Kingma and Ba 2015, 1412.6980).

    Args:
        params: to update.
        lr: base rate.
        beta1: decay of the mean of gradients, in [0, 1); what schedules that cycle momentum move.
        beta2: decay of the mean of squared gradients, in [0, 1).
        eps: added to the root, > 0.
        weight_decay: L2 penalty, added to the gradient and so rescaled with it; see adamw.
        fused: see the module.
    """
    from torch.optim import Adam

    return Adam(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused)


def adamw(
    params: ParamsT,
    *,
    lr: Positive,
    beta1: Probability = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
    fused: bool = True,
) -> AdamW:
    """Adam with decoupled decay, w <- (1 - lr wd) w (torch AdamW; Loshchilov and Hutter 2019, 1711.05101).

    Args:
        params: to update.
        lr: base rate; scales the decay too.
        beta1: decay of the mean of gradients, in [0, 1); what schedules that cycle momentum move.
        beta2: decay of the mean of squared gradients, in [0, 1).
        eps: added to the root, > 0.
        weight_decay: wd.
        fused: see the module.
    """
    from torch.optim import AdamW

    return AdamW(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused)


def rmsprop(
    params: ParamsT,
    *,
    lr: Positive,
    alpha: Probability = 0.99,
    eps: Positive = 1e-8,
    momentum: Probability = 0.0,
    centered: bool = False,
    weight_decay: NonNegative = 0.0,
) -> RMSprop:
    """Step along the gradient over its root mean square (torch RMSprop, Hinton 2012; torch has no fused one).

    Args:
        params: to update.
        lr: base rate.
        alpha: decay of the mean of squared gradients, in [0, 1).
        eps: added to the root, > 0.
        momentum: of the steps, in [0, 1).
        centered: divide by the standard deviation instead.
        weight_decay: L2 penalty, added to the gradient.
    """
    from torch.optim import RMSprop

    return RMSprop(params, lr=lr, alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay)
