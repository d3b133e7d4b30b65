"""Send what MLflow lacks of earlier runs: the work of `lrbench sync`."""

import os
from dataclasses import dataclass
from pathlib import Path

from lrbench.tracking.database import database_path
from lrbench.tracking.facts import read_facts
from lrbench.tracking.outbox import Unsent, is_complete
from lrbench.tracking.record import is_busy
from lrbench.tracking.sender import Sender


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: records now whole in MLflow, those that are not, and those still being trained."""

    sent: list[Path]
    unsent: list[Unsent]
    running: list[Path]


def sync(results_dir: Path) -> SyncReport:
    """Complete MLflow's copy of every record under `results_dir/runs`; a second call finds nothing to do.

    Runs whose process died become KILLED. Runs that a live process trains are left to it.

    Raises:
        ValueError: there is no such directory.
    """
    runs = results_dir / "runs"
    if not runs.is_dir():
        raise ValueError(f"no records to sync: {runs} is not a directory")
    with os.scandir(runs) as entries:
        paths = sorted(Path(entry.path) for entry in entries if entry.is_dir())
    # A record without a tracking URI (tracking=none) was never meant for MLflow.
    records = [path for path in paths if (path / "run.json").exists() and read_facts(path).tracking_uri]
    for path in records:
        _forget_lost_copy(path)
    incomplete = [path for path in records if not is_complete(path)]
    running = [path for path in incomplete if is_busy(path)]
    waiting = [path for path in incomplete if path not in set(running)]
    if not waiting:
        return SyncReport(sent=[], unsent=[], running=running)
    with Sender(results_dir / "sync.log") as sender:
        for path in waiting:
            sender.follow(path)
        unsent = sender.close(timeout=None)
    missing = {item.record for item in unsent}
    return SyncReport(sent=[path for path in waiting if path not in missing], unsent=unsent, running=running)


def _forget_lost_copy(record: Path) -> None:
    """Start a record over whose local database was deleted since it was sent."""
    database = database_path(read_facts(record).tracking_uri)
    if database is not None and not database.exists():
        (record / "mlflow.json").unlink(missing_ok=True)
