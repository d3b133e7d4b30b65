"""Optimizers against torch's classes and hand-written updates; parameter groups; the weights of an evaluation."""

import inspect
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import REPO
from torch import nn

from lrbench import optimizers
from lrbench.optimizers import evaluation_weights, parameter_groups

FILES = sorted((REPO / "conf" / "optimizer").glob("*.yaml"))
NAMES = [path.stem for path in FILES]
HARNESS_KEYS = {"name", "purpose", "source", "_target_", "search", "decay_norm_and_bias"}
SCHEDULE_FREE = ["schedule_free_sgd", "schedule_free_adamw"]


def node_of(name):
    return yaml.safe_load((REPO / "conf" / "optimizer" / f"{name}.yaml").read_text())


def make(name, params, **changes):
    """Build an optimizer as its file says."""
    values = {k: v for k, v in node_of(name).items() if k not in HARNESS_KEYS}
    return getattr(optimizers, name)(params, **(values | changes))


def network(seed=0, dropout=0.0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(dropout), nn.Linear(6, 5), nn.BatchNorm1d(5)
    )


def batches(num, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 4, generator=generator) for _ in range(num)]


def train(model, optimizer, inputs):
    for batch in inputs:
        optimizer.zero_grad()
        (model(batch) - 1).square().mean().backward()
        optimizer.step()


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


# The files


@pytest.mark.parametrize("name", NAMES)
def test_every_file_lists_the_parameters_and_defaults_of_its_factory(name):
    node = node_of(name)
    factory = getattr(optimizers, name)
    assert node["_target_"] == f"lrbench.optimizers.{name}"
    parameters = {k: p for k, p in inspect.signature(factory).parameters.items() if k != "params"}
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert set(node) - HARNESS_KEYS == set(parameters)
    for key, parameter in parameters.items():
        if parameter.default is not parameter.empty:
            assert node[key] == parameter.default, key


@pytest.mark.parametrize("name", NAMES)
def test_every_file_searches_the_base_rate_around_its_default_and_decays_everything(name):
    node = node_of(name)
    space = node["search"]["lr"]
    assert space["log"] is True
    assert 0 < space["low"] < node["lr"] < space["high"]
    assert node["decay_norm_and_bias"] is True


# Against torch and by hand

