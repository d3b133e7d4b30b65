from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrbench.analysis.statistics.aggregates import (
    interquartile_mean,
    normalised_finals,
)
from lrbench.analysis.statistics.improvements import improvement, improvements

INF = float("inf")
SEEDS = st.lists(st.sampled_from([0.3, 0.1 + 0.2, 0.5, 0.7, INF]), min_size=1, max_size=5)


def improvements_of(first, second, direction="minimize", num_resamples=10_000):
    """Over several workloads: one list of cells for each schedule."""
    rng, cells = np.random.default_rng(0), [[np.array(a), np.array(b)] for a, b in zip(first, second, strict=True)]
    (found,) = improvements(cells, direction=direction, rng=rng, num_resamples=num_resamples, level=0.95)
    return found.improvement


@settings(max_examples=50, deadline=None)
@given(SEEDS, SEEDS)
def test_improvement_is_mann_whitneys_u_and_the_two_sides_add_up(first, second):
    a, b = (np.round(values, 6) for values in (first, second))
    u = stats.mannwhitneyu(-a, -b, method="asymptotic").statistic
    result = improvement(first, second, direction="minimize")
    assert result.value == pytest.approx(u / (len(a) * len(b)))
    assert result.value + improvement(second, first, direction="minimize").value == pytest.approx(1.0)


def test_improvement_averages_workloads_of_unequal_size():
    # 1 on the first workload, 1/4 on the second (one tie of two, one loss).
    result = improvements_of([[0.9, 0.8], [0.5]], [[0.1], [0.5, 0.6]], direction="maximize")
    assert (result.value, result.interval, result.num_workloads) == (pytest.approx(0.625), None, 2)


def test_a_diverged_seed_loses_to_any_other():
    assert improvement([9.0, 9.0, 9.0], [INF, INF, INF], direction="minimize").value == 1.0
    assert improvement([-INF] * 3, [-INF] * 3, direction="maximize").value == 0.5


def test_improvement_bootstrap_agrees_with_all_resamples():
    first, second = np.array([1.0, 3.0, 4.0]), np.array([2.0, 3.0, 5.0])
    wins = (first[:, None] < second) + 0.5 * (first[:, None] == second)
    draws = list(product(range(3), repeat=3))
    one = [wins[np.ix_(i, j)].mean() for i in draws for j in draws]
    exact = np.add.outer(one, one).ravel() / 2
    interval = improvements_of([first, first], [second, second]).interval
    assert interval.low == pytest.approx(np.quantile(exact, 0.025, method="inverted_cdf"), abs=0.06)
    assert interval.high == pytest.approx(np.quantile(exact, 0.975, method="inverted_cdf"), abs=0.06)


def test_meaningful_needs_both_the_interval_and_the_size():
    assert improvements_of([[1.0, 1.1, 1.2]] * 2, [[2.0, 2.1, 2.2]] * 2).meaningful
    assert not improvements_of([[1.0, 2.0, 3.0]] * 2, [[1.0, 2.0, 3.0]] * 2).meaningful
    assert not improvements_of([[1.0, 1.1]] * 2, [[2.0, 2.1]] * 2).meaningful


def test_one_workload_has_no_bootstrap():
    assert improvements_of([[1.0, 1.1, 1.2]], [[2.0, 2.1, 2.2]]).interval is None


CELLS = [
    [np.array([2.0, 4.0]), np.array([1.0, 1.0, INF]), np.array([1.0])],
    [np.array([1.0, 1.0]), np.array([2.0, 2.0]), np.array([1.0 + 1e-16])],
    [np.array([INF, INF]), np.array([2.0, 2.0]), np.array([1.0])],
]


def test_finals_are_scaled_from_constant_to_the_best_and_the_diverged_stay_worst():
    result = normalised_finals(CELLS, constant=0, direction="minimize")
    assert result.headroom.tolist() == [True, False, False]
    assert [cell.tolist() for cell in result.cells[0]] == [[0.5, -0.5], [1.0, 1.0, -INF], [1.0]]


def test_scaled_finals_do_not_depend_on_the_direction():
    mirrored = [[-cell for cell in row] for row in CELLS]
    result = normalised_finals(mirrored, constant=0, direction="maximize")
    assert [cell.tolist() for cell in result.cells[0]] == [[0.5, -0.5], [1.0, 1.0, -INF], [1.0]]


def test_a_schedule_that_was_not_run_is_refused():
    with pytest.raises(ValueError, match=r"NaN \(not run\)"):
        normalised_finals([[np.array([1.0]), np.empty(0)]], constant=0, direction="minimize")


def test_headroom_is_relative_to_the_size_of_the_values():
    cells = [[np.array([1e6]), np.array([1e6 * (1 - 1e-10)])], [np.array([1e-6]), np.array([1e-6 * (1 - 1e-6)])]]
    assert normalised_finals(cells, constant=0, direction="minimize").headroom.tolist() == [False, True]


def iqm(strata):
    return interquartile_mean(strata, rng=np.random.default_rng(0))


@pytest.mark.parametrize("strata", [[], [[1.0, 2.0], []]])
def test_iqm_needs_a_workload_and_a_seed_on_each(strata):
    with pytest.raises(ValueError, match="at least one workload, and a seed on each"):
        iqm(strata)


def test_iqm_drops_a_quarter_at_each_end():
    assert iqm([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 100.0]]).value == 3.5
    assert iqm([[-INF, 1.0, 2.0, 3.0]]).value == 1.5
    assert iqm([[-INF, -INF, 2.0, 3.0]]).value == -INF


def test_iqm_interval_is_stratified():
    # Resampling within each workload cannot move the constant ones.
    result = iqm([[0.0] * 3, [1.0] * 3, [5.0, 6.0, 7.0]])
    assert result.interval.low <= result.value <= result.interval.high
    same = iqm([[0.0] * 4, [1.0] * 4])
    assert (same.interval.low, same.interval.high) == (0.5, 0.5)
    assert iqm([[0.0, 1.0], [1.0, 2.0, 3.0]]).interval is None
