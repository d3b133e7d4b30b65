"""Trainings that share a trunk give what each gives alone, bit for bit."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lrbench.data import Split, Splits
from lrbench.optimizers import sgd
from lrbench.schedules import cosine, plateau, wsd
from lrbench.spec import Budget, Task
from lrbench.training import common_steps, train_branches
from lrbench.trials import Trial, Workload, build_training


def make_model(input_shape, num_outputs):
    return nn.Sequential(
        nn.Linear(input_shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, num_outputs)
    )


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 5, generator=generator)
    targets = inputs[:, 0].gt(0).long()
    train, validation, test = (Split(inputs[i::3].contiguous(), targets[i::3].contiguous()) for i in range(3))
    return Splits(train, validation, test, augment=None, digest="x")


def make(data, steps, schedule, lr=0.1, **kwargs):
    workload = Workload(
        data=data,
        task=Task.CLASSIFICATION,
        make_model=make_model,
        input_shape=(5,),
        num_outputs=2,
        budget=Budget(steps, 4),
        batch_size=8,
        eval_every=0.1,
        eval_batch_size=50,
        device=torch.device("cpu"),
        **kwargs,
    )
    trial = Trial("x", schedule, partial(sgd, lr=lr, momentum=0.9, fused=False))
    return build_training(workload, [trial], seed=3)


def observed(progress):
    return [(e.step, e.metrics, e.rates) for p in progress for e in p.evaluations.values()]


def same(left, right):
    return repr(left) == repr(right)  # NaN equals NaN here


@pytest.mark.parametrize("decay", [0.2, 0.5])
def test_each_branch_is_the_training_alone_bit_for_bit(data, decay):
    schedule = partial(wsd, decay_fraction=decay)
    budgets = [30, 100, 57]
    trainings = [make(data, steps, schedule) for steps in budgets]
    found = {j: [] for j in range(len(budgets))}
    for j, progress in train_branches(trainings):
        found[j].append(progress)
    for j, steps in enumerate(budgets):
        alone = make(data, steps, schedule)
        assert same(observed(found[j]), observed(alone))
        for ours, theirs in zip(
            trainings[j].learner.state_dict()["models"][0].values(),
            alone.learner.state_dict()["models"][0].values(),
            strict=True,
        ):
            assert torch.equal(ours, theirs)


def test_the_common_steps_are_taken_once(data, monkeypatch):
    schedule = partial(wsd, decay_fraction=0.2)
    trainings = [make(data, steps, schedule) for steps in (50, 100)]
    taken = []
    for training in trainings:
        advance = training.learner.advance

        def counting(batches, trials, lr, momentum, advance=advance):
            taken.append(lr.shape[1])
            return advance(batches, trials, lr, momentum)

        monkeypatch.setattr(training.learner, "advance", counting)
    for _ in train_branches(trainings):
        pass
    # wsd holds its rate until 0.8 of 50 steps, and the first step of a cooldown still has the full rate.
    shared = common_steps([trainings[0].rates[0], trainings[1].rates[0]])
    assert shared in (40, 41)
    assert sum(taken) == 150 - shared


@pytest.mark.parametrize("lr", [1e12, 40.0])
def test_a_trunk_that_diverges_ends_every_branch_as_alone(data, lr):
    schedule = partial(wsd, decay_fraction=0.2)
    trainings = [make(data, steps, schedule, lr=lr) for steps in (45, 90)]
    found = {0: [], 1: []}
    for j, progress in train_branches(trainings):
        found[j].append(progress)
    for j, steps in enumerate((45, 90)):
        alone = observed(make(data, steps, schedule, lr=lr))
        assert same(observed(found[j]), alone)
    if lr == 1e12:
        assert math.isnan(observed(found[0])[-1][1]["val/loss"])


def test_what_shares_nothing_is_trained_in_turn(data):
    trainings = [make(data, steps, cosine) for steps in (20, 40)]
    assert common_steps([t.rates[0] for t in trainings]) == 1, "only the first rate is the same"
    found = {0: [], 1: []}
    for j, progress in train_branches(trainings):
        found[j].append(progress)
    for j, steps in enumerate((20, 40)):
        assert same(observed(found[j]), observed(make(data, steps, cosine)))


def test_closed_loop_schedules_share_nothing(data):
    schedule = partial(plateau, factor=0.1)
    trainings = [make(data, steps, schedule) for steps in (20, 40)]
    assert common_steps([t.rates[0] for t in trainings]) == 0