LIKE_TORCH = [
    ("sgd", {}, torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    (
        "sgd",
        {"nesterov": True, "weight_decay": 0.1, "lr": 0.2},
        torch.optim.SGD,
        {"lr": 0.2, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    (
        "sgd",
        {"momentum": 0.5, "dampening": 0.3},
        torch.optim.SGD,
        {"lr": 0.02, "momentum": 0.5, "dampening": 0.3},
    ),
    (
        "adam",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        torch.optim.Adam,
        {"lr": 0.001, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    ("adamw", {}, torch.optim.AdamW, {"lr": 0.001, "weight_decay": 0.01}),
    (
        "adamw",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1},
        torch.optim.AdamW,
        {"lr": 0.001, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    (
        "rmsprop",
        {"alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
        torch.optim.RMSprop,
        {"lr": 0.001, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "centered": True, "weight_decay": 0.1},
    ),
]


@pytest.mark.parametrize(("name", "changes", "torch_class", "settings"), LIKE_TORCH)
@pytest.mark.parametrize("fused", [True, False])
def test_trajectories_are_those_of_torchs_class(name, changes, torch_class, settings, fused):
    ours, theirs = network(), network()
    switch = {} if name == "rmsprop" else {"fused": fused}
    train(ours, make(name, ours.parameters(), **changes, **switch), batches(5))
    train(theirs, torch_class(theirs.parameters(), **settings, **switch), batches(5))
    assert_same_bits(ours.state_dict(), theirs.state_dict())
    assert not torch.equal(ours[0].weight, network()[0].weight)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_and_plain_updates_agree_up_to_rounding(name):
    def perceptron():
        # No BatchNorm: a bias in front of one has a gradient of pure rounding noise, which Adam would blow up.
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))

    fused, plain = perceptron(), perceptron()
    train(fused, make(name, fused.parameters(), fused=True), batches(5))
    train(plain, make(name, plain.parameters(), fused=False), batches(5))
    torch.testing.assert_close(fused.state_dict(), plain.state_dict())


@pytest.mark.parametrize("changes", [{"momentum": 0.0}, {"dampening": 0.1}])
def test_nesterov_is_refused_where_torch_has_none(changes):
    with pytest.raises(ValueError, match=r"optimizer.nesterov=true needs optimizer.momentum > 0 .* got optimizer"):
        make("sgd", network().parameters(), nesterov=True, **changes)


def test_schedule_free_sgd_follows_the_formula_of_its_paper():
    """x, y, z of arXiv 2405.15682 eq. 3 to 5 on a quadratic with gradient y - 1; with a constant rate c = 1/t."""
    lr, beta = 0.3, 0.8
    y = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = make("schedule_free_sgd", [y], lr=lr, momentum=beta)
    x = z = 3.0
    for t in range(1, 6):
        optimizer.zero_grad()
        (0.5 * (y - 1) ** 2).sum().backward()
        optimizer.step()
        z = z - lr * ((1 - beta) * z + beta * x - 1)
        x = (1 - 1 / t) * x + z / t
        assert y.item() == pytest.approx((1 - beta) * z + beta * x)
        module = nn.Module()
        module.y = y
        with evaluation_weights(module, optimizer, no_calibration):
            assert y.item() == pytest.approx(x)


def test_schedule_free_adamw_decays_and_prodigy_moves_as_their_packages_do():
    from prodigyopt import Prodigy
    from schedulefree import AdamWScheduleFree

    settings = {"eps": 1e-3, "weight_decay": 0.1}
    ours, theirs = network(), network()
    train(
        ours,
        make(
            "schedule_free_adamw", ours.parameters(), lr=0.1, beta1=0.8, beta2=0.9, polynomial_weighting=1.5, **settings
        ),
        batches(4),
    )
    package = AdamWScheduleFree(theirs.parameters(), lr=0.1, betas=(0.8, 0.9), r=1.5, **settings)
    package.train()
    train(theirs, package, batches(4))
    assert_same_bits(ours.state_dict(), theirs.state_dict())

    settings |= {"d0": 1e-3, "d_coef": 2.0, "use_bias_correction": True, "safeguard_warmup": True}
    ours, theirs = network(), network()
    train(ours, make("prodigy", ours.parameters(), lr=0.5, beta1=0.8, beta2=0.9, **settings), batches(4))
    train(theirs, Prodigy(theirs.parameters(), lr=0.5, betas=(0.8, 0.9), **settings), batches(4))
    assert_same_bits(ours.state_dict(), theirs.state_dict())


def test_prodigy_keeps_quiet_about_its_weight_decay(capsys):
    make("prodigy", network().parameters(), weight_decay=0.1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_takes_a_step_at_once_with_groups_and_resumes_bit_for_bit(name):
    unbroken, first, second = network(), network(), network(seed=5)

    def build(model):
        groups = parameter_groups(model, decay_norm_and_bias=False)
        return make(name, groups, weight_decay=0.01)

    train(unbroken, build(unbroken), batches(6))
    optimizer = build(first)
    train(first, optimizer, batches(6)[:3])
    second.load_state_dict(first.state_dict())
    resumed = build(second)
    resumed.load_state_dict(optimizer.state_dict())
    train(second, resumed, batches(6)[3:])
    assert_same_bits(second.state_dict(), unbroken.state_dict())


@pytest.mark.parametrize(
    ("name", "package"),
    [("schedule_free_sgd", "schedulefree"), ("schedule_free_adamw", "schedulefree"), ("prodigy", "prodigyopt")],
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"optimizer={name} needs the package '{package}'.*\[schedulers\]"):
        make(name, network().parameters())


@pytest.mark.slow
def test_importing_the_factories_does_not_import_torch():
    code = "import sys, lrbench.optimizers; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


# Parameter groups


class Mixture(nn.Module):
    """One of every kind, a norm layer whose weights have two dimensions, and a tied weight."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.batch = nn.BatchNorm2d(2)
        self.layer = nn.LayerNorm((3, 4))
        self.gru = nn.GRU(2, 3)
        self.linear = nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.linear.weight


def names_in(model, group):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return [names[parameter] for parameter in group["params"]]


def test_norm_layers_and_biases_do_not_decay_when_told_so():
    model = Mixture()
    decayed, exempt = parameter_groups(model, decay_norm_and_bias=False)
    assert names_in(model, decayed) == ["conv.weight", "gru.weight_ih_l0", "gru.weight_hh_l0", "linear.weight"]
    assert names_in(model, exempt) == [
        "conv.bias",
        "batch.weight",
        "batch.bias",
        "layer.weight",
        "layer.bias",
        "gru.bias_ih_l0",
        "gru.bias_hh_l0",
        "linear.bias",
        "tied.bias",
    ]
    assert exempt["weight_decay"] == 0.0
    assert "weight_decay" not in decayed


def test_everything_decays_in_one_group():
    model = Mixture()
    (group,) = parameter_groups(model, decay_norm_and_bias=True)
    assert group.keys() == {"params"}
    assert names_in(model, group) == [name for name, _ in model.named_parameters()]


def test_groups_without_parameters_are_left_out():
    (group,) = parameter_groups(nn.Linear(2, 2, bias=False), decay_norm_and_bias=False)
    assert group.keys() == {"params"}
    (group,) = parameter_groups(nn.BatchNorm1d(2), decay_norm_and_bias=False)
    assert group["weight_decay"] == 0.0


def test_exempt_parameters_keep_their_value_when_only_decay_moves_them():
    model = nn.Linear(2, 2)
    before = snapshot(model)
    groups = parameter_groups(model, decay_norm_and_bias=False)
    optimizer = make("sgd", groups, lr=0.5, momentum=0.0, weight_decay=0.1)
    (0.0 * model(torch.ones(1, 2))).sum().backward()
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), before["weight"] * (1 - 0.5 * 0.1))
    assert torch.equal(model.bias, before["bias"])


# Weights of an evaluation


def no_calibration():
    raise AssertionError("calibration inputs are not needed here")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCHEDULE_FREE])
def test_ordinary_optimizers_are_evaluated_where_they_train(name):
    model = network()
    optimizer = make(name, model.parameters())
    train(model, optimizer, batches(3))
    before = snapshot(model)
    with evaluation_weights(model, optimizer, no_calibration):
        assert_same_bits(model.state_dict(), before)
    assert_same_bits(model.state_dict(), before)


def batch_norm_by_hand(model, inputs):
    """Plain averages over the batches of each batch's mean and unbiased variance, layer by layer."""
    w = dict(model.named_parameters())
    first, second = [], []
    for batch in inputs:
        h = batch @ w["0.weight"].T + w["0.bias"]
        first.append((h.mean(0), h.var(0)))
        h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt() * w["1.weight"] + w["1.bias"]
        h = F.relu(h) @ w["4.weight"].T + w["4.bias"]  # no dropout
        second.append((h.mean(0), h.var(0)))
    return [
        (torch.stack([m for m, _ in layer]).mean(0), torch.stack([v for _, v in layer]).mean(0))
        for layer in (first, second)
    ]


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_evaluation_sees_the_average_with_batch_norm_recomputed_for_it(name):
    model = network(dropout=0.5)
    optimizer = make(name, model.parameters())
    train(model, optimizer, batches(5))
    before, z, beta = snapshot(model), {}, 0.9
    for key, parameter in model.named_parameters():
        z[key] = optimizer.state[parameter]["z"].clone()
    calibration = batches(3, seed=7)
    with evaluation_weights(model, optimizer, lambda: calibration), torch.no_grad():
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, (before[key] - (1 - beta) * z[key]) / beta)
        for norm, (mean, variance) in zip((model[1], model[5]), batch_norm_by_hand(model, calibration), strict=True):
            torch.testing.assert_close(norm.running_mean, mean)
            torch.testing.assert_close(norm.running_var, variance)
            assert not torch.allclose(
                norm.running_mean, before["1.running_mean" if norm is model[1] else "5.running_mean"]
            )


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_the_training_finds_everything_as_it_left_it(name, fails):
    model = network(dropout=0.5)
    optimizer = make(name, model.parameters())
    train(model, optimizer, batches(5))
    model[3].eval()  # a mode of its own
    model[1].momentum = 0.3
    before, random_state = snapshot(model), torch.get_rng_state()
    groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    states = [{k: v.clone() for k, v in optimizer.state[p].items()} for p in model.parameters()]

    def evaluate():
        with evaluation_weights(model, optimizer, lambda: batches(2)):
            assert [m.training for m in model] == [True, True, True, False, True, True]
            model.eval()
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            evaluate()
    else:
        evaluate()

    assert_same_bits(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [m.training for m in model] == [True, True, True, False, True, True]
    assert (model[1].momentum, model[5].momentum) == (0.3, 0.1)
    assert [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups] == groups
    for parameter, state in zip(model.parameters(), states, strict=True):
        assert_same_bits(optimizer.state[parameter], state)


def test_an_error_while_calibrating_is_undone_too():
    model = network()
    optimizer = make("schedule_free_sgd", model.parameters())
    train(model, optimizer, batches(3))
    before = snapshot(model)
    wrong_shape = torch.randn(8, 3)
    with pytest.raises(RuntimeError), evaluation_weights(model, optimizer, lambda: [batches(1)[0], wrong_shape]):
        pytest.fail("not reached")
    assert_same_bits(model.state_dict(), before)
    assert all(module.training for module in model.modules())
    assert model[1].momentum == 0.1
    train(model, optimizer, batches(1))


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_evaluating_does_not_change_the_training_that_follows(name):
    disturbed, left_alone = network(dropout=0.5), network(dropout=0.5)
    for model in (disturbed, left_alone):
        optimizer = make(name, model.parameters())
        torch.manual_seed(9)
        for batch in batches(6):
            train(model, optimizer, [batch])
            if model is disturbed:
                with evaluation_weights(model, optimizer, lambda: batches(2)):
                    model.eval()
                    model(batch)
    assert_same_bits(disturbed.state_dict(), left_alone.state_dict())


@pytest.mark.parametrize("from_package", [False, True])
def test_step_zero_is_the_untrained_model_and_training_can_start_after_it(from_package):
    from schedulefree import SGDScheduleFree

    model = network()
    # The package's own class starts in evaluation mode, in which it refuses to step.
    optimizer = (
        SGDScheduleFree(model.parameters(), lr=1.0) if from_package else make("schedule_free_sgd", model.parameters())
    )
    before = snapshot(model)
    with evaluation_weights(model, optimizer, no_calibration):
        assert_same_bits(model.state_dict(), before)
    assert_same_bits(model.state_dict(), before)
    reference = network()
    expected = make("schedule_free_sgd", reference.parameters())
    train(model, optimizer, batches(2))
    train(reference, expected, batches(2))
    assert_same_bits(model.state_dict(), reference.state_dict())


def test_an_optimizer_left_at_its_average_goes_on_from_its_training_weights():
    model = network()
    optimizer = make("schedule_free_sgd", model.parameters())
    train(model, optimizer, batches(3))
    trained = snapshot(model)
    optimizer.eval()  # as its package says to save checkpoints
    with evaluation_weights(model, optimizer, lambda: batches(1)):
        pass
    assert optimizer.param_groups[0]["train_mode"]
    torch.testing.assert_close(model.state_dict(), trained)


def test_models_without_running_statistics_need_no_calibration():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    optimizer = make("schedule_free_sgd", model.parameters())
    train(model, optimizer, batches(3))
    before = snapshot(model)
    with evaluation_weights(model, optimizer, no_calibration):
        assert not torch.equal(model[0].weight, before["0.weight"])
    assert_same_bits(model.state_dict(), before)
