import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.power import TTestIndPower

from lrbench.analysis.statistics.pairs import holm, seeds_to_settle, welch, welch_holm
from lrbench.analysis.statistics.pareto import front_membership, pareto_front, relation
from lrbench.analysis.statistics.terms import Interval, Unavailable

INF = float("inf")
A, B = [1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0]


def test_welch_is_the_closed_form():
    # Variances 5/3 and 4, means 2.5 and 4.
    va, vb = 5 / 3 / 4, 4 / 3
    df = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 2)
    half = stats.t.ppf(0.975, df) * np.sqrt(va + vb)
    result = welch(A, B, direction="minimize")
    assert result.value == -1.5
    assert (result.interval.low, result.interval.high) == pytest.approx((-1.5 - half, -1.5 + half))
    assert result.p_value == pytest.approx(2 * stats.t.sf(1.5 / np.sqrt(va + vb), df))
    assert result.advantage_in_sd == pytest.approx(1.5 / np.sqrt((5 / 3 + 4) / 2))
    assert welch(A, B, direction="maximize").advantage_in_sd == -result.advantage_in_sd
    assert (result.num_first, result.num_second) == (4, 3)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [([1.0, 2.0], B, "got 2 and 3"), ([1.0] * 3, [2.0] * 3, "neither schedule varies")],
)
def test_pairs_that_cannot_be_tested_say_why(first, second, reason):
    for result in (welch(first, second, direction="minimize"), seeds_to_settle(first, second)):
        assert isinstance(result, Unavailable)
        assert reason in result.reason


def test_diverged_seeds_do_not_belong_in_a_test_of_means():
    with pytest.raises(ValueError, match="did not diverge"):
        welch([1.0, 2.0, INF], B, direction="minimize")


# Few examples: every call of statsmodels collects garbage first.
@settings(deadline=None, max_examples=12)
@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_step_down_definition(p_values):
    order = np.argsort(p_values, kind="stable")
    adjusted, running = np.empty(len(p_values)), 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = running
    np.testing.assert_allclose(holm(p_values), adjusted)


def test_holm_covers_the_pairs_that_could_be_tested_only():
    first, refused, second = welch_holm([(A, B), ([1.0], B), ([1.0, 1.1, 1.2], [5.0, 5.1, 5.2])], direction="minimize")
    assert isinstance(refused, Unavailable)
    assert second[1] == pytest.approx(2 * second[0].p_value)
    assert first[1] == first[0].p_value


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="within"):
        holm([0.1, np.nan])


def test_seeds_needed_is_the_textbook_number():
    # Cohen 1988: d = 0.5, alpha .05 two-sided, power .80 needs 64 in each group; d = 0.8 needs 26.
    first = np.array([-1.0, 0.0, 1.0])
    assert seeds_to_settle(first, first + 0.5).total == 64
    needed = seeds_to_settle(first, first + 9, difference=0.8)
    assert (needed.total, needed.additional, needed.sd) == (26, 23, 1.0)


@settings(deadline=None)
@given(st.floats(0.4, 3), st.floats(0.001, 0.2))
def test_seeds_needed_is_the_first_number_with_statsmodels_power(difference, alpha):
    first = np.array([-1.0, 0.0, 1.0])
    total = seeds_to_settle(first, first + 1, difference=difference, alpha=alpha).total
    power = TTestIndPower().power
    assert power(difference, total, alpha) >= 0.8 - 1e-9
    assert total == 3 or power(difference, total - 1, alpha) < 0.8 + 1e-9


def test_seeds_needed_for_a_large_effect_do_not_fall_below_a_testable_number():
    first = np.array([-1.0, 0.0, 1.0])
    needed = seeds_to_settle(first, first + 50)
    assert (needed.total, needed.additional) == (3, 0)


def test_more_comparisons_need_more_seeds_and_tiny_differences_too_many():
    first = np.array([-1.0, 0.0, 1.0])
    assert seeds_to_settle(first, first + 0.5, num_comparisons=10).total > 64
    assert "even 10000 seeds" in seeds_to_settle(first, first + 1e-2).reason
    assert "equal" in seeds_to_settle(first, first).reason


def test_front_by_hand():
    # 0 fastest, 1 best, 2 beaten by 0, 3 an exact copy of 0, 4 never reached the target and ends as 1.
    times, finals = [1.0, 5.0, 2.0, 1.0, INF], [0.7, 0.9, 0.6, 0.7, 0.9]
    assert pareto_front(times, finals, direction="maximize").tolist() == [True, True, False, True, False]
    assert pareto_front([INF, 1.0], [0.9, 0.7], direction="maximize").tolist() == [True, True]


def test_float_noise_beats_nobody():
    assert pareto_front([1.0, 1.0], [0.3, 0.1 + 0.2], direction="minimize").tolist() == [True, True]


@settings(deadline=None)
@given(hnp.arrays(float, (2, 6), elements=st.sampled_from([1.0, 2.0, 3.0, INF])), st.permutations(range(6)))
def test_front_is_never_empty_moves_with_its_schedules_and_ignores_copies(points, order):
    front = pareto_front(*points, direction="minimize")
    assert front.any()
    moved = points[:, list(order)]
    assert pareto_front(*moved, direction="minimize").tolist() == front[list(order)].tolist()
    doubled = np.concatenate([points, points], axis=1)
    assert pareto_front(*doubled, direction="minimize").tolist() == [*front, *front]


def between(low, high):
    return Interval(low, high, 0.95, "test")


@pytest.mark.parametrize(
    ("speed", "final", "label"),
    [
        (between(-9, -1), between(-2, -1), "dominates"),
        (between(-9, -1), between(-2, 1), "faster only"),
        (between(-9, 1), between(-2, -1), "better only"),
        (between(-9, 1), between(1, 2), "inconclusive"),
        (None, None, "inconclusive"),
        (between(-9, 0), None, "inconclusive"),
    ],
)
def test_claims_need_intervals_beyond_zero(speed, final, label):
    assert relation(speed, final, direction="minimize") == label
    mirrored = None if final is None else between(-final.high, -final.low)
    assert relation(speed, mirrored, direction="maximize") == label


def test_front_membership_is_certain_or_shared():
    times = [np.array([1.0, 1.1, 1.2]), np.array([9.0, 9.1, INF]), np.array([1.0, 1.1, 1.2])]
    finals = [np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.1, -INF]), np.array([0.5, 0.6, 0.7])]
    shares = front_membership(times, finals, direction="maximize", rng=np.random.default_rng(0))
    assert shares[1] == 0.0
    assert shares[0] == pytest.approx(shares[2], abs=0.03)
    assert shares[0] + shares[2] >= 1.0
    few = [values[:2] for values in times], [values[:2] for values in finals]
    assert front_membership(*few, direction="maximize", rng=np.random.default_rng(0)) is None


def test_front_membership_counts_misses():
    # The second is fast in a third of its seeds: its median is finite in 7 of 27 resamples.
    times = [np.array([2.0, 2.0, 2.0]), np.array([1.0, INF, INF])]
    finals = [np.full(3, 0.5), np.full(3, 0.5)]
    shares = front_membership(times, finals, direction="maximize", rng=np.random.default_rng(0))
    assert shares == pytest.approx([20 / 27, 7 / 27], abs=0.02)
