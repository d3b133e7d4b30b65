"""Every rule on schedules: a case in which it must speak, and a near miss in which it must not."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as torch_schedulers

from lrbench import schedules
from lrbench.lint.schedule import RULES, lint_schedule, make_subject
from lrbench.schedules import Warmup

# 10 epochs of 100 steps, evaluated 20 times.
T, EPOCH, EVALUATIONS, LR = 1000, 100, 20, 0.1
T_MAX, STEP, MULTISTEP = torch_schedulers.CosineAnnealingLR, torch_schedulers.StepLR, torch_schedulers.MultiStepLR
ONE_CYCLE, CYCLIC, RESTARTS = (
    torch_schedulers.OneCycleLR,
    torch_schedulers.CyclicLR,
    torch_schedulers.CosineAnnealingWarmRestarts,
)
POLYNOMIAL, LINEAR, CONSTANT = torch_schedulers.PolynomialLR, torch_schedulers.LinearLR, torch_schedulers.ConstantLR
EXPONENTIAL, PLATEAU = torch_schedulers.ExponentialLR, torch_schedulers.ReduceLROnPlateau


def sgd(params, momentum=0.9):
    return torch.optim.SGD(params, lr=LR, momentum=momentum)


def adagrad(params):  # has no momentum of any kind
    return torch.optim.Adagrad(params, lr=LR)


class ScheduleFree(torch.optim.SGD):
    def train(self):
        pass

    eval = train


def schedule_free(params):
    return ScheduleFree(params, lr=LR, momentum=0.9)


def prodigy_like(safeguard):
    def make(params):
        optimizer = torch.optim.SGD(params, lr=1.0)
        optimizer.param_groups[0]["safeguard_warmup"] = safeguard
        return optimizer

    return make


def ramp(steps, start_ratio=0.01):
    return Warmup(partial(schedules.linear_warmup, start_ratio=start_ratio), steps=steps)


def shape(formula):
    """A user's factor function of the share of the run that is done."""
    return lambda step, total_steps: formula(step / total_steps)


def in_sequence(optimizer):
    """The usual hand-made warmup, whose cosine has the rest of 1000 steps."""
    stages = [LINEAR(optimizer, start_factor=0.1, total_iters=100), T_MAX(optimizer, T_max=900)]
    return torch_schedulers.SequentialLR(optimizer, stages, milestones=[100])


def in_sequence_too_long(optimizer):
    stages = [LINEAR(optimizer, start_factor=0.1, total_iters=100), T_MAX(optimizer, T_max=1800)]
    return torch_schedulers.SequentialLR(optimizer, stages, milestones=[100])


def findings(schedule, make_optimizer=sgd, *, total_steps=T, **kwargs):
    subject = make_subject(
        schedule,
        make_optimizer,
        total_steps=total_steps,
        steps_per_epoch=EPOCH,
        num_evaluations=EVALUATIONS,
        **{"name": "mine", "optimizer": "sgd", **kwargs},
    )
    return lint_schedule(subject)


