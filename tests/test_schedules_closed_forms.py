"""Pure families against their formulas written another way, and against tables worked out by hand."""

import math
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from lrbench.schedules import (
    cosine_cycles,
    cosine_echo,
    cosine_infinite,
    coslog,
    fractal_chebyshev,
    free_spline,
    generalized_cosine,
    inverse_time,
    knee,
    noam,
    piecewise_constant,
    piecewise_linear,
    power_cooldown,
    quarter_circle,
    rex,
    sigmoid,
    slanted_triangular,
    tanh,
    two_point_linear,
    two_point_spline,
    wsd,
)

STEPS = np.arange(121)  # past the end of the budgets of 100 below
Z = np.minimum(STEPS / 100, 1)


def close(ours: Any, expected: Any) -> None:
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


class TestDecay:
    def test_rex_with_beta_one_is_a_line_and_beta_below_one_is_above_it(self) -> None:
        close(rex(STEPS, 100, beta=1.0, min_ratio=0.2), 1 - 0.8 * Z)
        assert (rex(STEPS[1:100], 100, beta=0.2) > 1 - Z[1:100]).all()

    def test_rex_is_the_papers_fraction(self) -> None:
        close(rex(STEPS, 100), (1 - Z) / (0.5 + 0.5 * (1 - Z)))

    def test_sigmoid_is_the_logistic_of_lrbench(self) -> None:
        gamma, middle = -20 / 100, 30  # of SIG, whose rate falls for a negative gamma
        expected = [0.1 + 0.9 / (1 + math.exp(-gamma * (min(t, 100) - middle))) for t in STEPS]
        close(sigmoid(STEPS, 100, steepness=20.0, midpoint_fraction=0.3, min_ratio=0.1), expected)

    def test_a_steep_sigmoid_does_not_overflow(self) -> None:
        assert sigmoid(np.array([0, 100]), 100, steepness=1e300).tolist() == [1.0, 0.0]

    def test_quarter_circle_lies_on_the_circle(self) -> None:
        close(quarter_circle(STEPS, 100) ** 2 + Z**2, 1.0)
        close(quarter_circle(STEPS, 100, exponent=0.5) ** 4 + Z**2, 1.0)

    def test_tanh_refuses_a_lower_bound_above_the_upper(self) -> None:
        with pytest.raises(ValueError, match=r"scheduler\.lower must be below scheduler\.upper=1\.0, got 2\.0"):
            tanh(0, 10, lower=2.0, upper=1.0)

    def test_generalized_cosine_at_one_half_is_a_quarter_wave(self) -> None:
        close(generalized_cosine(STEPS, 100, exponent=0.5), np.cos(np.pi * Z / 2))
        close(generalized_cosine(STEPS, 100, exponent=1.0), np.cos(np.pi * Z / 2) ** 2)

    def test_inverse_time_is_caffes_inv(self) -> None:
        gamma, power = 0.3, 0.75
        expected = [(1 + gamma * t) ** -power for t in range(101)]
        close(inverse_time(STEPS[:101], 100, total_decay=30.0), expected)

    def test_noam_of_the_paper(self) -> None:
        # Width 512, warmup 4000 of 100000 steps; step_num counts from 1.
        table = {1: 512**-0.5 * 4000**-1.5, 4000: (512 * 4000) ** -0.5, 16000: (512 * 16000) ** -0.5}
        for step_num, rate in table.items():
            assert noam(step_num - 1, 100_000, warmup_fraction=0.04) == pytest.approx(rate, rel=1e-12)
        assert noam(3999, 100_000, warmup_fraction=0.04) == pytest.approx(6.98771e-4, rel=1e-5)


