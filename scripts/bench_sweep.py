"""Measure whole sweeps: `python scripts/bench_sweep.py [FIGURE ...] [--num-trials N]`.

Every figure is wall time from the first keystroke to the prompt: start, data, compile, training, evaluation, Optuna,
tracking and, for `quick`, the report.

`quick`: `lrbench experiment=quick` from an empty results folder, against the same runs as one process each
(`python -m lrbench ...`, two at a time), of which a few are measured and scaled.

`digits_small`, `digits`, `mnist`: 10 schedules x 20 trials x 3 seeds against the ways of others, which take the same
number of steps. Digits over 20 epochs with an MLP of 32 hidden units and with the default one of 256 and 128, MNIST
over 5 epochs with the default one.
(a) a process a trial with a DataLoader and a `log_metric` after every step, and
(b) the careful version: a process a trial, DataLoader, logging once an epoch, two processes at a time.
Of (a) and (b), single trials are measured in turn with each other and scaled by steps and trials (`scaled`).

Prints a table and writes JSON. Takes an hour and more for everything; a name measures a part.
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
SCHEDULES = "constant,linear,cosine,step,exponential,polynomial,inverse_sqrt,one_cycle,wsd,rex"
SEEDS, NUM_SCHEDULES = (0, 1, 2), 10
SWEEPS = {
    "digits_small": ("digits", 20, [32]),
    "digits": ("digits", 20, [256, 128]),
    "mnist": ("mnist", 5, [256, 128]),
}  # dataset, epochs, hidden layers
ROUNDS = 3


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=["quick", *SWEEPS])
    parser.add_argument("--num-trials", type=int, default=20, help="of each schedule, with three seeds each")
    parser.add_argument(
        "--data-dir", type=Path, default=os.environ.get("LRBENCH_DATA", REPO.parent / "shared" / "data")
    )
    parser.add_argument("--out", type=Path, default=Path("results/bench_sweep.json"))
    arguments = parser.parse_args()
    rows = []
    for figure in arguments.figures:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["LRBENCH_CACHE_DIR"] = f"{folder}/cache"  # nothing is remembered from earlier
            place = Path(folder), Path(arguments.data_dir).resolve()
            found = measure_quick(*place) if figure == "quick" else measure_sweep(figure, *place, arguments.num_trials)
        rows.append(found)
        print(json.dumps(rows[-1], indent=1), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


def measure_quick(folder: Path, data_dir: Path) -> dict[str, object]:
    """The preset, and the same runs one process at a time."""
    seconds = timed(folder, [sys.executable, "-m", "lrbench", "experiment=quick"])
    runs = [json.loads(path.read_text()) for path in folder.glob("results/runs/*/run.json")]
    trained = [run for run in runs if run["tags"]["role"] in ("tuning", "final")]
    alone = []
    for seed in range(ROUNDS + 1):
        pair = [
            [f"dataset={dataset}", "budget.epochs=10", f"seed={seed}", f"results_dir={folder}/alone"]
            for dataset in ("digits", "mnist1d")
        ]
        alone.append(timed(folder, *([sys.executable, "-m", "lrbench", *words] for words in pair)))
    each = statistics.median(alone[1:]) / 2  # the first pair makes the database
    return {
        "figure": "quick",
        "seconds": seconds,
        "runs": len(trained),
        "two_processes_at_a_time_scaled": each * len(trained),
        "ratio": each * len(trained) / seconds,
    }


def measure_sweep(figure: str, folder: Path, data_dir: Path, num_points: int) -> dict[str, object]:
    """The whole sweep by lrbench, and single trials of the two other ways."""
    dataset, epochs, hidden = SWEEPS[figure]
    num_trials = num_points * NUM_SCHEDULES * len(SEEDS)
    words = [
        "-m", "hydra/sweeper=optuna", f"scheduler={SCHEDULES}", f"dataset={dataset}", f"budget.epochs={epochs}",
        f"seed={','.join(map(str, SEEDS))}", f"hydra.sweeper.num_trials={num_points}", "hydra.sweeper.final_seeds=0",
        f"model.hidden={hidden}", f"data_dir={data_dir}",
        "hydra.sweeper.report=false",
    ]  # fmt: skip
    seconds = timed(folder, [sys.executable, "-m", "lrbench", *words])
    trained = trained_seconds(folder)
    root = folder / "torchvision"
    if dataset == "mnist":
        unpack(data_dir / "MNIST" / "raw", root / "MNIST" / "raw")
    by_step, by_epoch = [], []
    for number in range(ROUNDS):
        by_step.append(tutorial(figure, folder, number, root, "step", at_once=1))
        by_epoch.append(tutorial(figure, folder, number, root, "epoch", at_once=2))
    a = statistics.median(by_step) * num_trials
    b = statistics.median(by_epoch) * num_trials / 2
    return {
        "figure": f"{num_trials} trials of {figure}",
        "seconds": seconds,
        "training_seconds_of_all_runs": trained,
        "over_training_on_two_cores": seconds / (trained / 2),
        "a_process_a_trial_log_every_step_scaled": a,
        "b_two_at_a_time_log_every_epoch_scaled": b,
        "ratio_a": a / seconds,
        "ratio_b": b / seconds,
    }


def tutorial(figure: str, folder: Path, seed: int, root: Path, log: str, *, at_once: int) -> float:
    """Seconds of one trial by hand while `at_once` run, scaled from a part of its steps where they are many."""
    dataset, epochs, hidden = SWEEPS[figure]
    most = 300
    command = [
        sys.executable, str(REPO / "scripts" / "tutorial_trial.py"), dataset, str(epochs), "0.05", str(seed),
        "--uri", f"sqlite:///{folder}/tutorial.db", "--root", str(root), "--log", log, "--most-steps", str(most),
        "--hidden", *map(str, hidden),
    ]  # fmt: skip
    began = time.perf_counter()
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) for _ in range(at_once)
    ]
    outputs = [process.communicate()[0] for process in processes]
    seconds = time.perf_counter() - began
    assert all(process.returncode == 0 for process in processes)
    said = dict(line.split("\t") for line in outputs[0].splitlines() if "\t" in line)
    rest = max(0, int(said["steps"]) - most)
    more_epochs = epochs * rest / int(said["steps"])
    return seconds + rest * float(said["step_seconds"]) + more_epochs * float(said["epoch_seconds"])


def trained_seconds(folder: Path) -> float:
    """Training seconds of all runs, as their records have it: evaluations and restarts excluded."""
    outcomes = folder.glob("results/runs/*/artifacts/outcome.json")
    return sum(json.loads(path.read_text())["time/seconds"] for path in outcomes)


def unpack(source: Path, target: Path) -> None:
    """Give torchvision its files the way it wants them."""
    target.mkdir(parents=True, exist_ok=True)
    for packed in source.glob("*.gz"):
        with gzip.open(packed) as file, (target / packed.stem).open("wb") as out:
            shutil.copyfileobj(file, out)


def timed(folder: Path, *commands: list[str]) -> float:
    """Wall seconds of commands that run at once and must succeed."""
    began = time.perf_counter()
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL) for command in commands
    ]
    assert all(process.wait() == 0 for process in processes)
    return time.perf_counter() - began


def environment() -> dict[str, str]:
    """One thread a process, as lrbench's workers have, and this checkout's lrbench."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "MLFLOW_DISABLE_TELEMETRY": "true"}


if __name__ == "__main__":
    main()
