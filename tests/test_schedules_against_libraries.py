"""Pure families against transformers, timm, pytorch_scheduler and scikit-learn, driven step by step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lrbench.schedules import (
    cosine_cycles,
    cosine_hard_restarts,
    cosine_to_min,
    cosine_wave,
    exp_hyperbolic,
    flat_cosine,
    hold_cosine,
    hyperbolic,
    inverse_sqrt,
    k_decay,
    polynomial_decay,
    power_cooldown,
    power_law,
    rex,
    sklearn_invscaling,
    sklearn_optimal,
    slanted_triangular,
    squashed_rsqrt,
    tanh,
    trapezoid,
    warm_cosine_cycles,
    wsd,
)

BASE_LR = 0.5  # not 1, so that a library's absolute minimum and our ratio differ
STEPS = np.arange(125)  # 25 past the end of the budgets of 100 below


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE_LR)


def driven(make: Callable[[torch.optim.Optimizer], Any]) -> np.ndarray:
    """Factors of a torch-style scheduler at STEPS."""
    sgd = optimizer()
    scheduler = make(sgd)
    rates = []
    for _ in STEPS:
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        scheduler.step()
    return np.array(rates) / BASE_LR


def driven_timm(make: Callable[[torch.optim.Optimizer], Any]) -> np.ndarray:
    """Factors of a timm scheduler at STEPS."""
    sgd = optimizer()
    scheduler = make(sgd)
    rates = []
    for step in STEPS.tolist():
        scheduler.step_update(step)
        rates.append(sgd.param_groups[0]["lr"])
    return np.array(rates) / BASE_LR


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


class TestTransformers:
    hf = staticmethod(lambda: pytest.importorskip("transformers.optimization"))

    def test_polynomial(self) -> None:
        theirs = driven(
            lambda o: self.hf().get_polynomial_decay_schedule_with_warmup(o, 0, 100, lr_end=0.01, power=3.0)
        )
        close(polynomial_decay(STEPS, 100, power=3.0, min_ratio=0.02), theirs)

    def test_inverse_sqrt(self) -> None:
        theirs = driven(lambda o: self.hf().get_inverse_sqrt_schedule(o, 10))
        close(inverse_sqrt(STEPS, 125, warmup_fraction=10 / 125, start_ratio=0.0), theirs)

    @pytest.mark.parametrize("num_cycles", [1, 2, 4, 5])
    def test_hard_restarts(self, num_cycles: int) -> None:
        theirs = driven(
            lambda o: self.hf().get_cosine_with_hard_restarts_schedule_with_warmup(o, 0, 100, num_cycles=num_cycles)
        )
        close(cosine_hard_restarts(STEPS, 100, num_cycles=num_cycles), theirs)

    def test_hard_restart_that_transformers_misses_by_rounding(self) -> None:
        get = self.hf().get_cosine_with_hard_restarts_schedule_with_warmup
        # A restart at every step: 49 * (1 / 49) is a bit less than 1.
        assert driven(lambda o: get(o, 0, 49, num_cycles=49))[1] == pytest.approx(0)
        assert (cosine_hard_restarts(np.arange(49), 49, num_cycles=49) == 1).all()

    @pytest.mark.parametrize(("their_start", "our_start"), [(None, None), (0.3, 0.3)])
    def test_cosine_warmup_with_min_lr(self, their_start: float | None, our_start: float | None) -> None:
        theirs = driven(
            lambda o: self.hf().get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
                o, 10, 100, min_lr_rate=0.2, warmup_lr_rate=their_start
            )
        )
        ours = cosine_to_min(STEPS, 100, warmup_fraction=0.1, start_ratio=our_start, min_ratio=0.2)
        # Past the end theirs rises again with the cosine.
        close(ours[:100], theirs[:100])
        assert ours[99] == pytest.approx(0.2)
        assert (ours[99:] == ours[99]).all()

    @pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
    def test_wsd(self, shape: Any) -> None:
        theirs = driven(lambda o: self.hf().get_wsd_schedule(o, 10, 30, 100, decay_type=shape, min_lr_ratio=0.1))
        ours = wsd(STEPS, 100, decay_fraction=0.3, shape=shape, warmup_fraction=0.1, start_ratio=0.1, min_ratio=0.1)
        close(ours, theirs)

    def test_cosine_wave(self) -> None:
        theirs = driven(lambda o: self.hf().get_cosine_schedule_with_warmup(o, 0, 100, num_cycles=3.0))
        close(cosine_wave(STEPS[:101], 100, num_cycles=3, min_ratio=0.0), theirs[:101])

    def test_warm_cycles_repeat_the_warm_cosine(self) -> None:
        one = driven(lambda o: self.hf().get_cosine_schedule_with_warmup(o, 5, 50))[:50]
        ours = warm_cosine_cycles(STEPS[:100], 100, num_cycles=2, warmup_fraction=0.1, start_ratio=0.0)
        close(ours, np.tile(one, 2))


class TestTimm:
    timm = staticmethod(lambda: pytest.importorskip("timm.scheduler"))

    def test_k_decay(self) -> None:
        theirs = driven_timm(
            lambda o: self.timm().CosineLRScheduler(o, 100, lr_min=0.05, k_decay=2.5, t_in_epochs=False)
        )
        close(k_decay(STEPS, 100, k=2.5, min_ratio=0.1), theirs)

    def test_polynomial_k_decay(self) -> None:
        theirs = driven_timm(
            lambda o: self.timm().PolyLRScheduler(o, 100, power=0.5, lr_min=0.05, k_decay=1.5, t_in_epochs=False)
        )
        close(polynomial_decay(STEPS, 100, power=0.5, k=1.5, min_ratio=0.1), theirs)

    def test_tanh_up_to_the_end(self) -> None:
        theirs = driven_timm(lambda o: self.timm().TanhLRScheduler(o, 100, lr_min=0.05, t_in_epochs=False))
        # At the end theirs jumps down to the minimum; the paper's curve does not reach it.
        close(tanh(STEPS, 100, lower=-7.0, min_ratio=0.1)[:100], theirs[:100])

    @pytest.mark.parametrize(("multiplier", "first"), [(1.0, 25), (2.0, 100 / 15)])
    def test_cycles(self, multiplier: float, first: float) -> None:
        theirs = driven_timm(
            lambda o: self.timm().CosineLRScheduler(
                o,
                first,
                lr_min=0.005,
                cycle_mul=multiplier,
                cycle_decay=0.6,
                cycle_limit=4,
                t_in_epochs=False,
            )
        )
        ours = cosine_cycles(STEPS, 100, num_cycles=4, cycle_multiplier=multiplier, cycle_decay=0.6, min_ratio=0.01)
        close(ours, theirs)

    @pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
    @pytest.mark.parametrize("power", [0.5, 0.8])
    def test_rsqrt_with_a_cooldown(self, shape: Any, power: float) -> None:
        from timm.scheduler.wsd_lr import WSDLRScheduler

        theirs = driven_timm(
            lambda o: WSDLRScheduler(
                o,
                100,
                25,
                lr_min=0.05,
                stable_fn="power",
                stable_timescale=5,
                stable_power=power,
                decay_fn=shape,
                t_in_epochs=False,
            )
        )
        ours = power_cooldown(
            STEPS,
            100,
            timescale_fraction=0.05,
            power=power,
            decay_fraction=0.25,
            shape=shape,
            min_ratio=0.1,
        )
        close(ours, theirs)

    def test_squashed_rsqrt_is_the_part_before_the_cooldown(self) -> None:
        from timm.scheduler.wsd_lr import WSDLRScheduler

        theirs = driven_timm(
            lambda o: WSDLRScheduler(o, 200, 10, stable_fn="rsqrt", stable_timescale=8, t_in_epochs=False)
        )
        close(squashed_rsqrt(STEPS, 200, squash_fraction=0.04), theirs)

    def test_wsd_square_is_power_two(self) -> None:
        from timm.scheduler.wsd_lr import WSDLRScheduler

        theirs = driven_timm(lambda o: WSDLRScheduler(o, 100, 40, decay_fn="power", decay_power=2.0, t_in_epochs=False))
        close(wsd(STEPS, 100, decay_fraction=0.4, shape="1-square"), theirs)


class TestPytorchScheduler:
    @staticmethod
    def theirs(name: str, **arguments: Any) -> np.ndarray:
        package = pytest.importorskip("pytorch_scheduler")
        return driven(lambda o: getattr(package, name)(o, **arguments))

    def test_rex(self) -> None:
        close(rex(STEPS, 100), self.theirs("RexScheduler", total_steps=100))

    def test_k_decay(self) -> None:
        theirs = self.theirs("KDecayScheduler", total_steps=100, k=0.7, min_lr=0.05)
        close(k_decay(STEPS, 100, k=0.7, min_ratio=0.1), theirs)

    def test_tanh_up_to_the_end(self) -> None:
        theirs = self.theirs("TanhDecayScheduler", total_steps=100, steepness=2.0)
        close(tanh(STEPS, 100, lower=-2.0, upper=2.0)[:100], theirs[:100])

    def test_flat_cosine(self) -> None:
        theirs = self.theirs("FlatCosineScheduler", total_steps=100, flat_fraction=0.6, min_lr=0.05)
        close(flat_cosine(STEPS, 100, flat_fraction=0.6, min_ratio=0.1), theirs)

    def test_hold_cosine(self) -> None:
        theirs = self.theirs("WarmupHoldCosineScheduler", total_steps=100, warmup_steps=10, hold_steps=30, min_lr=0.05)
        ours = hold_cosine(STEPS, 100, warmup_fraction=0.1, hold_fraction=0.3, start_ratio=0.0, min_ratio=0.1)
        close(ours, theirs)

    @pytest.mark.parametrize(
        ("family", "name"),
        [(hyperbolic, "HyperbolicLRScheduler"), (exp_hyperbolic, "ExpHyperbolicLRScheduler")],
    )
    @pytest.mark.parametrize("upper_bound", [100, 150])
    def test_hyperbolas(self, family: Any, name: str, upper_bound: int) -> None:
        theirs = self.theirs(name, total_steps=100, upper_bound=upper_bound, min_lr=0.005)
        close(family(STEPS, 100, upper_bound_ratio=upper_bound / 100, min_ratio=0.01), theirs)

    def test_inverse_sqrt(self) -> None:
        theirs = self.theirs("InverseSqrtScheduler", warmup_steps=20)
        close(inverse_sqrt(STEPS, 200, warmup_fraction=0.1, start_ratio=0.0), theirs)

    def test_power_law(self) -> None:
        theirs = self.theirs("PowerDecayScheduler", total_steps=200, warmup_steps=10, alpha=0.8, min_lr=0.1)
        ours = power_law(STEPS, 200, warmup_fraction=0.05, start_ratio=0.0, exponent=0.8, min_ratio=0.2)
        close(ours, theirs)

    def test_slanted_triangular(self) -> None:
        theirs = self.theirs("SlantedTriangularScheduler", total_steps=100, cut_frac=0.25, ratio=10.0)
        close(slanted_triangular(STEPS, 100, cut_fraction=0.25, ratio=10.0), theirs)

    def test_trapezoid(self) -> None:
        theirs = self.theirs("TrapezoidalScheduler", total_steps=100, warmup_steps=20, decay_steps=30, min_lr=0.05)
        ours = trapezoid(STEPS, 100, warmup_fraction=0.2, decay_fraction=0.3, start_ratio=0.0, min_ratio=0.1)
        close(ours, theirs)


class TestScikitLearn:
    @staticmethod
    def rates(**arguments: Any) -> np.ndarray:
        """Rates of SGDClassifier, read off its weight: a tiny example never leaves the hinge's slope of one."""
        from sklearn.linear_model import SGDClassifier

        model = SGDClassifier(loss="hinge", penalty=None, fit_intercept=False, **arguments)
        tiny, weights = 1e-9, [0.0]
        for _ in range(30):
            model.partial_fit(np.array([[tiny]]), [1], classes=[0, 1])
            weights.append(model.coef_[0, 0])
        return np.diff(weights) / tiny

    def test_invscaling(self) -> None:
        theirs = self.rates(learning_rate="invscaling", eta0=0.5, power_t=0.25)
        np.testing.assert_allclose(0.5 * sklearn_invscaling(np.arange(30), 30, power=0.25), theirs, rtol=1e-6)

    def test_optimal(self) -> None:
        theirs = self.rates(learning_rate="optimal", alpha=0.01)
        ours = 0.01**-0.25 * sklearn_optimal(np.arange(30), 30, alpha=0.01)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
