"""Optimizers that estimate their own rate."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from lrbench.optimizers.extras import import_extra
from lrbench.spec import NonNegative, Positive, Probability

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT


def prodigy(
    params: ParamsT,
    *,
    lr: Positive = 1.0,
    beta1: Probability = 0.9,
    beta2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
    d0: Positive = 1e-6,
    d_coef: Positive = 1.0,
    use_bias_correction: bool = False,
    safeguard_warmup: bool = False,
) -> Optimizer:
    """AdamW with rate lr d, d the estimated distance to the solution (Mishchenko and Defazio, 2306.06101).

    Args:
        params: to update; all groups share one rate.
        lr: factor that a schedule scales; the authors recommend 1.
        beta1: decay of the mean of gradients, in [0, 1).
        beta2: decay of the mean of squared gradients, in [0, 1).
        eps: added to the root, > 0.
        weight_decay: decoupled.
        d0: first estimate of d.
        d_coef: factor on the estimate of d; 0.5 to 2 usually works.
        use_bias_correction: Adam's.
        safeguard_warmup: keep the rates of a warmup out of the estimate of d.

    Raises:
        ValueError: the package prodigyopt is not installed.
    """
    package = import_extra("prodigyopt", optimizer="prodigy")
    # It announces its weight decay with a print, where the output of a run may be parsed.
    with redirect_stdout(io.StringIO()):
        optimizer: Optimizer = package.Prodigy(
            params,
            lr=lr,
            betas=(beta1, beta2),
            eps=eps,
            weight_decay=weight_decay,
            d0=d0,
            d_coef=d_coef,
            use_bias_correction=use_bias_correction,
            safeguard_warmup=safeguard_warmup,
        )
    return optimizer
