"""The multi-power law fitted to short runs, the probes; see `power_law`.

Log losses are fitted by `scipy.optimize.least_squares(loss="huber")` from four starts. Curves of one peak rate hardly
tell the exponents apart, so a prior pulls them to the published fits of Luo et al.: alpha and beta weakly, gamma
strongly, since the last steps of a fall to zero would else be worth as much as the noise likes. Noise and widths were
chosen on the 124M model of `scripts/predict_published.py`, so its table is no test of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import least_squares

from lrbench.analysis.statistics.power_law import annealed, multi_power_law
from lrbench.analysis.statistics.terms import FloatArray

_NAMES = ("L0", "A", "alpha", "B", "C", "beta", "gamma")
_EXPONENTS = np.log([0.45, 0.59, 0.64])  # alpha, beta, gamma
_WIDTHS = np.array([0.5, 2.0, 0.03])  # standard deviations of the prior of their logarithms
_NOISE = 1e-3  # of a log loss: where Huber's cost turns linear, as in the paper
_LEFT_OUT = 0.1  # of a curve, at its beginning, where the law does not hold
_LEVELS = 64  # changes of the rate within 1/64 of the peak are summed up while fitting


@dataclass(frozen=True)
class Probe:
    """One curve to fit.

    Attributes:
        name: of its schedule.
        rates: (num_updates,) relative to the peak rate of all probes, warmup left out.
        warmup: sum of the relative rates of the warmup: S0 of the law.
        steps: (num_evaluations,) updates completed after the warmup, increasing.
        losses: (num_evaluations,) validation losses, above 0.
    """

    name: str
    rates: FloatArray
    warmup: float
    steps: FloatArray
    losses: FloatArray

    @classmethod
    def of(cls, name: str, rates: FloatArray, steps: FloatArray, losses: FloatArray) -> "Probe":
        """Make it from a whole run: its warmup is split off, and what was evaluated during it is left out."""
        warmup, rest = split_warmup(rates)
        first = len(rates) - len(rest)
        kept = steps > first
        return cls(name, rest, warmup, steps[kept] - first, losses[kept])

    def before(self, share: float) -> "Probe":
        """The same probe, of which only evaluations up to a share of its updates are known."""
        kept = self.steps <= share * len(self.rates)
        return Probe(self.name, self.rates, self.warmup, self.steps[kept], self.losses[kept])


@dataclass(frozen=True)
class Law:
    """The law with its parameters: the logarithms of L0, A, alpha, B, C, beta, gamma."""

    logs: FloatArray

    @property
    def parameters(self) -> dict[str, float]:
        """The arguments of `multi_power_law`, S0 aside."""
        return dict(zip(_NAMES, np.exp(self.logs).tolist(), strict=True))

    def loss(self, rates: FloatArray, *, warmup: float) -> float:
        """Predict the loss at the end of some rates, which are as those of a `Probe`."""
        return float(multi_power_law(rates, len(rates), **self.parameters, S0=warmup))


def split_warmup(rates: FloatArray) -> tuple[float, FloatArray]:
    """Split off the updates before the first peak, whose rises teach the law nothing.

    Args:
        rates: (num_updates,) of a whole run.

    Returns:
        Their sum, and the other rates, the peak first.
    """
    falls = np.flatnonzero(np.diff(rates) < 0)
    first = int(np.argmax(rates[: falls[0] + 1] if falls.size else rates))
    return float(rates[:first].sum()), rates[first:]


def fit_law(probes: Sequence[Probe], *, start: Law | None = None) -> Law:
    """Fit the law to probes of one peak rate.

    Args:
        probes: at least one, with evaluations after the first tenth of its updates.
        start: of a fit to almost the same probes, which then is the only start.
    """
    curves = [_Sums(probe) for probe in probes]
    observed = np.log(np.concatenate([curve.losses for curve in curves]))

    def misses(logs: FloatArray) -> FloatArray:
        fitted = np.concatenate([curve.law(np.exp(logs)) for curve in curves])
        data = (np.log(np.maximum(fitted, np.finfo(float).tiny)) - observed) / _NOISE
        return np.concatenate([data, (logs[[2, 5, 6]] - _EXPONENTS) / _WIDTHS])

    starts = _starts(curves) if start is None else [start.logs]
    fits = [least_squares(misses, logs, loss="huber", max_nfev=200) for logs in starts]
    return Law(min(fits, key=lambda fit: float(fit.cost)).x)


def largest_reach(probe: Probe, law: Law) -> float:
    """The most that was trained after a fall of the rate, as the law counts it: e^-gamma (S(t) - S(k-1)), or 0."""
    falls = np.flatnonzero(np.diff(probe.rates) < 0) + 1
    rates = probe.rates[falls]
    trained = np.concatenate([[0.0], np.cumsum(probe.rates)])
    since = trained[int(probe.steps[-1])] - trained[falls]
    return float(np.max(since[rates > 0] * rates[rates > 0] ** -law.parameters["gamma"], initial=0.0))


class _Sums:
    """The sums of the law at the evaluations of a probe, changes of the rate next to each other taken together."""

    def __init__(self, probe: Probe) -> None:
        kept = probe.steps > _LEFT_OUT * len(probe.rates)
        steps = probe.steps[kept].astype(np.int64)
        self.losses = probe.losses[kept]
        trained = np.concatenate([[0.0], np.cumsum(probe.rates)])
        falls = -np.diff(probe.rates)
        at = np.flatnonzero(falls) + 1
        rates, falls = probe.rates[at], falls[at - 1]
        weights = np.abs(falls)
        levels = [
            np.floor(_LEVELS * rates),
            np.floor(4 * np.log2(np.maximum(rates, 1e-6))),
            np.searchsorted(steps, at),  # no group spans an evaluation
            np.sign(falls),
        ]
        starts = np.concatenate([[True], (np.diff(levels, axis=1) != 0).any(axis=0)])[: at.size]
        group = np.cumsum(starts) - 1
        total = np.bincount(group, weights)
        self.falls = np.bincount(group, falls)
        self.rates = np.bincount(group, weights * rates) / total
        since = trained[steps][:, None] - np.bincount(group, weights * trained[at]) / total
        self.since = np.where(steps[:, None] > at[starts], np.maximum(since, 0.0), 0.0)
        self.area = trained[steps] + probe.warmup

    def law(self, parameters: FloatArray) -> FloatArray:
        L0, A, alpha, B, C, beta, gamma = parameters
        gains = annealed(self.since, self.rates, C=C, beta=beta, gamma=gamma) @ self.falls
        return np.asarray(L0 + A * self.area**-alpha - B * gains)


def _starts(curves: Sequence[_Sums]) -> list[FloatArray]:
    """Four: much or little of the lowest loss is never gained, falls take effect quickly or slowly."""
    lowest = min(float(curve.losses.min()) for curve in curves)
    area = max(float(curve.area.max()) for curve in curves)
    return [
        np.log([share * lowest, (1 - share) * lowest * area**0.45, 0.45, 0.1 * lowest, speed, 0.59, 0.64])
        for share, speed in product((0.6, 0.9), (0.1, 2.0))
    ]
