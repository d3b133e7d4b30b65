from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrbench.analysis.statistics.cells import (
    Summary,
    bootstrap,
    matrix,
    median,
    ok_mean,
    percentile_intervals,
    summarise,
    table_of,
    worst_if_diverged,
)

INF = float("inf")


def test_summary_is_students_t_over_the_seeds_that_did_not_diverge():
    # Mean 2, sd 1, t(.975, 2 df) = 4.302653 (tables).
    summary = summarise([1.0, 2.0, 3.0, INF], direction="minimize")
    assert (summary.mean, summary.sd, summary.num_ok, summary.num_seeds) == (2.0, 1.0, 3, 4)
    assert summary.interval.high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert summary.interval.low + summary.interval.high == pytest.approx(4.0)


def test_summary_of_accuracies_is_not_turned_around():
    assert summarise([0.8, 0.9, -INF], direction="maximize") == Summary(pytest.approx(0.85), None, None, 2, 3)


def test_all_diverged_has_no_mean():
    assert summarise([INF, INF, INF], direction="minimize") == Summary(None, None, None, 0, 3)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3).map(float), min_size=3, max_size=6))
def test_interval_equals_scipys(values):
    interval = summarise(values, direction="minimize").interval
    if np.ptp(values) == 0:
        assert interval.low == interval.high == values[0]
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_diverged_runs_become_worst_whatever_they_printed():
    assert worst_if_diverged([1.0, 9.0, np.nan], [False, True, True], direction="minimize").tolist() == [1, INF, INF]
    assert worst_if_diverged([0.5, 0.1], [False, True], direction="maximize").tolist() == [0.5, -INF]
    with pytest.raises(ValueError, match="not marked diverged"):
        worst_if_diverged([np.nan], [False], direction="minimize")


def test_medians_count_misses_and_means_do_not():
    costs = np.array([[1.0, 3.0, INF], [1.0, INF, INF], [INF, INF, INF]])
    assert median(costs).tolist() == [3.0, INF, INF]
    assert ok_mean(costs).tolist() == [2.0, 1.0, INF]
    assert median(np.array([1.0, 2.0, INF, INF])) == INF


def test_table_sorts_names_and_leaves_absent_cells_empty():
    runs = pd.DataFrame(
        {"workload": ["b", "a", "a"], "scheduler": ["step", "step", "cosine"], "final": [1.0, 2.0, 3.0]}
    )
    table = table_of(runs, value="final")
    assert (table.workloads, table.schedules) == (("a", "b"), ("cosine", "step"))
    assert [[cell.tolist() for cell in row] for row in table.cells] == [[[3.0], [2.0]], [[], [1.0]]]
    means = matrix(table.cells, statistic=ok_mean, direction="maximize")
    np.testing.assert_array_equal(means, [[3.0, 2.0], [np.nan, 1.0]])
    with pytest.raises(ValueError, match=r"need the columns \['loss'\]"):
        table_of(runs, value="loss")


def test_bootstrap_agrees_with_all_27_resamples_of_three_seeds():
    seeds = np.array([0.0, 1.0, 5.0])
    means = np.array([np.mean(draw) for draw in product(seeds, repeat=3)])
    drawn = bootstrap([[seeds]], statistic=ok_mean, direction="minimize", rng=np.random.default_rng(0))
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
