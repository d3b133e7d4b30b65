"""Planned looks and open-ended ones: thresholds, levels, states."""

import math

import numpy as np
import pytest
from scipy import stats

from lrbench.analysis.statistics.looks import (
    PairLook,
    crossing_probability,
    e_threshold,
    e_value,
    look_at_open_end,
    look_at_pair,
    look_with_power,
    planned_looks,
)
from lrbench.analysis.statistics.terms import Unavailable


def test_thresholds_of_the_default_plan() -> None:
    looks = planned_looks((5, 10, 20), level=0.05 / 9)
    assert [look.threshold for look in looks] == pytest.approx([12.32, 4.27, 2.88], rel=0.01)
    assert [look.level for look in looks] == pytest.approx(stats.t.sf([look.threshold for look in looks], [4, 9, 19]))
    assert [look.level for look in looks] == pytest.approx([0.000125, 0.00104, 0.0048], rel=0.06)


def test_one_look_is_one_t_test() -> None:
    (look,) = planned_looks((10,), level=0.025)
    assert look.threshold == pytest.approx(stats.t.isf(0.025, 9), rel=0.005)


def test_crossing_of_two_bounds_is_the_bivariate_normal() -> None:
    bounds, correlation = [2.2, 2.0], math.sqrt(5 / 10)
    both = stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf(bounds)
    assert crossing_probability([5, 10], bounds) == pytest.approx(1 - both, abs=1e-5)


def test_e_process_thresholds() -> None:
    assert [e_threshold(n, alpha=0.05) for n in (5, 10, 20)] == pytest.approx([5.36, 3.97, 3.63], abs=0.006)
    assert isinstance(e_threshold(3, alpha=0.05), Unavailable)


def test_e_value_is_the_formula_and_reaches_its_threshold() -> None:
    d = np.array([0.3, 0.5, -0.1, 0.6, 0.4, 0.2])
    t, v, grown = stats.ttest_1samp(d, 0).statistic, 5, 1 + 6 * 4
    truth = grown**-0.5 * ((1 + t**2 / v) / (1 + t**2 / (v * grown))) ** ((v + 1) / 2)
    assert e_value(d)[-1] == pytest.approx(truth)
    threshold = e_threshold(6, alpha=0.05)
    assert isinstance(threshold, float)
    shape = (d - d.mean()) / d.std(ddof=1)
    assert e_value(shape + threshold / math.sqrt(6))[-1] == pytest.approx(20)
    assert e_value([0.0, 0.0]).tolist() == [1.0, pytest.approx(1 / 3)]
    assert e_value([0.5, 0.5])[-1] == math.inf


def test_null_studies_seldom_cross_at_any_look() -> None:
    d = np.random.default_rng(0).standard_normal((6000, 20))
    n = np.arange(3, 21)
    t = np.stack([abs(d[:, :m].mean(1)) * math.sqrt(m) / d[:, :m].std(1, ddof=1) for m in n], 1)
    looks = planned_looks((5, 10, 20), level=0.025)
    planned = np.zeros(len(d), bool)
    for look in looks:
        planned |= t[:, look.num_seeds - 3] > look.threshold
    assert 0.042 < planned.mean() < 0.057
    assert (e_value(d)[:, 2:] >= 20).any(1).mean() < 0.04


def test_the_look_with_power_is_the_first_at_which_simulated_studies_cross() -> None:
    plan = planned_looks((5, 10, 20), level=0.025)
    d = np.array([0.2, 1.1, 0.9, 1.4, 0.4])
    look = look_with_power(d, plan)
    assert look is not None
    studies = d.mean() + d.std(ddof=1) * np.random.default_rng(0).standard_normal((4000, look.num_seeds))
    t = studies.mean(1) / studies.std(1, ddof=1) * math.sqrt(look.num_seeds)
    assert look.num_seeds == 10
    assert (abs(t) > look.threshold).mean() >= 0.8
    assert look_with_power(d / 5 - 0.1, plan) is None
    assert look_with_power(d, plan, selection=1.0) is None
    assert look_with_power(np.tile(d, 4), plan) is None, "no look is left"


def test_states_of_a_pair() -> None:
    plan = planned_looks((5, 10), level=0.025)
    wiggle = np.array([-1, 1, 0, -1, 1]) * 0.01
    assert look_at_pair(0.5 + wiggle, plan, margin=0.1).state == "out"
    assert look_at_pair(0.5 + wiggle, plan, margin=0.1).worse == 0
    assert look_at_pair(-0.5 + wiggle, plan, margin=0.1).worse == 1
    assert look_at_pair(wiggle, plan, margin=0.1).state == "equivalent"
    wide = np.array([-1, 1, 0, -1, 1.1])
    assert look_at_pair(wide, plan, margin=0.1).state == "continue"
    assert look_at_pair(np.tile(wide, 2), plan, margin=0.1).state == "exhausted"
    assert look_at_pair(wide, plan, margin=0.1).interval.level == pytest.approx(0.95)
    anytime = look_at_open_end(0.5 + wiggle, alpha=0.05, margin=0.1)
    assert isinstance(anytime, PairLook)
    assert anytime.state == "out"
    assert isinstance(look_at_open_end(wiggle[:3], alpha=0.05, margin=0.1), Unavailable)


def test_looks_outside_the_plan_and_bad_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="planned at"):
        look_at_pair(np.zeros(7), planned_looks((5, 10), level=0.025), margin=0.1)
    for plan in ((), (2, 5), (10, 5)):
        with pytest.raises(ValueError, match="ascending"):
            planned_looks(plan, level=0.025)
    with pytest.raises(ValueError, match="finite"):
        look_at_pair(np.array([0.1, np.nan, 0.2, 0.1, 0.2]), planned_looks((5, 10), level=0.025), margin=0.1)
