"""Splits, held-out parts, augmentation, cache, and the datasets that need no files."""

import dataclasses
import inspect
import random
import subprocess
import sys
import typing
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import lrbench.data
from lrbench.data import Digits, Mnist1d, Split
from lrbench.data.augmentation import flip, pad_crop, pad_crop_flip
from lrbench.data.cache import cached_arrays, scratch_beside
from lrbench.data.holdout import TEST, TRAIN, VALIDATION, held_out_count, partition, stratified
from lrbench.data.mnist1d import generate
from lrbench.data.preparation import channel_sums, in_memory_splits, mean_and_deviation
from lrbench.spec import Task

REPO = Path(__file__).resolve().parent.parent
CONFIGS = sorted((REPO / "conf" / "dataset").glob("*.yaml"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The YAML files of the group


def test_every_dataset_has_a_config():
    own = [REPO / "conf" / "dataset" / "own" / "loop.yaml"]
    targets = {yaml.safe_load(path.read_text())["_target_"] for path in [*CONFIGS, *own]}
    classes = {
        f"lrbench.data.{name}"
        for name in lrbench.data.__all__
        if hasattr(getattr(lrbench.data, name), "load") and name != "Dataset"
    }
    assert targets == classes


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_lists_all_parameters_with_their_defaults(path):
    text = path.read_text()
    config = yaml.safe_load(text)
    assert text.startswith("# python -m lrbench ")
    assert f"dataset={path.stem}" in text.splitlines()[0]
    assert config.pop("name") == path.stem
    assert config.pop("purpose")
    assert config.pop("source")
    dataset_class = getattr(lrbench.data, config.pop("_target_").removeprefix("lrbench.data."))
    defaults = {name: p.default for name, p in inspect.signature(dataset_class).parameters.items()}
    made = {f.name: f.default_factory() for f in dataclasses.fields(dataset_class) if callable(f.default_factory)}
    defaults |= made
    if "cache_dir" in config:
        assert config["cache_dir"] == "${cache_dir}"
        config["cache_dir"] = defaults["cache_dir"]
    if config.get("root") == "${data_dir}":
        config["root"] = defaults["root"]
    assert config == defaults


NEED_A_FILE = ("arrays", "lines", "table", "text", "triples")  # tests/test_data_own_files.py has them


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem not in NEED_A_FILE], ids=lambda path: path.stem)
def test_dataset_states_its_shape_before_it_is_loaded(path):
    dataset_class = getattr(lrbench.data, yaml.safe_load(path.read_text())["_target_"].rpartition(".")[2])
    dataset = dataset_class()
    assert isinstance(dataset.task, Task)
    assert all(isinstance(n, int) for n in dataset.input_shape)
    assert dataset.max_epochs == (1.0 if dataset.task is Task.REGRESSION else None)
    hints = typing.get_type_hints(dataset_class.__init__, include_extras=True)
    assert {field.name for field in dataclasses.fields(dataset_class)} <= set(hints)
    if path.stem != "image_folder":
        assert dataset.num_train > 0
        assert dataset.num_outputs > 0


