"""The dataset made of a person's own short strings, such as names or peptides: their class, or their next character."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lrbench.data.files import classes_of, column_of, existing_file, read_columns, refuse_larger, refuse_missing
from lrbench.data.holdout import TRAIN, HeldOutFraction, divided
from lrbench.data.splits import Splits
from lrbench.spec import Count, Task


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A column of short strings, with a class each; or without, and every character is predicted from those before.

    Characters are numbers in their order from 1, those that train has not are one more; 0 is before the beginning and
    after the end. Strings, not characters, are divided into the splits.

    Attributes:
        file: CSV (any delimiter and encoding, .gz too) or .parquet. It is only read.
        column: the strings.
        target: column with the class; null predicts the next character.
        length: characters of a string that are read, which none may exceed; or characters before the next one.
        encoding: one_hot gives (num_characters, length) float32, for any model; indices gives (length,) int64, for one
            that embeds.
        test_fraction: of all strings; by class.
        validation_fraction: of the others.
    """

    file: str | None = None
    column: str | None = None
    target: str | None = None
    length: Count = 8
    encoding: Literal["one_hot", "indices"] = "one_hot"
    test_fraction: HeldOutFraction = 0.1
    validation_fraction: HeldOutFraction = 0.1

    task: ClassVar[Task] = Task.CLASSIFICATION
    max_epochs: ClassVar[float | None] = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape; one_hot reads the file."""
        return (self.length,) if self.encoding == "indices" else (len(self.characters), self.length)

    @property
    def num_outputs(self) -> int:
        """Classes, or characters; reads the file."""
        return len(self.characters) if self.target is None else len(self._classes[0])

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; reads the file."""
        return int((self._examples[2] == TRAIN).sum())

    @cached_property
    def characters(self) -> tuple[str, ...]:
        """What each number stands for: "" first, for none, and "" last, if there are any that train has not."""
        known, codes = self._codes
        return ("", *map(chr, known.tolist()), *(("",) if (codes > len(known)).any() else ()))

    def check(self) -> None:
        """See Dataset.check; reads the file."""
        assert self.num_train > 0

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import encoded_splits

        inputs: NDArray[np.generic]
        inputs, targets, part = self._examples
        if self.encoding == "one_hot":
            refuse_larger(2 * 4 * inputs.size * len(self.characters), source=f"dataset.file={self.file} as one_hot")
            inputs = np.eye(len(self.characters), dtype=np.float32)[inputs].transpose(0, 2, 1)
        words = "\n".join([*self._words, *map(str, targets[: len(self._words)] if self.target else ())])
        preprocessing = {"target": self.target, "length": self.length, "encoding": self.encoding}
        digest = hashlib.sha256(words.encode()).hexdigest()
        return encoded_splits(
            np.ascontiguousarray(inputs), targets, part, source_digest=digest, preprocessing=preprocessing
        )

    def describe(self) -> dict[str, str]:
        """What was understood, for `lrbench check`: strings, characters, classes."""
        counts = np.bincount(self._part, minlength=3)
        found = {
            "strings": f"{len(self._words)}: {counts[0]} train, {counts[1]} validation, {counts[2]} test; "
            f"the longest has {self._lengths.max()} characters",
            "characters": f"{len(self.characters)}: {''.join(self.characters)[:200]!r}",
            "examples": f"{self.num_train} to train on",
        }
        if self.target is not None:
            shares = np.bincount(self._classes[1]) / len(self._words)
            found["classes"] = ", ".join(f"{n} {s:.1%}" for n, s in zip(self._classes[0], shares, strict=True))
        return found

    @cached_property
    def _columns(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], NDArray[np.int64]] | None]:
        columns = read_columns(existing_file(self.file, parameter="dataset.file"))
        name = column_of(columns, self.column, parameter="dataset.column")
        refuse_missing(columns, name)
        if name not in columns.words:
            raise ValueError(f"{columns.source}: dataset.column={name} must hold words, it holds numbers")
        words = tuple(columns.words[name])
        if self.target is None:
            return words, None
        for row, word in zip(columns.rows, words, strict=True):
            if len(word) > self.length:
                raise ValueError(
                    f"{columns.source}: row {row} of {name} has {len(word)} characters, dataset.length={self.length}"
                )
        return words, classes_of(columns, column_of(columns, self.target, parameter="dataset.target"))

    @property
    def _words(self) -> tuple[str, ...]:
        return self._columns[0]

    @property
    def _classes(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        assert self._columns[1] is not None
        return self._columns[1]

    @cached_property
    def _part(self) -> NDArray[np.int8]:
        classes = None if self.target is None else self._classes[1]
        return divided(
            len(self._words), classes, test_fraction=self.test_fraction, validation_fraction=self.validation_fraction
        )

    @cached_property
    def _codes(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Code points of the characters in train, sorted, and the number of every character of all strings."""
        points = np.frombuffer("".join(self._words).encode("utf-32-le"), dtype=np.uint32)
        known = np.unique(points[np.repeat(self._part == TRAIN, self._lengths)])
        place = np.searchsorted(known, points)
        is_known = known[np.minimum(place, len(known) - 1)] == points
        return known, np.where(is_known, place, len(known)) + 1

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        return np.array([len(word) for word in self._words])

    @cached_property
    def _examples(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
        """Characters before (n, length), what is to be predicted (n,), and the split (n,) of each example."""
        before = 0 if self.target is not None else self.length
        # All strings in a row, each with its empty places before it and enough after it.
        blocks = self._lengths + 1 + self.length
        starts = np.cumsum(blocks) - blocks
        row = np.zeros(blocks.sum() + self.length, dtype=np.int64)
        row[np.repeat(starts + before, self._lengths) + _counted(self._lengths)] = self._codes[1]
        windows = np.lib.stride_tricks.sliding_window_view(row, self.length)
        if self.target is not None:
            return windows[starts], self._classes[1], self._part
        first = np.repeat(starts, self._lengths + 1) + _counted(self._lengths + 1)
        return windows[first], row[first + self.length], np.repeat(self._part, self._lengths + 1)


def _counted(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1 ... below each length, one after the other; shape (sum of lengths,)."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
