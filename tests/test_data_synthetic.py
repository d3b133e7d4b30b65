"""The closed forms against simulations of the actual algorithm, and the datasets against the closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrbench.data import LinearRegression, NoisyQuadratic
from lrbench.data.synthetic import OPTIMUM, expected_quadratic_loss, expected_regression_loss

CURVATURE = np.array([1.0, 0.3, 0.05])
INITIAL, TARGET = np.array([0.0, 2.0, -1.0]), np.array([1.0, 0.5, 1.0])
RATES = np.concatenate([np.linspace(0.1, 0.9, 10), np.linspace(0.9, 0.0, 15)])
MOMENTA = np.linspace(0.95, 0.2, 25)
BATCH_SIZE, NOISE_STD = 2, 1.5


def assert_mean_is(losses: np.ndarray, expected: np.ndarray) -> None:
    """Losses (num_seeds, steps + 1) average to expected within five standard errors, which are small."""
    error = losses.std(0, ddof=1) / np.sqrt(len(losses))
    assert (np.abs(losses.mean(0) - expected) <= 5 * error + 1e-6 * expected).all()
    assert (error[1:] < 0.03 * expected[1:]).all(), "too few seeds to tell anything"


@pytest.mark.parametrize("momenta", [None, MOMENTA], ids=["plain", "momentum"])
def test_quadratic_loss_is_the_average_of_simulated_trainings(momenta):
    random, n = np.random.default_rng(0), 20_000
    w, v = np.tile(INITIAL, (n, 1)), np.zeros((n, 3))

    def population(w):
        return 0.5 * ((w - TARGET) ** 2 + NOISE_STD**2) @ CURVATURE

    losses = [population(w)]
    for lr, m in zip(RATES, np.zeros(25) if momenta is None else momenta, strict=True):
        x = TARGET + NOISE_STD * random.standard_normal((BATCH_SIZE, n, 3))
        v = m * v + CURVATURE * (w - x).mean(0)
        w = w - lr * v
        losses.append(population(w))
    expected = expected_quadratic_loss(
        RATES,
        momenta,
        curvature=CURVATURE,
        noise_std=NOISE_STD,
        batch_size=BATCH_SIZE,
        initial=INITIAL,
        optimum=TARGET,
    )
    assert_mean_is(np.stack(losses, 1), expected)


def test_regression_loss_is_the_average_of_simulated_trainings():
    # Calmer than RATES: near divergence the loss has no finite variance, and no average settles.
    rates = 0.5 * RATES
    random, n = np.random.default_rng(0), 20_000
    w = np.tile(INITIAL, (n, 1))

    def population(w):
        return 0.5 * (w - TARGET) ** 2 @ CURVATURE

    losses = [population(w)]
    for lr in rates:
        a = np.sqrt(CURVATURE) * random.standard_normal((BATCH_SIZE, n, 3))
        w = w - lr * (a * (a * (w - TARGET)).sum(-1, keepdims=True)).mean(0)
        losses.append(population(w))
    expected = expected_regression_loss(
        rates, curvature=CURVATURE, batch_size=BATCH_SIZE, initial=INITIAL, optimum=TARGET
    )
    assert_mean_is(np.stack(losses, 1), expected)


def train_copies(dataset, model_loss, shape, *, num_copies, batch_size, rates, momenta):
    """Train copies of a model with torch.optim.SGD, each on its own part of the dataset; return the weights.

    The copies are rows of one parameter: SGD works elementwise, so each is trained as if alone.
    """
    weight = nn.Parameter(torch.zeros(num_copies, *shape))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.5)
    order = torch.arange(num_copies * batch_size * len(rates)).view(len(rates), -1)
    history = [weight.detach().clone().numpy()]
    for (inputs, targets), lr, momentum in zip(dataset.load().train.batches(order), rates, momenta, strict=True):
        optimizer.param_groups[0] |= {"lr": lr, "momentum": momentum}
        optimizer.zero_grad()
        loss = model_loss(weight, inputs.view(num_copies, batch_size, -1), targets.view(num_copies, batch_size, -1))
        (loss / batch_size).backward()
        optimizer.step()
        history.append(weight.detach().clone().numpy())
    return np.stack(history, 1).astype(float)


def test_torch_sgd_with_momentum_on_the_noisy_quadratic_has_the_expected_loss():
    n, steps = 2000, 15
    rates, momenta = RATES[5 : 5 + steps], MOMENTA[:steps]
    dataset = NoisyQuadratic(num_dimensions=3, condition_number=10.0, noise_std=0.8, num_examples=n * 4 * steps)
    weights = train_copies(
        dataset, lambda w, x, y: 0.5 * ((x * w[:, None] - y) ** 2).sum(),
        (3,), num_copies=n, batch_size=4, rates=rates, momenta=momenta,
    )  # fmt: skip
    losses = 0.5 * ((weights - OPTIMUM) ** 2 + 0.8**2) @ dataset.curvature
    expected = expected_quadratic_loss(
        rates, momenta, curvature=dataset.curvature, noise_std=0.8, batch_size=4, initial=0.0, optimum=OPTIMUM
    )
    assert_mean_is(losses, expected)


def test_torch_sgd_on_linear_regression_has_the_expected_loss():
    n, steps = 5000, 15
    rates = RATES[:steps]
    dataset = LinearRegression(num_dimensions=3, condition_number=10.0, num_examples=n * 4 * steps)
    weights = train_copies(
        dataset, lambda w, x, y: 0.5 * ((x @ w[:, :, None] - y) ** 2).sum(),
        (3,), num_copies=n, batch_size=4, rates=rates, momenta=np.zeros(steps),
    )  # fmt: skip
    losses = 0.5 * (weights - OPTIMUM) ** 2 @ dataset.curvature
    expected = expected_regression_loss(rates, curvature=dataset.curvature, batch_size=4, initial=0.0, optimum=OPTIMUM)
    assert_mean_is(losses, expected)


@given(
    schedule=st.lists(st.tuples(st.floats(0, 1.5), st.sampled_from([0.0, 0.5, 0.9, 0.99])), min_size=1, max_size=12),
)
@settings(max_examples=30, deadline=None)
def test_without_noise_the_expected_loss_is_the_loss_of_torch_sgd(schedule):
    rates, momenta = zip(*schedule, strict=True)
    weight = nn.Parameter(torch.tensor(INITIAL))
    h, target = torch.tensor(CURVATURE), torch.tensor(TARGET)
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.5)
    losses = []
    for lr, momentum in [*schedule, (0.0, 0.0)]:
        optimizer.param_groups[0] |= {"lr": lr, "momentum": momentum}
        optimizer.zero_grad()
        loss = 0.5 * (h * (weight - target) ** 2).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    expected = expected_quadratic_loss(
        rates, momenta, curvature=CURVATURE, noise_std=0.0, batch_size=1, initial=INITIAL, optimum=TARGET
    )
    np.testing.assert_allclose(losses, expected, rtol=1e-6, atol=1e-9)


def mean_loss(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return 0.5 * ((outputs.double() - targets.double()) ** 2).sum(1).mean().item()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_validation_loss_equals_the_population_loss_for_any_weights(part):
    random = np.random.default_rng(0)
    quadratic = NoisyQuadratic(num_dimensions=5, condition_number=30.0, noise_std=0.7, num_examples=10)
    regression = LinearRegression(num_dimensions=5, condition_number=30.0, num_examples=10)
    for _ in range(5):
        w = random.normal(size=5)
        split = getattr(quadratic.load(), part)
        expected = 0.5 * quadratic.curvature @ ((w - OPTIMUM) ** 2 + 0.7**2)
        assert mean_loss(split.inputs * torch.tensor(w), split.targets) == pytest.approx(expected, rel=1e-6)
        split = getattr(regression.load(), part)
        expected = 0.5 * regression.curvature @ (w - OPTIMUM) ** 2
        outputs = split.inputs.double() @ torch.tensor(w)[:, None]
        assert mean_loss(outputs, split.targets) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dataset_class", [NoisyQuadratic, LinearRegression])
def test_draws_depend_on_the_data_seed_alone(dataset_class):
    first, same, other = (dataset_class(num_examples=20, data_seed=s).load() for s in (0, 0, 1))
    assert torch.equal(first.train.targets, same.train.targets)
    assert first.digest == same.digest != other.digest
    assert not torch.equal(first.train.targets, other.train.targets)


@pytest.mark.parametrize("dataset_class", [NoisyQuadratic, LinearRegression])
def test_shapes_are_those_stated(dataset_class):
    dataset = dataset_class(num_examples=7, num_dimensions=4, condition_number=8.0)
    splits = dataset.load()
    assert splits.train.inputs.shape == (dataset.num_train, *dataset.input_shape) == (7, 4)
    assert splits.train.targets.shape == (7, dataset.num_outputs)
    assert splits.validation.targets.shape[1:] == (dataset.num_outputs,)
    assert splits.train.inputs.dtype == splits.train.targets.dtype == torch.float32
    np.testing.assert_allclose(dataset.curvature, [1, 1 / 2, 1 / 4, 1 / 8])
