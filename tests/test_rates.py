"""The table of rates against closed forms and against torch's schedulers driven by hand."""

import math
import pickle
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lrbench import schedules
from lrbench.schedules import Warmup
from lrbench.schedules.factors import ScheduleError
from lrbench.schedules.rates import make_rates

LR, T = 0.4, 120
OPEN_LOOP = [
    "constant", "cosine", "cosine_restarts", "cyclic", "exponential",
    "linear", "multistep", "one_cycle", "polynomial", "step",
]  # fmt: skip


def sgd(params):
    return torch.optim.SGD(params, lr=LR, momentum=0.9)


def table(schedule, *, total_steps=T, make_optimizer=sgd, **kwargs):
    return make_rates(schedule, make_optimizer, total_steps=total_steps, num_evaluations=20, **kwargs)


def triangle(t, half_period):
    position = t % (2 * half_period)
    return min(position, 2 * half_period - position) / half_period


CLOSED_FORMS = {
    "constant": (schedules.constant, lambda t: 1.0),
    "constant with a reduced start": (
        partial(schedules.constant, initial_ratio=0.25, initial_fraction=0.1),
        lambda t: 0.25 if t < 12 else 1.0,
    ),
    "step": (partial(schedules.step, gamma=0.5, interval_fraction=0.25), lambda t: 0.5 ** (t // 30)),
    "multistep": (
        partial(schedules.multistep, gamma=0.2, milestone_fractions=[0.75, 0.5]),
        lambda t: 0.2 ** ((t >= 60) + (t >= 90)),
    ),
    "exponential": (partial(schedules.exponential, end_ratio=0.01), lambda t: 0.01 ** (t / T)),
    "polynomial": (partial(schedules.polynomial, power=2.0), lambda t: (1 - t / T) ** 2),
    "linear": (partial(schedules.linear, end_ratio=0.1), lambda t: 1 - 0.9 * t / T),
    "cosine": (
        partial(schedules.cosine, min_ratio=0.1),
        lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * t / T)) / 2,
    ),
    "cosine restarts of equal length": (
        partial(schedules.cosine_restarts, num_cycles=4, cycle_multiplier=1),
        lambda t: (1 + math.cos(math.pi * (t % 30) / 30)) / 2,
    ),
    "triangles": (
        partial(schedules.cyclic, num_cycles=3, min_ratio=0.25),
        lambda t: 0.25 + 0.75 * triangle(t, 20),
    ),
    "halving triangles": (
        partial(schedules.cyclic, num_cycles=3, min_ratio=0.25, mode="triangular2"),
        lambda t: 0.25 + 0.75 * triangle(t, 20) / 2 ** (t // 40),
    ),
    "decaying triangles": (
        partial(schedules.cyclic, num_cycles=3, min_ratio=0.25, mode="exp_range", end_ratio=0.01),
        lambda t: 0.25 + 0.75 * triangle(t, 20) * 0.01 ** (t / T),
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_every_rate_equals_the_closed_form(name):
    schedule, factor = CLOSED_FORMS[name]
    np.testing.assert_allclose(table(schedule).lr, [LR * factor(t) for t in range(T)], rtol=1e-10, atol=1e-13)


def test_one_cycle_equals_torch_driven_by_hand_rate_and_momentum():
    rates = table(partial(schedules.one_cycle, pct_start=0.25, div_factor=10.0))
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    reference = lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=T, pct_start=0.25, div_factor=10.0)
    assert rates.momentum is not None
    for t in range(T):
        assert rates.lr[t] == optimizer.param_groups[0]["lr"]
        assert rates.momentum[t] == optimizer.param_groups[0]["momentum"]
        optimizer.step()
        if t < T - 1:
            reference.step()


def test_one_cycle_moves_the_first_beta_of_adam():
    def adam(params):
        return torch.optim.Adam(params, lr=LR, betas=(0.9, 0.99))

    rates = table(schedules.one_cycle, make_optimizer=adam)
    assert rates.momentum is not None
    assert rates.momentum[0] == 0.95
    assert min(rates.momentum) == pytest.approx(0.85)


def test_momentum_is_left_alone_unless_the_schedule_moves_it():
    assert table(schedules.cosine).momentum is None
    assert table(partial(schedules.one_cycle, cycle_momentum=False)).momentum is None
    assert table(partial(schedules.cyclic, cycle_momentum=True)).momentum is not None


@given(st.integers(1, 40), st.sampled_from(OPEN_LOOP))
def test_any_budget_gives_finite_rates_that_are_not_negative(total_steps, name):
    rates = table(getattr(schedules, name), total_steps=total_steps)
    assert rates.lr.shape == (total_steps,)
    assert np.isfinite(rates.lr).all()
    assert (rates.lr >= 0).all()


@given(st.integers(2, 60), st.integers(1, 4), st.integers(1, 3))
def test_no_restart_falls_outside_the_planned_cycles(total_steps, num_cycles, multiplier):
    schedule = partial(schedules.cosine_restarts, num_cycles=num_cycles, cycle_multiplier=multiplier)
    rises = np.count_nonzero(np.diff(table(schedule, total_steps=total_steps).lr) > 0)
    assert rises <= num_cycles - 1


@pytest.mark.parametrize("name", OPEN_LOOP)
def test_a_schedule_stretches_with_its_budget(name):
    short, long = (table(getattr(schedules, name), total_steps=n).lr for n in (1200, 2400))
    assert np.abs(short - long[::2]).mean() < 0.01 * LR


def test_linear_warmup_equals_torch():
    rates = table(schedules.constant, warmup=Warmup(partial(schedules.linear_warmup, start_ratio=0.2), steps=10))
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    reference = lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=10)
    for t in range(15):
        assert rates.lr[t] == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("shape", "middle"),
    [
        (partial(schedules.linear_warmup, start_ratio=0.0), 0.5),
        (partial(schedules.cosine_warmup, start_ratio=0.0), 0.5),
        (partial(schedules.polynomial_warmup, power=3.0, start_ratio=0.0), 0.125),
        (partial(schedules.exponential_warmup, sharpness=5.0, start_ratio=0.0), 0.924141819978757),
        (partial(schedules.polynomial_warmup, power=2.0, start_ratio=0.2), 0.4),
    ],
)
def test_warmup_shapes_at_their_ends_and_middle(shape, middle):
    ramp = shape(np.array([0, 5, 10]), 10)
    assert ramp == pytest.approx([shape.keywords["start_ratio"], middle, 1.0])


