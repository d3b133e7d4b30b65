"""Schedules: what sets the rate at each step.

Importing this package does not import torch; `lrbench.schedules.rates`, which drives the schedulers, does.
"""

from lrbench.schedules.chebyshev import fractal_chebyshev
from lrbench.schedules.closed_loop import change_on_plateau, greedy, sklearn_adaptive
from lrbench.schedules.compose import from_csv, product, sequence
from lrbench.schedules.cosines import (
    cosine_infinite,
    cosine_to_min,
    flat_cosine,
    generalized_cosine,
    hold_cosine,
    k_decay,
)
from lrbench.schedules.decay import exp_hyperbolic, hyperbolic, polynomial_decay, quarter_circle, rex, sigmoid, tanh
from lrbench.schedules.inverse import (
    inverse_sqrt,
    inverse_time,
    noam,
    power_law,
    sklearn_invscaling,
    sklearn_optimal,
    squashed_rsqrt,
)
from lrbench.schedules.piecewise import piecewise_constant, piecewise_linear
from lrbench.schedules.repeated_cosines import (
    cosine_cycles,
    cosine_echo,
    cosine_hard_restarts,
    coslog,
    warm_cosine_cycles,
)
from lrbench.schedules.splines import free_spline, two_point_linear, two_point_spline
from lrbench.schedules.torch_families import (
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    exponential,
    linear,
    multiplicative,
    multistep,
    one_cycle,
    plateau,
    polynomial,
    step,
)
from lrbench.schedules.warmup import Warmup, cosine_warmup, exponential_warmup, linear_warmup, polynomial_warmup
from lrbench.schedules.waves import cosine_wave, sawtooth, sine, triangle
from lrbench.schedules.wsd import knee, power_cooldown, slanted_triangular, trapezoid, wsd

__all__ = [
    "Warmup",
    "change_on_plateau",
    "constant",
    "cosine",
    "cosine_cycles",
    "cosine_echo",
    "cosine_hard_restarts",
    "cosine_infinite",
    "cosine_restarts",
    "cosine_to_min",
    "cosine_warmup",
    "cosine_wave",
    "coslog",
    "cyclic",
    "exp_hyperbolic",
    "exponential",
    "exponential_warmup",
    "flat_cosine",
    "fractal_chebyshev",
    "free_spline",
    "from_csv",
    "generalized_cosine",
    "greedy",
    "hold_cosine",
    "hyperbolic",
    "inverse_sqrt",
    "inverse_time",
    "k_decay",
    "knee",
    "linear",
    "linear_warmup",
    "multiplicative",
    "multistep",
    "noam",
    "one_cycle",
    "piecewise_constant",
    "piecewise_linear",
    "plateau",
    "polynomial",
    "polynomial_decay",
    "polynomial_warmup",
    "power_cooldown",
    "power_law",
    "product",
    "quarter_circle",
    "rex",
    "sawtooth",
    "sequence",
    "sigmoid",
    "sine",
    "sklearn_adaptive",
    "sklearn_invscaling",
    "sklearn_optimal",
    "slanted_triangular",
    "squashed_rsqrt",
    "step",
    "tanh",
    "trapezoid",
    "triangle",
    "two_point_linear",
    "two_point_spline",
    "warm_cosine_cycles",
    "wsd",
]
