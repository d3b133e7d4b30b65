"""The dataset made of a person's own images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lrbench.data.cache import DEFAULT_CACHE_DIR, Arrays, cached_arrays
from lrbench.data.holdout import (
    TEST,
    TRAIN,
    VALIDATION,
    HeldOutFraction,
    content_digest,
    held_out_count,
    stratified,
)
from lrbench.data.image_files import LAYOUTS, ImageReader, Listing, read_image_folder
from lrbench.data.splits import Augmentation, Splits, StreamedSplit
from lrbench.spec import Count, CountOrZero, Task

if TYPE_CHECKING:
    from torch import Tensor

MEMORY_SHARE = 0.5  # of what is available: the rest is for the model, and for copies while loading


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """Images in a folder or a zip, one folder a class, as RGB squares.

    Decoded once, in threads, into a cached tensor; or, if that would not fit in memory, by worker processes
    in every pass. Both give the same numbers.

    Attributes:
        root: folder or .zip, laid out as train/<class>/<image>, with valid (or val, validation) and test beside train
            or without, or as <class>/<image>. It is only read.
        image_size: height and width in pixels to which the middle square of each image is scaled.
        test_fraction: by class, if there is no test folder.
        validation_fraction: of the images that are not for the test, by class, if there is no valid folder.
        augmentation: of training batches. Not every subject may be mirrored.
        in_memory: None decides by the memory available.
        num_workers: processes that decode, when not in memory.
        cache_dir: where decoded images are kept.
    """

    root: str | None = None
    image_size: Count = 32
    test_fraction: HeldOutFraction = 0.2
    validation_fraction: HeldOutFraction = 0.1
    augmentation: Augmentation = "none"
    in_memory: bool | None = None
    num_workers: CountOrZero = 2
    cache_dir: str = DEFAULT_CACHE_DIR

    task: ClassVar[Task] = Task.CLASSIFICATION
    max_epochs: ClassVar[float | None] = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape."""
        return (3, self.image_size, self.image_size)

    @property
    def num_outputs(self) -> int:
        """See Dataset.num_outputs; lists the files."""
        return len(self._listing.classes)

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; lists the files."""
        num_left = [int((self._listing.part == p).sum()) for p in (TRAIN, VALIDATION, TEST)]
        for p, fraction in ((TEST, "test_fraction"), (VALIDATION, "validation_fraction")):
            if not num_left[p]:
                parameter = f"dataset.{fraction}"
                num_left[TRAIN] -= held_out_count(num_left[TRAIN], getattr(self, fraction), parameter=parameter)
        return num_left[TRAIN]

    def check(self) -> None:
        """See Dataset.check; lists the files, and reads none."""
        self._part()

    def load(self) -> Splits:
        """See Dataset.load.

        Raises:
            ValueError: if an image cannot be read, naming it.
        """
        if self.in_memory is None:
            decoded_bytes = len(self._listing.names) * int(np.prod(self.input_shape)) * np.dtype(np.float32).itemsize
            in_memory = decoded_bytes <= MEMORY_SHARE * available_memory()
        else:
            in_memory = self.in_memory
        return self._load_in_memory() if in_memory else self._load_streamed()

    @cached_property
    def _listing(self) -> Listing:
        if self.root is None:
            raise ValueError(f"dataset.root must name a folder or zip with images as {LAYOUTS}, got null")
        return read_image_folder(Path(self.root).expanduser().resolve())

    def _part(self) -> NDArray[np.int8]:
        """The folders' division; what they do not divide is drawn from the training images."""
        targets, part = self._listing.targets, self._listing.part.copy()
        for p, fraction in ((TEST, "test_fraction"), (VALIDATION, "validation_fraction")):
            if not (part == p).any():
                rest = np.flatnonzero(part == TRAIN)
                chosen = stratified(targets[rest], getattr(self, fraction), parameter=f"dataset.{fraction}")
                part[rest[chosen]] = p
        return part

    def _key(self, what: str) -> dict[str, object]:
        return {
            "what": what,
            "root": str(self._listing.root),
            "root changed": self._listing.root.stat().st_mtime_ns if self._listing.root.is_file() else None,
            "files": self._listing.stamp,
            "image_size": self.image_size,
            "decoder": version("pillow"),
        }

    def _load_in_memory(self) -> Splits:
        from lrbench.data.preparation import in_memory_splits

        arrays, _ = cached_arrays(self.cache_dir, "image_folder", self._key("images"), self._decode_images)
        return in_memory_splits(
            arrays["inputs"],
            self._listing.targets,
            self._part(),
            augmentation=self.augmentation,
            source_digest=self._source_digest(arrays["file_digests"]),
            preprocessing={"image_size": self.image_size},
        )

    def _load_streamed(self) -> Splits:
        from lrbench.data.augmentation import AUGMENTATIONS
        from lrbench.data.preparation import mean_and_deviation

        part = self._part()
        key = self._key("statistics") | {"part": part.tolist()}
        arrays, _ = cached_arrays(self.cache_dir, "image_folder", key, lambda: self._decode_statistics(part))
        mean, deviation = mean_and_deviation(arrays["sums"])

        def split(p: int) -> StreamedSplit:
            rows = np.flatnonzero(part == p)
            names = [self._listing.names[i] for i in rows]
            reader = ImageReader(self._listing.root, self.image_size)
            examples = StreamedImages(reader, names, self._listing.targets[rows], mean, deviation)
            return StreamedSplit(examples, self.num_workers)

        return Splits(
            train=split(TRAIN),
            validation=split(VALIDATION),
            test=split(TEST),
            augment=AUGMENTATIONS[self.augmentation],
            digest=content_digest(
                self._source_digest(arrays["file_digests"]),
                part,
                {"normalise": "channel", "image_size": self.image_size},
            ),
        )

    def _decode_images(self) -> Arrays:
        names = self._listing.names
        inputs = np.empty((len(names), *self.input_shape), dtype=np.uint8)
        digests: list[bytes] = []
        for images, chunk_digests in ImageReader(self._listing.root, self.image_size).decode_chunks(names):
            inputs[len(digests) : len(digests) + len(images)] = images
            digests += chunk_digests
        return {"inputs": inputs, "file_digests": _as_rows(digests)}

    def _decode_statistics(self, part: NDArray[np.int8]) -> Arrays:
        from lrbench.data.preparation import channel_sums

        sums = np.zeros((3, 3))
        digests: list[bytes] = []
        for images, chunk_digests in ImageReader(self._listing.root, self.image_size).decode_chunks(
            self._listing.names
        ):
            is_train = part[len(digests) : len(digests) + len(images)] == TRAIN
            sums += channel_sums(images[is_train])
            digests += chunk_digests
        return {"sums": sums, "file_digests": _as_rows(digests)}

    def _source_digest(self, file_digests: NDArray[np.uint8]) -> str:
        """Digest names and contents: a folder and the zip made of it are the same source."""
        digest = hashlib.sha256("\n".join(self._listing.names).encode())
        digest.update(file_digests.tobytes())
        return digest.hexdigest()


@dataclass
class StreamedImages:
    """Images decoded and normalised when a batch asks for them; see splits.Examples.

    Attributes:
        reader: decodes.
        names: length n.
        targets: shape (n,).
        mean: by channel, shape (3,).
        deviation: by channel, shape (3,).
    """

    reader: ImageReader
    names: Sequence[str]
    targets: NDArray[np.int64]
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        import torch

        from lrbench.data.preparation import normalise

        images = np.stack([self.reader.decode(self.names[i])[0] for i in indices])
        return normalise(images, self.mean, self.deviation), torch.from_numpy(self.targets[indices])


def available_memory() -> int:
    """Return the bytes usable without swapping, or half of all memory where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    try:  # a container may allow less than the machine has
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return available
    return min(available, limit)


def _as_rows(digests: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), -1)
