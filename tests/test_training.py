"""The training loop and the sequential learner against plain PyTorch loops written by hand."""

import copy
import math
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, r2_score
from torch import nn
from torch.optim import lr_scheduler

from lrbench import optimizers, schedules
from lrbench.data import Split, Splits
from lrbench.schedules import Warmup
from lrbench.spec import Budget, Task, derived_seed
from lrbench.training import Averaging, NotStackableError, StepOptions, batch_order
from lrbench.training.evaluation import EvaluationSums
from lrbench.trials import Trial, Workload, build_model, build_training, run_training

SEED, BATCH, STEPS = 3, 16, 200
sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
adamw = partial(torch.optim.AdamW, lr=0.01)


def make_data(task=Task.CLASSIFICATION, augment=None):
    generator = torch.Generator().manual_seed(0)

    def split(n):
        inputs = torch.randn(n, 10, generator=generator)
        if task is Task.REGRESSION:
            return Split(inputs, inputs[:, :2] * 2)
        return Split(inputs, (inputs[:, 0] + inputs[:, 1] ** 2 > 0.5).long() + (inputs[:, 2] > 1).long())

    return Splits(split(100), split(50), split(40), augment, "digest")


def mlp(dropout=0.0, num_outputs=3):
    return nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, num_outputs)
    )


def make_workload(**changes):
    settings = {
        "data": make_data(),
        "task": Task.CLASSIFICATION,
        "make_model": mlp,
        "input_shape": (10,),
        "num_outputs": 3,
        "budget": Budget(total_steps=STEPS, steps_per_epoch=6),
        "batch_size": BATCH,
        "eval_every": 0.1,
        "eval_batch_size": 7,
        "device": torch.device("cpu"),
    }
    return Workload(**(settings | changes))


def finish(training):
    return [p for p in training if p.evaluations]


def curve(training, trial=0):
    return [p.evaluations[trial] for p in finish(training) if trial in p.evaluations]


def weights(training, trial=0):
    return training.learner.models[trial].state_dict()


def plain_loop(workload, make_optimizer, make_scheduler, *, closed_loop=False):
    """What a tutorial would write; returns the loss of every step and the final weights."""
    torch.manual_seed(derived_seed("weights", SEED))
    model = mlp()
    optimizer = make_optimizer(model.parameters())
    scheduler = make_scheduler(optimizer)
    torch.manual_seed(derived_seed("training", SEED))
    losses = []
    for begin, end in pairwise(workload.evaluate_at):
        model.train()
        order = batch_order(seed=SEED, num_train=100, batch_size=BATCH, begin=begin, end=end)
        for index in order:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(workload.data.train.inputs[index]), workload.data.train.targets[index])
            loss.backward()
            optimizer.step()
            if not closed_loop and len(losses) < STEPS - 1:
                scheduler.step()
            losses.append(loss.item())
        if closed_loop:
            model.eval()
            with torch.no_grad():
                validation = workload.data.validation
                loss = sum(
                    F.cross_entropy(model(x), y, reduction="sum").double().item()
                    for x, y in zip(validation.inputs.split(7), validation.targets.split(7), strict=True)
                )
            scheduler.step(loss / len(validation))
    return losses, model.state_dict()


@pytest.mark.parametrize("make_optimizer", [sgd, adamw, partial(sgd, fused=True), partial(adamw, fused=True)])
@pytest.mark.parametrize(
    ("schedule", "make_scheduler"),
    [
        (schedules.cosine, partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS)),
        (schedules.one_cycle, None),
        (partial(schedules.plateau, factor=0.5, patience_fraction=0.0), "plateau"),
    ],
    ids=["cosine", "one_cycle", "plateau"],
)
def test_losses_and_weights_equal_a_plain_loop_bit_for_bit(make_optimizer, schedule, make_scheduler):
    workload = make_workload()
    closed_loop = make_scheduler == "plateau"
    if closed_loop:
        make_scheduler = partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0)
    elif make_scheduler is None:
        make_scheduler = partial(lr_scheduler.OneCycleLR, max_lr=make_optimizer.keywords["lr"], total_steps=STEPS)
    losses, final = plain_loop(workload, make_optimizer, make_scheduler, closed_loop=closed_loop)

    training = build_training(workload, [Trial("x", schedule, make_optimizer)], seed=SEED)
    evaluations = curve(training)
    for (begin, end), evaluation in zip(pairwise(workload.evaluate_at), evaluations[1:], strict=True):
        assert evaluation.metrics["train/loss"] == torch.tensor(losses[begin:end]).double().mean().item()
    for name, tensor in weights(training).items():
        assert torch.equal(tensor, final[name]), name
    if closed_loop:
        assert training.rates[0].lr[-1] < training.rates[0].lr[0], (
            "the plateau must have acted for this to mean anything"
        )