def test_a_warmup_climbs_to_the_schedules_first_rate_and_leaves_it_the_rest_of_the_budget():
    rates = table(schedules.cosine, warmup=Warmup(schedules.linear_warmup, fraction=0.25))
    assert rates.warmup_steps == 30
    np.testing.assert_array_equal(rates.lr[30:], table(schedules.cosine, total_steps=90).lr)
    assert (np.diff(rates.lr[:31]) > 0).all()


@pytest.mark.parametrize(
    ("warmup", "message"),
    [
        (Warmup(schedules.linear_warmup, steps=T), "shorter than the budget of 120 steps, got 120"),
        (
            Warmup(schedules.linear_warmup, fraction=0.1, steps=3),
            "exactly one of warmup.fraction and warmup.steps",
        ),
        (Warmup(schedules.linear_warmup), "exactly one of warmup.fraction and warmup.steps"),
    ],
)
def test_impossible_warmups_are_refused(warmup, message):
    with pytest.raises(ValueError, match=message):
        table(schedules.cosine, warmup=warmup)


def test_plateau_equals_torch_driven_by_hand_after_its_warmup():
    schedule = partial(schedules.plateau, factor=0.5, patience_fraction=0.1)
    rates = table(schedule, warmup=Warmup(schedules.linear_warmup, steps=10))
    optimizer = sgd([torch.nn.Parameter(torch.zeros(1))])
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    rates.observe(0, 99.0)
    rates.observe(10, 99.0)  # the warmup's last update: the schedule has not acted yet
    for step, loss in enumerate(losses, start=11):
        rates.observe(step, loss)
        reference.step(loss)
        assert rates.lr[step] == optimizer.param_groups[0]["lr"]
    assert rates.lr[-1] == LR * 0.25
    assert rates.lr[10] == LR, "what was used already is not rewritten"


