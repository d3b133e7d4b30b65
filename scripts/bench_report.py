"""Time and memory of the way from MLflow to a report: `python scripts/bench_report.py [NUM_RUNS ...] [--out FILE]`.

Made-up results of 100, 1,000 and 10,000 runs with 200 evaluations each go into an MLflow database as `lrbench` leaves
them there: every metric, rate, tag and config value. Then the stages are measured, one size after the other, each in a
process of its own so that its peak memory is its own:

`read`: database to tidy frame (`lrbench.tracking.read`). `analyse`: frame to statistics. `verdict`: to words. `files`:
report.md, the CSV files and verdict.json. `page`: report.html and its pictures.

Prints a line a size and stage: seconds of wall and CPU time, and the largest memory that the process has held up to the
end of the stage. Writes the same as JSON, `results/bench_report.json`. The database of 10,000 runs takes some minutes
and 3 GB of the temporary folder.
"""

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np

SCHEDULERS = ("constant", "cosine", "exponential", "linear", "one_cycle", "polynomial", "rex", "sqrt", "step", "wsd")
NUM_EVALUATIONS, TOTAL_STEPS = 200, 10_000
RUNS_A_CELL, TUNING_SHARE = 100, 0.75
SIZES = (100, 1_000, 10_000)
Result = TypeVar("Result")


