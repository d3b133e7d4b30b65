"""The dataset made of a person's own text: windows of characters or bytes, each followed by the next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lrbench.data.files import existing_file, refuse_larger
from lrbench.data.holdout import TEST, TRAIN, VALIDATION, HeldOutFraction, held_out_count
from lrbench.data.splits import Splits
from lrbench.delimited import decode, read_content
from lrbench.spec import Count, Task


@dataclass(frozen=True, kw_only=True)
class Text:
    """Any text file, cut into windows; the target of a position is the token that follows.

    The splits are contiguous, train first and test last, so that no window repeats what another split holds. Tokens are
    numbers in the order of their characters (or the bytes themselves); characters that train has not are one more.

    Attributes:
        file: text, or text in a .gz. It is only read.
        unit: what a token is.
        context: tokens a window.
        test_fraction: of all windows.
        validation_fraction: of the others.
    """

    file: str | None = None
    unit: Literal["characters", "bytes"] = "characters"
    context: Count = 64
    test_fraction: HeldOutFraction = 0.1
    validation_fraction: HeldOutFraction = 0.1

    task: ClassVar[Task] = Task.TOKENS
    max_epochs: ClassVar[float | None] = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See Dataset.input_shape."""
        return (self.context,)

    @property
    def num_outputs(self) -> int:
        """Tokens; reads the file."""
        return len(self.tokens)

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; reads the file."""
        return int((self._part == TRAIN).sum())

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """What each number stands for; the last may be "", any character that train has not."""
        return self._encoded[0]

    def check(self) -> None:
        """See Dataset.check; reads the file."""
        assert self.num_outputs > 1  # refused before

    def load(self) -> Splits:
        """See Dataset.load; inputs and targets are int64, shape (n, context)."""
        from lrbench.data.preparation import encoded_splits

        codes, num_windows = self._encoded[1], len(self._part)
        inputs, targets = (
            codes[first : first + num_windows * self.context].reshape(num_windows, self.context) for first in (0, 1)
        )
        return encoded_splits(
            inputs,
            targets,
            self._part,
            source_digest=hashlib.sha256(self._content).hexdigest(),
            preprocessing={"unit": self.unit, "context": self.context},
        )

    def describe(self) -> dict[str, str]:
        """What was understood, for `lrbench check`: tokens and windows."""
        train, validation, test = np.bincount(self._part, minlength=3)
        return {
            "tokens": f"{len(self._encoded[1])} of {len(self.tokens)} kinds: {''.join(self.tokens)[:200]!r}",
            "windows": f"{len(self._part)} of {self.context}: {train} train, {validation} validation, {test} test",
        }

    @cached_property
    def _content(self) -> bytes:
        return read_content(existing_file(self.file, parameter="dataset.file"))

    @cached_property
    def _part(self) -> NDArray[np.int8]:
        num_windows = (self._num_tokens - 1) // self.context
        num_test = held_out_count(num_windows, self.test_fraction, parameter="dataset.test_fraction")
        rest = num_windows - num_test
        num_validation = held_out_count(rest, self.validation_fraction, parameter="dataset.validation_fraction")
        return np.repeat([TRAIN, VALIDATION, TEST], [rest - num_validation, num_validation, num_test]).astype(np.int8)

    @cached_property
    def _text(self) -> str:
        return decode(self._content, source=str(self.file))

    @property
    def _num_tokens(self) -> int:
        return len(self._content) if self.unit == "bytes" else len(self._text)

    @cached_property
    def _encoded(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The tokens, and the number of each in the file, shape (num_tokens,)."""
        # Inputs and targets of both kinds, and the windows of the splits.
        refuse_larger(4 * 8 * self._num_tokens, source=f"dataset.file={self.file}")
        if self.unit == "bytes":
            return tuple(chr(byte) for byte in range(256)), np.frombuffer(self._content, np.uint8).astype(np.int64)
        points = np.frombuffer(self._text.encode("utf-32-le"), dtype=np.uint32)
        num_known = int((self._part == TRAIN).sum()) * self.context + 1
        known = np.unique(points[:num_known])
        if len(known) < 2:
            raise ValueError(f"dataset.file={self.file} must hold at least two characters, train has {len(known)}")
        codes = np.searchsorted(known, points)
        strange = known[np.minimum(codes, len(known) - 1)] != points
        codes[strange] = len(known)
        tokens = tuple(map(chr, known.tolist())) + (("",) if strange.any() else ())
        return tokens, codes.astype(np.int64)
