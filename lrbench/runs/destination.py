"""Where results go, checked before anything is trained, and what has not arrived there, said afterwards."""

import logging
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lrbench.addresses import masked
from lrbench.config import Plan
from lrbench.tracking.database import check_tracking
from lrbench.tracking.facts import read_facts
from lrbench.tracking.received import is_inside
from lrbench.tracking.send_state import Unsent

_log = logging.getLogger(__name__)


def check_destination(plan: Plan) -> str:
    """Prove that the results directory and the tracking store can be written to.

    Returns:
        The tracking URI, empty when tracking is off.

    Raises:
        ValueError: naming results_dir or tracking.uri and the reason; a store that `tracking.required` does not require
            is only warned about.
    """
    check_results_dir(Path(plan.values["results_dir"]))
    uri = tracking_uri(plan)
    if not uri:
        return ""
    try:
        check_tracking(uri)
    except ValueError as error:
        if plan.values["tracking"]["required"]:
            raise ValueError(f"{error}; with tracking.required=false it trains now and sends later") from error
        _log.warning("%s; the record waits for `lrbench sync`", masked(str(error)))
    return uri


def tracking_uri(plan: Plan) -> str:
    """Where records are to be sent, unchecked; empty when tracking is off.

    Raises:
        ValueError: tracking is on, but there is no URI.
    """
    tracking = plan.values["tracking"]
    if not tracking["enabled"]:
        return ""
    if not tracking["uri"]:
        raise ValueError("tracking.uri must be given while tracking.enabled is true; or write tracking=none")
    return str(tracking["uri"])


def report_unsent(unsent: Sequence[Unsent]) -> None:
    """Name what MLflow lacks something of, of many records for one reason the first, and the command that sends it."""
    records: dict[str, list[Path]] = {}
    for item in unsent:
        records.setdefault(masked(item.reason), []).append(item.record)
    for reason, paths in records.items():
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        _log.warning("not in MLflow yet: %s%s: %s", paths[0], others, reason)
    for words in sorted({_sync_words(item.record) for item in unsent}):
        _log.warning("send it with: %s", shlex.join(words))


def _sync_words(record: Path) -> tuple[str, ...]:
    results_dir = record.parents[1]
    words = ("lrbench", "sync", f"results_dir={results_dir}")
    try:
        uri = read_facts(record).tracking_uri
        return words if is_inside(uri, results_dir) else (*words, f"tracking.uri={uri}")
    except ValueError:  # damaged, as its reason says
        return words


def check_results_dir(directory: Path) -> None:
    """Make the directory of the results, and prove that it can be written to.

    Raises:
        ValueError: naming results_dir and the reason.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ValueError(f"results_dir must be a writable directory, got {directory}: {error.strerror}") from error
