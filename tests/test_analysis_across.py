from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lrbench.analysis.statistics.across import friedman, nemenyi, signed_ranks, smallest_num_workloads, wilcoxon_holm
from lrbench.analysis.statistics.cells import mean
from lrbench.analysis.statistics.profiles import profile_score, speed_ratios
from lrbench.analysis.statistics.ranks import Flip, leave_one_out_flips, mean_ranks, rank_intervals, ranks
from lrbench.analysis.statistics.terms import Unavailable

INF = float("inf")

# Demsar 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf. On "voting" the paper ranks 0.9753 (say) before 0.975.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9753, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
CELLS = hnp.arrays(float, (9, 3), elements=st.sampled_from([0.1 + 0.2, 0.3, 0.5, 1.0, INF]))


def test_friedman_reproduces_demsar():
    result = friedman(DEMSAR, direction="maximize")
    assert np.round(result.mean_ranks, 3).tolist() == [3.143, 2.0, 2.893, 1.964]
    assert round(result.chi2_demsar, 2) == 9.28
    assert round(result.f_demsar, 2) == 3.69
    assert result.p_value_f == pytest.approx(stats.f.sf(3.69, 3, 39), abs=5e-4)


def test_tie_corrected_friedman_divides_by_the_share_of_untied_ranks():
    tied = sum(np.sum(c**3 - c) for row in DEMSAR for c in [np.unique(row, return_counts=True)[1]])
    result = friedman(DEMSAR, direction="maximize")
    assert result.chi2 == pytest.approx(result.chi2_demsar / (1 - tied / (14 * 4 * (4**2 - 1))))
    assert result.p_value < result.p_value_demsar


def test_nemenyi_reproduces_demsars_critical_difference():
    result = nemenyi(DEMSAR, direction="maximize")
    assert round(result.critical_difference, 2) == 1.25
    differences = abs(result.mean_ranks[:, None] - result.mean_ranks)
    np.testing.assert_array_equal(result.p_values < 0.05, differences > result.critical_difference)


def test_wilcoxon_reproduces_demsars_rank_sums():
    # Table 2: R+ = 93, R- = 12 for C4.5+m against C4.5, zeros split, ties of 0.005 and -0.005 despite float noise.
    for_first, for_second, p = signed_ranks(-DEMSAR[:, 0], -DEMSAR[:, 1])
    assert (for_first, for_second) == (12.0, 93.0)
    assert p == pytest.approx(brute_force(DEMSAR[:, 0], DEMSAR[:, 1]))