def test_evaluations_come_at_the_start_at_every_interval_and_at_the_end():
    evaluations = curve(build_training(make_workload(), [Trial("x", schedules.cosine, sgd)], seed=SEED))
    assert [e.step for e in evaluations] == list(range(0, 201, 20))
    assert set(evaluations[0].metrics) == {"train/loss", "val/loss", "val/accuracy", "val/balanced_accuracy"}
    of_test = set(evaluations[-1].metrics) - set(evaluations[0].metrics)
    assert of_test == {"test/loss", "test/accuracy", "test/balanced_accuracy"}
    seconds = [e.seconds for e in evaluations]
    assert seconds[0] == 0.0
    assert seconds == sorted(seconds)


def test_evaluation_is_over_all_examples_and_the_untrained_model_is_the_seeds():
    workload = make_workload()
    first = curve(build_training(workload, [Trial("x", schedules.cosine, sgd)], seed=SEED))[0]
    model = build_model(workload, seed=SEED).eval()
    outputs, targets = model(workload.data.validation.inputs), workload.data.validation.targets
    assert first.metrics["val/loss"] == pytest.approx(F.cross_entropy(outputs, targets).item(), rel=1e-6)
    assert first.metrics["val/accuracy"] == (outputs.argmax(1) == targets).double().mean().item()


def test_the_logged_rate_is_the_rate_of_the_update():
    used = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            used.append((self.param_groups[0]["lr"], self.param_groups[0]["momentum"]))
            return super().step(closure)

    trial = Trial(
        "x",
        schedules.one_cycle,
        partial(Spy, lr=0.05, momentum=0.9),
        Warmup(schedules.linear_warmup, steps=10),
    )
    logged = [point for e in curve(build_training(make_workload(), [trial], seed=SEED)) for point in e.rates]
    assert len(used) == STEPS
    assert logged[0][0] == 1
    assert logged[-1][0] == STEPS
    assert all((lr, momentum) == used[step - 1] for step, lr, momentum in logged)


def test_each_trial_of_a_batch_equals_the_trial_alone_dropout_included():
    workload = make_workload(make_model=partial(mlp, dropout=0.5))
    trials = [Trial(str(lr), schedules.cosine, partial(sgd, lr=lr)) for lr in (0.01, 0.1, 0.3)]
    together = build_training(workload, trials, seed=SEED)
    progress = finish(together)
    for k, trial in enumerate(trials):
        alone = build_training(workload, [trial], seed=SEED)
        for batch, single in zip(progress, curve(alone), strict=True):
            assert batch.evaluations[k].metrics == single.metrics
        assert all(
            torch.equal(a, b) for a, b in zip(weights(together, k).values(), weights(alone).values(), strict=True)
        )


