"""What trials are judged by."""

import math

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from lrbench.search.objective import mean_curve, objective_value, prune_lines, worst_value


def test_final_is_the_mean_over_seeds_of_the_last_value():
    assert objective_value("final", [{0: 0.1, 10: 0.8}, {0: 0.2, 10: 0.6}], worst=0.0) == pytest.approx(0.7)


def test_anytime_is_the_area_under_the_curve_over_its_length():
    # Trapezoids by hand: 10 * (0 + 1)/2 + 30 * (1 + 1)/2 = 35, over 40 steps.
    assert objective_value("anytime", [{0: 0.0, 10: 1.0, 40: 1.0}], worst=0.0) == pytest.approx(35 / 40)


@pytest.mark.parametrize("objective", ["final", "anytime"])
def test_a_diverged_run_counts_as_the_worst_value_and_gives_a_finite_one(objective):
    value = objective_value(objective, [{0: 0.1, 10: math.nan}, {0: 0.1, 10: 0.9}], worst=0.0)
    assert math.isfinite(value)
    assert value < objective_value(objective, [{0: 0.1, 10: 0.2}, {0: 0.1, 10: 0.9}], worst=0.0)


def test_the_worst_accuracy_is_zero_and_the_worst_loss_that_of_the_initial_weights():
    assert worst_value("val/accuracy", [{0: 0.1, 5: 0.9}]) == 0.0
    assert worst_value("val/loss", [{0: 2.0, 5: 0.5}, {0: 2.5, 5: math.nan}]) == 2.5
    assert math.isfinite(worst_value("val/loss", [{0: math.nan}]))


def test_the_mean_curve_is_over_common_steps():
    assert mean_curve([{0: 1.0, 5: 3.0, 7: 9.0}, {0: 3.0, 5: math.nan}], worst=5.0) == {0: 2.0, 5: 4.0}
    assert mean_curve([], worst=0.0) == {}


def trial(final, state=TrialState.COMPLETE):
    values = {0: 0.1, 50: final / 2, 75: final * 0.9, 100: final}
    return create_trial(
        value=final,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=values,
        state=state,
    )


def test_lines_are_quantiles_at_equal_steps_from_a_fraction_of_the_budget_on():
    finals = [0.2, 0.4, 0.6, 0.8]
    lines = prune_lines([trial(f) for f in finals], share=0.5, from_fraction=0.5, total_steps=100, direction="maximize")
    assert set(lines) == {50, 75}, "neither before half of the budget nor at its end"
    assert lines[75] == pytest.approx(np.median(finals) * 0.9)
    lenient = prune_lines(
        [trial(f) for f in finals], share=0.25, from_fraction=0.6, total_steps=100, direction="maximize"
    )
    assert lenient[75] < lines[75]
    losses = prune_lines(
        [trial(f) for f in finals], share=0.25, from_fraction=0.6, total_steps=100, direction="minimize"
    )
    assert losses[75] == pytest.approx(np.quantile(finals, 0.75) * 0.9)


def test_no_line_is_drawn_from_few_or_cut_trials():
    few = [trial(0.5)] * 3 + [trial(0.5, TrialState.PRUNED)] * 5
    assert prune_lines(few, share=0.5, from_fraction=0.0, total_steps=100, direction="maximize") == {}
