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
    "resnet8": [DIGITS, CIFAR],
    "resnet20": [DIGITS, MNIST, CIFAR],
    "gpt": [(6,), (1,)],
    "gru_lm": [(6,)],
    "char_mlp": [(6,)],
    "distmult": [(2,)],
    "tabular_mlp": [VECTOR, (1,)],
    "tcn": [MNIST1D, (2, 1)],
    "text_cnn": [MNIST1D, (2, 7)],
    "vit": [DIGITS, (3, 4, 6)],
    "torchvision": [DIGITS, CIFAR],
}
TOKENS = ("gpt", "gru_lm", "char_mlp", "distmult")
EVERY_TOKEN = ("gpt", "gru_lm")  # outputs at every position
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


def inputs_for(name, shape, num_examples=5):
    """Enough tokens of ten kinds that each one is among them."""
    if name in TOKENS:
        return torch.arange(math.prod(shape) * 20).mul(7).view(20, *shape) % 10
    return torch.randn(num_examples, *shape)


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
    inputs = inputs_for(name, shape)
    outputs = model(inputs)
    assert outputs.shape == (len(inputs), num_outputs, *(shape if name in EVERY_TOKEN else ()))
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
        # Embeddings 10*64 and 6*64; a block 4*64 of norms, 64*192+192, 64*64+64, 64*256+256, 256*64+64; the norm.
        ("gpt", (6,), {}, 640 + 384 + 2 * (256 + 12_480 + 4_160 + 16_640 + 16_448) + 128),
        ("gpt", (6,), {"tied": False}, 640 + 384 + 2 * (256 + 12_480 + 4_160 + 16_640 + 16_448) + 128 + 640),
        ("char_mlp", (6,), {}, 10 * 10 + 60 * 200 + 200 + 200 * 10 + 10),
        ("distmult", (2,), {}, 10 * 64 + 25 * 64),
        ("tabular_mlp", VECTOR, {}, 20 * 8 + 16 * 8 + 8 + 160 * 128 + 128 + 128 * 128 + 128 + 1_290),
        ("text_cnn", MNIST1D, {}, 32 * (3 + 5 + 7 + 3) + 96 * 10 + 10),
        # Twelve convolutions fewer than ResNet-20: 4 of 16, 4 of 32, 4 of 64 channels, each with its BatchNorm.
        ("resnet8", CIFAR, {}, 269_722 - 4 * 9 * (256 + 1024 + 4096) - 4 * 2 * (16 + 32 + 64)),
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


def test_gru_lm_reads_embeddings_and_looks_at_no_later_token():
    model = make("gru_lm", (6,), layers=2)
    tokens = inputs_for("gru_lm", (6,))
    states, _ = model.gru(model.tokens.weight[tokens])
    torch.testing.assert_close(model(tokens)[:, :, 3], model.output(states[:, 3]))
    assert torch.equal(model(tokens)[..., :3], model(torch.cat([tokens[:, :3], tokens[:, :3]], dim=1))[..., :3])


