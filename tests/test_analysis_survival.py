import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from lrbench.analysis.statistics.survival import (
    kaplan_meier,
    logrank,
    restricted_mean,
    share_reached,
    target_ecdf,
)
from lrbench.analysis.statistics.terms import Share, Unavailable

# Freireich et al. 1963, weeks of remission: the example of most textbooks (Collett 2015).
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
TREATED_HIT = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def test_kaplan_meier_is_the_published_table():
    curve = kaplan_meier(TREATED, TREATED_HIT)
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    at = dict(zip(curve.times, curve.survival, strict=True))
    assert {time: round(at[time], 3) for time in published} == published
    assert np.all((curve.low <= curve.survival) & (curve.survival <= curve.high))


def test_logrank_is_the_published_one_and_positive_for_the_faster():
    result = logrank(PLACEBO, [1] * 21, TREATED, TREATED_HIT)
    assert result.excess_hits == pytest.approx(21 - 10.75, abs=0.01)
    assert result.p_value == pytest.approx(4.17e-5, rel=0.01)


def test_logrank_of_few_runs_counts_all_assignments():
    # All hit at once against none at all: 2 of the 20 ways to deal six runs out are as extreme.
    result = logrank([10] * 3, [1] * 3, [99] * 3, [0] * 3)
    assert result.p_value == pytest.approx(2 / 20)
    assert result.excess_hits == pytest.approx(1.5)
    assert logrank([10] * 10, [1] * 10, [99] * 10, [0] * 10).p_value < 1e-4
    # scipy's permutation of its own statistic, which is the hits beyond those expected up to a scale.
    times, hits = np.array([3.0, 5.0, 8.0, 4.0, 9.0, 12.0, 12.0]), np.array([1, 1, 0, 1, 1, 1, 0], dtype=bool)
    expected = permutation_test(
        (np.arange(3), np.arange(3, 7)),
        lambda a, b: logrank(times[a], hits[a], times[b], hits[b]).excess_hits,
        permutation_type="independent", n_resamples=np.inf, vectorized=False,
    )  # fmt: skip
    assert logrank(times[:3], hits[:3], times[3:], hits[3:]).p_value == pytest.approx(
        (abs(expected.null_distribution) >= abs(expected.statistic) - 1e-9).mean()
    )


def test_restricted_mean_by_hand():
    # S = 1 to 2, 2/3 to 4, then 1/3 (one censored at 10): 2 + 4/3 + 2; areas after the hits 10/3 and 2.
    result = restricted_mean([2, 4, 10], [1, 1, 0], horizon=10)
    assert result.value == pytest.approx(16 / 3)
    assert result.standard_error == pytest.approx(np.sqrt((10 / 3) ** 2 / 6 + 2**2 / 2))
    assert 0 <= result.interval.low < result.value < result.interval.high <= 10


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=3, max_size=9))
def test_without_early_censoring_it_is_the_mean_of_capped_times(times):
    array = np.array(times, dtype=float)
    hit = array < 10
    result = restricted_mean(np.minimum(array, 10), hit, horizon=10)
    capped = np.minimum(array, 10)
    assert result.value == pytest.approx(capped.mean())
    assert result.standard_error == pytest.approx(capped.std() / np.sqrt(len(times)), abs=1e-9)


def test_a_zero_standard_error_is_no_interval():
    assert restricted_mean([10, 10, 10], [0, 0, 0], horizon=10).interval is None
    assert restricted_mean([4, 4, 4], [1, 1, 1], horizon=10).interval is None
    assert restricted_mean([2, 4], [1, 1], horizon=10).interval is None


def test_what_happens_after_the_last_censoring_is_not_invented():
    result = restricted_mean([2, 4, 6], [1, 1, 0], horizon=10)
    assert isinstance(result, Unavailable)
    assert "after 6, before the horizon 10" in result.reason


def test_the_share_that_reached_a_target_is_of_all_runs():
    share = share_reached([1, 0, 0, 1])
    assert (share.count, share.total) == (2, 4)
    assert share_reached([1, 0]) == Share(1, 2, None)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (([1, 2], [1, 1]), ([1, 2, 3], [1, 1, 1]), "3 runs each, got 2 and 3"),
        (([9, 9, 9], [0, 0, 0]), ([9, 9, 9], [0, 0, 0]), "no run"),
        (([5, 5, 5], [1, 1, 1]), ([5, 5, 5], [1, 1, 1]), "same time"),
    ],
)
def test_a_logrank_test_that_cannot_be_made_says_why(first, second, reason):
    result = logrank(*first, *second)
    assert isinstance(result, Unavailable)
    assert reason in result.reason


def test_target_ecdf_without_misses_is_the_plain_share():
    curve = target_ecdf([0.1, 0.5, 0.5, 1.0], [1, 1, 1, 1])
    assert (1 - curve.survival).tolist() == pytest.approx([0.25, 0.75, 1.0])
    with pytest.raises(ValueError, match=r"fractions of the budget in \[0, 1\], got 2"):
        target_ecdf([2.0], [1])


@pytest.mark.parametrize("times", [[np.inf], [np.nan], [-1.0], []])
def test_infinity_is_no_censored_time(times):
    with pytest.raises(ValueError, match="times"):
        kaplan_meier(times, [0] * len(times))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=3, max_size=10), st.randoms())
def test_order_of_runs_does_not_matter_and_duplication_keeps_the_curve(runs, random):
    times, observed = zip(*runs, strict=True)
    curve = kaplan_meier(times, observed)
    shuffled = runs * 2
    random.shuffle(shuffled)
    again = kaplan_meier(*zip(*shuffled, strict=True))
    np.testing.assert_allclose(again.survival, curve.survival, atol=1e-12)
