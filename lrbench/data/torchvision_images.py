"""The classic image datasets, through torchvision: its files, checksums, decoding and download.

Files are looked up by name before torchvision (five seconds) is imported, and decoded arrays are cached, so
that only the first run pays for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lrbench.data.cache import DEFAULT_CACHE_DIR, Arrays, cached_arrays, entry_path, scratch_beside
from lrbench.data.holdout import HeldOutFraction, held_out_count, partition
from lrbench.data.splits import Augmentation, Splits
from lrbench.data.torchvision_files import explained_download, idx_sources, md5_of_sources, stage
from lrbench.spec import Task


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
    # Of unpacked files, where torchvision only knows the archives.
    unpacked_md5: ClassVar[dict[str, str]] = {}
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
        entry = entry_path(self.cache_dir, name, key)
        arrays, digest = cached_arrays(self.cache_dir, name, key, lambda: self._decode(files, entry))
        targets = arrays["targets"]
        is_test = np.arange(len(targets)) >= self.published_train
        part = partition(targets, is_test, validation_fraction=self.validation_fraction)
        return in_memory_splits(arrays["inputs"], targets, part, augmentation=self.augmentation, source_digest=digest)

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
            f"leave dataset.root=null to download, or {self._how_to_get()}"
        )

    def _how_to_get(self) -> str:
        calls = "; ".join(
            f"{self.torchvision_name}('FOLDER', {name}={value!r}, download=True)"
            for part in self.parts
            for name, value in part.items()
        )
        command = f'python -c "from torchvision.datasets import {self.torchvision_name}; {calls}"'
        return f"run {command} where there is a network and set dataset.root=FOLDER"

    def _decode(self, files: dict[str, Path], entry: Path) -> Arrays:
        """Let torchvision unpack in a scratch folder: the source may be read-only, and a kill harmless."""
        import torchvision

        dataset_class = getattr(torchvision.datasets, self.torchvision_name)
        with scratch_beside(entry) as scratch:
            if files:
                stage(files, scratch, md5_of_sources(dataset_class) | self.unpacked_md5)
                loaded = [dataset_class(scratch, **part, download=True) for part in self.parts]
            else:
                with explained_download(self._how_to_get()):
                    loaded = [dataset_class(scratch, **part, download=True) for part in self.parts]
        inputs, targets = zip(*map(_arrays_of, loaded), strict=True)
        return {"inputs": np.concatenate(inputs), "targets": np.concatenate(targets)}


@dataclass(frozen=True, kw_only=True)
class Mnist(TorchvisionImages):
    """60,000 + 10,000 handwritten digits, 28x28 (LeCun, Cortes and Burges 1998)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "MNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = idx_sources("MNIST")
    unpacked_md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }


@dataclass(frozen=True, kw_only=True)
class FashionMnist(TorchvisionImages):
    """60,000 + 10,000 pictures of clothes, 28x28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "FashionMNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = idx_sources("FashionMNIST")
    unpacked_md5: ClassVar[dict[str, str]] = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }


@dataclass(frozen=True, kw_only=True)
class Kmnist(TorchvisionImages):
    """60,000 + 10,000 cursive Japanese characters, 28x28 (Clanuwat et al. 2018, arXiv:1812.01718)."""

    input_shape: ClassVar[tuple[int, ...]] = (1, 28, 28)
    torchvision_name: ClassVar[str] = "KMNIST"
    published_train: ClassVar[int] = 60_000
    sources: ClassVar[tuple[tuple[str, ...], ...]] = idx_sources("KMNIST")


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


def _arrays_of(loaded: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (n, num_channels, height, width) and targets (n,) of a torchvision dataset."""
    images = np.asarray(loaded.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:  # CIFAR has channels last, SVHN first
        images = images.transpose(0, 3, 1, 2)
    targets = loaded.targets if hasattr(loaded, "targets") else loaded.labels
    return np.ascontiguousarray(images), np.asarray(targets, dtype=np.int64)
