"""The dataset made of a person's own table: CSV and its cousins, or Parquet."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lrbench.data.files import (
    Columns,
    classes_of,
    column_of,
    existing_file,
    read_columns,
    refuse_larger,
    refuse_missing,
)
from lrbench.data.holdout import TRAIN, HeldOutFraction, divided
from lrbench.data.splits import Splits
from lrbench.spec import Task

log = logging.getLogger(__name__)

MOST_CATEGORIES = 1000


@dataclass(frozen=True, kw_only=True)
class Table:
    """One column to predict from the others.

    Numbers are standardised with mean and deviation of the training rows; where one is missing, the mean stands for it
    and an extra column says so. Words become one column a category of the training rows, all zero for any other;
    a missing word is a category. A target to regress is standardised too, so a loss of 0.5 is that of the mean.

    Attributes:
        file: CSV (any delimiter, decimal mark and encoding, .gz too) or .parquet. It is only read.
        target: column to predict.
        kind: classification or regression.
        target_transform: log1p regresses log(1 + target), for counts and amounts.
        categorical: columns of numbers that are names, such as postal codes.
        ignore: columns to leave out.
        missing: words that stand for a missing value, besides the empty cell and NA.
        test_fraction: of all rows; by class in classification.
        validation_fraction: of the others.
    """

    file: str | None = None
    target: str | None = None
    kind: Literal["classification", "regression"] = "classification"
    target_transform: Literal["none", "log1p"] = "none"
    categorical: list[str] = field(default_factory=list)
    ignore: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    test_fraction: HeldOutFraction = 0.2
    validation_fraction: HeldOutFraction = 0.2

    max_epochs: ClassVar[float | None] = None

    @property
    def task(self) -> Task:
        """See Dataset.task."""
        return Task(self.kind)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape; reads the file."""
        return (self._inputs[0].shape[1],)

    @property
    def num_outputs(self) -> int:
        """See Dataset.num_outputs; reads the file."""
        return len(self._target[0]) if self.task is Task.CLASSIFICATION else 1

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; reads the file."""
        return int((self._part == TRAIN).sum())

    def check(self) -> None:
        """See Dataset.check; reads the file."""
        assert self._inputs[0].shape[1] > 0  # refused before

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import encoded_splits

        targets: NDArray[np.generic] = self._target[1]
        scale = 1.0
        if self.task is Task.REGRESSION:
            train = targets[self._part == TRAIN]
            scale = float(train.std())
            targets = ((targets - train.mean()) / scale)[:, None].astype(np.float32)
        preprocessing = {
            "target": self.target,
            "kind": self.kind,
            "transform": self.target_transform,
            "inputs": self._inputs[1],
        }
        splits = encoded_splits(
            self._inputs[0], targets, self._part, source_digest=self._columns.digest, preprocessing=preprocessing
        )
        return replace(splits, target_scale=scale)

    def describe(self) -> dict[str, str]:
        """What was understood, for `lrbench check`: columns with their kinds, splits, shares of the classes."""
        classes, targets = self._target
        counts = np.bincount(self._part, minlength=3)
        found = {
            "rows": f"{len(self._columns)}: {counts[0]} train, {counts[1]} validation, {counts[2]} test",
            **{f"column {name}": kind for name, kind in self._inputs[1].items()},
            f"target {self.target}": f"{targets.min():g} to {targets.max():g}, mean {targets.mean():g}",
        }
        if self.task is Task.CLASSIFICATION:
            shares = np.bincount(targets) / len(targets)
            listed = [f"{name} {share:.1%}" for name, share in zip(classes, shares, strict=True)]
            more = f", and {len(listed) - 20} more" if len(listed) > 20 else ""
            found[f"target {self.target}"] = f"{len(classes)} classes: {', '.join(listed[:20])}{more}"
        return found

    @cached_property
    def _columns(self) -> Columns:
        return read_columns(existing_file(self.file, parameter="dataset.file"), missing=self.missing)

    @cached_property
    def _target(self) -> tuple[tuple[str, ...], NDArray[np.int64] | NDArray[np.float64]]:
        """Names of the classes, and the target of each row, shape (n,)."""
        columns = self._columns
        name = column_of(columns, self.target, parameter="dataset.target")
        if self.task is Task.CLASSIFICATION:
            classes, targets = classes_of(columns, name)
            if len(classes) > max(2, min(MOST_CATEGORIES, len(targets) // 2)):
                raise ValueError(
                    f"dataset.target={name} of {columns.source} has {len(classes)} different values in {len(targets)} "
                    "rows: no classes to learn; write dataset.kind=regression or choose another column"
                )
            return classes, targets
        refuse_missing(columns, name)
        if name not in columns.numbers:
            row, word = next(
                (r, w) for r, w in zip(columns.rows, columns.words[name], strict=True) if not _is_number(w)
            )
            raise ValueError(f"{columns.source}: {name} must be a number to regress it, row {row} has {word!r}")
        values = columns.numbers[name]
        if self.target_transform == "log1p":
            if (values <= -1).any():
                row = columns.rows[int((values <= -1).argmax())]
                raise ValueError(f"{columns.source}: {name} must be above -1 for log1p, row {row} has {values.min():g}")
            values = np.log1p(values)
        if values.min() == values.max():
            raise ValueError(f"{columns.source}: {name} must vary, every row has {columns.numbers[name][0]:g}")
        return (), values

    @cached_property
    def _part(self) -> NDArray[np.int8]:
        targets = self._target[1]  # first: what is wrong with it is the better message
        classes = targets.astype(np.int64) if self.task is Task.CLASSIFICATION else None
        return divided(
            len(self._columns), classes, test_fraction=self.test_fraction, validation_fraction=self.validation_fraction
        )

    @cached_property
    def _inputs(self) -> tuple[NDArray[np.float32], dict[str, str]]:
        """Encoded rows, shape (n, num_features), and what became of each column."""
        columns, is_train = self._columns, self._part == TRAIN
        for name in (*self.categorical, *self.ignore):
            column_of(columns, name, parameter="dataset.categorical and dataset.ignore")
        features: list[NDArray[np.floating]] = []
        kinds: dict[str, str] = {}
        for name in columns.order:
            if name in (self.target, *self.ignore):
                continue
            if name in columns.numbers and name not in self.categorical:
                numbers, kinds[name] = _standardised(columns.numbers[name], is_train)
                features.append(numbers)
            else:
                categories, kinds[name] = _one_hot(columns, name, is_train)
                features.append(categories)
            refuse_larger(4 * len(columns) * sum(f.shape[1] for f in features), source=columns.source)
        if not features:
            raise ValueError(f"{columns.source} must have a column besides {self.target}; it has {list(columns.order)}")
        return np.concatenate(features, axis=1).astype(np.float32), kinds


def _standardised(values: NDArray[np.float64], is_train: NDArray[np.bool_]) -> tuple[NDArray[np.float64], str]:
    absent = np.isnan(values)
    known = values[is_train & ~absent]
    mean, deviation = (known.mean(), known.std()) if len(known) else (0.0, 0.0)
    scaled = np.where(absent, 0.0, (values - mean) / (deviation or 1.0))
    kind = f"number, mean {mean:g}, deviation {deviation:g}" + (", constant" if deviation == 0 else "")
    if not absent.any():
        return scaled[:, None], kind
    return np.stack([scaled, absent.astype(float)], axis=1), f"{kind}, missing in {int(absent.sum())} rows"


def _one_hot(columns: Columns, name: str, is_train: NDArray[np.bool_]) -> tuple[NDArray[np.float32], str]:
    if name in columns.words:
        words = np.array(["" if word is None else word for word in columns.words[name]], dtype=str)
    else:
        words = np.array(["" if np.isnan(number) else f"{number:.17g}" for number in columns.numbers[name]], dtype=str)
    categories = np.unique(words[is_train])
    if len(categories) > MOST_CATEGORIES:
        raise ValueError(
            f"{columns.source}: column {name!r} has {len(categories)} different words, such as "
            f"{str(categories[-1])!r}; at most {MOST_CATEGORIES} become categories; leave it out with "
            f"dataset.ignore=[{name}]"
        )
    kind = f"{len(categories)} categories"
    unseen = ~np.isin(words, categories)
    if unseen.any():
        row, word = columns.rows[int(unseen.argmax())], str(words[unseen.argmax()])
        kind += f", {int(unseen.sum())} rows of others that train has not, such as {word!r} in row {row}"
        log.warning("%s: column %r: %s; they have no category", columns.source, name, kind)
    if (words == "").any():
        kind += f", missing in {int((words == '').sum())} rows"
    return (words[:, None] == categories).astype(np.float32), kind


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
