"""The fused learner against the sequential one, trial by trial."""

from functools import partial

import pytest
import torch
from torch import nn

from lrbench import models, optimizers, schedules
from lrbench.data import Split, Splits
from lrbench.schedules import Warmup
from lrbench.spec import Budget, Task
from lrbench.trials import Trial, Workload, build_training

SEED, BATCH, STEPS = 3, 16, 100
sgd = partial(optimizers.sgd, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """As runs have it; with more, a busy machine makes these small steps a hundred times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_data(input_shape=(10,), task=Task.CLASSIFICATION):
    generator = torch.Generator().manual_seed(0)

    def split(n):
        inputs = torch.randn(n, *input_shape, generator=generator)
        flat = inputs.flatten(1)
        if task is Task.REGRESSION:
            return Split(inputs, flat[:, :3] * 2 + 0.1 * torch.randn(n, 3, generator=generator))
        return Split(inputs, (flat[:, 0] + flat[:, 1] ** 2 > 0.5).long() + (flat[:, 2] > 1).long())

    return Splits(split(100), split(50), split(40), None, "digest")


def mlp(**options):
    settings = {"hidden": [16, 8], "activation": "relu", "dropout": 0.0, "batch_norm": False}
    return partial(models.MLP, **(settings | options))


def make_workload(make_model=None, input_shape=(10,), task=Task.CLASSIFICATION, **changes):
    settings = {
        "data": make_data(input_shape, task),
        "task": task,
        "make_model": make_model or mlp(),
        "input_shape": input_shape,
        "num_outputs": 3,
        "budget": Budget(total_steps=STEPS, steps_per_epoch=6),
        "batch_size": BATCH,
        "eval_every": 0.1,
        "eval_batch_size": 7,
        "device": torch.device("cpu"),
    }
    return Workload(**(settings | changes))


def make_trials(make_optimizer=sgd, rates=(0.01, 0.03, 0.1), schedule=schedules.cosine, **options):
    return [Trial(str(lr), schedule, partial(make_optimizer, lr=lr), **options) for lr in rates]


def evaluations_of(training):
    """Trial -> its evaluations."""
    found = {k: [] for k in range(training.learner.num_trials)}
    for progress in training:
        for k, evaluation in progress.evaluations.items():
            found[k].append(evaluation)
    return found


def metrics_of(training):
    return {k: [(e.step, e.metrics) for e in evaluations] for k, evaluations in evaluations_of(training).items()}


def assert_close(found, expected, rel):
    """Compare metrics: losses within `rel`, accuracies within one example, NaN where NaN is."""
    assert found.keys() == expected.keys()
    for k in expected:
        assert [step for step, _ in found[k]] == [step for step, _ in expected[k]]
        for (step, ours), (_, theirs) in zip(found[k], expected[k], strict=True):
            assert ours.keys() == theirs.keys()
            for name, value in theirs.items():
                if "accuracy" in name:
                    assert ours[name] == pytest.approx(value, abs=1 / 40 + 1e-9, nan_ok=True), (k, step, name)
                else:
                    assert ours[name] == pytest.approx(value, rel=rel, abs=1e-7, nan_ok=True), (k, step, name)


def both(workload, trials):
    return [metrics_of(build_training(workload, trials, seed=SEED, learner=name)) for name in ("fused", "sequential")]


class Residual(nn.Module):
    """No chain, so it takes vmap."""

    def __init__(self, *, num_outputs):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(10, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.3))
        self.output = nn.Linear(10, num_outputs)

    def forward(self, inputs):
        return self.output(inputs + self.inner(inputs))


IMAGES = (1, 8, 8)
WORKLOADS = {
    "mlp": (mlp(), (10,), Task.CLASSIFICATION),
    "mlp gelu": (mlp(activation="gelu"), IMAGES, Task.CLASSIFICATION),
    "mlp dropout": (mlp(dropout=0.4), (10,), Task.CLASSIFICATION),
    "mlp batch norm dropout": (mlp(dropout=0.4, batch_norm=True), (10,), Task.CLASSIFICATION),
    "mlp regression": (mlp(), (10,), Task.REGRESSION),
    "cnn": (partial(models.CNN, channels=[4, 8], batch_norm=True), IMAGES, Task.CLASSIFICATION),
    "cnn plain": (partial(models.CNN, channels=[4, 8], batch_norm=False), (3, 8, 8), Task.CLASSIFICATION),
    "cnn1d": (partial(models.CNN1d, channels=[5, 6, 7]), (1, 40), Task.CLASSIFICATION),
    "lenet": (models.LeNet, (1, 16, 16), Task.CLASSIFICATION),
    "logistic": (models.Logistic, (10,), Task.CLASSIFICATION),
    "linear": (partial(models.Linear, bias=True), (10,), Task.REGRESSION),
    "diagonal": (models.Diagonal, (3,), Task.REGRESSION),
    "vmap": (Residual, (10,), Task.CLASSIFICATION),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_row_k_equals_the_sequential_trial_k(name):
    make_model, input_shape, task = WORKLOADS[name]
    workload = make_workload(make_model, input_shape, task)
    ours, theirs = both(workload, make_trials(rates=(0.003, 0.01, 0.03)))
    assert_close(ours, theirs, rel=1e-5)


OPTIMIZERS = {
    "plain": partial(optimizers.sgd, momentum=0.0),
    "momentum": partial(optimizers.sgd, momentum=0.9),
    "dampening": partial(optimizers.sgd, momentum=0.9, dampening=0.5, weight_decay=0.01),
    "nesterov": sgd,
    "adam": partial(optimizers.adam, weight_decay=0.01),
    "adamw": partial(optimizers.adamw, weight_decay=0.1, beta1=0.8, beta2=0.99, eps=1e-6),
}


@pytest.mark.parametrize(
    "schedule", [schedules.cosine, schedules.one_cycle, partial(schedules.plateau, patience_fraction=0.0)]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_equals_its_sequential_one(name, schedule):
    rates = (0.001, 0.003, 0.01) if "adam" in name else (0.003, 0.01, 0.03)
    trials = make_trials(OPTIMIZERS[name], rates, schedule, warmup=Warmup(schedules.linear_warmup, steps=10))
    ours, theirs = both(make_workload(), trials)
    assert_close(ours, theirs, rel=1e-4 if "adam" in name else 1e-5)
