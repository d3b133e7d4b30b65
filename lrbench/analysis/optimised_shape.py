"""The shape with the lowest loss under a fitted law: what the law believes, and not what was measured."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from lrbench.analysis.statistics.power_law_fit import Law
from lrbench.analysis.statistics.terms import FloatArray

_KNOTS = 12  # at equal distances, after the one at the beginning
_MOST_UPDATES = 2000  # a longer training is optimised on that many, each of which stands for several


@dataclass(frozen=True)
class Shape:
    """Straight lines between knots, the parameters of `piecewise_linear`.

    Attributes:
        boundary_fractions: of the updates after the warmup, increasing to 1.
        ratios: of the peak rate: 1 at the beginning, then at each boundary; they never rise.
    """

    boundary_fractions: list[float]
    ratios: list[float]


def optimised_shape(law: Law, num_updates: int, *, warmup: float = 0.0) -> Shape:
    """Minimise the predicted loss over shapes that start at the peak and never rise.

    Args:
        law: fitted.
        num_updates: after the warmup, >= 1.
        warmup: sum of the relative rates of the warmup.
    """
    knots = np.linspace(0.0, 1.0, _KNOTS + 1)
    parameters = law.parameters
    # The same law in units of several updates: S shrinks by that number, and A and C grow with it.
    stride = max(1.0, num_updates / _MOST_UPDATES)
    parameters["A"] *= stride ** -parameters["alpha"]
    parameters["C"] *= stride
    coarse = Law(np.log(list(parameters.values())))
    at = np.linspace(0.0, 1.0, round(num_updates / stride), endpoint=False)

    def loss(falls: FloatArray) -> float:
        return coarse.loss(np.interp(at, knots, _ratios(falls)), warmup=warmup / stride)

    found = [minimize(loss, start, method="L-BFGS-B", options={"maxiter": 100}) for start in _starts()]
    ratios = _ratios(min(found, key=lambda result: float(result.fun)).x)
    return Shape(np.round(knots[1:], 6).tolist(), np.round(ratios, 4).tolist())


def _ratios(falls: FloatArray) -> FloatArray:
    """Ratios at all knots from the logits of the falls between them and of what is left at the end."""
    shares = np.exp(falls - falls.max())
    return np.concatenate([[1.0], np.maximum(1.0 - np.cumsum(shares / shares.sum())[:_KNOTS], 0.0)])


def _starts() -> list[FloatArray]:
    """A straight line, and a late fall."""
    late = np.full(_KNOTS + 1, -3.0)
    late[-5:-1] = 0.0
    return [np.zeros(_KNOTS + 1), late]
