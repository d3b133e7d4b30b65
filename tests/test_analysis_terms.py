import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lrbench.analysis.statistics.terms import (
    Share,
    Unavailable,
    as_costs,
    stats_extra,
    wilson_share,
    without_noise,
    worst,
)

VALUES = st.one_of(st.integers(-5, 5).map(float), st.just(np.inf), st.floats(-1e6, 1e6))


def test_noise_of_sums_is_a_tie_and_a_real_difference_is_not():
    merged = without_noise([0.1 + 0.2, 0.3, 0.3 * (1 + 1e-8)])
    assert merged[0] == merged[1]
    assert merged[2] > merged[0]


def test_noise_is_relative_to_the_pair_not_to_the_largest_value():
    merged = without_noise([1e-12, 2e-12, 1.0, np.inf, np.inf])
    assert len(set(merged)) == 4


@settings(deadline=None)
@given(hnp.arrays(float, st.integers(0, 8), elements=VALUES), st.randoms(use_true_random=False))
def test_merging_noise_keeps_order_and_commutes_with_permutation(values, random):
    merged = without_noise(values)
    assert np.all((values[:, None] < values) <= (merged[:, None] <= merged))
    order = list(range(len(values)))
    random.shuffle(order)
    np.testing.assert_array_equal(without_noise(values[order]), merged[order])


@settings(deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=VALUES))
def test_rows_are_merged_on_their_own(table):
    np.testing.assert_array_equal(without_noise(table), np.stack([without_noise(row) for row in table]))


def test_costs_turn_the_sign_and_keep_the_diverged_worst():
    assert as_costs([0.9, worst("maximize")], direction="maximize").tolist() == [-0.9, np.inf]
    assert as_costs([2.5, worst("minimize")], direction="minimize").tolist() == [2.5, np.inf]


@pytest.mark.parametrize(
    ("values", "direction", "words"),
    [([1.0, np.nan], "minimize", "1 of 2 values are NaN"), ([-np.inf], "minimize", "infinitely good")],
)
def test_not_run_and_infinitely_good_are_refused(values, direction, words):
    with pytest.raises(ValueError, match=words):
        as_costs(values, direction=direction)


def test_a_direction_is_one_of_two_words():
    with pytest.raises(ValueError, match="'minimize' or 'maximize', got 'up'"):
        worst("up")


@pytest.mark.parametrize(("count", "total"), [(0, 5), (2, 5), (5, 5), (1, 3)])
def test_wilson_interval_is_the_closed_form(count, total):
    z = stats.norm.ppf(0.975)
    p = count / total
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    share = wilson_share(count, total)
    assert isinstance(share, Share)
    assert share.value == p
    assert (share.interval.low, share.interval.high) == pytest.approx(
        (max(0, centre - half), min(1, centre + half)), abs=1e-12
    )


def test_a_share_of_two_has_no_interval_and_of_none_no_value():
    assert wilson_share(1, 2) == Share(1, 2, None)
    assert isinstance(wilson_share(0, 0), Unavailable)
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson_share(3, 2)


def test_an_absent_extra_is_named_with_its_command():
    with pytest.raises(ValueError, match=r"of the extra `stats`: pip install 'lr-schedule-bench\[stats\]'"):
        stats_extra("no_such_module.part")
