import numpy as np
import pytest
from scipy import stats

from lrbench.analysis.statistics.robustness import (
    Spread,
    basin_width,
    common_rates,
    rate_sensitivity,
    seed_spread,
    spread_test,
)
from lrbench.analysis.statistics.terms import Unavailable

INF = float("inf")
RATES = [0.1, 0.001, 0.01, 1.0]  # unordered on purpose
LOSSES = [1.0, 2.0, 1.05, INF]


def sensitivity(rates=RATES, losses=LOSSES, **keywords):
    options = {"initial": 3.0, "direction": "minimize", "rng": np.random.default_rng(0)} | keywords
    return rate_sensitivity(rates, [np.atleast_1d(v) for v in losses], **options)


def test_spread_is_of_the_seeds_that_did_not_diverge_and_has_no_worst_where_one_did():
    assert seed_spread([0.5, 0.7, 0.6, -INF], direction="maximize") == Spread(pytest.approx(0.1), None, 3, 4)
    assert isinstance(seed_spread([0.5, 0.7, -INF], direction="maximize"), Unavailable)


def test_brown_forsythe_is_an_anova_of_distances_to_the_median():
    groups = [[1.0, 2.0, 4.0, 9.0], [3.0, 3.5, 3.2], [0.0, 10.0, 4.0]]
    distances = [np.abs(np.array(g) - np.median(g)) for g in groups]
    result = spread_test(groups)
    assert (result.statistic, result.p_value) == pytest.approx(tuple(stats.f_oneway(*distances)))


@pytest.mark.parametrize("groups", [[[1.0, 2.0], [1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]], [[1, 2, 3]]])
def test_spread_that_cannot_be_tested_says_why(groups):
    assert isinstance(spread_test(groups), Unavailable)


def test_one_diverged_seed_is_enough_to_refuse_a_test_of_spread():
    with pytest.raises(ValueError, match="seeds that did not diverge"):
        spread_test([[1.0, 2.0, INF], [1.0, 2.0, 3.0]])


def test_sensitivity_by_hand():
    # Capped at 3: 2, 1.05, 1, 3; mean 1.7625 less the minimum 1.
    result = sensitivity()
    assert result.value == pytest.approx(0.7625)
    assert result.rates == (0.001, 0.01, 0.1, 1.0)
    assert result.evenly_spaced
    assert result.interval is None


def test_sensitivity_of_accuracies_mirrors_that_of_losses():
    mirrored = sensitivity(losses=[-v for v in LOSSES], initial=-3.0, direction="maximize")
    assert mirrored.value == pytest.approx(0.7625)


def test_sensitivity_interval_is_none_wide_when_seeds_agree_and_contains_the_value_else():
    same = sensitivity(losses=[[v] * 3 for v in LOSSES])
    assert (same.interval.low, same.interval.high) == pytest.approx((0.7625, 0.7625))
    spread = sensitivity(losses=[[1.0, 1.1, 0.9], [2.0, 2.1, 1.9], [1.0, 1.2, 1.1], [INF, 2.0, 2.0]])
    assert spread.interval.low < spread.value < spread.interval.high


def test_a_grid_with_gaps_is_marked():
    assert not sensitivity(rates=[1e-4, 5e-4, 1e-3, 2e-3]).evenly_spaced
    assert isinstance(sensitivity(rates=[0.1], losses=[1.0]), Unavailable)


@pytest.mark.parametrize("rates", [[0.1, 0.1, 1.0, 2.0], [0.0, 0.1, 1.0, 2.0], [0.1, 1.0]])
def test_broken_grids_are_refused(rates):
    with pytest.raises(ValueError, match="rate"):
        sensitivity(rates=rates)


def test_common_rates_ignore_float_noise():
    assert common_rates([[0.1 + 0.2, 1.0], [0.3, 2.0]]) == pytest.approx([0.3])
    assert common_rates([[0.1], [0.2]]).size == 0


def test_basin_by_hand():
    # Best 1, initial 3: 1.2 is the limit, so 0.01 and 0.1 are in.
    basin = basin_width(RATES, LOSSES, initial=3.0, direction="minimize")
    assert (basin.low, basin.high, basin.best_rate) == (0.01, 0.1, 0.1)
    assert basin.width == pytest.approx(1.0)
    assert (basin.open_low, basin.open_high, basin.optimum_at_edge) == (False, False, False)


def test_basin_at_the_edge_is_a_lower_bound_and_stops_at_the_first_gap():
    basin = basin_width([1, 2, 3, 4], [1.0, 9.0, 1.0, 0.9], initial=3.0, direction="minimize")
    assert (basin.low, basin.high, basin.open_low, basin.open_high, basin.optimum_at_edge) == (3, 4, False, True, True)


def test_no_basin_without_improvement():
    assert isinstance(basin_width([1, 2], [INF, 3.0], initial=3.0, direction="minimize"), Unavailable)
