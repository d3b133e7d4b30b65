"""Two problems whose expected loss after every step of SGD is known in closed form.

They are the ground truth for schedules: additive noise needs a decaying rate, noise that vanishes at the
optimum does not (Ma, Bassily and Belkin 2018, arXiv:1712.06559; Zhang et al. 2019, arXiv:1907.04164, for the
noisy quadratic). Everything starts at the model's initial weights and has its optimum at weights of one.

The closed forms hold while every example is used once: hence `max_epochs = 1`. Validation and test are an
exact design: a handful of examples whose mean loss equals the population loss for every weight.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from numpy.typing import ArrayLike, NDArray

from lrbench.data.splits import Split, Splits
from lrbench.spec import Count, CountOrZero, NonNegative, Task, derived_seed

OPTIMUM = 1.0

ConditionNumber = Annotated[float, Ge(1)]


def log_spaced_curvature(num_dimensions: int, condition_number: float) -> NDArray[np.float64]:
    """Return eigenvalues from 1 to 1 / condition_number, evenly spaced in logarithm; (num_dimensions,)."""
    return np.logspace(0, -np.log10(condition_number), num_dimensions)


@dataclass(frozen=True, kw_only=True)
class NoisyQuadratic:
    """1/2 sum_i h_i (w_i - x_i)^2 with x ~ N(optimum, noise_std^2): gradient noise that never goes away.

    Expressed as regression for the model `diagonal`, whose output is inputs * weight: inputs are sqrt(h) in
    every example, targets sqrt(h) * x.

    Attributes:
        num_dimensions: weights.
        condition_number: largest over smallest curvature; the largest is 1.
        noise_std: of x in each coordinate.
        num_examples: fresh draws for training; the longest budget is one pass.
        data_seed: of the draws; averages over it follow `expected_quadratic_loss`.
    """

    num_dimensions: Count = 16
    condition_number: ConditionNumber = 100.0
    noise_std: NonNegative = 1.0
    num_examples: Count = 100_000
    data_seed: CountOrZero = 0

    task: ClassVar[Task] = Task.REGRESSION
    max_epochs: ClassVar[float | None] = 1.0

    @property
    def curvature(self) -> NDArray[np.float64]:
        """The h_i, shape (num_dimensions,)."""
        return log_spaced_curvature(self.num_dimensions, self.condition_number)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape."""
        return (self.num_dimensions,)

    @property
    def num_outputs(self) -> int:
        """See Dataset.num_outputs."""
        return self.num_dimensions

    @property
    def num_train(self) -> int:
        """See Dataset.num_train."""
        return self.num_examples

    def check(self) -> None:
        """See Dataset.check: nothing can be missing."""

    def load(self) -> Splits:
        """See Dataset.load."""
        root = np.sqrt(self.curvature)
        draws = _standard_normal("noisy quadratic", self.data_seed, (self.num_examples, self.num_dimensions))
        # One standard deviation to either side: mean 0 and mean square noise_std^2, which is all the loss
        # depends on.
        signs = np.array([[1.0], [-1.0]])
        return _splits(
            (np.broadcast_to(root, draws.shape), root * (OPTIMUM + self.noise_std * draws)),
            (np.broadcast_to(root, (2, len(root))), root * (OPTIMUM + self.noise_std * signs)),
        )