class TestCooldowns:
    @pytest.mark.parametrize(
        ("shape", "at_quarters"),
        [
            ("linear", [1, 0.75, 0.5, 0.25, 0]),
            ("cosine", [1, 0.853553390593, 0.5, 0.146446609407, 0]),
            ("mirror_cosine", [1, 0.646446609407, 0.5, 0.353553390593, 0]),
            ("1-sqrt", [1, 0.5, 0.292893218813, 0.133974596216, 0]),
            ("1-square", [1, 0.9375, 0.75, 0.4375, 0]),
            ("sqrt", [1, 0.866025403784, 0.707106781187, 0.5, 0]),
        ],
    )
    def test_shapes(self, shape: Any, at_quarters: list[float]) -> None:
        ours = wsd(np.array([20, 25, 30, 35, 40]), 40, decay_fraction=0.5, shape=shape)
        np.testing.assert_allclose(ours, at_quarters, atol=1e-11)
        lifted = wsd(np.array([20, 25, 30, 35, 40]), 40, decay_fraction=0.5, shape=shape, min_ratio=0.2)
        np.testing.assert_allclose(lifted, 0.2 + 0.8 * np.array(at_quarters), atol=1e-11)

    def test_exponential_is_geometric(self) -> None:
        ours = wsd(np.array([9, 10, 12, 15, 20, 21]), 20, decay_fraction=0.5, shape="exponential", min_ratio=0.01)
        close(ours, [1, 1, 10**-0.4, 0.1, 0.01, 0.01])

    def test_warmup_of_haegele_starts_at_a_hundredth(self) -> None:
        ours = wsd(np.arange(5), 100, warmup_fraction=0.04)
        close(ours, [t / 4 + (1 - t / 4) / 100 for t in range(5)])

    def test_exponential_cooldown_of_a_square_root(self) -> None:
        ours = power_cooldown(
            np.array([0, 12, 60, 100]),
            100,
            timescale_fraction=0.04,
            decay_fraction=0.8,
            shape="exponential",
            min_ratio=0.01,
        )
        close(ours, [1, 0.5, (1 / 4) ** 0.5 * 0.1, 0.01])

    @pytest.mark.parametrize(
        ("family", "parameters", "message"),
        [
            (wsd, {"shape": "exponential"}, r"scheduler\.min_ratio must be above 0"),
            (wsd, {"decay_fraction": 0.8, "warmup_fraction": 0.3}, r"scheduler\.warmup_fraction .*0\.3.*0\.8"),
            (power_cooldown, {"shape": "exponential"}, r"scheduler\.min_ratio must be above 0"),
            (knee, {"explore_fraction": 0.8, "warmup_fraction": 0.3}, r"scheduler\.explore_fraction must be"),
            (cosine_infinite, {"hold_fraction": 0.8, "cooldown_fraction": 0.3}, r"scheduler\.cooldown_fraction"),
        ],
    )
    def test_phases_that_do_not_fit_are_refused(self, family: Any, parameters: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            family(0, 100, **parameters)

    def test_a_warmup_and_a_decay_that_fill_the_budget_meet(self) -> None:
        assert wsd(np.arange(6), 5, warmup_fraction=0.5, decay_fraction=0.5, shape="linear").max() == 1.0

    def test_knee(self) -> None:
        ours = knee(np.arange(11), 10, warmup_fraction=0.2, explore_fraction=0.4, start_ratio=0.5)
        close(ours, [0.5, 0.75, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])

    def test_slanted_triangular_of_the_paper(self) -> None:
        # cut_frac 0.1 of 100 steps, ratio 32: the paper's own expression, cut (1/cut_frac - 1) = 90.
        expected = [(1 + (t / 10 if t < 10 else 1 - (t - 10) / (10 * (1 / 0.1 - 1))) * 31) / 32 for t in range(101)]
        close(slanted_triangular(np.arange(101), 100), expected)


class TestCosines:
    def test_infinite_cosine_holds_then_cools_down(self) -> None:
        ours = cosine_infinite(STEPS, 100, hold_fraction=0.4, cooldown_fraction=0.2, min_ratio=0.1)
        expected = [
            0.55 + 0.45 * math.cos(math.pi * t / 40) if t < 40 else 0.1 if t < 80 else 0.1 * max(0, 100 - t) / 20
            for t in STEPS
        ]
        close(ours, expected)

    def test_echo_is_two_cosines_with_a_climb_between(self) -> None:
        ours = cosine_echo(STEPS, 100, echo_fraction=0.6, echo_ratio=0.5, warmup_fraction=0.25)
        close(ours[:60], [(1 + math.cos(math.pi * t / 60)) / 2 for t in range(60)])
        close(ours[60:70], [0.05 * t for t in range(10)])
        close(ours[70:101], [0.25 * (1 + math.cos(math.pi * t / 30)) for t in range(31)])

    def test_coslog_peaks_where_the_logarithm_is_a_half(self) -> None:
        """With 15 steps and n = 4, log2(1 + t): cycles of 1, 2, 4 and 8 steps."""
        close(coslog(np.array([0, 1, 3, 7, 15, 20]), 15, min_ratio=0.1), [0.1] * 6)
        peaks = np.array([2**0.5 - 1, 2**1.5 - 1, 2**2.5 - 1, 2**3.5 - 1]) * 1000
        close(coslog(peaks, 15_000), [1.0] * 4)
        close(coslog(np.array([2]), 15), [0.5 * (1 - math.cos(2 * math.pi * math.log2(3)))])

    def test_cycles_that_do_not_divide_the_budget_end_with_it(self) -> None:
        rates = cosine_cycles(np.arange(11), 10, num_cycles=3, cycle_decay=0.5)
        # Cycles of 10/3 steps: restarts at 4 and 7, each a third of the way into a step.
        assert (np.flatnonzero(np.diff(rates) > 0) + 1).tolist() == [4, 7]
        assert rates[4] == pytest.approx(0.25 * (1 + math.cos(math.pi * 0.2)))
        assert rates[10] == 0

    def test_cycles_of_whole_steps_restart_on_their_first_step(self) -> None:
        for num_cycles in range(2, 13):
            lengths = 5 * 2 ** np.arange(num_cycles)
            starts = np.cumsum(lengths) - lengths
            growing = cosine_cycles(starts, int(lengths.sum()), num_cycles=num_cycles, cycle_multiplier=2.0)
            close(growing, 0.5 ** np.arange(num_cycles))
            for length in range(1, 30):
                equal = cosine_cycles(length * np.arange(num_cycles), length * num_cycles, num_cycles=num_cycles)
                close(equal, 0.5 ** np.arange(num_cycles))


class TestPiecewise:
    def test_a_boundary_has_the_next_ratio(self) -> None:
        ours = piecewise_constant(np.arange(12), 10, boundary_fractions=[0.3, 0.8], ratios=[1.0, 2.0, 0.5])
        assert ours.tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 0.5, 0.5, 0.5, 0.5]

    def test_straight_lines_between_corners(self) -> None:
        ours = piecewise_linear(np.arange(12), 10, boundary_fractions=[0.2, 0.6], ratios=[0.0, 1.0, 0.2])
        close(ours, [0, 0.5, 1, 0.8, 0.6, 0.4, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])

    @pytest.mark.parametrize("family", [piecewise_constant, piecewise_linear])
    def test_bad_corners_are_refused(self, family: Any) -> None:
        with pytest.raises(ValueError, match=r"scheduler\.boundary_fractions must increase, got \[0\.5, 0\.5\]"):
            family(0, 10, boundary_fractions=[0.5, 0.5], ratios=[1.0, 0.5, 0.1])
        with pytest.raises(ValueError, match=r"scheduler\.ratios must hold .*got 1"):
            family(0, 10, boundary_fractions=[0.5], ratios=[1.0])