def test_a_closed_loop_schedule_continues_from_its_saved_state():
    losses = [2.0, *[2.0] * 9]
    schedule = partial(schedules.plateau, factor=0.5, patience_fraction=0.1)
    unbroken, first, second = (table(schedule) for _ in range(3))
    for step, loss in enumerate(losses, start=1):
        unbroken.observe(step, loss)
    for step, loss in enumerate(losses[:4], start=1):
        first.observe(step, loss)
    second.load_state_dict(first.state_dict())
    for step, loss in enumerate(losses[4:], start=5):
        second.observe(step, loss)
    np.testing.assert_array_equal(second.lr, unbroken.lr)
    assert unbroken.lr[-1] < LR / 2


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_an_unusable_rate_is_refused_with_schedule_step_and_value(value):
    def broken(step, total_steps):
        return np.where(step == 7, value, 1.0)

    with pytest.raises(ScheduleError, match=r"scheduler=broken gives the rate .* at step 7") as caught:
        table(broken, name="broken")
    assert caught.value.step == 7


def test_a_closed_loop_schedule_that_goes_wrong_is_refused_when_it_does():
    class Exploding(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            self.optimizer.param_groups[0]["lr"] = math.inf

    rates = table(lambda optimizer: Exploding(optimizer), name="exploding")
    with pytest.raises(ScheduleError, match="scheduler=exploding gives the rate inf at step 5"):
        rates.observe(5, 1.0)


def test_a_users_torch_class_and_factor_function_work_as_they_are():
    assert table(partial(lr_scheduler.StepLR, step_size=60, gamma=0.1)).lr[[0, 60]] == pytest.approx([LR, LR / 10])
    assert table(lambda step, total_steps: 1 - step / total_steps).lr[60] == pytest.approx(LR / 2)
    own_length = table(partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=500))
    assert own_length.lr.argmax() == T - 1, "a length that the user gave is not replaced"


@pytest.mark.parametrize(
    ("begin", "end", "steps"),
    [(0, 0, []), (0, 1, [1]), (0, 2, [1, 2]), (0, 30, [1, 30]), (7, 17, [17]), (119, 120, [120])],
)
def test_a_straight_curve_has_the_last_update_and_the_very_first_one(begin, end, steps):
    rates = table(schedules.linear)
    assert rates.points(begin, end, at_most=3) == [(s, rates.lr[s - 1], None) for s in steps]


@pytest.mark.parametrize(("at_most", "steps"), [(1, [70]), (2, [60, 70]), (3, [60, 61, 70]), (9, [60, 61, 70])])
def test_a_step_has_its_corners_as_far_as_there_are_points(at_most, steps):
    rates = table(partial(lr_scheduler.StepLR, step_size=60, gamma=0.1))
    assert [step for step, *_ in rates.points(50, 70, at_most=at_most)] == steps


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["cosine", "one_cycle", "polynomial", "wsd", "inverse_sqrt", "exponential", "rex"]),
    cuts=st.sets(st.integers(1, T - 1), max_size=6),
)
def test_lines_through_the_points_are_the_curve(name, cuts):
    rates = table(getattr(schedules, name))
    bounds = [0, *sorted(cuts), T]
    points = [point for begin, end in pairwise(bounds) for point in rates.points(begin, end, at_most=100)]
    steps = [step for step, *_ in points]
    assert steps == sorted(set(steps))
    for curve, values in [(rates.lr, [lr for _, lr, _ in points]), (rates.momentum, [m for *_, m in points])]:
        if curve is not None:
            drawn = np.interp(np.arange(1, T + 1), steps, values)
            assert np.abs(drawn - curve).max() <= 0.005 * curve.max()
    assert len(points) < T / 2


def test_points_carry_the_momentum_where_it_moves():
    rates = table(schedules.one_cycle)
    assert rates.points(5, 6, at_most=10) == [(6, rates.lr[5], rates.momentum[5])]


def test_the_error_of_a_rate_survives_the_way_between_processes():
    error = ScheduleError("cosine", 3, "gives the rate nan")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.step) == ("scheduler=cosine gives the rate nan", 3)
