"""torchvision's datasets: found, verified, decoded, cached; and refused with a clear sentence."""

import gzip
import hashlib
import pickle
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lrbench.data import Cifar10, Cifar100, FashionMnist, Kmnist, Mnist, Svhn
from lrbench.data.torchvision_files import IDX_BYTES, stage

ALL = [Mnist, FashionMnist, Kmnist, Cifar10, Cifar100, Svhn]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("dataset_class", ALL)
def test_missing_files_are_named_before_anything_is_read(tmp_path, dataset_class):
    with pytest.raises(ValueError, match=r"^dataset\.root must hold .*download=True") as error:
        dataset_class(root=str(tmp_path)).check()
    assert str(tmp_path) in str(error.value)
    assert all(name in str(error.value) for name in dataset_class.sources[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset_class", ALL)
def test_every_complete_set_of_files_is_found_under_a_home_relative_root(tmp_path, dataset_class, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for i, source in enumerate(dataset_class.sources):
        for name in source:
            path = tmp_path / str(i) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        dataset_class(root=f"~/{i}").check()
        path.unlink()
        with pytest.raises(ValueError, match=r"dataset\.root must hold"):
            dataset_class(root=f"~/{i}").check()


# Staging, on small files in place of the real ones


@pytest.fixture
def idx(tmp_path: Path) -> tuple[Path, Path, bytes]:
    content = bytes(range(256)) * 20
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    return path, tmp_path / "scratch", content


def test_an_archive_packed_anew_is_accepted_for_its_content(idx):
    path, scratch, content = idx
    table = {path.name: "0" * 32, path.stem: md5(content)}
    stage({"M/raw/" + path.name: path}, scratch, table)
    assert (scratch / "M" / "raw" / path.stem).read_bytes() == content


def test_an_archive_with_torchvisions_checksum_is_unpacked(idx):
    path, scratch, content = idx
    stage({path.name: path}, scratch, {path.name: md5(path.read_bytes())})
    assert (scratch / path.stem).read_bytes() == content


@pytest.mark.parametrize("damage", ["flip", "truncate", "repack", "text"])
@pytest.mark.parametrize("content_is_known", [True, False])
def test_a_damaged_archive_is_named_with_both_checksums(idx, damage, content_is_known):
    path, scratch, content = idx
    table = {path.name: md5(path.read_bytes())} | ({path.stem: md5(content)} if content_is_known else {})
    good = bytearray(path.read_bytes())
    flipped = good.copy()
    flipped[len(good) // 2] ^= 1
    bad = {"flip": flipped, "truncate": good[:-9], "repack": gzip.compress(content[1:]), "text": b"<html>"}[damage]
    path.write_bytes(bad)
    with pytest.raises(ValueError, match=r"^dataset\.root holds a damaged file: ") as error:
        stage({path.name: path}, scratch, table)
    assert str(path) in str(error.value)
    found = {md5(bad), md5(content[1:])}
    assert any(f"{expected}, got {f}" in str(error.value) for expected in table.values() for f in found)
    assert path.read_bytes() == bad, "the source is only read"


def test_a_truncated_unpacked_file_of_unknown_checksum_is_noticed_by_its_size(tmp_path):
    path = tmp_path / "t10k-labels-idx1-ubyte"
    path.write_bytes(bytes(IDX_BYTES[path.name] - 1))
    with pytest.raises(ValueError, match="size 10008, got 10007"):
        stage({path.name: path}, tmp_path / "scratch", {})


# Through torchvision, whose import alone takes seconds


@pytest.fixture
def small_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """A CIFAR-10 of 120 images in the published format, with its checksums put into torchvision's tables."""
    from torchvision import datasets

    images = np.random.default_rng(0).integers(0, 256, (120, 3072)).astype(np.uint8)
    folder = tmp_path / "source" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        rows = slice(20 * i, 20 * i + 20)
        entry = {"data": images[rows], "labels": [j % 10 for j in range(20)]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    sums = {path.name: md5(path.read_bytes()) for path in folder.iterdir()}
    archive = tmp_path / "source" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    cifar = datasets.CIFAR10
    monkeypatch.setattr(cifar, "tgz_md5", md5(archive.read_bytes()))
    monkeypatch.setattr(cifar, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cifar, "meta", cifar.meta | {"md5": sums["batches.meta"]})
    monkeypatch.setattr(Cifar10, "published_train", 100)
    return tmp_path / "source", images.reshape(-1, 3, 32, 32)


@pytest.mark.slow
def test_packed_and_unpacked_files_give_the_published_images(small_cifar10, tmp_path, monkeypatch):
    root, images = small_cifar10
    packed, unpacked, cache = tmp_path / "packed", tmp_path / "unpacked", tmp_path / "cache"
    for folder in (packed, unpacked):
        folder.mkdir()
    (root / "cifar-10-python.tar.gz").rename(packed / "cifar-10-python.tar.gz")
    (root / "cifar-10-batches-py").rename(unpacked / "cifar-10-batches-py")
    packed.chmod(0o555)
    first, second = (Cifar10(root=str(r), cache_dir=str(cache)) for r in (packed, unpacked))
    splits = first.load()
    assert splits.digest == second.load().digest
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [first.num_train, 10, 20]
    assert torch.bincount(splits.validation.targets).tolist() == [1] * 10
    raw = torch.from_numpy(images[100:]).double()
    test = splits.test.inputs.double()
    for c in range(3):  # normalisation is affine in each channel
        assert torch.corrcoef(torch.stack([raw[:, c].flatten(), test[:, c].flatten()]))[0, 1] > 1 - 1e-9
    assert splits.test.targets.tolist() == [j % 10 for j in range(20)]
    assert [p.name for p in cache.iterdir()] == ["decoded"], "the scratch folder must go"
    assert [p.name for p in packed.iterdir()] == ["cifar-10-python.tar.gz"], "the source is only read"
    monkeypatch.setattr(Cifar10, "_decode", lambda *_: pytest.fail("decoded again"))
    assert first.load().digest == splits.digest


@pytest.mark.slow
def test_a_damaged_archive_stops_before_torchvision_downloads(small_cifar10, tmp_path, monkeypatch):
    root, _ = small_cifar10
    archive = root / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("went to the network"))
    with pytest.raises(ValueError, match=r"damaged file: .*cifar-10-python\.tar\.gz must have md5 \w{32}, got \w{32}"):
        Cifar10(root=str(root), cache_dir=str(tmp_path / "cache")).load()
    assert not list((tmp_path / "cache").rglob("*.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("dataset_class", ALL)
def test_without_files_and_network_the_message_says_what_to_do(dataset_class, tmp_path, monkeypatch, capsys):
    def unreachable(*_, **__):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(ValueError, match=r"^dataset\.root is null, and the download failed .*name resolution") as error:
        dataset_class(cache_dir=str(tmp_path)).load()
    assert "set dataset.root=FOLDER" in str(error.value)
    assert f"{dataset_class.torchvision_name}('FOLDER'" in str(error.value)
    assert "\n" not in str(error.value)
    assert socket.getdefaulttimeout() is None
    assert not list(tmp_path.glob("staging*"))


@pytest.mark.slow
def test_svhn_is_read_with_zero_as_class_zero(tmp_path, monkeypatch):
    from scipy.io import savemat
    from torchvision import datasets

    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 40)).astype(np.uint8)
    labels = np.arange(40)[:, None] % 10 + 1  # the files call zero ten
    table = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": images, "y": labels})
        table[split] = ["url", path.name, md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", table)
    monkeypatch.setattr(Svhn, "published_train", 40)
    splits = Svhn(root=str(tmp_path), cache_dir=str(tmp_path / "cache"), validation_fraction=0.25).load()
    assert splits.test.inputs.shape == (40, 3, 32, 32)
    assert splits.test.targets.tolist() == [(i + 1) % 10 for i in range(40)]
    raw = torch.from_numpy(images.transpose(3, 2, 0, 1)[:, 0].astype(float))
    pair = torch.stack([raw.flatten(), splits.test.inputs[:, 0].double().flatten()])
    assert torch.corrcoef(pair)[0, 1] > 1 - 1e-9


@pytest.mark.slow
def test_real_mnist(shared_data, tmp_path):
    dataset = Mnist(root=str(shared_data), cache_dir=str(tmp_path))
    dataset.check()
    splits = dataset.load()
    assert [len(s) for s in (splits.train, splits.validation, splits.test)] == [54_000, 6_000, 10_000]
    assert splits.train.inputs.shape[1:] == dataset.input_shape
    # The mean and deviation that every tutorial uses, 0.1307 and 0.3081 of white, show in black and white.
    black, white = splits.train.inputs.min().item(), splits.train.inputs.max().item()
    assert 1 / (white - black) == pytest.approx(0.3081, abs=5e-4)
    assert -black / (white - black) == pytest.approx(0.1307, abs=5e-4)
    counts = sum(torch.bincount(s.targets) for s in (splits.train, splits.validation))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert splits.test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