def randomised(model):
    """Weights far from any initial ones, biases and norms included."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_gpt_is_gpt2_of_transformers(tied):
    transformers = pytest.importorskip("transformers")
    model = randomised(make("gpt", (6,), width=8, heads=2, layers=2, tied=tied))
    config = transformers.GPT2Config(
        vocab_size=10, n_positions=6, n_embd=8, n_layer=2, n_head=2, activation_function="gelu",
        tie_word_embeddings=tied, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config).eval()
    names = {
        "attention_norm": "ln_1", "attention_in": "attn.c_attn", "attention_out": "attn.c_proj",
        "mlp_norm": "ln_2", "mlp_in": "mlp.c_fc", "mlp_out": "mlp.c_proj", "norm": "ln_f", "tokens": "wte",
        "positions": "wpe.weight", "output": "lm_head",
    }  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        first, *rest = name.replace("blocks.", "h.").rsplit(".", 2) if "blocks" in name else name.split(".")
        words = [names.get(word, word) for word in (first, *rest)]
        # GPT-2 keeps the weights of its blocks transposed.
        transposed = "h." in name.replace("blocks.", "h.") and value.ndim == 2
        prefix = "" if words[0] == "lm_head" else "transformer."
        state[prefix + ".".join(words)] = value.t() if transposed else value
    theirs.load_state_dict(state, strict=True)
    tokens = inputs_for("gpt", (6,))
    torch.testing.assert_close(model(tokens), theirs(tokens).logits.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_gpt_starts_with_gpt2s_variances_and_no_opinion():
    torch.manual_seed(0)
    model = make("gpt", (6,), layers=8, tied=False)
    assert model.tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.blocks[3].mlp_out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert model.blocks[3].mlp_in.weight.std().item() == pytest.approx(0.02, rel=0.05)
    tokens = inputs_for("gpt", (6,))
    assert F.cross_entropy(model(tokens), tokens).item() == pytest.approx(math.log(10), rel=0.05)


def test_vit_is_torchvisions():
    from torchvision.models import VisionTransformer

    model = randomised(make("vit", (3, 8, 8), patch=4, width=8, heads=2, layers=2)).eval()
    theirs = VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=32, num_classes=10,
        norm_layer=nn.LayerNorm,
    ).eval()  # fmt: skip
    names = {
        "patches": "conv_proj", "positions": "encoder.pos_embedding", "attention_norm": "ln_1", "mlp_norm": "ln_2",
        "attention_out": "self_attention.out_proj", "mlp_in": "mlp.0", "mlp_out": "mlp.3", "norm": "encoder.ln",
        "output": "heads.head", "blocks": "encoder.layers",
    }  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        words = [names.get(word, word) for word in name.split(".")]
        if words[0] == "encoder.layers":
            words[1] = f"encoder_layer_{words[1]}"
        ours = ".".join(words).replace("attention_in.", "self_attention.in_proj_")
        state[ours] = value.unsqueeze(0) if name == "positions" else value
    theirs.load_state_dict(state, strict=True)
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(model(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_char_mlp_is_makemores():
    model = make("char_mlp", (3,))
    tokens = inputs_for("char_mlp", (3,))
    embedded = torch.cat([model[0].weight[tokens[:, i]] for i in range(3)], dim=1)
    hidden = torch.tanh(embedded @ model[2].weight.T + model[2].bias)
    torch.testing.assert_close(model(tokens), hidden @ model[4].weight.T + model[4].bias)


def test_distmult_multiplies_head_relation_and_tail():
    model = make("distmult", (2,), width=3)
    head, relation = 4, 7
    expected = [
        sum(model.entities.weight[head, i] * model.relations.weight[relation, i] * tail[i] for i in range(3)).item()
        for tail in model.entities.weight
    ]
    scores = model(torch.tensor([[head, relation]]))
    torch.testing.assert_close(scores[0], torch.tensor(expected))


def test_tabular_mlp_embeds_every_feature_by_its_own_frequencies():
    model = make("tabular_mlp", (3,), frequencies=2, width=4, hidden=[5])
    inputs = torch.randn(7, 3)
    parts = []
    for feature in range(3):
        angles = [2 * math.pi * c * inputs[:, feature] for c in model.frequencies[feature]]
        waves = torch.stack([*(a.cos() for a in angles), *(a.sin() for a in angles)], dim=1)
        parts.append((waves @ model.embedding.weight.T + model.embedding.bias).relu())
    torch.testing.assert_close(model(inputs), model.mlp(torch.stack(parts, dim=1)))


def test_tcn_sees_as_many_positions_as_it_says_and_none_after():
    model = make("tcn", (1, 40), channels=[4, 4], kernel_size=3)
    inputs = torch.randn(1, 1, 40, requires_grad=True)
    model(inputs).sum().backward()
    assert torch.nonzero(inputs.grad[0, 0]).flatten().tolist()[0] >= 40 - (1 + 2 * 2 * 3)
    # The last position's features do not depend on zeros that come after it.
    features = model.blocks(inputs)
    torch.testing.assert_close(model.blocks(F.pad(inputs, (0, 5)))[..., :40], features)


def test_tcn_is_its_sums_written_by_hand():
    model = make("tcn", (2, 5), channels=[3], kernel_size=2)
    block, inputs = model.blocks[0], torch.randn(1, 2, 5)

    def convolved(values, conv, dilation=1):
        before = torch.cat([torch.zeros(len(values), dilation), values[:, :-dilation]], dim=1)
        return conv.weight[..., 0] @ before + conv.weight[..., 1] @ values + conv.bias[:, None]

    features = convolved(convolved(inputs[0], block.first).relu(), block.second).relu()
    shortcut = block.shortcut.weight[..., 0] @ inputs[0] + block.shortcut.bias[:, None]
    expected = model.output((features + shortcut).relu()[:, -1])
    torch.testing.assert_close(model(inputs)[0], expected)


def test_text_cnn_takes_the_largest_response_wherever_it_is():
    model = make("text_cnn", (4, 9), kernel_sizes=[2, 3], channels=5)
    inputs = F.one_hot(torch.randint(4, (6, 9)), 4).float().transpose(1, 2)
    responses = [
        torch.stack(
            [torch.einsum("ncl,ocl->no", inputs[..., i : i + size], conv.weight) for i in range(10 - size)], dim=2
        ).amax(dim=2)
        + conv.bias
        for size, conv in zip([2, 3], model.convolutions, strict=True)
    ]
    torch.testing.assert_close(model(inputs), model.output(torch.cat(responses, dim=1).relu()))


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
        ("resnet8", MNIST1D, r"model=resnet8 needs images"),
        ("gpt", MNIST1D, r"model=gpt needs rows of tokens .* dataset=text .* \(1, 40\)"),
        ("gru_lm", DIGITS, "model=gru_lm needs rows of tokens"),
        ("char_mlp", DIGITS, "model=char_mlp needs rows of tokens"),
        ("distmult", VECTOR, r"model=distmult needs pairs of head and relation, as dataset=triples .* \(20,\)"),
        ("tabular_mlp", DIGITS, r"model=tabular_mlp needs rows of features.* \(1, 8, 8\)"),
        ("tcn", VECTOR, "model=tcn needs sequences"),
        ("text_cnn", (4, 6), "model=text_cnn needs sequences of at least 7 positions"),
        ("vit", MNIST1D, "model=vit needs images"),
        ("vit", (1, 8, 7), r"model.patch=2 must divide height and width of dataset inputs of \(1, 8, 7\)"),
        ("diagonal", DIGITS, r"model=diagonal needs one output for each input.* \(1, 8, 8\) and 10 outputs"),
        ("torchvision", MNIST1D, r"model=torchvision .* needs images .* \(1, 40\)"),
        ("torchvision", (2, 32, 32), r"model=torchvision needs images of 1 or 3 channels.* \(2, 32, 32\)"),
    ],
)
def test_inputs_that_a_model_cannot_take_are_refused_when_it_is_built(name, shape, message):
    with pytest.raises(ValueError, match=message):
        make(name, shape)


@pytest.mark.parametrize(("name", "shape"), [("gpt", (6,)), ("vit", DIGITS)])
def test_a_width_that_the_heads_do_not_divide_is_refused(name, shape):
    with pytest.raises(ValueError, match=r"model.width must be a multiple of model.heads=3, got 32"):
        make(name, shape, width=32, heads=3)


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


@pytest.mark.parametrize("name", sorted(TAKES.keys() - {"gru", "gru_lm", "torchvision"}))
def test_stacked_copies_compute_what_each_computes_alone(name):
    shape = TAKES[name][-1]
    num_outputs = outputs_of(name, shape)
    changes = {"batch_norm": True} if name == "mlp" else {}
    copies = [make(name, shape, num_outputs, **changes) for _ in range(2)]
    for copy in copies:
        for parameter in copy.parameters():
            nn.init.normal_(parameter, std=0.1)
    parameters, buffers = stack_module_state(copies)
    inputs = inputs_for(name, shape, 4)

    def forward(parameters, buffers):
        return functional_call(copies[0], (parameters, buffers), (inputs,))

    stacked = vmap(forward, randomness="different")(parameters, buffers)
    for row, copy in zip(stacked, copies, strict=True):
        torch.testing.assert_close(row, copy(inputs), rtol=1e-4, atol=1e-4)
