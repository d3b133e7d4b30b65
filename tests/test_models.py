"""Models: shapes, parameter counts against papers and hand tables, seeds, refusals, and stacking."""

import inspect
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
import yaml
from conftest import REPO
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from lrbench import models

DIGITS, MNIST, CIFAR, MNIST1D, VECTOR = (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 40), (20,)
TAKES = {
    "logistic": [DIGITS, MNIST, CIFAR, MNIST1D, VECTOR],
    "linear": [DIGITS, MNIST1D, VECTOR],
    "diagonal": [VECTOR],
    "mlp": [DIGITS, MNIST, CIFAR, MNIST1D, VECTOR],
    "lenet": [(1, 12, 12), MNIST, (3, 28, 32), CIFAR],
    "cnn": [DIGITS, MNIST, CIFAR],
    "cnn1d": [MNIST1D, (2, 3)],
    "gru": [MNIST1D, (2, 5)],
    "resnet20": [DIGITS, MNIST, CIFAR],
    "torchvision": [DIGITS, CIFAR],
}
CASES = [(name, shape) for name, shapes in TAKES.items() for shape in shapes]
FILES = sorted((REPO / "conf" / "model").glob("*.yaml"))


def make(name, shape, num_outputs=10, **changes):
    """Build a model as its file says, by the class that `_target_` names."""
    node = yaml.safe_load((REPO / "conf" / "model" / f"{name}.yaml").read_text())
    cls = getattr(models, node["_target_"].removeprefix("lrbench.models."))
    values = {k: v for k, v in node.items() if k not in ("name", "purpose", "source", "_target_")}
    if name == "torchvision":
        values["architecture"] = "squeezenet1_1" if min(shape[1:]) > 16 else "mobilenet_v3_small"  # quick ones
    return cls(input_shape=shape, num_outputs=num_outputs, **(values | changes))


def outputs_of(name, shape):
    return math.prod(shape) if name == "diagonal" else 10


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_lists_all_parameters_of_its_class_and_no_other(path):
    node = yaml.safe_load(path.read_text())
    assert path.stem in TAKES or path.parent.name == "own"
    if path.parent.name == "own":
        assert node["_target_"] == "???"
        return
    cls = getattr(models, node["_target_"].removeprefix("lrbench.models."))
    parameters = inspect.signature(cls).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    documented = {"name", "purpose", "source", "_target_"}
    assert set(node) - documented == set(parameters) - {"input_shape", "num_outputs"}


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_outputs_have_one_row_an_example_and_gradients_reach_every_parameter(name, shape):
    num_outputs = outputs_of(name, shape)
    model = make(name, shape, num_outputs)
    assert model.training
    outputs = model(torch.randn(5, *shape))
    assert outputs.shape == (5, num_outputs)
    outputs.square().sum().backward()
    if name not in ("linear", "diagonal"):  # their zero weights predict zero
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "shape"), [(name, shapes[0]) for name, shapes in TAKES.items()])
def test_the_global_seed_and_only_it_fixes_the_initial_weights(name, shape):
    def state(seed):
        torch.manual_seed(seed)
        return make(name, shape, outputs_of(name, shape)).state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    zero_weights = name in ("linear", "diagonal")
    assert all(torch.equal(first[key], other[key]) for key in first) == zero_weights


@pytest.mark.parametrize(
    ("name", "shape", "changes", "count"),
    [
        ("logistic", MNIST, {}, 7_850),
        ("linear", VECTOR, {"num_outputs": 1}, 20),
        ("linear", VECTOR, {"num_outputs": 1, "bias": True}, 21),
        ("diagonal", VECTOR, {"num_outputs": 20}, 20),
        # 784*256+256 + 256*128+128 + 128*10+10
        ("mlp", MNIST, {}, 235_146),
        ("mlp", DIGITS, {"hidden": []}, 650),
        # BatchNorm: a scale and a shift a unit, and no bias in front of it.
        ("mlp", DIGITS, {"hidden": [7], "batch_norm": True}, 64 * 7 + 2 * 7 + 7 * 10 + 10),
        # The MLP baseline of MNIST-1D, arXiv 2011.14439.
        ("mlp", MNIST1D, {"hidden": [100, 100]}, 15_210),
        ("cnn1d", MNIST1D, {}, 5_210),
        ("gru", MNIST1D, {}, 5_134),
        # LeNet-5: 156 + 2,416 + 48,120 + 10,164 + 850; three colours add 2*150 weights.
        ("lenet", MNIST, {}, 61_706),
        ("lenet", (1, 32, 32), {}, 61_706),
        ("lenet", CIFAR, {}, 62_006),
        # 9*32 + 9*32*64 + 9*64*128, BatchNorm 2*(32+64+128), output 128*10+10
        ("cnn", DIGITS, {}, 288 + 18_432 + 73_728 + 448 + 1_290),
        ("cnn", MNIST, {}, 288 + 18_432 + 73_728 + 448 + 1_290),
        ("cnn", DIGITS, {"channels": [4], "batch_norm": False}, 9 * 4 + 4 + 50),
        # "0.27M" in table 6 of arXiv 1512.03385.
        ("resnet20", CIFAR, {}, 269_722),
    ],
)
def test_parameter_counts_are_those_of_the_paper_or_by_hand(name, shape, changes, count):
    assert num_parameters(make(name, shape, **changes)) == count


