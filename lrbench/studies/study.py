"""The outcome of a sweep as Python callers get it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lrbench.runs.session import Session
from lrbench.studies.contestants import Contestant
from lrbench.tracking.read import Parameters
from lrbench.tracking.read_records import read_records

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """The runs of a sweep: of a grid, or of the whole protocol with its tuning and its fresh seeds.

    Attributes:
        records: directories of its runs -> their role.
        best: name of a contestant -> the point that was chosen, by the names of the config; empty for a grid.
        failed: what could not be trained -> why.
    """

    records: Mapping[Path, str]
    best: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, Exception]

    @classmethod
    def of(cls, session: Session) -> "Study":
        """Make it from a session whose sweep has ended."""
        contestants: Sequence[Contestant] = session.study
        choices = {contestant.name: contestant.source.choice for contestant in contestants}
        if contestants:
            from lrbench.studies.contestants import records_of  # with Optuna, without which a grid does

            records = records_of(contestants)
        else:
            records = {result.record: "run" for result in session.shown if result.record is not None and result.found}
        present = {path: role for path, role in records.items() if path.is_dir()}
        if len(present) < len(records):
            _log.warning("%s runs of the sweep have no record any more", len(records) - len(present))
        return cls(
            present,
            {name: choice.point for name, choice in choices.items() if choice is not None},
            {result.name: result.error for result in session.failed if result.error is not None},
        )

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Evaluations of all its runs; the columns of `lrbench.results.schema`."""
        return self.read("varying")

    def read(self, parameters: Parameters) -> pd.DataFrame:
        """The same, with those config values in which runs differ, or all."""
        frame = read_records(list(self.records), parameters=parameters)
        roles = {path.name: role for path, role in self.records.items()}
        return frame.assign(role=frame["run_id"].map(roles).astype(frame["role"].dtype))
