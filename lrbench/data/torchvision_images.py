"""The classic image datasets, through torchvision: its files, its checksums, its decoding, and its download.

Files are looked up by name before torchvision (five seconds) is imported, and decoded arrays are cached, so that
only the first run pays for it.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lrbench.data.cache import DEFAULT_CACHE_DIR, Arrays, cached_arrays, writable_folder
from lrbench.data.holdout import HeldOutFraction, held_out_count, partition
from lrbench.data.splits import Augmentation, Splits
from lrbench.spec import Task

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer; torchvision itself would wait for ever

# Bytes of each unpacked file, the same for all three sets in MNIST's format. torchvision has no checksums of these,
# and takes a truncated file as it is.
IDX_BYTES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


@dataclass(frozen=True, kw_only=True)
class TorchvisionImages:
    """What the datasets below have in common.

    Attributes:
        root: folder that holds the files in torchvision's layout, packed or unpacked; it is only read. None
            downloads.
        validation_fraction: of the training images, by class.
        augmentation: of training batches.
        cache_dir: where decoded images are kept.
    """

    root: str | None = None
    validation_fraction: HeldOutFraction = 0.1
    augmentation: Augmentation = "none"
    cache_dir: str = DEFAULT_CACHE_DIR

    task: ClassVar[Task] = Task.CLASSIFICATION
    max_epochs: ClassVar[float | None] = None
    input_shape: ClassVar[tuple[int, ...]]
    num_outputs: ClassVar[int] = 10

    torchvision_name: ClassVar[str]
    published_train: ClassVar[int]
    # Sets of files, paths under root, each of which is enough; the one to ask for comes first.
    sources: ClassVar[tuple[tuple[str, ...], ...]]
    # Arguments by which torchvision tells the training part from the test part.
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"train": True}, {"train": False})

    @property
    def num_train(self) -> int:
        """See Dataset.num_train."""
        return self.published_train - held_out_count(
            self.published_train, self.validation_fraction, parameter="dataset.validation_fraction"
        )

    def check(self) -> None:
        """See Dataset.check. A download is not tried here."""
        assert self.num_train > 0  # the property refuses an impossible fraction
        self._source_files()

    def load(self) -> Splits:
        """See Dataset.load.

        Raises:
            ValueError: if a file is absent, damaged, or cannot be downloaded.
        """
        from lrbench.data.preparation import in_memory_splits

        files = self._source_files()
        stats = {str(path): path.stat() for path in files.values()}
        key = {
            "dataset": self.torchvision_name,
            "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()},
        }
        name = self.torchvision_name.lower()
        arrays, digest = cached_arrays(self.cache_dir, name, key, lambda: self._decode(files))
        targets = arrays["targets"]
        is_test = np.arange(len(targets)) >= self.published_train
        part = partition(targets, is_test, validation_fraction=self.validation_fraction)
        return in_memory_splits(
            arrays["inputs"], targets, part, augmentation=self.augmentation, source_digest=digest
        )

    def _source_files(self) -> dict[str, Path]:
        """Return path under root -> file, for the first complete set; empty if there is no root."""
        if self.root is None:
            return {}
        root = Path(self.root).expanduser()
        for source in self.sources:
            files = {name: root / name for name in source}
            if all(path.is_file() for path in files.values()):
                return {name: path.resolve() for name, path in files.items()}
        absent = [name for name in self.sources[0] if not (root / name).is_file()]
        raise ValueError(
            f"dataset.root must hold {', '.join(absent)}, not found in {root.resolve()}; "
            f"dataset.root=null downloads, or {self._how_to_get(str(root))}"
        )

    def _how_to_get(self, folder: str) -> str:
        calls = "; ".join(
            f"{self.torchvision_name}({folder!r}, {', '.join(f'{k}={v!r}' for k, v in part.items())}, download=True)"
            for part in self.parts
        )
        return f'run: python -c "from torchvision.datasets import {self.torchvision_name}; {calls}"'

    def _decode(self, files: dict[str, Path]) -> Arrays:
        """Let torchvision unpack in a scratch folder: the source may be read-only, and killed halfway is no harm."""
        import torchvision

        dataset_class = getattr(torchvision.datasets, self.torchvision_name)
        _check_integrity(files, _md5_by_name(dataset_class))
        with tempfile.TemporaryDirectory(prefix="staging-", dir=writable_folder(self.cache_dir)) as scratch:
            for name, path in files.items():
                link = Path(scratch, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
            with self._explained_download() if self.root is None else _as_is():
                loaded = [dataset_class(scratch, **part, download=True) for part in self.parts]
        inputs, targets = zip(*map(_arrays_of, loaded), strict=True)
        return {"inputs": np.concatenate(inputs), "targets": np.concatenate(targets)}

    @contextmanager
    def _explained_download(self) -> Iterator[None]:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            yield
        # What torchvision and urllib raise for an absent network, a dead mirror and a wrong checksum.
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"dataset.root is null and {', '.join(self.sources[0])} could not be downloaded ({reason}); "
                f"where there is a network, {self._how_to_get('FOLDER')}, and set dataset.root=FOLDER"
            ) from error
        finally:
            socket.setdefaulttimeout(before)


def _idx_sources(name: str) -> tuple[tuple[str, ...], ...]:
    unpacked = tuple(f"{name}/raw/{file}" for file in IDX_BYTES)
    return tuple(f"{file}.gz" for file in unpacked), unpacked


@dataclass(frozen=True, kw_only=True)
class Mnist(TorchvisionImages):
    """60,000 + 10,000 handwritten digits, 28x28 (LeCun, Cortes and Burges 1998)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "MNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = _idx_sources("MNIST")