def test_mlp_is_the_network_written_by_hand():
    model = make("mlp", DIGITS, hidden=[6, 5], activation="tanh", batch_norm=True)
    inputs = torch.randn(9, *DIGITS)
    state = model.state_dict()
    hidden = inputs.reshape(9, 64)
    for linear, norm in ((1, 2), (4, 5)):
        hidden = hidden @ state[f"{linear}.weight"].T
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
        hidden = torch.tanh(hidden * state[f"{norm}.weight"] + state[f"{norm}.bias"])
    expected = hidden @ state["7.weight"].T + state["7.bias"]
    torch.testing.assert_close(model(inputs), expected)


def test_mlp_drops_hidden_units_in_training_only():
    model = make("mlp", DIGITS, dropout=0.5)
    inputs = torch.randn(3, *DIGITS)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize(
    ("activation", "function"), [("relu", F.relu), ("gelu", F.gelu), ("silu", F.silu), ("tanh", torch.tanh)]
)
def test_mlp_applies_the_activation_that_is_named(activation, function):
    model = make("mlp", VECTOR, hidden=[8], activation=activation)
    inputs = torch.randn(4, 20)
    torch.testing.assert_close(model(inputs), model[3](function(model[1](inputs))))


def test_linear_and_diagonal_start_at_zero_and_multiply():
    inputs = torch.randn(4, 20)
    linear = make("linear", VECTOR, num_outputs=2, bias=True)
    diagonal = make("diagonal", VECTOR, num_outputs=20)
    assert torch.equal(linear(inputs), torch.zeros(4, 2))
    assert torch.equal(diagonal(inputs), torch.zeros(4, 20))
    weight = torch.arange(20.0)
    with torch.no_grad():
        diagonal.weight.copy_(weight)
    assert torch.equal(diagonal(inputs), inputs * weight)


def test_gru_reads_forty_steps_of_one_channel():
    model = make("gru", MNIST1D, bidirectional=False)
    inputs = torch.randn(3, *MNIST1D)
    states = []
    w = dict(model.gru.named_parameters())
    state = torch.zeros(3, 6)
    for position in range(40):  # equations of torch.nn.GRU's documentation
        x = inputs[:, :, position] @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        h = state @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        reset, update = torch.sigmoid(x[:, :6] + h[:, :6]), torch.sigmoid(x[:, 6:12] + h[:, 6:12])
        new = torch.tanh(x[:, 12:] + reset * h[:, 12:])
        state = (1 - update) * new + update * state
        states.append(state)
    torch.testing.assert_close(model(inputs), model.output(torch.cat(states, dim=1)))


# Table 6 and section 4.2 of arXiv 1512.03385: (convolutions in, out, stride, output size), layer by layer.
RESNET20_LAYERS = [
    (3, 16, 1, 32),
    *[(16, 16, 1, 32)] * 6,
    (16, 32, 2, 16),
    *[(32, 32, 1, 16)] * 5,
    (32, 64, 2, 8),
    *[(64, 64, 1, 8)] * 5,
]


