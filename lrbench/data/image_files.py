"""A person's own images: which files there are, in a folder or a zip, and their pixels."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
LAYOUTS = "train/<class>/<image> and test/<class>/<image>, or <class>/<image>"
CHUNK = 256  # images a task; scheduling one by one costs as much as decoding small ones

Entry = tuple[str, int, int]  # path within the root with "/" between its parts, bytes, time of change


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder or zip, sorted by path: in what order a disk lists them is irrelevant.

    Attributes:
        root: the folder or zip.
        classes: their names, sorted; a target is an index into them.
        names: paths within root, length n.
        targets: shape (n,).
        is_test: shape (n,); None if the images came undivided.
        stamp: digest of all names, sizes and times, to notice changes without reading the images.
        num_ignored: files that are not images, or not where images are looked for.
    """

    root: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[np.int64]
    is_test: NDArray[np.bool_] | None
    stamp: str
    num_ignored: int


def read_image_folder(root: Path) -> ImageFolder:
    """List the images in a folder or zip: one folder a class, with or without train and test above.

    Files whose suffix is not that of an image are ignored, and counted in a warning.

    Raises:
        ValueError: naming dataset.root, if it does not exist, cannot be read, holds no images, has fewer than
            two classes, a class without images, or a test class that is not trained on.
    """
    try:
        entries = sorted(_entries(root))
    except OSError as error:
        raise ValueError(f"dataset.root must be readable, got {root} ({error})") from error
    files = [entry for entry in entries if entry[1] >= 0]
    folders = {tuple(name.split("/")) for name, size, _ in entries if size < 0}
    # Paths as tuples of their parts: several times as fast as pathlib, which counts for a million images.
    images = [tuple(name.split("/")) for name, _, _ in files if os.path.splitext(name)[1].lower() in SUFFIXES]
    divided = any(path[0] == "train" and len(path) == 3 for path in images)
    # Folders of class folders; those to train on first.
    bases: list[tuple[str, ...]] = [("train",), ("test",)] if divided else [()]
    images = [path for path in images if len(path) == len(bases[0]) + 2 and path[:-2] in bases]
    if not images:
        raise ValueError(f"dataset.root must hold images as {LAYOUTS}, found none in {root}")

    classes = sorted({path[-2] for path in images if path[:-2] == bases[0]})
    if len(classes) < 2:
        raise ValueError(f"dataset.root must hold at least two classes, found only {classes} in {root}")
    # An empty class folder is a mistake worth stopping for: a failed copy, a wrong suffix.
    promised = {folder for folder in folders if folder[:-1] in bases}
    promised |= {(*base, name) for base in bases for name in classes}
    for absent in sorted(promised - {path[:-1] for path in images}):
        raise ValueError(f"dataset.root must hold images of every class, found none in {'/'.join(absent)} of {root}")
    unknown = sorted({path[-2] for path in images} - set(classes))
    if unknown:
        raise ValueError(f"dataset.root has the test classes {unknown}, absent from those in train: {classes}")

    num_ignored = len(files) - len(images)
    if num_ignored:
        log.warning("ignoring %d files in %s that are not images laid out as %s", num_ignored, root, LAYOUTS)
    number = {name: i for i, name in enumerate(classes)}
    return ImageFolder(
        root=root,
        classes=tuple(classes),
        names=tuple("/".join(path) for path in images),
        targets=np.array([number[path[-2]] for path in images], dtype=np.int64),
        is_test=np.array([path[0] == "test" for path in images]) if divided else None,
        stamp=hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        num_ignored=num_ignored,
    )


@dataclass
class ImageReader:
    """Reads images by name; safe to share between threads, and to carry into another process.

    Attributes:
        root: folder or zip.
        image_size: height and width of what comes out, in pixels.
    """

    root: Path
    image_size: int
    _archive: tuple[int, zipfile.ZipFile] | None = field(default=None, init=False, repr=False)

    def read_bytes(self, name: str) -> bytes:
        """Return one file as it is."""
        if self.root.is_dir():
            return (self.root / name).read_bytes()
        # A forked process shares the file position with its parent, so each process opens the zip for itself.
        if self._archive is None or self._archive[0] != os.getpid():
            self._archive = os.getpid(), zipfile.ZipFile(self.root)
        return self._archive[1].read(name)

    def decode(self, name: str) -> tuple[NDArray[np.uint8], bytes]:
        """Return one image, RGB, shape (3, image_size, image_size), and the sha256 of its file.

        The middle square is scaled to size; the orientation that a camera noted is applied.

        Raises:
            ValueError: naming the file, if it cannot be read.
        """
        from PIL import Image, ImageOps

        size = (self.image_size, self.image_size)
        try:
            content = self.read_bytes(name)
            with Image.open(io.BytesIO(content)) as image:
                # Photographs are decoded at about twice the size wanted: many times faster than at full size.
                image.draft("RGB", (2 * size[0], 2 * size[1]))
                ImageOps.exif_transpose(image, in_place=True)
                upright = image if image.mode == "RGB" else image.convert("RGB")
                fitted = np.asarray(upright if upright.size == size else ImageOps.fit(upright, size))
        # Pillow's decoders raise these for damaged files of various formats.
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, Image.DecompressionBombError) as error:
            raise ValueError(f"dataset.root holds an unreadable image: {self.root}/{name} ({error})") from error
        return fitted.transpose(2, 0, 1), hashlib.sha256(content).digest()

    def decode_chunks(self, names: Sequence[str]) -> Iterator[tuple[NDArray[np.uint8], list[bytes]]]:
        """Decode in threads; yield, in order, images of shape (chunk, 3, size, size) and file digests."""

        def decode_chunk(chunk: Sequence[str]) -> tuple[NDArray[np.uint8], list[bytes]]:
            images, digests = zip(*map(self.decode, chunk), strict=True)
            return np.stack(images), list(digests)

        chunks = [names[first : first + CHUNK] for first in range(0, len(names), CHUNK)]
        num_threads = os.cpu_count() or 1
        with ThreadPoolExecutor(num_threads) as pool:
            # A few chunks at a time: a dataset that does not fit in memory must not pile up in the queue.
            for first in range(0, len(chunks), 2 * num_threads):
                yield from pool.map(decode_chunk, chunks[first : first + 2 * num_threads])


def _entries(root: Path) -> Iterator[Entry]:
    """Yield files, and folders with size -1, at most three levels deep; hidden ones are left out."""
    if root.is_dir():
        yield from _folder_entries(root, "", 3)
    elif root.is_file():
        try:
            with zipfile.ZipFile(root) as archive:
                for info in archive.infolist():
                    name = info.filename.rstrip("/")
                    if not name.startswith((".", "__MACOSX")) and "/." not in name:
                        yield name, -1 if info.is_dir() else info.file_size, info.CRC
        except zipfile.BadZipFile as error:
            raise ValueError(f"dataset.root must be a folder or a zip file of images, got {root} ({error})") from error
    else:
        raise ValueError(f"dataset.root must be a folder or a zip file of images, but {root} does not exist")


def _folder_entries(folder: Path, prefix: str, levels: int) -> Iterator[Entry]:
    with os.scandir(folder) as children:
        for child in children:
            if child.name.startswith("."):
                continue
            if not child.is_dir():
                stat = child.stat()
                yield prefix + child.name, stat.st_size, stat.st_mtime_ns
            else:
                yield prefix + child.name, -1, 0
                if levels > 1:
                    yield from _folder_entries(Path(child.path), f"{prefix}{child.name}/", levels - 1)
