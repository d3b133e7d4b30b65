"""Closed-loop controllers against transformers, scikit-learn's rule and hand tables."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from lrbench import schedules
from lrbench.schedules.rates import make_rates

LR = 0.1


def sgd(params):
    return torch.optim.SGD(params, lr=LR)


def rates_for(schedule, losses):
    """The rate after each evaluation, as the training would use it."""
    rates = make_rates(schedule, sgd, total_steps=len(losses) + 1, num_evaluations=20)
    for step, loss in enumerate(losses, start=1):
        rates.observe(step, loss)
    assert rates.closed_loop
    return rates.lr[1:]


def wandering_losses(seed, n=300):
    generator = np.random.default_rng(seed)
    return (np.exp(-np.arange(n) / 80) + 0.1 * generator.standard_normal(n)).tolist()


@pytest.mark.slow  # importing transformers takes seconds
@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_transformers_between_its_bounds(seed):
    optimization = pytest.importorskip("transformers.optimization")
    losses = wandering_losses(seed)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = sgd([parameter])
    reference = optimization.GreedyLR(
        optimizer, factor=0.8, patience=2, smooth=True, window_size=4, min_lr=LR * 0.01, max_lr=LR * 10, eps=0.0,
        reset_start=10**9,
    )  # fmt: skip
    expected = []
    for loss in losses:
        reference.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    ours = rates_for(partial(schedules.greedy, factor=0.8, patience_fraction=0.1, window_fraction=0.2), losses)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert len(set(expected)) > 3


def test_greedy_raises_on_gains_lowers_on_failures_and_stays_in_bounds():
    schedule = partial(
        schedules.greedy, factor=0.5, patience_fraction=0.05, window_fraction=0.05, min_ratio=0.25, max_ratio=2.0
    )
    rates = rates_for(schedule, [9, 8, 7, 6, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    # Patience is one evaluation: every second gain doubles, every second failure halves, from 0.1 within [0.025, 0.2].
    assert rates == pytest.approx([0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.025])


def sklearn_rule(losses, *, tol, n_iter_no_change):
    """scikit-learn's _sgd_fast, in words: count epochs above best - tol, divide by five, start counting again."""
    eta, best, count, etas = LR, math.inf, 0, []
    for loss in losses:
        count = count + 1 if loss > best - tol else 0
        best = min(best, loss)
        if count >= n_iter_no_change:
            eta, count = eta / 5, 0
        etas.append(eta)
    return etas


@pytest.mark.parametrize("seed", range(5))
def test_sklearn_adaptive_follows_scikit_learns_rule(seed):
    losses = wandering_losses(seed, 40)
    ours = rates_for(partial(schedules.sklearn_adaptive, tol=0.01, patience_fraction=0.15, min_ratio=0.0), losses)
    np.testing.assert_allclose(ours, sklearn_rule(losses, tol=0.01, n_iter_no_change=3), rtol=1e-12)
    assert ours[-1] < LR


def test_change_on_plateau_raises_early_and_lowers_late():
    schedule = partial(
        schedules.change_on_plateau, patience_fraction=0.1, raise_fraction=0.5, raise_factor=2.0, lower_factor=0.1
    )
    rates = rates_for(schedule, [5, 4, *[4] * 18])
    # Patience is two evaluations, so every third without gain acts; from evaluation 11 on it lowers.
    expected = [LR] * 4 + [2 * LR] * 3 + [4 * LR] * 3 + [0.4 * LR] * 3 + [0.04 * LR] * 3 + [0.004 * LR] * 3
    assert rates[: len(expected)] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["greedy", "change_on_plateau", "sklearn_adaptive", "plateau"])
def test_every_controller_continues_from_its_saved_state(name):
    schedule = getattr(schedules, name)
    losses = wandering_losses(1, 60)
    whole, first, second = (make_rates(schedule, sgd, total_steps=61, num_evaluations=20) for _ in range(3))
    for step, loss in enumerate(losses, start=1):
        whole.observe(step, loss)
    for step, loss in enumerate(losses[:25], start=1):
        first.observe(step, loss)
    second.load_state_dict(first.state_dict())
    for step, loss in enumerate(losses[25:], start=26):
        second.observe(step, loss)
    np.testing.assert_array_equal(second.lr, whole.lr)
    assert len(set(whole.lr)) > 1