@dataclass(frozen=True, kw_only=True)
class LinearRegression:
    """1/2 (a . w - a . optimum)^2 with a ~ N(0, diag(h)): gradient noise that vanishes at the optimum.

    For the model `linear` without bias.

    Attributes:
        num_dimensions: weights.
        condition_number: largest over smallest curvature; the largest is 1.
        num_examples: fresh draws for training; the longest budget is one pass.
        data_seed: of the draws; averages over it follow `expected_regression_loss`.
    """

    num_dimensions: Count = 16
    condition_number: ConditionNumber = 100.0
    num_examples: Count = 100_000
    data_seed: CountOrZero = 0

    task: ClassVar[Task] = Task.REGRESSION
    num_outputs: ClassVar[int] = 1
    max_epochs: ClassVar[float | None] = 1.0

    @property
    def curvature(self) -> NDArray[np.float64]:
        """The h_i, shape (num_dimensions,)."""
        return log_spaced_curvature(self.num_dimensions, self.condition_number)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape."""
        return (self.num_dimensions,)

    @property
    def num_train(self) -> int:
        """See Dataset.num_train."""
        return self.num_examples

    def check(self) -> None:
        """See Dataset.check: nothing can be missing."""

    def load(self) -> Splits:
        """See Dataset.load."""
        root = np.sqrt(self.curvature)
        draws = _standard_normal("linear regression", self.data_seed, (self.num_examples, self.num_dimensions))
        # sqrt(D h_i) e_i, i = 1..D, has second moments diag(h) exactly.
        design = np.sqrt(self.num_dimensions) * np.diag(root)
        return _splits(*((rows, OPTIMUM * rows.sum(1, keepdims=True)) for rows in (root * draws, design)))


def expected_quadratic_loss(
    rates: ArrayLike,
    momenta: ArrayLike | None = None,
    *,
    curvature: ArrayLike,
    noise_std: float,
    batch_size: int,
    initial: ArrayLike,
    optimum: ArrayLike,
) -> NDArray[np.float64]:
    """Expected population loss of SGD on `NoisyQuadratic`, by the exact recursion of second moments.

    With d = w - optimum and torch's velocity v' = m v + h d + n, d' = d - lr v', where the noise n of a batch
    has variance h^2 noise_std^2 / batch_size, the moments E d^2, E dv and E v^2 of each coordinate follow.

    Args:
        rates: learning rate of each step, shape (steps,).
        momenta: heavy-ball momentum of each step (dampening 0, no Nesterov), shape (steps,); None is zero.
        curvature: h, shape (num_dimensions,).
        noise_std: of x, >= 0.
        batch_size: fresh examples a step.
        initial: weights before the first step, shape (num_dimensions,) or a number.
        optimum: as `initial`.

    Returns:
        1/2 sum_i h_i (E d_i^2 + noise_std^2) before the first step and after each, shape (steps + 1,).
    """
    rates, h = np.asarray(rates, dtype=float), np.asarray(curvature, dtype=float)
    momenta = np.zeros_like(rates) if momenta is None else np.asarray(momenta, dtype=float)
    noise = h**2 * noise_std**2 / batch_size
    dd = np.broadcast_to((np.asarray(initial, dtype=float) - np.asarray(optimum, dtype=float)) ** 2, h.shape)
    dv, vv = np.zeros_like(h), np.zeros_like(h)
    losses = [0.5 * h @ (dd + noise_std**2)]
    for lr, m in zip(rates, momenta, strict=True):
        if m == 0:  # torch then steps by the gradient alone and leaves the velocity as it was
            dd, dv = (1 - lr * h) ** 2 * dd + lr**2 * noise, (1 - lr * h) * dv
        else:
            vv, dv = m**2 * vv + 2 * m * h * dv + h**2 * dd + noise, m * dv + h * dd
            dd, dv = dd - 2 * lr * dv + lr**2 * vv, dv - lr * vv
        losses.append(0.5 * h @ (dd + noise_std**2))
    return np.array(losses)


def expected_regression_loss(
    rates: ArrayLike,
    *,
    curvature: ArrayLike,
    batch_size: int,
    initial: ArrayLike,
    optimum: ArrayLike,
) -> NDArray[np.float64]:
    """Expected population loss of plain SGD on `LinearRegression`, by the exact recursion of second moments.

    With c_i = E d_i^2, and the Gaussian fourth moments E[a a' M a a'] = 2 H M H + H tr(HM),
    c' = c - 2 lr h c + lr^2 [(1 + 1/B) h^2 c + (1/B) h sum_j h_j c_j].

    Args:
        rates: learning rate of each step, shape (steps,).
        curvature: h, shape (num_dimensions,).
        batch_size: B, fresh examples a step.
        initial: weights before the first step, shape (num_dimensions,) or a number.
        optimum: as `initial`.

    Returns:
        1/2 sum_i h_i c_i before the first step and after each, shape (steps + 1,).
    """
    h = np.asarray(curvature, dtype=float)
    c = np.broadcast_to((np.asarray(initial, dtype=float) - np.asarray(optimum, dtype=float)) ** 2, h.shape)
    losses = [0.5 * h @ c]
    for lr in np.asarray(rates, dtype=float):
        c = c - 2 * lr * h * c + lr**2 * ((1 + 1 / batch_size) * h**2 * c + h * (h @ c) / batch_size)
        losses.append(0.5 * h @ c)
    return np.array(losses)


def _standard_normal(problem: str, data_seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.random.default_rng(derived_seed(problem, data_seed)).standard_normal(shape)


def _splits(
    train: tuple[NDArray[np.float64], NDArray[np.float64]],
    exact: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Splits:
    import torch

    digest = hashlib.sha256()

    def split(inputs: NDArray[np.float64], targets: NDArray[np.float64]) -> Split:
        columns = [np.ascontiguousarray(array, dtype=np.float32) for array in (inputs, targets)]
        for column in columns:
            digest.update(column.data)
        return Split(*map(torch.from_numpy, columns))

    population = split(*exact)
    training = split(*train)
    return Splits(training, population, population, augment=None, digest=digest.hexdigest())
