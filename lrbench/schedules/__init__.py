"""Schedules: what sets the rate at each step.

Importing this package does not import torch; `lrbench.schedules.rates`, which drives the schedulers, does.
"""

from lrbench.schedules.torch_families import (
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    exponential,
    linear,
    multistep,
    one_cycle,
    plateau,
    polynomial,
    step,
)
from lrbench.schedules.warmup import (
    Warmup,
    cosine_warmup,
    exponential_warmup,
    linear_warmup,
    polynomial_warmup,
)

__all__ = [
    "Warmup",
    "constant",
    "cosine",
    "cosine_restarts",
    "cosine_warmup",
    "cyclic",
    "exponential",
    "exponential_warmup",
    "linear",
    "linear_warmup",
    "multistep",
    "one_cycle",
    "plateau",
    "polynomial",
    "polynomial_warmup",
    "step",
]