def main() -> None:
    """Measure every size, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="NUM_RUNS")
    parser.add_argument("--out", type=Path, default=Path("results/bench_report.json"))
    arguments = parser.parse_args()
    print(f"{'runs':>8} {'stage':>9} {'wall s':>9} {'CPU s':>9} {'peak MB':>9}")
    rows = []
    for num_runs in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="lrbench-bench-") as directory:
            database = str(Path(directory) / "mlflow.db")
            # A process starts with the peak of the one that started it, so this one stays small.
            subprocess.run([sys.executable, __file__, "--fill", database, str(num_runs)], check=True)
            command = [sys.executable, __file__, "--measure", database]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as measured:
                assert measured.stdout is not None
                for line in measured.stdout:
                    row = {"runs": num_runs, **json.loads(line)}
                    rows.append(row)
                    print(
                        f"{num_runs:>8,} {row['stage']:>9} {row['wall_seconds']:>9.2f} {row['cpu_seconds']:>9.2f} "
                        f"{row['peak_mb']:>9.0f}",
                        flush=True,
                    )
            if measured.returncode:
                raise SystemExit(measured.returncode)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"wrote {arguments.out}")


def measure(database: Path) -> None:
    """Go the whole way in this process and print one line of JSON a stage."""
    timed("import", lambda: __import__("lrbench.reporting.page"))
    from lrbench.analysis.analyse import Settings, analyse
    from lrbench.analysis.machine_files import write_machine_files
    from lrbench.analysis.verdict.verdict import verdict
    from lrbench.reporting.page import write_html
    from lrbench.tracking.read import read_runs

    frame = timed("read", lambda: read_runs(f"sqlite:///{database}", parameters="varying"))
    analysis = timed("analyse", lambda: analyse(frame, settings=Settings("val/loss", "minimize")))
    said = timed("verdict", lambda: verdict(analysis))
    timed("files", lambda: write_machine_files(analysis, said, database.parent / "report"))
    timed("page", lambda: write_html(analysis, said, database.parent / "report"))


def timed(stage: str, work: Callable[[], Result]) -> Result:
    """Do the work of a stage and say what it took."""
    began = time.perf_counter(), time.process_time()
    result = work()
    row = {
        "stage": stage,
        "wall_seconds": time.perf_counter() - began[0],
        "cpu_seconds": time.process_time() - began[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(row), flush=True)
    return result


def write_database(path: Path, num_runs: int) -> None:
    """Fill an MLflow database with what its runs would have left there, past its client, which takes hours."""
    from lrbench.config.plan import flat_values
    from lrbench.runs.compose import compose_plans
    from lrbench.tracking.client import Store
    from lrbench.tracking.names import RECORD_TAG, escape_key, format_param

    Store(f"sqlite:///{path}")
    (plan,) = compose_plans([f"results_dir={path.parent}"])
    params = {escape_key(name): format_param(value) for name, value in flat_values(plan.values).items()}
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous=OFF")
        indices = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'metrics' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indices:
            database.execute(f"DROP INDEX {name}")
        database.execute(
            "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (1, 'made up', 'active')"
        )
        for number, (tags, rate, losses) in enumerate(made_up_runs(num_runs)):
            run_id = f"{number:032x}"
            database.execute(
                "INSERT INTO runs (run_uuid, name, status, lifecycle_stage, experiment_id) "
                "VALUES (?, ?, 'FINISHED', 'active', 1)",
                (run_id, f"{tags['scheduler']}-s{tags['seed']}"),
            )
            own = {RECORD_TAG: run_id, "fingerprint": f"{number:064x}", "device": "cpu", "state": "ok", **tags}
            database.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(k, v, run_id) for k, v in own.items()])
            own = params | {"scheduler.name": tags["scheduler"], "seed": tags["seed"], "optimizer.lr": str(rate)}
            database.executemany("INSERT INTO params VALUES (?, ?, ?)", [(k, v, run_id) for k, v in own.items()])
            database.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
                points_of(run_id, 1_000 * number, rate, losses),
            )
        database.execute(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "SELECT key, 0, 0, 0, 0, run_uuid FROM metrics WHERE step = ?",
            (TOTAL_STEPS,),
        )
        for _, statement in indices:
            database.execute(statement)


def made_up_runs(num_runs: int) -> Iterator[tuple[dict[str, str], float, np.ndarray]]:
    """Make runs of ten schedules on as many workloads as it takes.

    Of every (workload, schedule) three quarters are tuning runs on a grid of rates and the rest final runs.

    Yields:
        Tags, base rate, and the loss at every evaluation, falling to a value of its schedule, rate and seed.
    """
    rng = np.random.default_rng(0)
    runs_a_cell = min(RUNS_A_CELL, num_runs // len(SCHEDULERS))
    num_tuning = int(TUNING_SHARE * runs_a_cell)
    fall = 0.02 ** np.linspace(0, 1, NUM_EVALUATIONS)
    for number in range(num_runs):
        cell, place = divmod(number, runs_a_cell)
        workload, schedule = divmod(cell, len(SCHEDULERS))
        is_tuning = place < num_tuning
        rate = float(10.0 ** (-3 + 2 * place / max(1, num_tuning - 1))) if is_tuning else 0.03
        final = 1 + 0.02 * schedule + 0.2 * np.log10(rate / 0.03) ** 2 + 0.02 * rng.standard_normal()
        losses = final + (3 - final) * (fall - fall[-1]) / (1 - fall[-1])
        losses[1:-1] += 0.01 * rng.standard_normal(NUM_EVALUATIONS - 2)
        tags = {
            "scheduler": SCHEDULERS[schedule],
            "seed": str(0 if is_tuning else 1 + place - num_tuning),
            "role": "tuning" if is_tuning else "final",
            "workload": f"workload{workload:03d}",
            "budget": str(TOTAL_STEPS),
            "batch_size": "64",
            **dict.fromkeys(("model", "dataset", "optimizer"), "made-up"),
        }
        yield tags, rate, losses


def points_of(run_id: str, began: int, rate: float, losses: np.ndarray) -> Iterator[tuple[str, float, int, str, int]]:
    """All points of a run in the order in which they are sent: (key, value, timestamp, run, step)."""
    steps = np.linspace(0, TOTAL_STEPS, NUM_EVALUATIONS).astype(int).tolist()
    for place, (step, loss) in enumerate(zip(steps, losses.tolist(), strict=True)):
        values = {
            "train/loss": loss - 0.1, "val/loss": loss, "val/accuracy": 1 - loss / 4, "time/seconds": step * 0.001,
            "lr": rate * (1 - step / TOTAL_STEPS),
        }  # fmt: skip
        if place == len(steps) - 1:
            values |= {"test/loss": loss + 0.01, "test/accuracy": 0.99 - loss / 4}
        for key, value in values.items():
            yield key, value, began + place, run_id, step


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--fill", database, num_runs]:
            write_database(Path(database), int(num_runs))
        case ["--measure", database]:
            measure(Path(database))
        case _:
            main()