def hermite(knots: list[tuple[float, float]], share: float) -> float:
    """Fritsch and Carlson's monotone cubic, from the weighted harmonic mean of the slopes on both sides."""
    x, y = zip(*knots, strict=True)
    widths = [b - a for a, b in pairwise(x)]
    slopes = [(b - a) / w for (a, b), w in zip(pairwise(y), widths, strict=True)]

    def end_slope(w0: float, w1: float, s0: float, s1: float) -> float:
        d = ((2 * w0 + w1) * s0 - w0 * s1) / (w0 + w1)
        if d * s0 <= 0:
            return 0.0
        return 3 * s0 if s0 * s1 <= 0 and abs(d) > 3 * abs(s0) else d

    tangents = [end_slope(widths[0], widths[1], slopes[0], slopes[1])]
    for (w0, s0), (w1, s1) in pairwise(zip(widths, slopes, strict=True)):
        a, b = 2 * w1 + w0, w1 + 2 * w0
        tangents.append(0.0 if s0 * s1 <= 0 else (a + b) / (a / s0 + b / s1))
    tangents.append(end_slope(widths[-1], widths[-2], slopes[-1], slopes[-2]))
    i = next(i for i in range(len(widths)) if share <= x[i + 1])
    u = (share - x[i]) / widths[i]
    return (
        (1 + 2 * u) * (1 - u) ** 2 * y[i]
        + u * (1 - u) ** 2 * widths[i] * tangents[i]
        + u**2 * (3 - 2 * u) * y[i + 1]
        + u**2 * (u - 1) * widths[i] * tangents[i + 1]
    )


