"""A person's own images: which files there are, in a folder or a zip, and their pixels."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrbench.data.holdout import TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
LAYOUTS = "train/<class>/<image>, with valid/ and test/ beside train/ if you have them, or <class>/<image>"
# What people call the three parts, in lower or upper case.
PARTS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
CHUNK = 256  # images a task; scheduling one by one costs as much as decoding small ones

Entry = tuple[str, int, int]  # path within the root with "/" between its parts, bytes, time of change


@dataclass(frozen=True)
class Listing:
    """The images of a folder or zip, sorted by path: in what order a disk lists them is irrelevant.

    Attributes:
        root: the folder or zip.
        classes: their names, sorted; a target is an index into them.
        names: paths within root, length n.
        targets: shape (n,).
        part: shape (n,), by the folder above the classes: TRAIN, VALIDATION or TEST; all TRAIN if there is none.
        stamp: digest of all names, sizes and times, to notice changes without reading the images.
        num_ignored: files that are not images, or not where images are looked for.
    """

    root: Path
    classes: tuple[str, ...]
    names: tuple[str, ...]
    targets: NDArray[np.int64]
    part: NDArray[np.int8]
    stamp: str
    num_ignored: int


def read_image_folder(root: Path) -> Listing:
    """List the images in a folder or zip: one folder a class, with or without train, valid and test above.

    Files whose suffix is not that of an image are ignored, and counted in a warning.

    Raises:
        ValueError: naming dataset.root, if it does not exist, cannot be read, holds no images, has fewer than
            two classes, a class without images, or a class that is tested and not trained on.
    """
    try:
        entries = sorted(_entries(root))
    except OSError as error:
        raise ValueError(f"dataset.root must be readable, got {root} ({error})") from error
    files = [entry for entry in entries if entry[1] >= 0]
    folders = {tuple(name.split("/")) for name, size, _ in entries if size < 0}
    # Paths as tuples of their parts: several times as fast as pathlib, which counts for a million images.
    images = [tuple(name.split("/")) for name, _, _ in files if os.path.splitext(name)[1].lower() in SUFFIXES]
    # A part is a folder with class folders: `test` may also hold images of no class, for a competition.
    tops = {path[0] for path in folders if len(path) == 2} | {path[0] for path in images if len(path) == 3}
    parts: dict[tuple[str, ...], int] = {(top,): PARTS[top.lower()] for top in sorted(tops) if top.lower() in PARTS}
    if len(set(parts.values())) < len(parts):
        raise ValueError(f"dataset.root must hold each part once, found {[top for (top,) in parts]} in {root}")
    if not any(parts.get(path[:-2]) == TRAIN for path in images):
        parts = {(): TRAIN}
    images = [path for path in images if path[:-2] in parts and len(path) > 1]
    if not images:
        raise ValueError(f"dataset.root must hold images as {LAYOUTS}, found none in {root}")

    classes = sorted({path[-2] for path in images if parts[path[:-2]] == TRAIN})
    if len(classes) < 2:
        raise ValueError(f"dataset.root must hold at least two classes, found only {classes} in {root}")
    # An empty class folder is a mistake worth stopping for: a failed copy, a wrong suffix.
    promised = {folder for folder in folders if folder[:-1] in parts}
    promised |= {(*base, name) for base in parts for name in classes}
    for absent in sorted(promised - {path[:-1] for path in images}):
        raise ValueError(f"dataset.root must hold images of every class, found none in {'/'.join(absent)} of {root}")
    for top, name in sorted({path[:-1] for path in images if path[-2] not in classes}):
        raise ValueError(f"dataset.root has the class {top}/{name}, absent from those in train: {classes}")

    num_ignored = len(files) - len(images)
    if num_ignored:
        log.warning("ignoring %d files in %s that are not images laid out as %s", num_ignored, root, LAYOUTS)
    number = {name: i for i, name in enumerate(classes)}
    return Listing(
        root=root,
        classes=tuple(classes),
        names=tuple("/".join(path) for path in images),
        targets=np.array([number[path[-2]] for path in images], dtype=np.int64),
        part=np.array([parts[path[:-2]] for path in images], dtype=np.int8),
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
    _archive: tuple[int, zipfile.ZipFile, dict[str, zipfile.ZipInfo]] | None = field(
        default=None, init=False, repr=False
    )

    def read_bytes(self, name: str) -> bytes:
        """Return one file as it is."""
        if self.root.is_dir():
            return (self.root / name).read_bytes()
        # A forked process shares the file position with its parent, so each process opens the zip for itself.
        if self._archive is None or self._archive[0] != os.getpid():
            archive = zipfile.ZipFile(self.root)
            self._archive = os.getpid(), archive, _members(archive)
        return self._archive[1].read(self._archive[2][name])

    def decode(self, name: str) -> tuple[NDArray[np.uint8], bytes]:
        """Return one image, RGB, shape (3, image_size, image_size), and the sha256 of its file.

        The middle square is scaled to size; the orientation that a camera noted is applied. Transparency is ignored,
        and of a moving picture the first frame is taken.

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
                upright = image if image.mode == "RGB" else _in_eight_bits(image).convert("RGB")
                fitted = np.asarray(upright if upright.size == size else ImageOps.fit(upright, size))
        # Pillow's decoders raise these for damaged files of various formats.
        except (
            OSError,
            SyntaxError,
            ValueError,
            NotImplementedError,
            struct.error,
            zipfile.BadZipFile,
            Image.DecompressionBombError,
        ) as error:
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
                for name, info in _members(archive).items():
                    if info.flag_bits & 1:
                        raise ValueError(f"dataset.root must be a zip file without a password, got {root}")
                    yield name, -1 if info.is_dir() else info.file_size, info.CRC
        except zipfile.BadZipFile as error:
            raise ValueError(f"dataset.root must be a folder or a zip file of images, got {root} ({error})") from error
    else:
        raise ValueError(f"dataset.root must be a folder or a zip file of images, but {root} does not exist")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What a zip holds, by path: with "/" as on Windows too, without hidden files, and without one folder round all."""
    members = {}
    for info in archive.infolist():
        name = info.filename if "/" in info.filename else info.filename.replace("\\", "/")
        name = name.removeprefix("./").rstrip("/")
        if name and not name.startswith((".", "__MACOSX")) and "/." not in name:
            members[name] = info
    tops = {name.partition("/")[0] for name in members}
    depth = max((name.count("/") for name in members), default=0)
    if len(tops) == 1 and depth > 1 and tops.pop().lower() not in PARTS:
        members = {name.partition("/")[2]: info for name, info in members.items() if "/" in name}
    return members


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale an image of more than 8 bits by the range of its mode: Pillow itself cuts everything above 255 off.

    Raises:
        ValueError: its numbers have no known range.
    """
    from PIL import Image

    if image.mode[0] not in "IF":
        return image
    values, top = np.asarray(image, dtype=np.float64), 1.0 if image.mode == "F" else 65535.0
    if not ((values >= 0) & (values <= top)).all():
        raise ValueError(
            f"numbers of the mode {image.mode} must be between 0 and {top:g}, got {values.min():g} to {values.max():g}"
        )
    return Image.fromarray(np.round(values * (255 / top)).astype(np.uint8))


def _folder_entries(folder: Path, prefix: str, levels: int) -> Iterator[Entry]:
    with os.scandir(folder) as children:
        for child in children:
            if child.name.startswith("."):
                continue
            if not child.is_dir():
                stat = child.stat()
                yield prefix + child.name, stat.st_size, stat.st_mtime_ns
            elif child.is_symlink() and folder.resolve().is_relative_to(Path(child.path).resolve()):
                log.warning("ignoring %s, a link to a folder that it lies in", child.path)
            else:
                yield prefix + child.name, -1, 0
                if levels > 1:
                    yield from _folder_entries(Path(child.path), f"{prefix}{child.name}/", levels - 1)