def test_resnet20_has_the_papers_layers_and_shortcuts_without_parameters():
    model = make("resnet20", CIFAR)
    seen = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda m, _, out: seen.append((m.in_channels, m.out_channels, m.stride[0], out.shape[-1]))
            )
    model(torch.randn(2, *CIFAR))
    assert seen == RESNET20_LAYERS
    kinds = [type(m) for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    assert kinds.count(nn.BatchNorm2d) == 19
    assert kinds.count(nn.Linear) == 1
    assert len(kinds) == 19 + 19 + 1


def test_resnet20_equals_a_second_implementation_of_the_paper():
    model = make("resnet20", CIFAR)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def layer(features, index):
        weight, norm = convs[index].weight, norms[index]
        stride = RESNET20_LAYERS[index][2]
        features = F.conv2d(features, weight, stride=stride, padding=1)
        return F.batch_norm(features, None, None, norm.weight, norm.bias, training=True)

    inputs = torch.randn(4, *CIFAR)
    features = F.relu(layer(inputs, 0))
    for index in range(1, 19, 2):
        shortcut = features
        if index in (7, 13):
            half = torch.zeros(4, features.shape[1] // 2, *(n // 2 for n in features.shape[2:]))
            # A 1x1 average pooling of stride 2 takes every second pixel.
            shortcut = torch.cat([half, F.avg_pool2d(features, 1, stride=2), half], dim=1)
        features = F.relu(layer(F.relu(layer(features, index)), index + 1) + shortcut)
    expected = model.output(F.adaptive_avg_pool2d(features, 1).flatten(1))
    torch.testing.assert_close(model(inputs), expected, rtol=1e-4, atol=1e-4)


def test_resnet20_starts_with_the_variance_of_he_et_al():
    torch.manual_seed(0)
    for conv in [m for m in make("resnet20", CIFAR).modules() if isinstance(m, nn.Conv2d)][1:]:
        fan_in = conv.in_channels * 9
        assert conv.weight.var().item() == pytest.approx(2 / fan_in, rel=0.15)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet20", MNIST1D, r"model=resnet20 needs images .* got dataset inputs of shape \(1, 40\)"),
        ("lenet", VECTOR, r"model=lenet needs images .* got dataset inputs of shape \(20,\)"),
        ("lenet", DIGITS, r"model=lenet needs images of at least 12x12 pixels, got .* \(1, 8, 8\)"),
        ("lenet", (1, 11, 28), "at least 12x12"),
        ("cnn", MNIST1D, r"model=cnn needs images .* \(1, 40\)"),
        ("cnn", (1, 7, 8), r"model=cnn needs images of at least 8x8 pixels, got .* \(1, 7, 8\)"),
        ("cnn1d", DIGITS, r"model=cnn1d needs sequences \(channels, length\) .* \(1, 8, 8\)"),
        ("cnn1d", (1, 2), r"model=cnn1d needs sequences of at least 3 positions, got .* \(1, 2\)"),
        ("gru", CIFAR, r"model=gru needs sequences .* \(3, 32, 32\)"),
        ("diagonal", DIGITS, r"model=diagonal needs one output for each input.* \(1, 8, 8\) and 10 outputs"),
        ("torchvision", MNIST1D, r"model=torchvision .* needs images .* \(1, 40\)"),
        ("torchvision", (2, 32, 32), r"model=torchvision needs images of 1 or 3 channels.* \(2, 32, 32\)"),
    ],
)
def test_inputs_that_a_model_cannot_take_are_refused_when_it_is_built(name, shape, message):
    with pytest.raises(ValueError, match=message):
        make(name, shape)


def test_unknown_torchvision_names_are_refused_with_close_ones():
    with pytest.raises(
        ValueError, match=r"model.architecture must be .* 'resnet19'; did you mean resnet18\? there are"
    ):
        make("torchvision", CIFAR, architecture="resnet19")
    with pytest.raises(ValueError, match=r"got 'zzz'; there are alexnet, .*wide_resnet50_2"):
        make("torchvision", CIFAR, architecture="zzz")


def test_torchvision_sizes_that_do_not_fit_are_refused_and_resize_helps():
    with pytest.raises(ValueError, match=r"alexnet cannot take .* \(1, 28, 28\) with model.resize=null: .*224"):
        make("torchvision", MNIST, architecture="alexnet")
    model = make("torchvision", MNIST, architecture="squeezenet1_0", resize=64)
    assert model(torch.randn(2, *MNIST)).shape == (2, 10)


def test_torchvision_repeats_grey_images_and_is_torchvisions_own_network():
    from torchvision.models import mobilenet_v3_small

    torch.manual_seed(0)
    model = make("torchvision", (1, 16, 16)).eval()
    torch.manual_seed(0)
    own = mobilenet_v3_small(weights=None, num_classes=10).eval()
    grey = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(model(grey), own(torch.cat([grey] * 3, dim=1)))


def test_torchvision_models_with_auxiliary_outputs_return_logits_only():
    model = make("torchvision", CIFAR, architecture="googlenet")
    assert isinstance(model(torch.randn(2, *CIFAR)), torch.Tensor)


@pytest.mark.slow
def test_torchvision_is_imported_by_its_own_model_only():
    code = "import sys, lrbench.models; raise SystemExit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPO, check=False).returncode == 0


@pytest.mark.parametrize("name", ["logistic", "linear", "diagonal", "mlp", "lenet", "cnn", "cnn1d", "resnet20"])
def test_stacked_copies_compute_what_each_computes_alone(name):
    shape = TAKES[name][-1]
    num_outputs = outputs_of(name, shape)
    changes = {"batch_norm": True} if name == "mlp" else {}
    copies = [make(name, shape, num_outputs, **changes) for _ in range(2)]
    for copy in copies:
        for parameter in copy.parameters():
            nn.init.normal_(parameter, std=0.1)
    parameters, buffers = stack_module_state(copies)
    inputs = torch.randn(4, *shape)

    def forward(parameters, buffers):
        return functional_call(copies[0], (parameters, buffers), (inputs,))

    stacked = vmap(forward, randomness="different")(parameters, buffers)
    for row, copy in zip(stacked, copies, strict=True):
        torch.testing.assert_close(row, copy(inputs), rtol=1e-4, atol=1e-4)
