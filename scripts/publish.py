"""Make the committed part of results/ from a finished study: `python scripts/publish.py [--from DIR] [--to DIR]`.

Reads the MLflow database that `lrbench experiment=published` leaves in results/published, and writes results/study:
a folder for the workloads with an accuracy and one for those with a loss only. In it are what `lrbench report` writes,
without the page of several megabytes, and the evaluations as a Parquet file, from which `lrbench report results=...`
makes the page again.
Prints the table of results/README.md, which a test compares.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import pandas as pd

import lrbench

PLACES = ["dataset.root", "dataset.cache_dir"]  # of the machine that trained, where the workloads differ in them


def main() -> None:
    """Read, split, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, default=Path("results/published"))
    parser.add_argument("--to", dest="target", type=Path, default=Path("results/study"))
    arguments = parser.parse_args()
    database = (arguments.source / "mlflow.db").resolve()
    frame = lrbench.read(f"sqlite:///{database}").drop(columns=PLACES, errors="ignore")
    # Every workload has a loss; tuning chose by accuracy where there is one.
    has_accuracy = frame.groupby("workload")["val/accuracy"].transform("count") > 0
    shutil.rmtree(arguments.target, ignore_errors=True)
    for _, rows in frame.groupby(has_accuracy):
        publish(rows.dropna(axis="columns", how="all").reset_index(drop=True), arguments.target)
    print(table(arguments.target / "accuracy" / "ranking.csv"))


def publish(frame: pd.DataFrame, parent: Path) -> None:
    """Write the small files of one report, and the frame, into a folder named by the metric."""
    report = lrbench.report(frame)
    target = parent / report.settings.metric.removeprefix("val/")
    target.mkdir(parents=True)
    frame.to_parquet(target / "evaluations.parquet", compression="zstd", index=False)
    with tempfile.TemporaryDirectory() as folder:
        report.save(Path(folder))
        for name in ("report.md", "ranking.csv", "verdict.json"):
            shutil.copy2(Path(folder) / name, target)
        shutil.copytree(Path(folder) / "figures", target / "figures", ignore=shutil.ignore_patterns("*.png"))


def table(ranking: Path) -> str:
    """Schedules x workloads in Markdown: mean test accuracy in percent, and the mean rank, which sorts them."""
    rows = pd.read_csv(ranking).query("budget == 'all of the steps'")
    finals = rows.dropna(subset="final").pivot(index="scheduler", columns="workload", values="final")
    finals.columns = pd.Index([" ".join(name.split("-")[:2]).replace("image_folder", "cifar10") for name in finals])
    mean_rank = rows.dropna(subset="mean_rank").set_index("scheduler")["mean_rank"].sort_values()
    head = ["test accuracy, all steps", *finals.columns, "mean rank"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for scheduler, rank in mean_rank.items():
        cells = [str(scheduler), *(f"{100 * value:.2f}" for value in finals.loc[scheduler]), f"{rank:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
