"""LRBench's waves against its own expressions (1908.06477), in its own units: k0, k1, l in steps, gamma."""

import math
from typing import Any

import numpy as np
import pytest

from lrbench.schedules import cosine_wave, sawtooth, sine, triangle

TOTAL_STEPS, NUM_CYCLES = 120, 3
K0, K1, GAMMA = 0.2, 1.0, 0.05 ** (1 / TOTAL_STEPS)
HALF = TOTAL_STEPS / (2 * NUM_CYCLES)  # l of the waves
FALL = TOTAL_STEPS / NUM_CYCLES  # l of the sawtooths


def tri(t: float) -> float:
    return 2 / math.pi * abs(math.asin(math.sin(math.pi * t / (2 * HALF))))


def arc(t: float) -> float:
    return abs(math.sin(math.pi * t / (2 * HALF)))


def cos(t: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * t / HALF))


def halvings(t: float) -> float:
    return 2.0 ** -math.floor(t / (2 * HALF))


WAVES = [
    ("TRI", triangle, "foot", lambda t: tri(t), lambda t: halvings(t)),
    ("DTRI", triangle, "peak", lambda t: tri(t + HALF), lambda t: halvings(t + HALF)),
    ("SIN", sine, "foot", lambda t: arc(t), lambda t: halvings(t)),
    ("DSIN", sine, "peak", lambda t: arc(t + HALF), lambda t: halvings(t + HALF)),
    ("COS", cosine_wave, "peak", lambda t: cos(t), lambda t: halvings(t + HALF)),
    ("UPCOS", cosine_wave, "foot", lambda t: cos(t + HALF), lambda t: halvings(t)),
]


@pytest.mark.parametrize(("wave", "halving"), [pytest.param(w[1:4], w[4], id=w[0]) for w in WAVES])
@pytest.mark.parametrize("envelope", ["none", "halving", "exponential"])
def test_wave_is_lrbenchs(wave: Any, halving: Any, envelope: Any) -> None:
    family, start, shape = wave
    amplitude = {"none": lambda t: 1.0, "halving": halving, "exponential": lambda t: GAMMA**t}[envelope]
    expected = [(K1 - K0) * shape(t) * amplitude(t) + K0 for t in range(TOTAL_STEPS + 1)]
    ours = family(
        np.arange(TOTAL_STEPS + 5),
        TOTAL_STEPS,
        num_cycles=NUM_CYCLES,
        start=start,
        envelope=envelope,
        end_ratio=0.05,
        min_ratio=K0 / K1,
    )
    np.testing.assert_allclose(ours[: TOTAL_STEPS + 1], expected, rtol=0, atol=1e-9)
    assert (ours[TOTAL_STEPS:] == ours[TOTAL_STEPS]).all()


@pytest.mark.parametrize(
    ("shape", "fall"),
    [
        ("linear", lambda u: u),
        ("sine", lambda u: math.sin(math.pi / 2 * u)),
        ("cosine", lambda u: 0.5 * (1 - math.cos(math.pi * u))),
    ],
)
@pytest.mark.parametrize("envelope", ["none", "halving", "exponential"])
def test_sawtooth_is_lrbenchs_between_restarts_and_at_its_peak_on_them(shape: Any, fall: Any, envelope: Any) -> None:
    amplitude = {
        "none": lambda t: 1.0,
        "halving": lambda t: 2.0 ** -math.floor(t / FALL),
        "exponential": lambda t: GAMMA**t,
    }[envelope]
    ours = sawtooth(
        np.arange(TOTAL_STEPS + 5),
        TOTAL_STEPS,
        num_cycles=NUM_CYCLES,
        shape=shape,
        envelope=envelope,
        end_ratio=0.05,
        min_ratio=K0 / K1,
    )
    for t in range(TOTAL_STEPS):
        u = -t / FALL - math.floor(-t / FALL)
        u = 1.0 if t % FALL == 0 else u  # LRBench's own u is 0 there
        assert ours[t] == pytest.approx((K1 - K0) * fall(u) * amplitude(t) + K0, abs=1e-9)
    np.testing.assert_allclose(ours[TOTAL_STEPS:], K0)


@pytest.mark.parametrize("family", [triangle, sine, cosine_wave])
def test_a_run_of_whole_cycles_touches_the_foot_once_a_cycle(family: Any) -> None:
    rates = family(np.arange(13), 12, num_cycles=3, start="foot", min_ratio=0.25)
    assert (rates == 0.25).nonzero()[0].tolist() == [0, 4, 8, 12]
    assert (rates == 1.0).nonzero()[0].tolist() == [2, 6, 10]


def test_restarts_fall_on_the_first_step_of_a_cycle_for_any_budget() -> None:
    for total_steps in range(1, 80):
        for num_cycles in range(1, 8):
            rates = sawtooth(np.arange(total_steps), total_steps, num_cycles=num_cycles, min_ratio=0.0)
            whole = num_cycles * np.arange(total_steps) % total_steps == 0
            assert ((rates == 1.0) == whole).all()
