"""Time and memory of `analyse` and `verdict` on 100, 1,000 and 10,000 runs of 200 evaluations each.

    python scripts/bench_report.py [NUM_RUNS ...]

Each size runs in a process of its own, so that its peak memory is its own. Made-up results: ten schedules, as many
workloads as it takes, of every (workload, schedule) three quarters tuning runs on a grid of rates and the rest final
runs. Prints one line a size: runs, rows of the frame, seconds of analyse and of verdict, MB of the frame, and by how
many MB the peak of the process grew beyond that of making the frame.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.verdict import verdict
from lrbench.results import float_column

NUM_EVALUATIONS = 200
SCHEDULERS = ("constant", "cosine", "exponential", "linear", "one_cycle", "polynomial", "rex", "sqrt", "step", "wsd")
RUNS_A_CELL = 100
TUNING_SHARE = 0.75
SIZES = (100, 1_000, 10_000)


def make_frame(num_runs: int) -> pd.DataFrame:
    """Make a tidy frame of losses that fall towards a final value, which depends on schedule, rate and seed."""
    rng = np.random.default_rng(0)
    run = np.arange(num_runs)
    runs_a_cell = min(RUNS_A_CELL, num_runs // len(SCHEDULERS))
    cell, place = np.divmod(run, runs_a_cell)
    workload, schedule = np.divmod(cell, len(SCHEDULERS))
    num_tuning = int(TUNING_SHARE * runs_a_cell)
    is_tuning = place < num_tuning
    rate = np.where(is_tuning, 10.0 ** (-3 + 2 * place / max(1, num_tuning - 1)), 0.03)
    final = 1 + 0.02 * schedule + 0.2 * np.log10(rate / 0.03) ** 2 + 0.02 * rng.standard_normal(num_runs)

    steps = np.linspace(0, 10_000, NUM_EVALUATIONS).astype(int)
    fall = 0.02 ** (steps / steps[-1])
    losses = final[:, None] + (3 - final[:, None]) * (fall - fall[-1]) / (1 - fall[-1])
    losses[:, 1:-1] += 0.01 * rng.standard_normal((num_runs, NUM_EVALUATIONS - 2))

    def repeated(values: np.ndarray, dtype: str) -> pd.Series:
        return pd.Series(np.repeat(values, NUM_EVALUATIONS)).astype(dtype)

    names = np.array([f"run{number:06d}" for number in run])
    return pd.DataFrame(
        {
            "run_id": repeated(names, "string"),
            "workload": repeated(np.array([f"workload{w:03d}" for w in workload]), "string"),
            "scheduler": repeated(np.array(SCHEDULERS)[schedule], "string"),
            "seed": repeated(np.where(is_tuning, 0, 1 + place - num_tuning), "Int64"),
            "budget": repeated(np.full(num_runs, 10_000), "Int64"),
            "batch_size": repeated(np.full(num_runs, 64), "Int64"),
            "role": repeated(np.where(is_tuning, "tuning", "final"), "string"),
            "state": repeated(np.full(num_runs, "ok"), "string"),
            "step": pd.Series(np.tile(steps, num_runs)).astype("Int64"),
            "time/seconds": float_column(np.tile(steps * 0.001, num_runs)),
            "lr": float_column(np.repeat(rate, NUM_EVALUATIONS)),
            "val/loss": float_column(losses.ravel()),
            "optimizer.lr": float_column(np.repeat(rate, NUM_EVALUATIONS)),
        }
    )


def measure(num_runs: int) -> None:
    """Analyse one size in this process and print its line."""
    frame = make_frame(num_runs)
    before = peak_mb()
    began = time.perf_counter()
    analysis = analyse(frame, settings=Settings("val/loss", "minimize"))
    analysed = time.perf_counter()
    verdict(analysis)
    ended = time.perf_counter()
    size = frame.memory_usage(deep=True).sum() / 2**20
    print(
        f"{num_runs:>8,} {len(frame):>10,} {analysed - began:>10.2f} {ended - analysed:>10.2f} {size:>10.0f} "
        f"{peak_mb() - before:>10.0f}"
    )


def peak_mb() -> float:
    """Largest memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        print(
            f"{'runs':>8} {'rows':>10} {'analyse s':>10} {'verdict s':>10} {'frame MB':>10} {'more MB':>10}", flush=True
        )
        for num_runs in [int(word) for word in sys.argv[1:]] or SIZES:
            subprocess.run([sys.executable, __file__, "--one", str(num_runs)], check=True)
