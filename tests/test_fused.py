"""The fused learner against the sequential one, trial by trial."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from lrbench import models, optimizers, schedules
from lrbench.data import Split, Splits
from lrbench.schedules import Warmup
from lrbench.spec import Budget, Task
from lrbench.training import NotStackableError, StepOptions
from lrbench.training.memory import bytes_per_trial
from lrbench.trials import Trial, Workload, build_training, run_training

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
        "data": changes.get("data") or make_data(input_shape, task),
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


def token_data(input_shape, *, every_token):
    """Tokens of three kinds; what follows is the kind before, at every position or after the last."""
    generator = torch.Generator().manual_seed(0)

    def split(n):
        inputs = torch.randint(3, (n, *input_shape), generator=generator)
        targets = (inputs + 2) % 3
        return Split(inputs, targets if every_token else targets[:, -1])

    return Splits(split(100), split(50), split(40), None, "digest")


TRANSFORMER = {"width": 8, "layers": 1, "heads": 2}
FAMILIES = {
    "gpt": (partial(models.GPT, **TRANSFORMER, tied=False), token_data((5,), every_token=True)),
    "gpt tied": (partial(models.GPT, **TRANSFORMER, tied=True), token_data((5,), every_token=True)),
    "char_mlp": (partial(models.CharMLP, width=4, hidden_size=8), token_data((5,), every_token=False)),
    "distmult": (partial(models.DistMult, width=8, num_relations=3), token_data((2,), every_token=False)),
    "vit": (partial(models.ViT, **TRANSFORMER, patch=4), make_data((1, 8, 8))),
    "tabular_mlp": (
        partial(models.TabularMLP, frequencies=3, frequency_scale=0.1, width=4, hidden=[8], dropout=0.2),
        make_data(),
    ),
    "tcn": (partial(models.TCN, channels=[4, 6], kernel_size=3), make_data((2, 9))),
    "text_cnn": (partial(models.TextCNN, kernel_sizes=[2, 3], channels=4), make_data((2, 9))),
    "resnet8": (partial(models.CifarResNet, blocks_per_stage=1, channels=4), make_data((1, 8, 8))),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_models_train_alike_alone_and_stacked(name):
    make_model, data = FAMILIES[name]
    shape = tuple(data.train.inputs.shape[1:])
    workload = make_workload(
        make_model,
        shape,
        data=data,
        budget=Budget(total_steps=8, steps_per_epoch=6),
        eval_every=0.5,
        eval_batch_size=50,
    )
    ours, theirs = both(workload, make_trials(optimizers.adamw, rates=(0.003, 0.01)))
    assert_close(ours, theirs, rel=1e-3)
    assert all(run[-1][1]["val/loss"] != run[0][1]["val/loss"] for run in theirs.values())


def test_a_gru_trains_alone_only():
    data = token_data((5,), every_token=True)
    make_model = partial(models.GRULM, width=4, hidden_size=8, layers=1)
    workload = make_workload(make_model, (5,), data=data, budget=Budget(total_steps=25, steps_per_epoch=6))
    with pytest.raises(NotStackableError, match=r"GRULM cannot be stacked: .*torch.vmap refuses it \(Batching rule"):
        build_training(workload, make_trials(), seed=SEED, learner="fused")
    runs = metrics_of(build_training(workload, make_trials(optimizers.adamw, rates=(0.01,)), seed=SEED))
    assert runs[0][-1][1]["val/loss"] < 0.8 * runs[0][0][1]["val/loss"]


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


def test_every_trial_has_its_own_hyperparameters():
    trials = [
        Trial(
            f"{lr} {momentum} {decay}",
            schedules.cosine,
            partial(optimizers.sgd, lr=lr, momentum=momentum, weight_decay=decay),
        )
        for lr, momentum, decay in [(0.01, 0.0, 0.0), (0.02, 0.9, 0.1), (0.03, 0.5, 0.0), (0.003, 0.99, 0.01)]
    ]
    training = build_training(make_workload(), trials, seed=SEED, learner="fused")
    assert stacks_of(training) == [[0, 1, 2, 3]]
    sequential = build_training(make_workload(), trials, seed=SEED)
    assert_close(metrics_of(training), metrics_of(sequential), rel=1e-5)


def test_trials_of_different_optimizers_make_stacks_of_their_own():
    trials = [
        *make_trials(sgd, (0.01, 0.02)),
        *make_trials(optimizers.adamw, (0.001, 0.002)),
        *make_trials(partial(optimizers.sgd, nesterov=False), (0.03,)),
        *make_trials(sgd, (0.005,)),
    ]
    workload = make_workload(mlp(dropout=0.3))
    training = build_training(workload, trials, seed=SEED, learner="fused")
    assert stacks_of(training) == [[0, 1, 5], [2, 3], [4]]
    assert_close(metrics_of(training), metrics_of(build_training(workload, trials, seed=SEED)), rel=1e-4)


@pytest.mark.parametrize("task", [Task.CLASSIFICATION, Task.REGRESSION])
def test_smoothing_clipping_and_groups_equal_the_sequential_ones(task):
    def make_optimizer(groups, lr):
        groups = list(groups)
        if isinstance(groups[0], dict):
            groups = [{**group, "lr_scale": scale} for group, scale in zip(groups, (1.0, 0.1), strict=True)]
        return optimizers.sgd(groups, lr=lr, momentum=0.9, weight_decay=0.1)

    workload = make_workload(
        mlp(batch_norm=True),
        task=task,
        options=StepOptions(label_smoothing=0.1, grad_clip=0.5),
        decay_norm_and_bias=False,
    )
    ours, theirs = both(workload, make_trials(make_optimizer, (0.01, 0.03)))
    assert_close(ours, theirs, rel=1e-5)


def test_autocast_and_channels_last_stay_close_to_the_sequential_ones():
    workload = make_workload(
        partial(models.CNN, channels=[4, 8], batch_norm=False),
        IMAGES,
        options=StepOptions(autocast=True, channels_last=True),
        budget=Budget(20, 6),
    )
    ours, theirs = both(workload, make_trials())
    for k, evaluations in theirs.items():
        assert ours[k][-1][1]["val/loss"] == pytest.approx(evaluations[-1][1]["val/loss"], rel=0.02)


def exploding(step, total_steps):
    return torch.where(torch.as_tensor(step) < 50, 1.0, 1e30).numpy()


def stacks_of(training):
    return [stack.trials for stack in training.learner._stacks]


# The number of trials decides which elements the vector units take in one go, so the last bit can differ.
SAME = 1e-6
NETWORKS = ["mlp batch norm dropout", "cnn", "cnn1d", "vmap"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_diverged_trial_ends_where_it_would_alone_leaves_the_stack_and_changes_no_other(name):
    workload = make_workload(*WORKLOADS[name])
    good = make_trials(rates=(0.003, 0.01))
    trials = [good[0], *make_trials(rates=(0.1,), schedule=exploding), good[1]]
    training = build_training(workload, trials, seed=SEED, learner="fused")
    found = metrics_of(training)
    assert stacks_of(training) == [[0, 2]]
    expected = metrics_of(build_training(workload, trials, seed=SEED))
    assert found[1][-1][0] == expected[1][-1][0]
    assert_close(found, expected, rel=1e-5)
    undisturbed = metrics_of(build_training(workload, good, seed=SEED, learner="fused"))
    assert_close({0: found[0], 1: found[2]}, undisturbed, rel=SAME)


def test_a_diverged_trial_that_goes_on_is_nan_and_changes_no_other():
    workload = make_workload(*WORKLOADS["cnn"], stop_diverged=False)
    good = make_trials(rates=(0.003, 0.01))
    found = metrics_of(
        build_training(workload, [*good, *make_trials(schedule=exploding)[:1]], seed=SEED, learner="fused")
    )
    assert found[2][-1][0] == STEPS
    assert all(math.isnan(value) for value in found[2][-1][1].values())
    undisturbed = metrics_of(build_training(workload, good, seed=SEED, learner="fused"))
    assert_close({0: found[0], 1: found[1]}, undisturbed, rel=SAME)


@pytest.mark.parametrize("name", NETWORKS)
def test_cutting_the_stack_changes_nothing(name, monkeypatch):
    workload, trials = make_workload(*WORKLOADS[name]), make_trials(rates=(0.001, 0.003, 0.005, 0.01, 0.03))
    whole = metrics_of(build_training(workload, trials, seed=SEED, learner="fused"))
    monkeypatch.setattr("lrbench.trials.bytes_per_trial", lambda *_: 10)
    workload = make_workload(*WORKLOADS[name], stack_bytes=29)
    training = build_training(workload, trials, seed=SEED, learner="fused")
    assert stacks_of(training) == [[0, 1], [2, 3], [4]]
    assert_close(metrics_of(training), whole, rel=SAME)


@pytest.mark.parametrize("learner", ["fused", "sequential"])
@pytest.mark.parametrize("make_optimizer", [sgd, optimizers.adamw])
@pytest.mark.parametrize("stop_at", [1, 20, 77])
def test_a_training_broken_off_and_resumed_is_the_unbroken_one(make_optimizer, stop_at, learner, tmp_path, monkeypatch):
    monkeypatch.setattr("lrbench.training.loop.CHUNK_SECONDS", 0.0)
    workload = make_workload(mlp(dropout=0.3, batch_norm=True))
    trials = [
        *make_trials(make_optimizer, (0.003,), schedules.one_cycle),
        *make_trials(make_optimizer, (0.01,), exploding),
        *make_trials(make_optimizer, (0.01,), schedules.cosine),
    ]
    unbroken = build_training(workload, trials, seed=SEED, learner="fused")
    expected = metrics_of(unbroken)
    first = build_training(workload, trials, seed=SEED, learner="fused")
    seen = [
        progress.evaluations
        for progress in run_training(first, checkpoints=tmp_path, stop_requested=lambda: first.step >= stop_at)
    ]
    torch.manual_seed(999)
    second = build_training(workload, trials, seed=SEED, learner=learner)
    seen += [progress.evaluations for progress in run_training(second, checkpoints=tmp_path)]
    found = {k: [(e[k].step, e[k].metrics) for e in seen if k in e] for k in range(3)}
    if learner == "sequential":  # the checkpoint of either learner continues in the other
        assert_close(found, expected, rel=1e-4)
        return
    for k in (0, 2):
        assert found[k] == expected[k]
        assert digest(second, k) == digest(unbroken, k)


def digest(training, k):
    return {name: tensor.tolist() for name, tensor in training.learner.state_dict()["models"][k].items()}


def test_the_weights_of_a_trial_are_an_ordinary_state_dict():
    workload = make_workload(*WORKLOADS["vmap"])
    training = build_training(workload, make_trials(), seed=SEED, learner="fused")
    last = metrics_of(training)
    for k in range(3):
        model = Residual(num_outputs=3)
        model.load_state_dict(training.learner.state_dict()["models"][k])
        outputs = model.eval()(workload.data.test.inputs)
        loss = nn.functional.cross_entropy(outputs, workload.data.test.targets).item()
        assert loss == pytest.approx(last[k][-1][1]["test/loss"], rel=1e-5)


@pytest.mark.parametrize("cut", ["training", "evaluation"])
def test_out_of_memory_halves_the_stack_and_goes_on_with_the_same_result(cut, monkeypatch):
    workload, trials = (
        make_workload(mlp(dropout=0.3, batch_norm=True)),
        make_trials(rates=(0.001, 0.003, 0.01, 0.02, 0.03)),
    )
    expected = metrics_of(build_training(workload, trials, seed=SEED, learner="fused"))
    training = build_training(workload, trials, seed=SEED, learner="fused")
    forward, small = training.learner._forward, 2

    def cramped(parameters, buffers, inputs, is_training):
        outputs, new_buffers = forward(parameters, buffers, inputs, is_training)
        if len(outputs) > small and is_training == (cut == "training") and training.step >= 30:
            torch.empty(1 << 60)  # what the allocator says, not what we think it says
        return outputs, new_buffers

    monkeypatch.setattr(training.learner, "_forward", cramped)
    assert_close(metrics_of(training), expected, rel=SAME)
    assert stacks_of(training) == [[0, 1], [2], [3, 4]]


def test_out_of_memory_with_a_single_trial_is_an_error(monkeypatch):
    training = build_training(make_workload(), make_trials(rates=(0.1,)), seed=SEED, learner="fused")
    monkeypatch.setattr(training.learner, "_forward", lambda *_: torch.empty(1 << 60))
    with pytest.raises(RuntimeError, match="allocate memory"):
        metrics_of(training)


@pytest.mark.parametrize(
    ("make_model", "make_optimizer", "reason"),
    [
        (mlp(), optimizers.rmsprop, "RMSprop has no stacked update"),
        (mlp(), optimizers.schedule_free_sgd, "SGDScheduleFree has no stacked update"),
        (mlp(), partial(torch.optim.AdamW, amsgrad=True), "amsgrad"),
        (partial(models.GRU, hidden_size=3, bidirectional=True), sgd, "GRU cannot be stacked.*gru"),
    ],
)
def test_what_cannot_be_fused_is_refused_with_the_reason(make_model, make_optimizer, reason):
    workload = make_workload(make_model, (1, 12))
    with pytest.raises(NotStackableError, match=reason):
        build_training(workload, make_trials(make_optimizer), seed=SEED, learner="fused")


class OwnMasks(nn.Module):
    """Under vmap, attention with dropout draws other masks than alone."""

    def __init__(self, *, num_outputs):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(10, nhead=2, dim_feedforward=8, dropout=0.5, batch_first=True)
        self.output = nn.Linear(10, num_outputs)

    def forward(self, inputs):
        return self.output(self.layer(inputs.unsqueeze(1).expand(-1, 4, -1)).mean(dim=1))


def test_a_module_that_would_draw_other_random_numbers_is_refused():
    with pytest.raises(NotStackableError, match="random numbers"):
        build_training(make_workload(OwnMasks), make_trials(), seed=SEED, learner="fused")


class Tied(nn.Module):
    """One weight with two names, a frozen one, one without gradient, and a buffer that is not saved."""

    def __init__(self, *, num_outputs):
        super().__init__()
        self.first = nn.Linear(10, 10)
        self.second = nn.Linear(10, 10)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(10, 10).requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("scale", torch.full((10,), 0.5), persistent=False)
        self.output = nn.Linear(10, num_outputs)

    def forward(self, inputs):
        return self.output(self.frozen(self.second(torch.tanh(self.first(inputs)))) * self.scale)


def test_tied_frozen_and_unused_parameters_are_treated_as_alone():
    workload, trials = make_workload(Tied), make_trials(rates=(0.01, 0.03))
    ours = build_training(workload, trials, seed=SEED, learner="fused")
    theirs = build_training(workload, trials, seed=SEED)
    assert_close(metrics_of(ours), metrics_of(theirs), rel=1e-5)
    found, expected = (training.learner.state_dict()["models"][1] for training in (ours, theirs))
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("make_optimizer", [sgd, optimizers.adamw])
def test_a_compiled_step_equals_the_uncompiled_one_dropout_included(make_optimizer):
    compiled = make_workload(mlp(dropout=0.3), options=StepOptions(compile=True))
    trials = [*make_trials(make_optimizer, (0.001, 0.003)), *make_trials(make_optimizer, (0.1,), exploding)]
    found = metrics_of(build_training(compiled, trials, seed=SEED, learner="fused"))
    plain = metrics_of(build_training(make_workload(mlp(dropout=0.3)), trials, seed=SEED, learner="fused"))
    assert_close(found, plain, rel=1e-4)


def test_memory_of_a_trial_grows_with_weights_state_and_batch_and_touches_nothing():
    model = models.MLP(input_shape=(100,), num_outputs=10, hidden=[50], activation="relu", dropout=0.5, batch_norm=True)
    weights = 4 * sum(p.numel() for p in model.parameters())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()

    def estimate(make_optimizer, batch_size):
        return bytes_per_trial(model, make_optimizer(model.parameters(), lr=0.1), torch.zeros(batch_size, 100))

    small = estimate(optimizers.sgd, 10)
    assert small > 3 * weights
    assert estimate(optimizers.adamw, 10) - small == pytest.approx(1.3 * weights, abs=2)
    assert estimate(optimizers.sgd, 1000) > 20 * (small - 4 * weights)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
