"""The multi-power law against the double loop of its formula, closed forms, and the published parameters."""

import numpy as np
import pytest

from lrbench.analysis.statistics.power_law import multi_power_law

# Luo et al., arXiv 2503.12811, models of 25M, 100M and 400M parameters; rates there are absolute.
PUBLISHED = {
    "25M": {"L0": 3.040, "A": 0.525, "alpha": 0.508, "B": 363.788, "C": 2.066, "beta": 0.583, "gamma": 0.641},
    "100M": {"L0": 2.651, "A": 0.601, "alpha": 0.453, "B": 437.946, "C": 2.132, "beta": 0.598, "gamma": 0.655},
    "400M": {"L0": 2.375, "A": 0.654, "alpha": 0.429, "B": 523.425, "C": 2.025, "beta": 0.594, "gamma": 0.635},
}
RELATIVE = {"L0": 2.5, "A": 3.0, "alpha": 0.45, "B": 0.3, "C": 0.5, "beta": 0.59, "gamma": 0.64}


def by_loops(e, t, *, L0, A, alpha, B, C, beta, gamma, S0=0.0):
    """The formula, word by word; e[0] is e_1."""
    S = [sum(e[:k]) for k in range(len(e) + 1)]
    gain = 0.0
    for k in range(2, t + 1):
        e_k, e_before = e[k - 1], e[k - 2]
        gain += (e_before - e_k) * (1 - (1 + C * e_k**-gamma * (S[t] - S[k - 1])) ** -beta)
    return L0 + A * (S[t] + S0) ** -alpha - B * gain


@pytest.mark.parametrize("size", PUBLISHED)
def test_the_law_is_the_double_loop_of_its_formula_at_published_parameters(size):
    step = np.arange(240)
    cosine = 3e-4 * (0.1 + 0.9 * (1 + np.cos(np.pi * step / 240)) / 2)
    falls_and_rises = 3e-4 * np.repeat([1.0, 0.3, 0.7, 0.05], 60)
    for e in (cosine, falls_and_rises):
        law = multi_power_law(e, [1, 2, 60, 61, 239, 240], **PUBLISHED[size], S0=0.324)
        loops = [by_loops(e.tolist(), t, **PUBLISHED[size], S0=0.324) for t in (1, 2, 60, 61, 239, 240)]
        np.testing.assert_allclose(law, loops, rtol=1e-12)


def test_at_published_parameters_wsd_ends_below_cosine_and_both_below_constant():
    """Figure 1 of the paper: 24,000 steps after 2,160 of warmup, peak 3e-4, cosine and WSD to a tenth."""
    step = np.arange(1, 24_000 - 2_160 + 1)
    constant = np.full(step.size, 3e-4)
    cosine = 3e-4 * (0.1 + 0.9 * (1 + np.cos(np.pi * step / step.size)) / 2)
    wsd = 3e-4 * 0.1 ** np.clip((step + 2_160 - 20_000) / 4_000, 0, 1)
    last = {
        name: float(multi_power_law(e, e.size, **PUBLISHED["25M"], S0=2_160 * 3e-4 / 2))
        for name, e in {"constant": constant, "cosine": cosine, "wsd": wsd}.items()
    }
    assert last["wsd"] < last["cosine"] < last["constant"] - 0.03


def test_a_constant_rate_follows_the_power_law_alone():
    law = multi_power_law(np.ones(100), [1, 10, 100], **RELATIVE)
    np.testing.assert_allclose(law, 2.5 + 3.0 * np.array([1, 10, 100]) ** -0.45, rtol=1e-14)


def test_one_fall_takes_off_its_closed_form_and_in_the_end_all_of_b():
    e = np.concatenate([np.ones(10), np.full(1_000_000, 0.25)])
    trained = 10 + 0.25 * 1_000_000
    share = 1 - (1 + 0.5 * 0.25**-0.64 * (trained - 10)) ** -0.59
    expected = 2.5 + 3.0 * trained**-0.45 - 0.3 * 0.75 * share
    assert multi_power_law(e, e.size, **RELATIVE) == pytest.approx(expected, rel=1e-12)
    assert share > 0.99


def test_multiplying_all_rates_changes_nothing_once_the_parameters_have_their_unit():
    e = np.linspace(1, 0.01, 50)
    unit = 3e-4
    scaled = RELATIVE | {"A": 3.0 * unit**0.45, "B": 0.3 / unit, "C": 0.5 * unit ** (0.64 - 1)}
    np.testing.assert_allclose(
        multi_power_law(e, np.arange(1, 51), **RELATIVE, S0=2.0),
        multi_power_law(unit * e, np.arange(1, 51), **scaled, S0=2.0 * unit),
        rtol=1e-12,
    )


def test_a_rate_of_zero_takes_off_nothing_until_something_is_trained_again():
    e = np.array([1.0, 1.0, 0.0, 0.0, 0.5])
    at = multi_power_law(e, [2, 3, 4, 5], **RELATIVE)
    assert at[0] == at[1] == at[2]
    # The fall to 0 has all its effect at once, and the rise to .5 a part of its own.
    risen = 0.5 * (1 - (1 + 0.5 * 0.5**-0.64 * 0.5) ** -0.59)
    assert at[3] == pytest.approx(2.5 + 3.0 * 2.5**-0.45 - 0.3 * (1 - risen), rel=1e-12)


def test_the_shape_of_the_answer_is_that_of_the_steps():
    assert multi_power_law([1.0, 0.5], 2, **RELATIVE).shape == ()
    assert multi_power_law([1.0, 0.5], [[1], [2]], **RELATIVE).shape == (2, 1)
    assert multi_power_law([1.0, 0.5], [], **RELATIVE).shape == (0,)
    assert multi_power_law([1.0], 0, **RELATIVE) == np.inf
    assert np.isfinite(multi_power_law([1.0], 0, **RELATIVE, S0=1.0))


@pytest.mark.parametrize("steps", [-1, 3, 1.5])
def test_a_step_that_has_no_rate_is_refused(steps):
    with pytest.raises(ValueError, match=r"within 0\.\.2"):
        multi_power_law([1.0, 0.5], steps, **RELATIVE)


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="none below 0"):
        multi_power_law([1.0, rate], 2, **RELATIVE)