# rule -> (schedule, keyword arguments of `findings`, severity, what the message must say)
MUST_SPEAK = [
    (
        "warmup-length",
        schedules.cosine,
        {"warmup": ramp(T)},
        "error",
        "1000 steps and the run has 1000.*warmup.fraction",
    ),
    ("warmup-length", schedules.cosine, {"warmup": ramp(2 * T)}, "error", "2000 steps and the run has 1000"),
    ("warmup-length", schedules.cosine, {"warmup": ramp(501)}, "warning", r"501 of 1000 steps \(50%\).*leaves 499"),
    ("zero-at-start", schedules.cosine, {"warmup": ramp(50, 0.0)}, "warning", "first update.*warmup.start_ratio=0.01"),
    ("zero-at-start", shape(lambda z: z * (1 - z)), {}, "note", "The rate is 0 at the start"),
    ("zero-at-start", shape(lambda z: np.maximum(0, z - 0.1)), {}, "warning", "first 101 updates"),
    (
        "zero-rate",
        partial(POLYNOMIAL, total_iters=600),
        {},
        "warning",
        "0 from step 600 to 999 of 1000.*40%.*steps=600",
    ),
    ("zero-rate", shape(lambda z: 1.0 * ((z < 0.5) | (z >= 0.6))), {}, "warning", "0 from step 500 to 599"),
    ("zero-rate", shape(lambda z: 0 * z), {}, "error", "0 at every step"),
    ("float-resolution", shape(lambda z: 10 ** (-9 * z)), {}, "warning", "below 1e-07 of optimizer.lr=0.1 for 222 of"),
    ("float-resolution", partial(schedules.exponential, end_ratio=1e-12), {}, "warning", "scheduler.end_ratio=0.001"),
    ("float-resolution", partial(EXPONENTIAL, gamma=0.97), {}, "warning", r"scheduler.gamma=0.993116"),
    ("ends-mid-cycle", partial(RESTARTS, T_0=400), {}, "warning", "after 2 rises.*scheduler.T_0=334"),
    ("ends-mid-cycle", partial(RESTARTS, T_0=200, T_mult=2), {}, "warning", "scheduler.T_0=143"),
    (
        "ends-mid-cycle",
        partial(CYCLIC, base_lr=0.01, max_lr=LR, step_size_up=200, cycle_momentum=False),
        {},
        "warning",
        "scheduler.step_size_up=250",
    ),
    ("ends-mid-cycle", shape(lambda z: np.abs(np.sin(3.5 * np.pi * z)) + 0.01), {}, "warning", "rises between 0.001"),
    ("ends-mid-cycle", partial(RESTARTS, T_0=999), {}, "warning", "at the rate 0.1,"),
    ("never-decays", shape(lambda z: z + 0.01), {}, "warning", "climbs from 0.001 to 0.1"),
    ("hardly-moves", shape(lambda z: 1 - z / 200), {}, "warning", "moves by 0.005 of itself.*add up to 1000"),
    ("hardly-moves", partial(EXPONENTIAL, gamma=0.999999), {}, "warning", "hardly|moves by"),
    (
        "one-cycle-past-end",
        partial(ONE_CYCLE, max_lr=LR, total_steps=900),
        {},
        "error",
        "made for 900 steps.*takes 1000.*scheduler.total_steps=1000",
    ),
    ("one-cycle-past-end", partial(ONE_CYCLE, max_lr=LR, total_steps=10), {}, "error", "as many as the run has epochs"),
    ("t-max", partial(T_MAX, T_max=500), {}, "warning", "climbs again after step 500 of 1000, back to 0.1.*T_max=1000"),
    ("t-max", partial(T_MAX, T_max=2000), {}, "warning", "cut short: the last rate is 0.05.*scheduler=cosine"),
    ("t-max", in_sequence_too_long, {}, "warning", "T_max=1800 for 900 steps.*T_max=900 in the code"),
    (
        "cut-short",
        partial(ONE_CYCLE, max_lr=LR, total_steps=2000),
        {},
        "warning",
        "after 50% of its way.*total_steps=1000",
    ),
    ("cut-short", partial(POLYNOMIAL, total_iters=4000), {}, "warning", "after 25% of its way.*total_iters=1000"),
    ("step-size", partial(STEP, step_size=1000), {}, "warning", "after 1000 of 1000 steps.*scheduler.step_size=333"),
    ("step-size", partial(schedules.step, interval_fraction=1.0), {}, "warning", "scheduler.interval_fraction=0.3333"),
    ("milestones", partial(MULTISTEP, milestones=[500, 1000, 1500]), {}, "warning", "at step 1000, 1500.*=.500,750."),
    (
        "milestones",
        partial(schedules.multistep, milestone_fractions=[0.5, 1.0]),
        {},
        "warning",
        "at step 1000: scheduler.milestone_fractions",
    ),
    ("epochs-for-steps", partial(MULTISTEP, milestones=[5, 8]), {}, "warning", r"milestones=\[500,800\]"),
    ("epochs-for-steps", partial(T_MAX, T_max=10), {}, "warning", "100 an epoch.*scheduler.T_max=1000"),
    ("epochs-for-steps", partial(RESTARTS, T_0=5), {}, "warning", "scheduler.T_0=500"),
    ("epochs-for-steps", partial(STEP, step_size=30), {}, "warning", "step_size=30 for 1000 steps.*step_size=334"),
    ("epochs-for-steps", partial(STEP, step_size=3), {}, "warning", "scheduler.step_size=300"),
    ("epochs-for-steps", partial(EXPONENTIAL, gamma=0.95), {}, "warning", "scheduler.gamma=0.9994872"),
    (
        "base-rate-unused",
        partial(ONE_CYCLE, max_lr=0.7, total_steps=T),
        {},
        "warning",
        "max_lr=0.7 replaces optimizer.lr=0.1",
    ),
    ("torch-defaults", CONSTANT, {}, "warning", "a third .* flat after 5 steps: scheduler=constant"),
    ("torch-defaults", LINEAR, {}, "warning", "a third .* flat after 5 steps: scheduler=linear"),
    ("momentum-overwritten", schedules.one_cycle, {}, "note", "between 0.85 and 0.95.*own 0.9.*cycle_momentum=false"),
    (
        "momentum-overwritten",
        schedules.one_cycle,
        {"make_optimizer": partial(sgd, momentum=0.5)},
        "warning",
        "own 0.5 is never used",
    ),
    (
        "rates",
        schedules.one_cycle,
        {"make_optimizer": schedule_free, "optimizer": "schedule_free_sgd"},
        "error",
        "moves the momentum.*scheduler.cycle_momentum=false",
    ),
    (
        "schedule-free-decay",
        schedules.cosine,
        {"make_optimizer": schedule_free, "optimizer": "schedule_free_sgd"},
        "warning",
        "scheduler=mine decays the rate from 0.1 .*scheduler=constant",
    ),
    (
        "prodigy-warmup",
        schedules.cosine,
        {"make_optimizer": prodigy_like(False), "warmup": ramp(50)},
        "warning",
        "optimizer.safeguard_warmup=true",
    ),
    (
        "plateau-patience",
        partial(PLATEAU, patience=18),
        {},
        "warning",
        "after 19 evaluations.*sees 19.*scheduler.patience=1",
    ),
    ("plateau-patience", partial(schedules.plateau, patience_fraction=1.0), {}, "warning", "patience_fraction=0.1"),
    ("plateau-patience", partial(PLATEAU, patience=9), {"warmup": ramp(500)}, "warning", "sees 9 in"),
    ("plateau-direction", partial(PLATEAU, mode="max"), {}, "error", "scheduler.mode=min"),
    (
        "rates",
        shape(lambda z: np.where(z == 0.007, np.nan, 1.0)),
        {},
        "error",
        "scheduler=mine gives the rate nan at step 7",
    ),
    ("rates", shape(lambda z: 0.5 - z), {}, "error", "gives the rate -0.0001.* at step 501"),
    ("rates", partial(STEP, step_size=0), {}, "error", "at step 1: ZeroDivisionError.*scheduler.step_size=0"),
    (
        "rates",
        schedules.one_cycle,
        {"make_optimizer": adagrad, "optimizer": "adagrad"},
        "error",
        "scheduler.cycle_momentum=false",
    ),
]
MUST_NOT_SPEAK = [
    ("warmup-length", schedules.cosine, {"warmup": ramp(500)}),
    ("zero-at-start", schedules.cosine, {"warmup": ramp(50, 0.001)}),
    ("zero-at-start", shape(lambda z: 1 - z), {}),
    ("zero-rate", partial(POLYNOMIAL, total_iters=995), {}),
    ("zero-rate", schedules.cosine, {}),
    ("zero-rate", shape(lambda z: np.maximum(0, z - 0.1)), {}),
    ("float-resolution", shape(lambda z: 10 ** (-7.5 * z)), {}),
    ("float-resolution", schedules.linear, {}),
    ("ends-mid-cycle", partial(RESTARTS, T_0=250), {}),
    ("ends-mid-cycle", partial(CYCLIC, base_lr=0.01, max_lr=LR, step_size_up=250, cycle_momentum=False), {}),
    ("ends-mid-cycle", shape(lambda z: np.abs(np.sin(3 * np.pi * z)) + 0.01), {}),
    ("ends-mid-cycle", schedules.one_cycle, {"warmup": ramp(100)}),
    ("ends-mid-cycle", shape(lambda z: np.where(z < 0.5, 0.1, 1.0)), {}),
    ("ends-mid-cycle", shape(lambda z: np.minimum(0.1 + 2 * z, 1.5 - z)), {}),
    (
        "ends-mid-cycle",
        partial(CYCLIC, base_lr=0.01, max_lr=LR, step_size_up=5, cycle_momentum=False),
        {"total_steps": 40},
    ),
    ("never-decays", partial(CONSTANT, factor=0.5, total_iters=100), {}),
    ("never-decays", schedules.constant, {"warmup": ramp(400)}),
    ("hardly-moves", schedules.constant, {}),
    ("hardly-moves", shape(lambda z: 1 - z / 50), {}),
    ("one-cycle-past-end", partial(ONE_CYCLE, max_lr=LR, total_steps=T), {}),
    ("t-max", partial(T_MAX, T_max=995), {}),
    ("t-max", partial(T_MAX, T_max=950), {"warmup": ramp(50)}),
    ("t-max", in_sequence, {}),
    ("t-max", partial(T_MAX, T_max=10), {}),
    ("cut-short", partial(ONE_CYCLE, max_lr=LR, total_steps=T), {}),
    ("cut-short", partial(LINEAR, start_factor=0.1, total_iters=50), {}),
    ("step-size", partial(STEP, step_size=999), {}),
    ("milestones", partial(MULTISTEP, milestones=[500, 999]), {}),
    ("epochs-for-steps", partial(MULTISTEP, milestones=[50, 500]), {}),
    ("epochs-for-steps", partial(schedules.multistep, milestone_fractions=[0.05]), {}),
    ("epochs-for-steps", partial(T_MAX, T_max=1000), {}),
    ("epochs-for-steps", partial(RESTARTS, T_0=50, T_mult=2), {}),
    ("epochs-for-steps", partial(STEP, step_size=30, gamma=0.95), {}),
    ("epochs-for-steps", partial(EXPONENTIAL, gamma=0.995), {}),
    ("epochs-for-steps", partial(EXPONENTIAL, gamma=0.2), {}),
    ("base-rate-unused", partial(ONE_CYCLE, max_lr=LR, total_steps=T), {}),
    ("torch-defaults", partial(CONSTANT, factor=0.5), {}),
    ("torch-defaults", schedules.constant, {}),
    ("momentum-overwritten", partial(schedules.one_cycle, cycle_momentum=False), {}),
    ("momentum-overwritten", schedules.cyclic, {}),
    ("schedule-free-decay", schedules.constant, {"make_optimizer": schedule_free, "warmup": ramp(50)}),
    ("schedule-free-decay", schedules.cosine, {}),
    ("prodigy-warmup", schedules.cosine, {"make_optimizer": prodigy_like(True), "warmup": ramp(50)}),
    ("prodigy-warmup", schedules.cosine, {"make_optimizer": prodigy_like(False)}),
    ("plateau-patience", partial(PLATEAU, patience=17), {}),
    ("plateau-patience", partial(PLATEAU, patience=7), {"warmup": ramp(500)}),
    ("plateau-direction", PLATEAU, {}),
    ("rates", shape(lambda z: 1 - z), {}),
]


