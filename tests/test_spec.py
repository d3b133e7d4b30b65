import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrbench.spec import RunState, derived_seed, evaluation_steps, resolve_budget, run_state, steps_of


def test_epochs_become_whole_steps_of_full_batches():
    budget = resolve_budget(steps=None, epochs=2.5, num_train=1000, batch_size=300)
    assert (budget.steps_per_epoch, budget.total_steps) == (3, 8)  # 7.5 rounds to even


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"steps": None, "epochs": None}, "exactly one of budget.steps and budget.epochs"),
        ({"steps": 10, "epochs": 1.0}, "exactly one of budget.steps and budget.epochs"),
        ({"steps": 0, "epochs": None}, "budget.steps must be at least 1, got 0"),
        ({"steps": None, "epochs": 0.01}, "budget.epochs must give at least one step"),
        ({"steps": None, "epochs": math.nan}, "budget.epochs must be positive and finite, got nan"),
    ],
)
def test_impossible_budgets_are_refused_by_name(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        resolve_budget(num_train=100, batch_size=10, **arguments)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match=r"training.batch_size must be at most the 100 .* got 128"):
        resolve_budget(steps=5, epochs=None, num_train=100, batch_size=128)


def test_fractions_round_half_up_and_survive_floating_point():
    assert [steps_of(f, 100) for f in (0.29, 0.005, 0.0149, 1.0)] == [29, 1, 1, 100]
    assert steps_of(0.001, 100, at_least=1) == 1


@given(st.integers(1, 5000), st.floats(1e-4, 1.0))
def test_evaluations_begin_at_zero_end_at_the_budget_and_keep_their_distance(total_steps, eval_every):
    steps = evaluation_steps(total_steps, eval_every)
    assert steps[0] == 0
    assert steps[-1] == total_steps
    gaps = [b - a for a, b in pairwise(steps)]
    assert min(gaps) >= 1
    assert max(gaps) <= math.ceil(eval_every * total_steps) + 1


def test_twenty_evaluations_of_a_hundred_steps():
    assert evaluation_steps(100, 0.05) == list(range(0, 101, 5))


@pytest.mark.parametrize(
    ("first", "last", "step", "state"),
    [
        (1.0, 0.5, 10, RunState.OK),
        (1.0, 1.0, 10, RunState.OK),
        (1.0, 1.1, 10, RunState.DIVERGED),
        (1.0, math.nan, 3, RunState.DIVERGED),
        (1.0, math.inf, 10, RunState.DIVERGED),
        (1.0, 0.5, 9, RunState.INCOMPLETE),
        (1.0, 1.1, 9, RunState.INCOMPLETE),  # a high loss on the way says nothing yet
    ],
)
def test_state_of_a_run(first, last, step, state):
    assert run_state(first_loss=first, last_loss=last, last_step=step, total_steps=10) is state


def test_a_loss_that_rose_is_no_divergence_where_the_headline_metric_got_better():
    ended = {"first_loss": 1.0, "last_loss": 1.2, "last_step": 10, "total_steps": 10}
    assert run_state(**ended, has_improved=True) is RunState.OK
    assert run_state(**ended) is RunState.DIVERGED
    assert run_state(**ended | {"last_loss": float("nan")}, has_improved=True) is RunState.DIVERGED


def test_derived_seeds_do_not_collide_where_sums_would():
    assert derived_seed("order", 0, 1) != derived_seed("order", 1, 0)
    assert derived_seed("order", 1, 1) != derived_seed("order", 11)
    assert 0 <= derived_seed("x") < 2**63
