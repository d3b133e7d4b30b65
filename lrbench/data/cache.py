"""Decoded arrays kept on disk, so that the next run needs neither to decode nor to import what decodes."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]

DEFAULT_CACHE_DIR = "~/.cache/lrbench"
SHA256 = "sha256"  # name of the entry that holds the digest of the others


def cached_arrays(
    cache_dir: str, name: str, key: Mapping[str, object], decode: Callable[[], Arrays]
) -> tuple[Arrays, str]:
    """Return what `decode` gives, from the cache if it has been called with this key before.

    Processes that come at the same time wait for the first. An entry that is damaged is decoded again.

    Args:
        cache_dir: folder of the cache; `~` is expanded.
        name: of the dataset, the readable part of the file name.
        key: everything the arrays depend on: source files with size and time, options, versions; JSON values.
        decode: makes the arrays.

    Returns:
        The arrays and the sha256 (hex) of their names, shapes, types and values.

    Raises:
        ValueError: naming `cache_dir` if it cannot be written.
    """
    from filelock import FileLock

    path = entry_path(cache_dir, name, key)
    if (arrays := _read(path)) is not None:
        return arrays
    writable_folder(cache_dir, "decoded")
    with FileLock(f"{path}.lock"):
        if (arrays := _read(path)) is not None:
            return arrays
        decoded = decode()
        return decoded, _write(path, decoded)


def entry_path(cache_dir: str, name: str, key: Mapping[str, object]) -> Path:
    """Where the arrays of this name and key are kept; see `cached_arrays`."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return Path(cache_dir).expanduser() / "decoded" / f"{name}-{digest[:16]}.npz"


@contextmanager
def scratch_beside(entry: Path) -> Iterator[Path]:
    """An empty folder while an entry is decoded; what a killed process left there goes first.

    Args:
        entry: of the cache; the caller is its `decode`, of which there is one at a time.
    """
    folder = entry.with_suffix(".scratch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writable_folder(cache_dir: str, *parts: str) -> Path:
    """Make and return a folder under the cache.

    Raises:
        ValueError: naming `cache_dir` if that cannot be done.
    """
    folder = Path(cache_dir).expanduser().joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"cache_dir must be a writable folder, got {cache_dir} ({error})") from error
    return folder


def _read(path: Path) -> tuple[Arrays, str] | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        expected = str(arrays.pop(SHA256))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("decoding again, because %s cannot be read: %s", path, error)
        return None
    found = _digest(arrays)
    if found != expected:
        log.warning("decoding again, because %s has sha256 %s instead of %s", path, found, expected)
        return None
    return arrays, found


def _write(path: Path, arrays: Arrays) -> str:
    digest = _digest(arrays)
    temporary = path.with_suffix(".tmp")  # one writer at a time, which holds the lock
    try:
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays, **{SHA256: np.array(digest)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        size = sum(array.nbytes for array in arrays.values()) // 2**20
        raise ValueError(f"cache_dir must have room for {size} MiB, cannot write {path} ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