def numbered(cases):
    return [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(cases)]


@pytest.mark.parametrize(("rule", "schedule", "arguments", "severity", "message"), numbered(MUST_SPEAK))
def test_a_rule_speaks_when_it_must(rule, schedule, arguments, severity, message):
    found = [f for f in findings(schedule, **arguments) if f.rule == rule]
    assert [f.severity for f in found] == [severity]
    assert re.search(message, found[0].message), found[0].message


@pytest.mark.parametrize(("rule", "schedule", "arguments"), numbered(MUST_NOT_SPEAK))
def test_a_rule_is_silent_on_a_near_miss(rule, schedule, arguments):
    assert not [f for f in findings(schedule, **arguments) if f.rule == rule]


def test_every_rule_has_a_case_for_and_a_case_against():
    assert {case[0] for case in MUST_SPEAK} == {case[0] for case in MUST_NOT_SPEAK}
    assert len({case[0] for case in MUST_SPEAK}) >= len(RULES) - 1  # two rules share the name epochs-for-steps


FIXES = [
    (partial(T_MAX, T_max=500), {"T_max": 1000}),
    (partial(RESTARTS, T_0=400), {"T_0": 334}),
    (partial(RESTARTS, T_0=200, T_mult=2), {"T_0": 143}),
    (partial(CYCLIC, base_lr=0.01, max_lr=LR, step_size_up=200, cycle_momentum=False), {"step_size_up": 250}),
    (partial(STEP, step_size=30), {"step_size": 334}),
    (partial(EXPONENTIAL, gamma=0.95), {"gamma": 0.9994872}),
    (partial(ONE_CYCLE, max_lr=LR, total_steps=900), {"total_steps": 1000}),
    (partial(MULTISTEP, milestones=[5, 8]), {"milestones": [500, 800]}),
    (partial(PLATEAU, patience=18), {"patience": 1}),
]


