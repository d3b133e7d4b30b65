"""A trained run as Python callers get it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lrbench.runs.result import Result
from lrbench.spec import RunState
from lrbench.tracking.journal import Evaluated, read_all
from lrbench.tracking.read_records import read_records


@dataclass(frozen=True)
class Run:
    """One recorded run.

    Attributes:
        name: such as cosine-s0.
        path: directory of its record.
        state: ok or diverged.
        metrics: last and best value of every metric, steps and seconds; empty for a loop of your own.
    """

    name: str
    path: Path
    state: RunState
    metrics: Mapping[str, float]

    @classmethod
    def of(cls, result: Result) -> "Run":
        """Make it from the end of a job that was trained."""
        assert result.record is not None
        assert result.state is not None
        return cls(result.name, result.record, result.state, dict(result.found))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Its evaluations, one a row; the columns of `lrbench.results.schema`."""
        return read_records([self.path])

    @cached_property
    def rates(self) -> pd.DataFrame:
        """Corners of its rate curve: columns step (updates completed), lr, momentum (NaN where left alone)."""
        points = [
            point
            for entry in read_all(self.path / "journal.jsonl")
            if isinstance(entry, Evaluated)
            for point in entry.evaluation.rates
        ]
        return pd.DataFrame(points, columns=["step", "lr", "momentum"]).astype({"momentum": "float64"})