def test_the_same_seed_gives_the_same_curve_and_another_seed_another():
    def losses(seed):
        training = build_training(make_workload(), [Trial("x", schedules.cosine, sgd)], seed=seed)
        return [e.metrics for e in curve(training)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_every_epoch_is_a_new_permutation_without_repeats():
    order = list(batch_order(seed=0, num_train=50, batch_size=16, begin=0, end=6))
    epochs = [torch.cat(order[:3]).tolist(), torch.cat(order[3:]).tolist()]
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert epochs[0] != epochs[1]
    later = list(batch_order(seed=0, num_train=50, batch_size=16, begin=4, end=6))
    assert all(torch.equal(a, b) for a, b in zip(order[4:], later, strict=True)), "a pure function of seed and step"


EXPLODING = Trial("x", lambda step, total_steps: torch.where(torch.as_tensor(step) < 50, 1.0, 1e30).numpy(), sgd)


def test_a_diverged_trial_stops_with_nan_at_the_step_of_its_first_bad_loss_and_harms_no_other():
    workload = make_workload()
    trials = [Trial("good", schedules.cosine, sgd), EXPLODING]
    training = build_training(workload, trials, seed=SEED)
    progress = finish(training)
    last = [p.evaluations[1] for p in progress if 1 in p.evaluations][-1]
    assert 50 < last.step < 60
    measured = ("loss", "accuracy", "balanced_accuracy")
    assert set(last.metrics) == {"train/loss", *(f"{split}/{name}" for split in ("val", "test") for name in measured)}
    assert all(math.isnan(value) for value in last.metrics.values())
    alone = curve(build_training(workload, trials[:1], seed=SEED))
    assert [p.evaluations[0].metrics for p in progress if 0 in p.evaluations] == [e.metrics for e in alone]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_where_a_divergence_is_recorded_does_not_depend_on_how_steps_are_grouped(seconds, monkeypatch):
    monkeypatch.setattr("lrbench.training.loop.CHUNK_SECONDS", seconds)  # single steps, or as many as possible
    last = curve(build_training(make_workload(), [EXPLODING], seed=SEED))[-1]
    reference = curve(build_training(make_workload(), [EXPLODING], seed=SEED))[-1]
    assert last.step == reference.step


def test_a_diverged_trial_goes_on_if_asked_and_reports_nan_not_the_share_of_class_zero():
    training = build_training(make_workload(stop_diverged=False), [EXPLODING], seed=SEED)
    last = curve(training)[-1]
    assert last.step == STEPS
    assert math.isnan(last.metrics["val/accuracy"])


@pytest.mark.parametrize("stop_at", [1, 7, 20, 123, 199])
@pytest.mark.parametrize("schedule", [schedules.one_cycle, partial(schedules.plateau, patience_fraction=0.0)])
def test_a_training_broken_off_and_resumed_equals_the_unbroken_one(stop_at, schedule, tmp_path, monkeypatch):
    monkeypatch.setattr("lrbench.training.loop.CHUNK_SECONDS", 0.0)  # an item every step or two
    workload = make_workload(make_model=partial(mlp, dropout=0.3))
    trial = Trial("x", schedule, sgd)
    unbroken = build_training(workload, [trial], seed=SEED)
    expected = {e.step: e.metrics for e in curve(unbroken)}

    first = build_training(workload, [trial], seed=SEED)
    seen = {}
    for progress in run_training(first, checkpoints=tmp_path, stop_requested=lambda: first.step >= stop_at):
        seen |= {e.step: e.metrics for e in progress.evaluations.values()}
    assert first.step == stop_at
    torch.manual_seed(999)
    second = build_training(workload, [trial], seed=SEED)
    for progress in run_training(second, checkpoints=tmp_path):
        assert progress.step >= stop_at
        seen |= {e.step: e.metrics for e in progress.evaluations.values()}
    assert seen == expected
    assert all(torch.equal(a, b) for a, b in zip(weights(second).values(), weights(unbroken).values(), strict=True))


def test_test_is_not_read_when_tuning():
    class Forbidden(Split):
        def batches(self, order):
            raise AssertionError("test was read")

    data = make_data()
    data = Splits(data.train, data.validation, Forbidden(data.test.inputs, data.test.targets), None, "")
    training = build_training(make_workload(data=data), [Trial("x", schedules.cosine, sgd)], seed=SEED, read_test=False)
    # `Split.to` of the real class would hide the spy.
    training._data = data
    assert "test/loss" not in curve(training)[-1].metrics


def test_regression_has_half_the_squared_error_rmse_and_r2_and_no_accuracy():
    workload = make_workload(
        data=replace(make_data(Task.REGRESSION), target_scale=3.0),
        task=Task.REGRESSION,
        make_model=partial(mlp, num_outputs=2),
        num_outputs=2,
    )
    first, *_, last = curve(build_training(workload, [Trial("x", schedules.cosine, sgd)], seed=SEED))
    model = build_model(workload, seed=SEED).eval()
    residual = model(workload.data.validation.inputs) - workload.data.validation.targets
    assert first.metrics["val/loss"] == pytest.approx((residual**2).sum(1).mean().item() / 2, rel=1e-6)
    assert first.metrics["val/rmse"] == pytest.approx(3 * (residual**2).mean().sqrt().item(), rel=1e-6)
    outputs, targets = (model(workload.data.validation.inputs), workload.data.validation.targets)
    explained = r2_score(targets, outputs.detach(), multioutput="variance_weighted")
    assert first.metrics["val/r2"] == pytest.approx(explained, rel=1e-5)
    measured = ("loss", "rmse", "r2")
    assert set(last.metrics) == {"train/loss", *(f"{split}/{name}" for split in ("val", "test") for name in measured)}


def test_the_metrics_of_classes_and_tokens_are_those_of_scikit_learn():
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(2, 40, 3, generator=random)
    targets = (torch.rand(40, generator=random) > 0.8).long()  # class 2 has no example
    sums = EvaluationSums(Task.CLASSIFICATION, num_trials=2, device=torch.device("cpu"))
    for part in (slice(0, 25), slice(25, 40)):
        sums.add(torch.zeros(2), outputs[:, part], targets[part])
    for row, means in enumerate(sums.means().T.tolist()):
        found = outputs[row].argmax(dim=1)
        recalls = [
            ((found == kind) & (targets == kind)).sum().item() / (targets == kind).sum().item() for kind in (0, 1)
        ]
        assert means[1:] == [accuracy_score(targets, found), pytest.approx(sum(recalls) / 2)]
    tokens = EvaluationSums(Task.TOKENS, num_trials=2, device=torch.device("cpu"))
    tokens.add(torch.tensor([40.0, 80.0]), outputs.reshape(2, 10, 4, 3).transpose(2, 3), targets.reshape(10, 4))
    assert tokens.means()[2].tolist() == pytest.approx([math.exp(1), math.exp(2)])
    assert tokens.means()[1].tolist() == sums.means()[1].tolist()


def test_a_model_may_give_the_loss_of_each_example_itself():
    class Squares(nn.Module):
        def __init__(self):
            super().__init__()
            self.center = nn.Parameter(torch.zeros(10))

        def forward(self, inputs):
            return ((inputs - self.center) ** 2).sum(dim=1)

    workload = make_workload(task=Task.OWN_LOSS, make_model=Squares, budget=Budget(5, 6), eval_every=1.0)
    rates = (0.01, 0.05)
    trials = [Trial("x", schedules.constant, partial(torch.optim.SGD, lr=lr)) for lr in rates]
    runs = [build_training(workload, trials, seed=SEED, learner=learner) for learner in ("sequential", "fused")]
    evaluated = [[p for p in run if p.evaluations][-1].evaluations for run in runs]
    for k, lr in enumerate(rates):
        center = torch.zeros(10)
        for order in batch_order(seed=SEED, num_train=100, batch_size=BATCH, begin=0, end=5):
            center += lr * 2 * (workload.data.train.inputs[order] - center).mean(dim=0)
        expected = ((workload.data.validation.inputs - center) ** 2).sum(dim=1).mean().item()
        for found in evaluated:
            assert found[k].metrics["val/loss"] == pytest.approx(expected, rel=1e-5)
            assert set(found[k].metrics) == {"train/loss", "val/loss", "test/loss"}


def test_label_smoothing_clipping_and_groups_equal_plain_torch():
    workload = make_workload(
        options=StepOptions(label_smoothing=0.1, grad_clip=0.05),
        budget=Budget(5, 6),
        decay_norm_and_bias=False,
    )
    make_optimizer = partial(torch.optim.SGD, lr=0.5, weight_decay=0.1)
    training = build_training(workload, [Trial("x", schedules.constant, make_optimizer)], seed=SEED)
    finish(training)

    model = build_model(workload, seed=SEED).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = make_optimizer([{"params": matrices}, {"params": others, "weight_decay": 0.0}])
    for index in batch_order(seed=SEED, num_train=100, batch_size=BATCH, begin=0, end=5):
        optimizer.zero_grad()
        train = workload.data.train
        F.cross_entropy(model(train.inputs[index]), train.targets[index], label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_([*matrices, *others], 0.05)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(training).values(), model.state_dict().values(), strict=True))


