"""The record of a report: a run of its own in MLflow, whose artifacts are the report's files."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from lrbench.reporting.page import pictures_of
from lrbench.reporting.report import Report
from lrbench.spec import RunState
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import Unsent
from lrbench.tracking.sender import Sender


def record_report(
    report: Report, files: Sequence[Path], *, results_dir: Path, tracking_uri: str, sender: Sender
) -> list[Unsent]:
    """Record a report that was saved and send it.

    Args:
        report: what the files say.
        files: of `Report.save`. Their directory may hold other files of the user, so only these and the pictures are
            copied.
        results_dir: gets the record, in its `runs/`.
        tracking_uri: of MLflow.
        sender: running; closed here.

    Returns:
        What MLflow did not get.
    """
    page = next(path for path in files if path.suffix == ".md")
    experiments = sorted(set(report.frame["experiment"].dropna()))
    content = "\n".join(sorted(set(report.frame["run_id"]))) + repr(report.settings)
    root = results_dir / "runs"
    root.mkdir(parents=True, exist_ok=True)
    with Record.create(
        root,
        name="report",
        experiment=experiments[0] if len(experiments) == 1 else "lrbench-reports",
        tracking_uri=tracking_uri,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        tags={"role": "report"},
        params={
            "report.metric": report.settings.metric,
            "report.direction": report.settings.direction,
            "report.bootstrap_seed": report.settings.bootstrap_seed,
            "report.experiments": experiments,
            "report.num_runs": int(report.frame["run_id"].nunique()),
        },
        note=page.read_text(encoding="utf-8"),
    ) as record:
        for path in files:
            shutil.copy2(path, record.artifacts)
        (record.artifacts / "figures").mkdir()
        for path in pictures_of(page.with_suffix(".html")):
            shutil.copy2(path, record.artifacts / "figures")
        sender.allow(tracking_uri)
        sender.follow(record.path)
        record.end("FINISHED", RunState.OK)
        return sender.close()