def test_importing_and_constructing_datasets_imports_no_heavy_library():
    program = (
        "import sys, lrbench.data as d; d.Digits().check(); d.Mnist(); d.ImageFolder(); d.NoisyQuadratic();"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Splits


def test_split_gives_the_examples_asked_for_in_order():
    split = Split(torch.arange(12.0).view(4, 3), torch.tensor([10, 11, 12, 13]))
    (first, a), (second, b) = split.batches([torch.tensor([3, 0]), torch.tensor([1])])
    assert first.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert a.tolist() == [13, 10]
    assert (second.tolist(), b.tolist()) == ([[3, 4, 5]], [11])
    assert len(split.to("cpu")) == 4


# Held-out parts

labels = st.lists(st.integers(0, 4), min_size=30, max_size=120).map(lambda x: np.array([*x, *range(5), *range(5)]))


@given(targets=labels, fraction=st.floats(0.05, 0.5))
@settings(deadline=None)
def test_every_class_keeps_its_share(targets, fraction):
    held_out = stratified(targets, fraction, parameter="dataset.validation_fraction")
    assert held_out.sum() == held_out_count(len(targets), fraction, parameter="x")
    for c in range(5):
        size = (targets == c).sum()
        exact = size * held_out.sum() / len(targets)
        assert abs((held_out & (targets == c)).sum() - exact) < 1


def test_held_out_examples_never_change():
    # A change here makes every record made before incomparable with those made after.
    targets = np.array([0, 1] * 5)
    held_out = {p: np.flatnonzero(stratified(targets, 0.4, parameter=p)).tolist() for p in ("a", "b")}
    assert held_out == {"a": [0, 1, 5, 8], "b": [1, 4, 8, 9]}


def test_held_out_examples_are_spread_over_the_dataset():
    held_out = np.flatnonzero(stratified(np.zeros(10_000, dtype=int) + np.arange(10_000) % 2, 0.1, parameter="x"))
    # Mean and deviation of a uniform sample without replacement.
    assert abs(held_out.mean() - 5000) < 4 * 2887 / np.sqrt(1000)
    assert abs(held_out.std() - 2887) < 150


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_a_fraction_that_leaves_a_part_empty_is_refused(fraction):
    with pytest.raises(ValueError, match=r"dataset\.validation_fraction must hold out at least one of 1438"):
        Digits(validation_fraction=fraction).check()


def test_a_class_that_would_not_be_trained_on_is_refused():
    with pytest.raises(ValueError, match=r"takes all 1 of class number 1"):
        stratified(np.array([0, 0, 1]), 0.7, parameter="dataset.validation_fraction")


def test_test_examples_stay_out_of_training_and_validation():
    targets = np.arange(100) % 2
    is_test = np.arange(100) >= 80
    part = partition(targets, is_test, validation_fraction=0.25)
    assert ((part == TEST) == is_test).all()
    assert ((part == TRAIN).sum(), (part == VALIDATION).sum()) == (60, 20)


# Preparation


def test_normalisation_uses_the_training_part_only():
    random_state = np.random.default_rng(0)
    inputs = random_state.integers(0, 256, (40, 2, 3, 3)).astype(np.uint8)
    inputs[:, 1] //= 4
    inputs[30:] = 255
    part = np.repeat([TRAIN, VALIDATION, TEST], [20, 10, 10]).astype(np.int8)
    splits = in_memory_splits(inputs, np.arange(40) % 2, part, augmentation="none", source_digest="s")
    raw = inputs[:20].astype(float)
    mean, deviation = raw.mean((0, 2, 3), keepdims=True), raw.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(splits.train.inputs, (raw - mean) / deviation, atol=1e-6)
    np.testing.assert_allclose(splits.test.inputs, (inputs[30:] - mean) / deviation, atol=1e-5)
    assert splits.train.inputs.dtype == torch.float32
    assert splits.train.targets.dtype == torch.int64
    assert inputs[30:].min() == 255, "the source must not be changed"


def test_channel_sums_of_parts_add_up_exactly():
    images = np.random.default_rng(0).integers(0, 256, (2100, 3, 5, 5)).astype(np.uint8)
    parts = channel_sums(images[:1501]) + channel_sums(images[1501:])
    assert (channel_sums(images) == parts).all()
    assert parts[1].sum() == images.sum(dtype=np.int64)


def test_a_constant_channel_becomes_zeros():
    mean, deviation = mean_and_deviation(channel_sums(np.full((5, 1, 2), 7, dtype=np.uint8)))
    assert (mean.item(), deviation.item()) == (7, 1)


@pytest.mark.parametrize("change", ["source", "part", "preprocessing"])
def test_digest_changes_with_whatever_shapes_training(change):
    def digest(*, source_digest="s", swap=False, preprocessing=None):
        part = np.array([TRAIN, TRAIN, VALIDATION, TEST], dtype=np.int8)
        part = part[[0, 2, 1, 3]] if swap else part
        inputs = np.arange(8).reshape(4, 1, 2)
        return in_memory_splits(
            inputs, np.zeros(4, dtype=np.int64), part, augmentation="none",
            source_digest=source_digest, preprocessing=preprocessing,
        ).digest  # fmt: skip

    changed = {
        "source": {"source_digest": "t"},
        "part": {"swap": True},
        "preprocessing": {"preprocessing": {"a": 1}},
    }
    assert digest() == digest()
    assert digest(**changed[change]) != digest()


# Augmentation


def crops(image: torch.Tensor) -> list[torch.Tensor]:
    padded = F.pad(image, (4, 4, 4, 4))
    return [padded[:, y : y + image.shape[1], x : x + image.shape[2]] for y, x in product(range(9), range(9))]


def test_pad_crop_shifts_each_image_by_its_own_offset():
    images = torch.randn(600, 2, 5, 6, generator=generator(1))
    shifted = pad_crop(images, generator())
    chosen = []
    for image, result in zip(images, shifted, strict=True):
        (place,) = [i for i, crop in enumerate(crops(image)) if torch.equal(crop, result)]
        chosen.append(place)
    counts = np.bincount(chosen, minlength=81)
    assert (counts > 0).all(), "600 draws miss one of 81 offsets with probability 0.05; the seed is one that does not"
    assert counts.max() < 25


def test_flip_mirrors_about_half_of_the_images():
    images = torch.randn(400, 1, 2, 3, generator=generator(1))
    result = flip(images, generator())
    mirrored = [torch.equal(r, i.flip(-1)) for i, r in zip(images, result, strict=True)]
    assert all(m or torch.equal(r, i) for m, i, r in zip(mirrored, images, result, strict=True))
    assert 160 < sum(mirrored) < 240


@pytest.mark.parametrize("augment", [pad_crop, pad_crop_flip])
def test_augmentation_depends_on_the_generator_alone(augment):
    images = torch.randn(8, 3, 4, 4, generator=generator(1))
    before, state = images.clone(), torch.get_rng_state()
    first = augment(images, generator(2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert torch.equal(first, augment(images.to(memory_format=torch.channels_last), generator(2)))
    assert not torch.equal(first, augment(images, generator(3)))
    assert torch.equal(images, before)
    assert first.shape == images.shape


# The cache


def count_decodes(cache: Path, key: str = "k") -> int:
    calls = []

    def decode():
        calls.append(1)
        return {"a": np.arange(5), "b": np.ones((2, 2), dtype=np.uint8)}

    arrays, digest = cached_arrays(str(cache), "name", {"key": key}, decode)
    assert arrays["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(digest) == 64
    return len(calls)


def test_arrays_are_decoded_once_a_key(tmp_path):
    assert [count_decodes(tmp_path, key) for key in ("k", "k", "other", "k")] == [1, 0, 1, 0]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_cache_entry_is_noticed_and_made_again(tmp_path, damage, caplog):
    count_decodes(tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        # Change an array and the zip's own checksum with it, so that only sha256 can tell.
        arrays = dict(np.load(path))
        arrays["a"][0] += 1
        np.savez(path, **arrays)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncate" else b"")
    assert count_decodes(tmp_path) == 1
    assert str(path) in caplog.text
    assert count_decodes(tmp_path) == 0


def test_an_unwritable_cache_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cache_dir must be a writable folder, got .*file"):
        count_decodes(tmp_path / "file")


def test_processes_that_start_together_decode_once(tmp_path):
    program = f"""
import numpy as np
from lrbench.data.cache import cached_arrays
def decode():
    open({str(tmp_path / "calls")!r}, "a").write("x")
    return {{"a": np.arange(300_000)}}
print(cached_arrays({str(tmp_path / "cache")!r}, "n", {{}}, decode)[1])
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPO, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    digests = {worker.communicate()[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(digests) == 1
    assert (tmp_path / "calls").read_text() == "x"


def test_what_a_killed_process_unpacked_is_removed_by_the_next(tmp_path):
    entry = tmp_path / "name-0123.npz"
    left = tmp_path / "name-0123.scratch" / "raw"
    left.mkdir(parents=True)
    (left / "half").touch()
    with scratch_beside(entry) as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "file").touch()
    assert list(tmp_path.iterdir()) == []


# Digits and MNIST-1D


def test_digits_are_the_examples_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_digits

    dataset = Digits(cache_dir=str(tmp_path))
    splits = dataset.load()
    sizes = [len(s) for s in (splits.train, splits.validation, splits.test)]
    assert sizes == [dataset.num_train, 288, 359]
    assert splits.train.inputs.shape[1:] == dataset.input_shape
    # Undo the normalisation and find every published image, with its label, exactly once.
    published = load_digits()
    mean, deviation = published.images.mean(), published.images.std()
    inputs = torch.cat([s.inputs for s in (splits.train, splits.validation, splits.test)]).flatten(1).double()
    targets = torch.cat([s.targets for s in (splits.train, splits.validation, splits.test)])
    scale = (inputs.max() - inputs.min()) / 16
    images = ((inputs - inputs.min()) / scale).round().long()
    expected = sorted((*row, t) for row, t in zip(published.data.astype(int).tolist(), published.target, strict=True))
    assert sorted((*row, t) for row, t in zip(images.tolist(), targets.tolist(), strict=True)) == expected
    assert abs(splits.train.inputs.mean()) < 1e-5
    assert abs(1 / scale - deviation) < 0.1
    assert abs(-inputs.min() / scale - mean) < 0.1
    assert dataset.load().digest == splits.digest
    assert Digits(cache_dir=str(tmp_path), validation_fraction=0.3).load().digest != splits.digest


@pytest.mark.slow
def test_mnist1d_equals_the_package_and_leaves_global_random_states_alone():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    inputs, targets = generate()
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1][1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    package = pytest.importorskip("mnist1d.data")
    try:
        expected = package.make_dataset()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
    np.testing.assert_allclose(inputs, np.concatenate([expected["x"], expected["x_test"]]), rtol=0, atol=1e-12)
    assert (targets == np.concatenate([expected["y"], expected["y_test"]])).all()


def test_mnist1d_splits():
    dataset = Mnist1d()
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [dataset.num_train, 400, 1000]
    assert splits.train.inputs.shape[1:] == dataset.input_shape
    assert splits.augment is None
