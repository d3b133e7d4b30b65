"""Checkpoints that a kill, a full disk or a flipped bit cannot turn into a wrong result.

A checkpoint is written beside its place, synced, renamed into it, and named after the sha256 of its content; the last
two are kept. Reading checks the digest and falls back to the one before. (`torch.save` alone leaves a stump at the
final name when the disk is full, and one flipped bit loads without an error.)
"""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch

_KEEP = 2


def save_checkpoint(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `state` as the checkpoint of `step`, then delete all but the last two.

    Args:
        directory: made if absent.
        step: updates completed.
        state: tensors and plain values, loadable with `weights_only`.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are intact and no stump is left.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path = directory / f"step{step:09d}-{hashlib.sha256(content).hexdigest()}.pt"
    temporary = directory / f".{path.name}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"cannot write the checkpoint of step {step}: {error.strerror}", str(path)
        ) from error
    _sync_directory(directory)
    # Whoever saves this step has gone on from an earlier one: later ones were passed over as damaged.
    earlier = [other for other in _newest_first(directory) if _step_of(other) < step]
    for other in {*directory.glob("step*.pt")} - {path, *earlier[: _KEEP - 1]}:
        other.unlink(missing_ok=True)
    for stump in directory.glob(".*.tmp"):
        stump.unlink(missing_ok=True)
    return path


def load_checkpoint(directory: Path, *, device: torch.device) -> dict[str, Any] | None:
    """Read the newest intact checkpoint, or None when there is none.

    Warns about every damaged one, naming it. Only tensors and plain values are unpickled, never code.
    """
    for path in _newest_first(directory):
        content = path.read_bytes()
        expected = path.stem.partition("-")[2]
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            warnings.warn(
                f"checkpoint {path} is damaged: sha256 {found[:12]}…, expected {expected[:12]}…; trying the one before",
                stacklevel=2,
            )
            continue
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        return state
    return None


def _newest_first(directory: Path) -> list[Path]:
    """By step: a clock that was set back makes a new file look old."""
    return sorted(directory.glob("step*.pt"), key=_step_of, reverse=True)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step").partition("-")[0])


def _sync_directory(directory: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