def test_parameter_groups_keep_the_ratio_of_their_rates():
    def make_optimizer(groups):
        groups = list(groups)
        if isinstance(groups[0], dict):
            groups = [{**group, "lr_scale": 0.1} for group in groups]
        return torch.optim.SGD(groups, lr=0.5)

    training = build_training(make_workload(), [Trial("x", schedules.cosine, make_optimizer)], seed=SEED)
    for progress in training:
        if progress.step:
            group = training.learner._optimizers[0].param_groups[0]
            assert group["lr"] == training.rates[0].lr[progress.step - 1] * 0.1


def test_augmentation_sees_every_batch_once_and_depends_on_seed_and_step_only():
    calls = []

    def augment(inputs, generator):
        calls.append(torch.rand(1, generator=generator).item())
        return inputs + 1

    workload = make_workload(data=make_data(augment=augment))
    finish(build_training(workload, [Trial("x", schedules.cosine, sgd)], seed=SEED))
    first, calls[:] = list(calls), []
    finish(build_training(workload, [Trial("y", schedules.linear, sgd)], seed=SEED))
    assert len(first) == STEPS
    assert first == calls
    assert len(set(first)) == STEPS


def test_autocast_computes_in_bfloat16_and_stays_close():
    losses = []
    for autocast in (False, True):
        workload = make_workload(options=StepOptions(autocast=autocast), budget=Budget(20, 6))
        training = build_training(workload, [Trial("x", schedules.cosine, sgd)], seed=SEED)
        losses.append(curve(training)[-1].metrics["val/loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def averaged(kind, num_steps=6, total_steps=15, **changes):
    options = StepOptions(averaging=Averaging(kind, num_steps, total_steps))
    return make_workload(options=options, budget=Budget(total_steps, 6), eval_every=1 / 3, **changes)


@pytest.mark.parametrize("kind", ["tail", "ema"])
def test_an_average_of_the_weights_is_evaluated_with_batch_norm_statistics_of_its_own(kind):
    workload = averaged(kind)
    first, *_, last = curve(build_training(workload, [Trial("x", schedules.constant, sgd)], seed=SEED))
    plain = replace(workload, options=StepOptions())
    begun, *_, ended = curve(build_training(plain, [Trial("x", schedules.constant, sgd)], seed=SEED))
    assert last.metrics["last/loss"] == ended.metrics["val/loss"]  # the training itself is the same
    assert first.metrics["val/loss"] == begun.metrics["val/loss"]
    model = build_model(plain, seed=SEED)
    optimizer, train, weights = sgd(model.parameters()), workload.data.train, []
    for order in batch_order(seed=SEED, num_train=100, batch_size=BATCH, begin=0, end=15):
        optimizer.zero_grad()
        F.cross_entropy(model(train.inputs[order]), train.targets[order]).backward()
        optimizer.step()
        weights.append([p.detach().clone() for p in model.parameters()])
    shares = [1 / min(step, 6) for step in range(1, 16)] if kind == "ema" else [0.0] * 9 + [1 / n for n in range(1, 7)]
    average = weights[0]
    for newest, share in zip(weights, shares, strict=True):
        average = [a + share * (w - a) for a, w in zip(average, newest, strict=True)]
    if kind == "tail":
        assert torch.allclose(average[0], torch.stack([w[0] for w in weights[-6:]]).mean(dim=0), atol=1e-6)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), average, strict=True):
            parameter.copy_(value)
    orders = batch_order(seed=SEED, num_train=100, batch_size=BATCH, begin=0, end=50)
    torch.optim.swa_utils.update_bn([train.inputs[order] for order in orders], model)
    validation = workload.data.validation
    expected = F.cross_entropy(model.eval()(validation.inputs), validation.targets).item()
    assert last.metrics["val/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("learner", ["sequential", "fused"])
def test_an_average_resumes_bit_for_bit_alone_and_stacked(learner):
    workload = averaged("tail", make_model=partial(nn.Linear, 10, 3))
    trials = [Trial("x", schedules.constant, partial(torch.optim.SGD, lr=lr)) for lr in (0.1, 1.0)]
    fresh = partial(build_training, workload, trials, seed=SEED, learner=learner)
    whole = [p.evaluations for p in fresh() if p.evaluations]
    broken = fresh()
    for progress in broken:
        if progress.step == 10 and not progress.evaluations:
            break
    resumed = fresh()
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    rest = [p.evaluations for p in resumed if p.evaluations]
    for ours, theirs in zip(rest, whole[-len(rest) :], strict=True):
        assert {k: e.metrics for k, e in ours.items()} == {k: e.metrics for k, e in theirs.items()}
    alone = [p.evaluations for p in build_training(workload, trials, seed=SEED) if p.evaluations]
    assert whole[-1][1].metrics == pytest.approx(alone[-1][1].metrics, rel=1e-5)
    assert whole[-1][1].metrics["val/loss"] != whole[-1][1].metrics["last/loss"]


def test_an_average_that_cannot_be_taken_is_refused_by_name():
    with pytest.raises(NotStackableError, match="BatchNorm"):
        build_training(averaged("ema"), [Trial("x", schedules.constant, sgd)] * 2, seed=SEED, learner="fused")
    free = partial(optimizers.schedule_free_sgd, lr=0.1)
    with pytest.raises(ValueError, match=r"training\.average must be none with .*averages itself"):
        build_training(averaged("ema"), [Trial("x", schedules.constant, free)], seed=SEED)


def test_parts_of_a_batch_are_accumulated_to_the_update_of_the_whole():
    linear = partial(make_workload, make_model=partial(nn.Linear, 10, 3), budget=Budget(8, 6), eval_every=0.5)
    trials = [Trial("x", schedules.linear, sgd)]
    whole, parts = (
        [e.metrics for e in curve(build_training(linear(options=options), trials, seed=SEED))]
        for options in (StepOptions(grad_clip=0.5), StepOptions(grad_clip=0.5, accumulation=4))
    )
    for ours, theirs in zip(parts, whole, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    with pytest.raises(NotStackableError, match="accumulation"):
        build_training(linear(options=StepOptions(accumulation=4)), trials, seed=SEED, learner="fused")
