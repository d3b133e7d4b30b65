"""Checkpoints that a kill, a full disk or a flipped bit cannot turn into a wrong result.

A checkpoint is written beside its place, synced, renamed into it, and named after the sha256 of its content; the last
two are kept. Reading checks the digest and falls back to the one before. (`torch.save` alone leaves a stump at the
final name when the disk is full, and one flipped bit loads without an error.)

Only tensors and plain values are ever unpickled, never code. What else the state of a user's part may hold (a deque, a
set, numbers and arrays of numpy) is packed into those, and everything beyond is refused by name.
"""

import hashlib
import io
import os
import pickle
import warnings
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrbench.spec import PART_ERRORS

_KEEP = 2
_KIND = "lrbench.kind"  # of a dictionary: what it stands for
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def pack(value: Any, name: str) -> Any:
    """Turn a state into tensors and plain values, from which `unpack` makes its equal.

    Args:
        value: of a part: a model, an optimizer, a schedule.
        name: of the value, for messages.

    Raises:
        ValueError: something in it cannot be kept; named.
    """
    kind = type(value)
    if kind in _PLAIN or isinstance(value, torch.Tensor):
        return value
    if kind in (list, tuple):
        return kind(pack(item, f"{name}[{i}]") for i, item in enumerate(value))
    if kind in (dict, OrderedDict, Counter):
        for key in value:
            if type(key) not in (*_PLAIN, tuple):
                raise ValueError(f"{name} has the key {key!r}, a {type(key).__name__}, which a checkpoint cannot keep")
        packed = OrderedDict((key, pack(item, f"{name}.{key}")) for key, item in value.items())
        if kind is Counter:
            return {_KIND: "counter", "items": dict(packed)}
        packed.__dict__.update(vars(value) if kind is OrderedDict else {})  # the versions in a module's state
        return packed if kind is OrderedDict else dict(packed)
    if kind in (set, frozenset, deque):
        items = [pack(item, f"{name}[{i}]") for i, item in enumerate(value)]
        return {_KIND: kind.__name__, "items": items, "maxlen": getattr(value, "maxlen", None)}
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufc":
        array = np.ascontiguousarray(value)
        content = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else torch.empty(0)
        whole = isinstance(value, np.ndarray)
        return {_KIND: "numpy", "dtype": array.dtype.str, "shape": list(value.shape), "whole": whole, "bytes": content}
    what = f"a {kind.__name__}" if kind.__name__ != "ndarray" else f"an array of {value.dtype}"
    raise ValueError(
        f"{name} holds {what}, which a checkpoint cannot keep: leave it out of state_dict() and make it anew, or keep "
        "numbers, text, lists, dictionaries and tensors"
    )


def unpack(value: Any) -> Any:
    """Turn what `pack` returned back into what it was given."""
    kind = type(value)
    if kind in (list, tuple):
        return kind(map(unpack, value))
    if kind not in (dict, OrderedDict):
        return value
    match value.get(_KIND):
        case "counter":
            return Counter(unpack(value["items"]))
        case "set" | "frozenset" as name:
            return {"set": set, "frozenset": frozenset}[name](unpack(value["items"]))
        case "deque":
            return deque(unpack(value["items"]), maxlen=value["maxlen"])
        case "numpy":
            array = np.frombuffer(value["bytes"].numpy().tobytes(), value["dtype"]).reshape(value["shape"])
            return array.copy() if value["whole"] else array[()]
    unpacked = kind((key, unpack(item)) for key, item in value.items())
    if kind is OrderedDict:
        unpacked.__dict__.update(vars(value))
    return unpacked


def save_checkpoint(directory: Path, step: int, state: dict[str, Any]) -> Path:
    """Write `state` as the checkpoint of `step`, then delete all but the last two.

    Args:
        directory: made if absent.
        step: updates completed.
        state: anything that `pack` takes.

    Raises:
        ValueError: see `pack`.
        OSError: the disk is full or not writable; earlier checkpoints are intact and no stump is left.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(pack(state, "the state"), buffer)
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


def load_checkpoint(
    directory: Path, *, device: torch.device, load: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any] | None:
    """Read the newest checkpoint that is intact and ours, or None when there is none.

    Warns about every other one, naming it.

    Args:
        directory: may be absent.
        device: of the tensors.
        load: takes the state; what it raises means that the checkpoint is another training's.
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
        try:
            state: dict[str, Any] = unpack(torch.load(io.BytesIO(content), map_location=device, weights_only=True))
            load(state)
        except (*PART_ERRORS, EOFError, pickle.UnpicklingError) as error:
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            warnings.warn(f"checkpoint {path} is not one of this run ({reason}); trying the one before", stacklevel=2)
            continue
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