@dataclass(frozen=True, kw_only=True)
class FashionMnist(TorchvisionImages):
    """60,000 + 10,000 pictures of clothes, 28x28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "FashionMNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = _idx_sources("FashionMNIST")


@dataclass(frozen=True, kw_only=True)
class Kmnist(TorchvisionImages):
    """60,000 + 10,000 cursive Japanese characters, 28x28 (Clanuwat et al. 2018, arXiv:1812.01718)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "KMNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = _idx_sources("KMNIST")


@dataclass(frozen=True, kw_only=True)
class Cifar10(TorchvisionImages):
    """50,000 + 10,000 colour photographs in ten classes, 32x32 (Krizhevsky 2009)."""

    augmentation: Augmentation = "pad_crop_flip"
    input_shape: ClassVar[tuple[int, ...]] = (3, 32, 32)
    torchvision_name: ClassVar[str] = "CIFAR10"
    published_train: ClassVar[int] = 50_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("cifar-10-python.tar.gz",),
        tuple(
            f"cifar-10-batches-py/{file}"
            for file in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Cifar100(TorchvisionImages):
    """50,000 + 10,000 colour photographs in a hundred classes, 32x32 (Krizhevsky 2009)."""

    augmentation: Augmentation = "pad_crop_flip"
    input_shape: ClassVar[tuple[int, ...]] = (3, 32, 32)
    num_outputs: ClassVar[int] = 100
    torchvision_name: ClassVar[str] = "CIFAR100"
    published_train: ClassVar[int] = 50_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("cifar-100-python.tar.gz",),
        ("cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"),
    )


@dataclass(frozen=True, kw_only=True)
class Svhn(TorchvisionImages):
    """73,257 + 26,032 house numbers in colour, 32x32, without the extra set (Netzer et al. 2011)."""

    input_shape: ClassVar[tuple[int, ...]] = (3, 32, 32)
    torchvision_name: ClassVar[str] = "SVHN"
    published_train: ClassVar[int] = 73_257
    sources: ClassVar[tuple[tuple[str, ...], ...]] = (("train_32x32.mat", "test_32x32.mat"),)
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"split": "train"}, {"split": "test"})


@contextmanager
def _as_is() -> Iterator[None]:
    yield


def _md5_by_name(dataset_class: Any) -> dict[str, str]:
    """Collect torchvision's checksums: MNIST and its like, CIFAR and SVHN each keep them elsewhere."""
    if hasattr(dataset_class, "resources"):
        return dict(dataset_class.resources)
    if hasattr(dataset_class, "split_list"):
        return {name: md5 for _, name, md5 in dataset_class.split_list.values()}
    meta = dataset_class.meta
    return {
        dataset_class.filename: dataset_class.tgz_md5,
        meta["filename"]: meta["md5"],
        **dict(dataset_class.train_list + dataset_class.test_list),
    }


def _check_integrity(files: dict[str, Path], md5_by_name: dict[str, str]) -> None:
    """Refuse damaged files; torchvision would download over them, through our links into the user's folder."""
    for path in files.values():
        if path.name in md5_by_name:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            expected, what = md5_by_name[path.name], "md5"
        else:
            expected, found, what = str(IDX_BYTES[path.name]), str(path.stat().st_size), "size in bytes"
        if found != expected:
            raise ValueError(
                f"dataset.root holds a damaged file: {path} must have {what} {expected}, got {found}; "
                "delete it and get it again"
            )


def _arrays_of(loaded: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images of shape (n, num_channels, height, width) and targets of shape (n,) of a torchvision dataset."""
    images = np.asarray(loaded.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:  # CIFAR has channels last, SVHN first
        images = images.transpose(0, 3, 1, 2)
    targets = loaded.targets if hasattr(loaded, "targets") else loaded.labels
    return np.ascontiguousarray(images), np.asarray(targets, dtype=np.int64)
