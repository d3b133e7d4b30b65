"""Make the committed part of results/ from a finished study: `python scripts/publish.py [--from DIR] [--to DIR]`.

Reads the MLflow database that `lrbench experiment=published` leaves in results/published, and writes into
results/study, for the workloads that measure accuracy and for those that only have a loss: what `lrbench report`
writes, without the page of several megabytes, and all evaluations as one Parquet file, from which
`lrbench report results=...` makes the same report again, page included.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from lrbench.analysis.analyse import Settings
from lrbench.cli.report import report_on
from lrbench.tracking.read import read_runs

SETTINGS = {
    "accuracy": Settings("val/accuracy", "maximize"),
    "loss": Settings("val/loss", "minimize"),
}


def main() -> None:
    """Read, split, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=Path("results/published"))
    parser.add_argument("--to", dest="target", type=Path, default=Path("results/study"))
    arguments = parser.parse_args()
    database = (arguments.source / "mlflow.db").resolve()
    frame = read_runs(f"sqlite:///{database}", parameters="varying")
    # Every workload has a loss; tuning chose by accuracy where there is one.
    has_accuracy = frame.groupby("workload")["val/accuracy"].transform("count") > 0
    shutil.rmtree(arguments.target, ignore_errors=True)
    for name, rows in (("accuracy", frame[has_accuracy]), ("loss", frame[~has_accuracy])):
        publish(rows.dropna(axis="columns", how="all").reset_index(drop=True), SETTINGS[name], arguments.target / name)


def publish(frame: pd.DataFrame, settings: Settings, target: Path) -> None:
    """Write the small files of one report, and the frame."""
    target.mkdir(parents=True)
    frame.to_parquet(target / "evaluations.parquet", compression="zstd", index=False)
    with tempfile.TemporaryDirectory() as folder:
        report_on(frame, settings, Path(folder), log_to=None)
        for name in ("report.md", "ranking.csv", "verdict.json"):
            shutil.copy2(Path(folder) / name, target)
        shutil.copytree(Path(folder) / "figures", target / "figures", ignore=shutil.ignore_patterns("*.png"))


if __name__ == "__main__":
    main()
