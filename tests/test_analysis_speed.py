import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lrbench.analysis.statistics.profiles import (
    SpeedUp,
    algoperf_score,
    performance_profile,
    profile_score,
    speed_ratios,
    speed_up,
    times_with_misses,
)
from lrbench.analysis.statistics.targets import Target, absolute_target, constant_target, ladder
from lrbench.analysis.statistics.terms import Unavailable

INF, NAN = float("inf"), float("nan")
TIMES = np.array([[100.0, 150.0, INF], [300.0, 200.0, 800.0]])
RATIOS = [[1.0, 1.5, INF], [1.5, 1.0, 4.0]]


def test_ratios_are_relative_to_the_fastest_of_each_workload():
    assert speed_ratios(TIMES).tolist() == RATIOS


def test_missed_by_all_and_not_run_stay_apart():
    np.testing.assert_array_equal(speed_ratios([[INF, INF], [NAN, 5.0]]), [[INF, INF], [NAN, 1.0]])


def test_a_target_reached_at_step_zero_is_refused():
    with pytest.raises(ValueError, match="too easy"):
        speed_ratios([[0.0, 5.0]])


def test_exact_score_by_hand():
    # (4 - r) / 3 per workload: (1 + 5/6) / 2, the same turned round, and 0 twice.
    assert profile_score(RATIOS).tolist() == pytest.approx([11 / 12, 11 / 12, 0.0])
    assert profile_score(RATIOS, tau_max=8.0).tolist() == pytest.approx([27 / 28, 27 / 28, 2 / 7])


def test_exact_score_is_the_integral_of_the_profile():
    taus = np.linspace(1, 4, 300_001)
    integral = performance_profile(RATIOS, taus)[:-1].mean(axis=0)
    np.testing.assert_allclose(profile_score(RATIOS), integral, atol=1e-5)


def test_algoperf_score_is_their_formula():
    # scoring/performance_profile.py: rho on 100 points, trapezoid, divided by the range of tau.
    points = np.linspace(1.0, 4.0, num=100)
    for column, ratios in enumerate(np.transpose(RATIOS)):
        rho = [(ratios <= tau).sum() / 2 for tau in points]
        score = sum((rho[i] + rho[i + 1]) / 2 * (points[i + 1] - points[i]) for i in range(99)) / 3
        assert algoperf_score(RATIOS)[column] == pytest.approx(score)
    assert algoperf_score(RATIOS)[2] > profile_score(RATIOS)[2]  # the grid gives something for r = tau_max


@settings(deadline=None)
@given(hnp.arrays(float, (3, 4), elements=st.floats(1, 10)))
def test_both_scores_differ_by_less_than_a_grid_interval(times):
    ratios = speed_ratios(times)
    assert np.all(abs(algoperf_score(ratios) - profile_score(ratios)) <= 1 / 99 + 1e-12)


@settings(deadline=None)
@given(hnp.arrays(float, (3, 4), elements=st.one_of(st.floats(1, 10), st.just(INF))), st.permutations(range(3)))
def test_duplicated_and_permuted_workloads_keep_the_score(times, order):
    score = profile_score(speed_ratios(times))
    np.testing.assert_allclose(profile_score(speed_ratios(np.concatenate([times[list(order)], times]))), score)


def test_scores_refuse_cells_that_were_not_run():
    with pytest.raises(ValueError, match="1 cells were not run"):
        profile_score([[1.0, NAN]])
    with pytest.raises(ValueError, match="tau_max must be above 1"):
        profile_score([[1.0]], tau_max=1.0)


def test_leading_axes_are_resamples():
    np.testing.assert_array_equal(profile_score(np.stack([RATIOS, RATIOS]))[1], profile_score(RATIOS))


def test_speed_up_counts_misses_as_one_evaluation_past_the_budget():
    # 200/100 and 440/110: geometric mean sqrt(8).
    result = speed_up([100.0, 110.0], [200.0, INF], miss_times=[440.0, 440.0])
    assert result == SpeedUp(pytest.approx(np.sqrt(8)), 0, 1, 2)
    with pytest.raises(ValueError, match="common"):
        speed_up([NAN], [200.0], miss_times=[440.0])
    with pytest.raises(ValueError, match="positive times"):
        speed_up([0.0, 100.0], [200.0, 200.0], miss_times=[440.0, 440.0])


def test_misses_are_infinite_but_unfinished_runs_are_neither():
    assert times_with_misses([5.0, 10.0], [True, False], horizon=10).tolist() == [5.0, INF]
    with pytest.raises(ValueError, match="1 runs were censored before the budget 10"):
        times_with_misses([5.0, 8.0], [True, False], horizon=10)


def test_targets_say_where_they_come_from():
    assert absolute_target(0.9) == Target(0.9, "absolute, from the config")
    target = constant_target([0.8, 0.9, -INF], direction="maximize")
    assert (target.value, target.self_referential_for) == (0.8, "constant")
    assert isinstance(constant_target([1.0, INF], direction="minimize"), Unavailable)
    assert isinstance(constant_target([], direction="minimize"), Unavailable)
    with pytest.raises(ValueError, match="must be finite"):
        absolute_target(NAN)


def test_the_ladder_ends_exactly_at_the_best_value():
    assert ladder(initial=2.0, best=1.0, direction="minimize").tolist() == pytest.approx(
        [1.5, 1.25, 1.1, 1.05, 1.01, 1.0]
    )
    assert ladder(initial=0.15, best=0.01, direction="minimize")[-1] == 0.01  # 0.15 + (0.01 - 0.15) is not
    assert isinstance(ladder(initial=1.0, best=1.0, direction="minimize"), Unavailable)
