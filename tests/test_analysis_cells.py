from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrbench.analysis.statistics.cells import (
    MeanOfSeeds,
    bootstrap,
    matrix,
    mean,
    median,
    percentile_intervals,
    summarise,
    worst_if_diverged,
)
from lrbench.analysis.statistics.survival import kaplan_meier
from lrbench.analysis.statistics.terms import Unavailable

INF = float("inf")


def test_summary_is_students_t_over_the_seeds_that_did_not_diverge():
    # Mean 2, sd 1, t(.975, 2 df) = 4.302653 (tables).
    summary = summarise([1.0, 2.0, 3.0, INF], direction="minimize")
    assert (summary.mean, summary.sd, summary.num_ok, summary.num_seeds) == (2.0, 1.0, 3, 4)
    assert summary.interval.high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert summary.interval.low + summary.interval.high == pytest.approx(4.0)


def test_summary_of_accuracies_is_not_turned_around():
    assert summarise([0.8, 0.9, -INF], direction="maximize") == MeanOfSeeds(pytest.approx(0.85), None, None, 2, 3)


def test_all_diverged_has_no_mean():
    nothing = Unavailable("all 3 runs diverged")
    assert summarise([INF, INF, INF], direction="minimize") == MeanOfSeeds(nothing, None, None, 0, 3)


def test_an_interval_stays_in_the_domain_of_the_metric():
    # Mean .9815, and Student's t would end at 1.0612: no accuracy is above 1.
    found = summarise([0.9444, 1.0, 1.0], direction="maximize", domain=(0.0, 1.0))
    assert found.interval.high == 1.0
    unbounded = summarise([0.9444, 1.0, 1.0], direction="maximize").interval
    assert (unbounded.low, unbounded.high > 1) == (found.interval.low, True)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3).map(float), min_size=3, max_size=6))
def test_interval_equals_scipys(values):
    interval = summarise(values, direction="minimize").interval
    if np.ptp(values) == 0:
        assert interval is None  # seeds that do not differ are no certainty
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_diverged_runs_become_worst_whatever_they_printed():
    assert worst_if_diverged([1.0, 9.0, np.nan], [False, True, True], direction="minimize").tolist() == [1, INF, INF]
    assert worst_if_diverged([0.5, 0.1], [False, True], direction="maximize").tolist() == [0.5, -INF]
    with pytest.raises(ValueError, match="not marked diverged"):
        worst_if_diverged([np.nan], [False], direction="minimize")


def test_medians_count_misses_and_means_are_worst_with_one_diverged_seed():
    costs = np.array([[1.0, 3.0, INF], [1.0, INF, INF], [1.0, 2.0, 4.5]])
    assert median(costs).tolist() == [3.0, INF, 2.0]
    assert mean(costs).tolist() == [INF, INF, 2.5]


@settings(deadline=None)
@given(st.lists(st.sampled_from([10, 20, 20, 30, 40, 99]), min_size=1, max_size=8))
def test_the_median_time_is_that_of_kaplan_and_meier(times):
    # 99 = missed. The curve of survival comes down to one half first at the median.
    hit = [t < 99 for t in times]
    curve = kaplan_meier(times, hit)
    below = curve.times[curve.survival <= 0.5 + 1e-12]
    expected = below[0] if below.size else INF
    assert median(np.where(hit, times, INF)) == expected


def test_a_cell_that_was_not_run_is_nan_in_the_matrix():
    cells = [[np.array([3.0]), np.array([2.0])], [np.empty(0), np.array([1.0, 3.0])]]
    means = matrix(cells, statistic=mean, direction="maximize")
    np.testing.assert_array_equal(means, [[3.0, 2.0], [np.nan, 2.0]])


def test_bootstrap_agrees_with_all_27_resamples_of_three_seeds():
    seeds = np.array([0.0, 1.0, 5.0])
    means = np.array([np.mean(draw) for draw in product(seeds, repeat=3)])
    drawn = bootstrap([[seeds]], statistic=mean, direction="minimize", rng=np.random.default_rng(0))
    assert drawn.shape == (10_000, 1, 1)
    for value in np.unique(means):
        assert np.mean(np.isclose(drawn, value)) == pytest.approx(np.mean(np.isclose(means, value)), abs=0.015)


def test_bootstrap_is_seeded_keeps_the_direction_and_needs_three_seeds():
    cells = [[np.array([0.5, 0.6, -INF]), np.array([0.1, 0.2, 0.3])]]

    def draw():
        rng = np.random.default_rng(3)
        return bootstrap(cells, statistic=median, direction="maximize", rng=rng, num_resamples=50)

    np.testing.assert_array_equal(draw(), draw())
    assert set(np.unique(draw())) <= {-INF, 0.1, 0.2, 0.3, 0.5, 0.6}
    few = [[np.array([0.5, 0.6])]]
    assert bootstrap(few, statistic=median, direction="maximize", rng=np.random.default_rng(0)) is None


def test_percentiles_are_samples_also_next_to_infinity():
    samples = np.concatenate([np.full(90, 1.0), np.full(10, INF)])[:, None]
    (interval,) = percentile_intervals(samples)
    assert (interval.low, interval.high) == (1.0, INF)
