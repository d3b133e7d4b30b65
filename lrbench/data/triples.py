"""The dataset made of a person's own graph of facts: head, relation, tail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lrbench.data.files import existing_file, read_columns
from lrbench.data.holdout import TEST, TRAIN, VALIDATION, HeldOutFraction, divided
from lrbench.data.splits import Splits
from lrbench.spec import Task

NAMES = ("head", "relation", "tail")
FILES = (("train.tsv", TRAIN), ("valid.tsv", VALIDATION), ("test.tsv", TEST))


@dataclass(frozen=True, kw_only=True)
class Triples:
    """Which tail belongs to a head and a relation: inputs are both, (2,) int64, classes are all entities.

    Entities and relations are numbered by name, each from 0. Those of validation and test must be in train.

    Attributes:
        root: folder with train.tsv, valid.tsv and test.tsv, or one file, which is divided; three columns without a
            header. It is only read.
        test_fraction: of one file.
        validation_fraction: of the others.
    """

    root: str | None = None
    test_fraction: HeldOutFraction = 0.1
    validation_fraction: HeldOutFraction = 0.1

    task: ClassVar[Task] = Task.CLASSIFICATION
    input_shape: ClassVar[tuple[int, ...]] = (2,)
    max_epochs: ClassVar[float | None] = None

    @property
    def num_outputs(self) -> int:
        """Entities; reads the files."""
        return len(self.entities)

    @property
    def num_train(self) -> int:
        """See Dataset.num_train; reads the files."""
        return int((self._facts[1] == TRAIN).sum())

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Names of heads and tails, sorted."""
        return tuple(np.unique(self._facts[0][:, [0, 2]]).tolist())

    @cached_property
    def relations(self) -> tuple[str, ...]:
        """Names of relations, sorted."""
        return tuple(np.unique(self._facts[0][:, 1]).tolist())

    def check(self) -> None:
        """See Dataset.check; reads the files."""
        assert self.num_train > 0

    def load(self) -> Splits:
        """See Dataset.load."""
        from lrbench.data.preparation import encoded_splits

        facts, part = self._facts
        heads, relations, tails = (
            np.searchsorted(np.array(names), facts[:, i])
            for i, names in enumerate((self.entities, self.relations, self.entities))
        )
        digest = hashlib.sha256("\n".join("\t".join(fact) for fact in facts.tolist()).encode()).hexdigest()
        return encoded_splits(np.stack([heads, relations], axis=1), tails, part, source_digest=digest, preprocessing={})

    def describe(self) -> dict[str, str]:
        """What was understood, for `lrbench check`."""
        counts = np.bincount(self._facts[1], minlength=3)
        return {
            "triples": f"{counts[0]} train, {counts[1]} validation, {counts[2]} test",
            "entities": f"{len(self.entities)}, such as {self.entities[0]!r}",
            "relations": f"{len(self.relations)}, such as {self.relations[0]!r}",
        }

    @cached_property
    def _facts(self) -> tuple[NDArray[np.str_], NDArray[np.int8]]:
        """Names (n, 3), and the split of each fact (n,)."""
        folder = None if self.root is None else Path(self.root).expanduser()
        if folder is None or not folder.is_dir():
            facts, _ = _read(existing_file(self.root, parameter="dataset.root"))
            fractions = {"test_fraction": self.test_fraction, "validation_fraction": self.validation_fraction}
            part = divided(len(facts), None, **fractions)
            rows = [f"row {i + 1}" for i in range(len(facts))]
        else:
            read = [_read(existing_file(str(folder / name), parameter="dataset.root")) for name, _ in FILES]
            facts = np.concatenate([names for names, _ in read])
            part = np.repeat([p for _, p in FILES], [len(names) for names, _ in read]).astype(np.int8)
            rows = [f"row {row} of {name}" for (name, _), (_, rows) in zip(FILES, read, strict=True) for row in rows]
        for columns, kind in (([0, 2], "entity"), ([1], "relation")):
            strange = ~np.isin(facts[:, columns], np.unique(facts[part == TRAIN][:, columns]))
            if strange.any():
                i, j = np.argwhere(strange)[0]
                name = str(facts[i, columns[j]])
                raise ValueError(f"dataset.root={self.root}: the {kind} {name!r} in {rows[i]} must also be in train")
        return facts, part


def _read(path: Path) -> tuple[NDArray[np.str_], list[int]]:
    columns = read_columns(path, names=NAMES)
    cells = []
    for name in NAMES:
        numbers = columns.numbers.get(name)
        found = columns.words[name] if numbers is None else [None if np.isnan(n) else f"{n:g}" for n in numbers]
        absent = next((row for row, cell in zip(columns.rows, found, strict=True) if cell is None), None)
        if absent is not None:
            raise ValueError(f"{path.name}: row {absent} has no {name}")
        cells.append(np.array(list(found), dtype=str))
    return np.stack(cells, axis=1), list(columns.rows)
