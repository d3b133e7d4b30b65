"""The files behind torchvision's datasets: verified, unpacked into a scratch folder, or downloaded into it.

torchvision would overwrite a damaged archive with a download, accept a truncated unpacked file, and wait for
ever for a server that does not answer; hence the checks in front of it.
"""

import gzip
import hashlib
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DOWNLOAD_TIMEOUT = 10.0  # seconds without an answer

# Bytes of each unpacked file, the same for all sets in MNIST's format.
IDX_BYTES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


def idx_sources(name: str) -> tuple[tuple[str, ...], ...]:
    """Return the paths of a set in MNIST's format under a root: packed, or unpacked."""
    unpacked = tuple(f"{name}/raw/{file}" for file in IDX_BYTES)
    return tuple(f"{file}.gz" for file in unpacked), unpacked


def stage(files: Mapping[str, Path], scratch: Path, md5: Mapping[str, str]) -> None:
    """Verify source files and place them in a scratch folder, where torchvision finds them complete.

    An archive of an MNIST-like file that was packed anew is accepted if its content is right.

    Args:
        files: path under scratch -> source file, which is only read.
        scratch: an empty folder.
        md5: file name -> checksum (hex).

    Raises:
        ValueError: naming dataset.root, the damaged file, and the checksum it should have and has.
    """
    for name, source in files.items():
        place = scratch / name
        place.parent.mkdir(parents=True, exist_ok=True)
        what, expected, found = "md5", md5.get(source.name), _md5(source)
        if source.suffix == ".gz" and source.stem in IDX_BYTES:
            place = place.with_suffix("")
            if _unpack(source, place) and source.stem in md5:
                what, expected, found = "md5 (unpacked)", md5[source.stem], _md5(place)
        else:
            place.symlink_to(source)
            if expected is None:
                what, expected, found = "size", str(IDX_BYTES[source.name]), str(source.stat().st_size)
        if found != expected:
            raise ValueError(
                f"dataset.root holds a damaged file: {source} must have {what} {expected}, got {found}; "
                "delete it and get it again"
            )


def md5_of_sources(dataset_class: Any) -> dict[str, str]:
    """Collect torchvision's checksums by file name; MNIST, SVHN and CIFAR each keep them elsewhere."""
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


@contextmanager
def explained_download(advice: str) -> Iterator[None]:
    """Bound the patience of a download, and say what to do if it fails.

    Raises:
        ValueError: naming dataset.root, the reason and the advice.
    """
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    # What torchvision and urllib raise for an absent network, a dead mirror and a wrong checksum.
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"dataset.root is null, and the download failed ({reason}); {advice}") from error
    finally:
        socket.setdefaulttimeout(before)


def _unpack(source: Path, place: Path) -> bool:
    try:
        with gzip.open(source) as file:
            place.write_bytes(file.read())
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return True


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
