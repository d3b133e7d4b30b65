"""The dataset made of a person's own arrays: one .npz, or two .npy."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lrbench.data.files import existing_file
from lrbench.data.holdout import TRAIN, HeldOutFraction, divided
from lrbench.data.splits import Splits
from lrbench.spec import Task


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Inputs (n, ...) and targets (n,) or, to regress, (n, num_outputs); both standardised on the training examples.

    Inputs are standardised by their second dimension, that is by feature or channel. Classes may be any whole numbers
    or words; they are numbered in their order.

    Attributes:
        inputs: .npy, or .npz that holds both. They are only read.
        targets: .npy; null looks for it in the .npz.
        input_name: of the array in the .npz.
        target_name: of the array in the .npz.
        kind: classification or regression.
        test_fraction: of all examples; by class in classification.
        validation_fraction: of the others.
    """

    inputs: str | None = None
    targets: str | None = None
    input_name: str = "inputs"
    target_name: str = "targets"
    kind: Literal["classification", "regression"] = "classification"
    test_fraction: HeldOutFraction = 0.2
    validation_fraction: HeldOutFraction = 0.2

    max_epochs: ClassVar[float | None] = None

    @property
    def task(self) -> Task:
        """See Dataset.task."""
        return Task(self.kind)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape; reads the files."""
        return self._arrays[0].shape[1:]

    @property
    def num_outputs(self) -> int:
        """See Dataset.num_outputs; reads the files."""
        targets = self._arrays[1]
        return len(self._classes) if self.task is Task.CLASSIFICATION else int(targets.shape[1])

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; reads the files."""
        return int((self._part == TRAIN).sum())

    def check(self) -> None:
        """See Dataset.check; reads the files."""
        assert self.num_train > 0

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import in_memory_splits

        inputs, targets = self._arrays
        digest = hashlib.sha256()
        for array in self._arrays:
            digest.update(f"{array.dtype.str} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
        scale = 1.0
        if self.task is Task.REGRESSION:
            train = targets[self._part == TRAIN].astype(np.float64)
            scale = float(train.std()) if train.shape[1] == 1 else 1.0  # several need not have one unit
            targets = ((targets - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)
        else:
            targets = np.searchsorted(self._classes, targets).astype(np.int64)
        source = digest.hexdigest()
        splits = in_memory_splits(inputs, targets, self._part, augmentation="none", source_digest=source)
        return replace(splits, target_scale=scale)

    def describe(self) -> dict[str, str]:
        """What was understood, for `lrbench check`."""
        inputs, targets = self._arrays
        counts = np.bincount(self._part, minlength=3)
        found = {
            "inputs": f"{inputs.shape}, {inputs.dtype}, {inputs.min():g} to {inputs.max():g}",
            "examples": f"{counts[0]} train, {counts[1]} validation, {counts[2]} test",
        }
        if self.task is Task.REGRESSION:
            return {**found, "targets": f"{targets.shape}, {targets.min():g} to {targets.max():g}"}
        shares = [float((targets == kind).mean()) for kind in self._classes]
        return {**found, "targets": ", ".join(f"{k} {s:.1%}" for k, s in zip(self._classes[:20], shares, strict=False))}

    @property
    def _classes(self) -> NDArray[Any]:
        return np.unique(self._arrays[1])

    @cached_property
    def _part(self) -> NDArray[np.int8]:
        targets = self._arrays[1]
        classes = None if self.task is Task.REGRESSION else np.searchsorted(self._classes, targets)
        return divided(
            len(targets), classes, test_fraction=self.test_fraction, validation_fraction=self.validation_fraction
        )

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        inputs = _array(self.inputs, self.input_name, parameter="dataset.inputs")
        if self.targets is None:
            targets = _array(self.inputs, self.target_name, parameter="dataset.inputs")
        else:
            targets = _array(self.targets, self.target_name, parameter="dataset.targets")
        if inputs.ndim < 2 or len(inputs) != len(targets):
            raise ValueError(
                f"dataset.inputs must have the shape (n, ...) with the n of dataset.targets, got {inputs.shape} and "
                f"{targets.shape}"
            )
        _refuse_nonfinite(inputs, "dataset.inputs")
        if self.task is Task.REGRESSION:
            _refuse_nonfinite(targets, "dataset.targets")
            targets = targets[:, None] if targets.ndim == 1 else targets
            if targets.ndim != 2 or (targets == targets[0]).all(axis=0).any():
                raise ValueError(
                    f"dataset.targets must be (n,) or (n, num_outputs) and vary, got shape {targets.shape}"
                )
            return inputs, targets
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        kinds = len(np.unique(targets))
        whole = targets.dtype.kind in "iubU" or (
            targets.dtype.kind == "f" and bool((targets == np.round(targets)).all())
        )
        if targets.ndim != 1 or not whole or kinds < 2:
            raise ValueError(
                f"dataset.targets must be (n,) classes, whole numbers or words, of two kinds at least; got shape "
                f"{targets.shape}, {targets.dtype}, {kinds} kinds; write dataset.kind=regression to regress them"
            )
        return inputs, targets


def _array(file: str | None, name: str, *, parameter: str) -> NDArray[Any]:
    path = existing_file(file, parameter=parameter)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if name not in loaded.files:
                raise ValueError(f"it has no array {name!r}, but {loaded.files}")
            return np.asarray(loaded[name])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{parameter} must be a .npz or .npy of numbers, got {path}: {error}") from error


def _refuse_nonfinite(array: NDArray[Any], parameter: str) -> None:
    if array.dtype.kind not in "iubf":
        raise ValueError(f"{parameter} must hold numbers, got {array.dtype}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{parameter} must be finite, at index {tuple(map(int, bad[0]))} it is {array[tuple(bad[0])]}")