def brute_force(first, second):
    difference = np.round(first - second, 9)
    sizes = stats.rankdata(abs(difference))
    nonzero = difference != 0
    flips = np.array(list(product([-1, 1], repeat=int(nonzero.sum()))))
    sums = abs(flips @ sizes[nonzero])
    return np.mean(sums >= abs((np.sign(difference) * sizes).sum()) - 1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_exact_p_with_ties_is_the_share_of_all_sign_flips(pairs):
    first, second = np.array(pairs, dtype=float).T
    assert signed_ranks(first, second)[2] == pytest.approx(brute_force(first, second))


@settings(deadline=None)
@given(st.permutations([1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0]))
def test_exact_p_without_ties_is_scipys_in_any_order(differences):
    zeros = np.zeros(7)
    assert signed_ranks(np.array(differences), zeros)[2] == stats.wilcoxon(differences, method="exact").pvalue


def test_both_diverged_is_a_tie_and_one_diverged_the_largest_difference():
    for_first, for_second, _ = signed_ranks([INF, INF, 1.0], [INF, 2.0, 1.5])
    assert (for_first, for_second) == (2.5, 3.5)


@pytest.mark.parametrize(("schedules", "workloads"), [(2, 6), (3, 7), (5, 9), (8, 11), (12, 12)])
def test_smallest_number_of_workloads(schedules, workloads):
    pairs = schedules * (schedules - 1) / 2
    assert smallest_num_workloads(schedules) == workloads
    assert pairs * 2 / 2**workloads <= 0.05 < pairs * 2 / 2 ** (workloads - 1)


def test_one_workload_fewer_is_not_testable_and_the_smallest_number_can_be_significant():
    clear = np.arange(1.0, 4.0) * np.linspace(1, 2, 7)[:, None]
    results = wilcoxon_holm(clear, direction="minimize")
    assert [(r.first, r.second) for r in results] == [(0, 1), (0, 2), (1, 2)]
    assert all(r.significant and r.p_value == 2 / 2**7 and r.p_holm == 3 * 2 / 2**7 for r in results)
    for test in (wilcoxon_holm, nemenyi):
        refusal = test(clear[:6], direction="minimize")
        assert isinstance(refusal, Unavailable)
        assert "not enough workloads to test: 6, and no result of fewer than 7" in refusal.reason


def test_complete_agreement_has_no_p_of_zero():
    result = friedman(np.tile([1.0, 2.0, 3.0], (5, 1)), direction="minimize")
    assert (result.f_demsar, result.p_value_f) == (None, None)
    assert result.chi2 == pytest.approx(10.0)


@pytest.mark.parametrize("shape", [(5, 2), (1, 3)])
def test_friedman_needs_three_schedules_and_two_workloads(shape):
    assert isinstance(friedman(np.random.default_rng(0).random(shape), direction="minimize"), Unavailable)


def test_constant_scores_are_all_tied():
    scores = np.full((9, 3), 0.1) + np.array([0.0, 1e-17, 2e-17])
    result = friedman(scores, direction="minimize")
    assert isinstance(result, Unavailable)
    assert "tied" in result.reason
    assert all(r.p_value == 1.0 for r in wilcoxon_holm(scores, direction="minimize"))


@settings(max_examples=30, deadline=None)
@given(CELLS, st.permutations(range(9)), st.permutations(range(3)))
def test_order_of_workloads_and_names_of_schedules_do_not_matter(scores, rows, columns):
    shuffled = scores[list(rows)][:, list(columns)]
    np.testing.assert_allclose(
        mean_ranks(shuffled, direction="minimize"), mean_ranks(scores, direction="minimize")[list(columns)]
    )
    first, second = friedman(scores, direction="minimize"), friedman(shuffled, direction="minimize")
    assert isinstance(first, Unavailable) == isinstance(second, Unavailable)
    if not isinstance(first, Unavailable):
        assert first.chi2 == pytest.approx(second.chi2)


def test_missing_cells_are_refused():
    for function in (friedman, nemenyi, wilcoxon_holm, mean_ranks):
        with pytest.raises(ValueError, match=r"NaN \(not run\)"):
            function([[1.0, np.nan, 2.0]] * 9, direction="minimize")


def test_ranks_average_ties_of_float_noise_and_put_diverged_last():
    assert ranks([0.1 + 0.2, 0.3, 0.1, INF], direction="minimize").tolist() == [2.5, 2.5, 1.0, 4.0]
    assert ranks([0.3, 0.9, -INF], direction="maximize").tolist() == [2.0, 1.0, 3.0]


def test_a_third_schedule_can_flip_two_others():
    # tau_max 4. With schedule 2 the ratios of 0 are 2 and 4, of 1 are 1.5 and 6: 1/3 against 5/12. Without it they
    # are 4/3 and 1 against 1 and 1.5: 17/18 against 11/12.
    times = np.array([[40.0, 30.0, 20.0], [40.0, 60.0, 10.0]])
    flips = leave_one_out_flips(times, overall=lambda m: profile_score(speed_ratios(m)), direction="maximize")
    assert flips == [Flip(left_out=2, ahead=1, behind=0)]


def test_no_flips_when_scores_do_not_depend_on_the_field():
    scores = np.random.default_rng(0).random((4, 5))
    assert leave_one_out_flips(scores, overall=lambda m: m.mean(axis=-2), direction="minimize") == []


def intervals(cells):
    return rank_intervals(
        cells,
        statistic=mean,
        direction="minimize",
        overall=lambda m: mean_ranks(m, direction="minimize"),
        overall_direction="minimize",
        rng=np.random.default_rng(0),
        num_resamples=2000,
    )


def test_rank_intervals_are_sharp_for_separated_and_wide_for_equal_schedules():
    near, far = np.array([1.0, 1.1, 1.2]), np.array([5.0, 5.1, 5.2])
    first, second, third = intervals([[near, near, far]] * 2)
    assert intervals([[near, near, far]]) is None  # on one workload
    assert (third.rank, third.interval.low, third.interval.high, third.share_first) == (3.0, 3.0, 3.0, 0.0)
    assert (first.rank, first.interval.low, first.interval.high) == (1.5, 1.0, 2.0)
    assert first.share_first + second.share_first == pytest.approx(1.0)
    assert first.share_first == pytest.approx(0.5, abs=0.03)


def test_two_seeds_have_no_rank_interval():
    assert intervals([[np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0])]] * 2) is None


def test_ties_can_make_significance_unattainable():
    # Of eight workloads five tied: the best that three can give is 2 / 2^3.
    scores = np.array([[1.0, 1.0]] * 5 + [[1.0, 2.0]] * 3)
    (test,) = wilcoxon_holm(scores, direction="minimize")
    assert (test.p_value, test.num_tied, test.attainable, test.significant) == (0.25, 5, False, False)
    (test,) = wilcoxon_holm(scores[3:], direction="minimize", alpha=0.5)
    assert (test.num_tied, test.attainable) == (2, True)
