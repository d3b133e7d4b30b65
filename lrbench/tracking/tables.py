"""What the two ways of reading a tracking store have in common: the raw tables they deliver."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Tables:
    """Runs of lrbench as MLflow stores them.

    Attributes:
        runs: run_id, run_name, experiment, status.
        tags, params: run_id, key, value (all strings).
        points: run_id, key, step, timestamp (epoch ms), value; repeated points included.
    """

    runs: pd.DataFrame
    tags: pd.DataFrame
    params: pd.DataFrame
    points: pd.DataFrame


def choose_experiments(known: Collection[str], wanted: Sequence[str] | None, uri: str) -> list[str]:
    """The wanted names, or all.

    Raises:
        ValueError: one does not exist; names those that do.
    """
    if wanted is None:
        return sorted(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"no experiment {name!r} in {uri}; it has {sorted(known)}")
    return list(wanted)