@pytest.mark.parametrize(
    ("schedule", "fix"), FIXES, ids=lambda x: "-".join(x) if isinstance(x, dict) else x.func.__name__
)
def test_following_the_fix_leaves_nothing_to_say(schedule, fix):
    before, after = findings(schedule), findings(partial(schedule, **fix))
    (name, value), *_ = fix.items()
    assert any(f"scheduler.{name}={value}".replace(" ", "") in f.message for f in before)
    assert [f for f in after if f.severity != "note"] == []


def test_plateau_acts_exactly_when_the_rule_is_silent():
    """The rule counts evaluations; the table, shown a loss that never improves, is the judge."""
    for patience in range(15, 21):
        for warmup_steps in (0, 100, 450):
            schedule, warmup = partial(PLATEAU, patience=patience), ramp(warmup_steps)
            subject = make_subject(
                schedule, sgd, total_steps=T, steps_per_epoch=EPOCH, num_evaluations=EVALUATIONS, warmup=warmup
            )
            for step in range(50, T, 50):
                subject.rates.observe(step, 1.0)
            acted = subject.rates.lr[-1] < LR
            silent = not [f for f in lint_schedule(subject) if f.rule == "plateau-patience"]
            assert acted == silent, (patience, warmup_steps)


def test_errors_come_first():
    both = findings(partial(PLATEAU, mode="max", patience=18))
    assert [f.severity for f in both] == ["error", "warning"]


def test_linting_leaves_the_schedule_as_it_was():
    schedule = partial(T_MAX, T_max=500)
    findings(schedule)
    assert schedule.func is T_MAX
    assert schedule.keywords == {"T_max": 500}
