"""Send what MLflow lacks of earlier runs: the work of `lrbench sync`."""

import os
from dataclasses import dataclass
from pathlib import Path

from lrbench.addresses import masked
from lrbench.tracking.database import database_path
from lrbench.tracking.facts import read_facts
from lrbench.tracking.received import foreign, is_inside, refuse_links
from lrbench.tracking.record import is_busy
from lrbench.tracking.send_state import Unsent, is_complete
from lrbench.tracking.sender import Sender


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: records now whole in MLflow, those that are not, and those still being trained."""

    sent: list[Path]
    unsent: list[Unsent]
    running: list[Path]


def sync(results_dir: Path, *, tracking_uri: str = "") -> SyncReport:
    """Complete MLflow's copy of every record under `results_dir/runs`; a second call finds nothing to do.

    Runs whose process died become KILLED. Runs that a live process trains are left to it.

    Args:
        results_dir: may be somebody else's.
        tracking_uri: in full, the one address to which records may be sent beside the database in the folder itself.

    Raises:
        ValueError: there is no such directory.
    """
    runs = results_dir / "runs"
    if not runs.is_dir():
        raise ValueError(f"no records to sync: {runs} is not a directory")
    with os.scandir(runs) as entries:
        paths = sorted(Path(entry.path) for entry in entries if entry.is_dir())
    records, unusable = [], []
    for path in paths:
        if not (path / "run.json").exists():
            continue  # it is none, or its process died while it made it
        try:
            if _is_for_mlflow(path, tracking_uri):
                records.append(path)
        except (ValueError, OSError) as error:
            unusable.append(Unsent(path, str(error)))
    incomplete = [path for path in records if not is_complete(path)]
    running = [path for path in incomplete if is_busy(path)]
    waiting = [path for path in incomplete if path not in set(running)]
    if not waiting:
        return SyncReport(sent=[], unsent=unusable, running=running)
    with Sender(results_dir / "sync.log") as sender:
        if tracking_uri:
            sender.allow(tracking_uri)
        for path in waiting:
            sender.follow(path)
        unsent = sender.close(patience=None)
    missing = {item.record for item in unsent}
    sent = [path for path in waiting if path not in missing]
    return SyncReport(sent=sent, unsent=[*unusable, *unsent], running=running)


def _is_for_mlflow(record: Path, tracking_uri: str) -> bool:
    """Whether a record has a place in MLflow (with tracking=none it has not); one whose database is gone starts over.

    Raises:
        ValueError: it is damaged, holds links, or is for an address that only it names; or the folder of its database
            is gone, which is not made again: it was moved.
    """
    refuse_links(record)
    uri = read_facts(record).tracking_uri
    if not uri:
        return False
    if uri != masked(tracking_uri) and not is_inside(uri, record.parents[1]):
        raise ValueError(foreign(uri))
    database = database_path(uri)
    if database is not None and not database.parent.is_dir():
        raise ValueError(f"its database was in {database.parent}, which is gone")
    if database is not None and not database.exists():
        (record / "mlflow.json").unlink(missing_ok=True)
    return True
