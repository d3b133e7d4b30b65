import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower

from lrbench.analysis.statistics.pairs import holm, holm_of, seeds_to_settle, welch
from lrbench.analysis.statistics.pareto import front_membership, pareto_front, relation
from lrbench.analysis.statistics.terms import Unavailable

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


def test_pairs_that_cannot_be_tested_say_why():
    assert "got 2 and 3" in welch([1.0, 2.0], B, direction="minimize").reason
    assert "got 2 and 3" in seeds_to_settle([1.0, 2.0], B).reason
    assert "all runs of both end at the same value" in welch([0.3] * 3, [0.1 + 0.2] * 3, direction="minimize").reason
    assert "neither schedule varies" in seeds_to_settle([1.0] * 3, [2.0] * 3).reason


@pytest.mark.parametrize(("n", "m"), [(3, 3), (10, 10), (3, 5)])
def test_all_of_one_against_all_of_another_is_tested_exactly(n, m):
    result = welch([1.0] * n, [2.0] * m, direction="minimize")
    # Of all ways to deal the runs out, this one and its mirror image are as far apart.
    assert result.p_value == pytest.approx(2 / math.comb(n + m, n))
    assert (result.value, result.interval, result.advantage_in_sd) == (-1.0, None, None)


def test_diverged_seeds_do_not_belong_in_a_test_of_means():
    with pytest.raises(ValueError, match="takes finite values"):
        welch([1.0, 2.0, INF], B, direction="minimize")


# Few examples: every call of statsmodels collects garbage first.
@settings(deadline=None, max_examples=12)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_that_of_statsmodels(p_values):
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_holm_covers_the_pairs_that_could_be_tested_only():
    pairs = [(A, B), ([1.0], B), ([1.0, 1.1, 1.2], [5.0, 5.1, 5.2])]
    tests = [welch(first, second, direction="minimize") for first, second in pairs]
    adjusted = holm_of(tests)
    assert isinstance(adjusted[1], Unavailable)
    assert adjusted[2] == pytest.approx(2 * tests[2].p_value)
    assert adjusted[0] == tests[0].p_value


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


@pytest.mark.parametrize(
    ("faster", "better", "label"),
    [
        (True, True, "dominates"),
        (True, False, "faster only"),
        (False, True, "better only"),
        (False, False, "inconclusive"),
    ],
)
def test_dominance_needs_both(faster, better, label):
    assert relation(faster=faster, better=better) == label


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
