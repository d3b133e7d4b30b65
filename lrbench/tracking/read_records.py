"""Records as the tidy frame, without MLflow: complete as soon as a run has written them, and where tracking is off."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lrbench.tracking.facts import read_facts
from lrbench.tracking.journal import Described, Ended, Evaluated, read_all
from lrbench.tracking.names import escape_key, format_param
from lrbench.tracking.read import Parameters, assemble
from lrbench.tracking.tables import Tables, is_read, last_points

_Points = dict[str, list[tuple[int, int, int, float]]]  # by metric: run, step, time, value


def read_records(records: Sequence[Path], *, parameters: Parameters = "all") -> pd.DataFrame:
    """Read the journals of some records into the frame that `read_runs` would give once they are in MLflow.

    Args:
        records: their directories.
        parameters: see `read_runs`.

    Returns:
        See `read_runs`; `run_id` is the name of the directory.

    Raises:
        ValueError: a directory is no record, or it is damaged.
    """
    runs, all_tags, all_params = [], [], []
    points: _Points = {}
    for place, path in enumerate(records):
        facts = read_facts(path)
        run_tags = {**facts.tags, "fingerprint": facts.fingerprint}
        params = {name: format_param(value) for name, value in facts.params.items()}
        status = "RUNNING"
        for entry in read_all(path / "journal.jsonl"):
            match entry:
                case Evaluated(time, evaluation):
                    measured = {**evaluation.metrics, "time/seconds": evaluation.seconds}
                    for name in filter(is_read, measured):
                        points.setdefault(name, []).append((place, evaluation.step, time, measured[name]))
                    for step, lr, _ in evaluation.rates:
                        points.setdefault("lr", []).append((place, step, time, lr))
                case Described():
                    params |= entry.params
                    run_tags |= entry.tags
                case Ended():
                    status = entry.status
                    run_tags["state"] = str(entry.state)
                case _:
                    status = "RUNNING"
                    run_tags.pop("state", None)
        runs.append((path.name, facts.name, facts.experiment, status))
        all_tags += [(path.name, key, value) for key, value in run_tags.items()]
        all_params += [(path.name, escape_key(key), value) for key, value in params.items()]
    pairs = ["run_id", "key", "value"]
    tables = Tables(
        runs=pd.DataFrame(runs, columns=["run_id", "run_name", "experiment", "status"]),
        tags=pd.DataFrame(all_tags, columns=pairs),
        params=pd.DataFrame(all_params, columns=pairs),
        points={
            name: last_points(
                np.array([row[0] for row in rows], np.int32),
                np.array([row[1] for row in rows], np.int64),
                np.array([row[2] for row in rows], np.int64),
                np.array([row[3] for row in rows], np.float64),
            )
            for name, rows in points.items()
        },
    )
    return assemble(tables, tags={}, run_ids=[path.name for path in records], parameters=parameters)