class TestSplines:
    POINTS: ClassVar = {"x1": 0.2, "y1": 0.8, "x2": 0.25, "y2": 0.5, "min_ratio": 0.1}
    KNOTS: ClassVar = [(0.0, 1.0), (0.2, 0.8), (0.4, 0.4), (1.0, 0.1)]  # worked out from POINTS

    def test_lines_go_through_the_knots(self) -> None:
        ours = two_point_linear(np.array([0, 10, 20, 30, 40, 70, 100, 110]), 100, **self.POINTS)
        close(ours, [1, 0.9, 0.8, 0.6, 0.4, 0.25, 0.1, 0.1])

    def test_spline_is_the_monotone_cubic(self) -> None:
        close(two_point_spline(STEPS, 100, **self.POINTS), [hermite(self.KNOTS, z) for z in Z])

    @pytest.mark.parametrize("x_peak", [0.1, 0.3, 0.9])
    def test_free_spline_peaks_where_it_says(self, x_peak: float) -> None:
        ours = free_spline(STEPS, 100, start_ratio=0.1, x1=0.2, y1=0.5, x2=0.5, y2=0.7, x_peak=x_peak, end_ratio=0.05)
        knots = sorted([(0.0, 0.1), (0.2, 0.5), (0.6, 0.7), (x_peak, 1.0), (1.0, 0.05)])
        close(ours, [hermite(knots, z) for z in Z])
        assert ours.argmax() == round(100 * x_peak)

    @pytest.mark.parametrize("family", [two_point_linear, two_point_spline])
    def test_of_points_at_the_same_place_the_first_counts(self, family: Any) -> None:
        # Both points at the start, then the second at the very end.
        assert family(0, 10, x1=0.0, x2=0.0) == 1.0
        assert family(10, 10, x1=0.5, y1=0.8, x2=1.0, y2=0.5) == pytest.approx(0.4)


class TestFractalChebyshev:
    def test_eight_steps_in_the_papers_order(self) -> None:
        order = [1, 8, 4, 5, 2, 7, 3, 6]  # sigma_8 of the paper, node 1 the largest step
        expected = [1 / (0.55 - 0.45 * math.cos((node - 0.5) * math.pi / 8)) for node in order]
        close(fractal_chebyshev(np.arange(8), 8, curvature_ratio=0.1), expected)
        assert fractal_chebyshev(8, 8, curvature_ratio=0.1) == pytest.approx(expected[-1])

    @pytest.mark.parametrize("total_steps", [1, 3, 6, 11])
    def test_any_budget_contracts_a_quadratic_as_chebyshev_does(self, total_steps: int) -> None:
        # Gradient descent on curvature c multiplies the error by prod(1 - c gamma_t), a scaled Chebyshev polynomial.
        curvatures = np.linspace(0.1, 1, 50)
        rates = fractal_chebyshev(np.arange(total_steps), total_steps, curvature_ratio=0.1)
        error = np.prod(1 - np.outer(curvatures, rates), axis=1)
        bound = 1 / math.cosh(total_steps * math.acosh(1.1 / 0.9))
        assert np.abs(error).max() == pytest.approx(bound, rel=1e-9)
