"""Measure what tracking costs a run: `python scripts/bench_tracking.py [--rounds 10] [--sweep-seconds 40]`.

A run here has 21 evaluations (three metrics, ten points of the rate), 50 params, 12 tags, a dataset, four artifacts of
66 kB together. Milliseconds a run, CPU and wall; medians over the rounds, and the least, which a busy machine disturbs
less. Two ways to do the same are measured in turn.

`record`: to create, fill and end it, in the training process. `find`: look-ups by fingerprint among 10,000 records.
`send`: its copy into MLflow's SQLite database, with MLflow's client and in bulk, 20 finished runs at a time.
`sender`: CPU of the sender's process beside a sweep that trains two runs at a time, its start (new database) apart.
"""

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lrbench.spec import Evaluation, RunState
from lrbench.tracking.facts import DatasetFacts
from lrbench.tracking.find import RecordIndex, find_finished, find_unfinished
from lrbench.tracking.record import Record
from lrbench.tracking.send_state import is_complete
from lrbench.tracking.sender import Sender

NUM_EVALUATIONS = 21
NUM_TOGETHER = 20
NUM_RECORDS = 10_000
RUN_SECONDS = 2.6  # MNIST MLP: 600 runs in 13 minutes on two cores
PARAMS = {f"scheduler.param_{k}": 0.37 * k for k in range(50)}
TAGS = {f"tag_{k}": f"value {k}" for k in range(12)}
DATASET = DatasetFacts("mnist", "f" * 64, {"train": 54_000, "validation": 6_000, "test": 10_000})
ARTIFACTS = {"config.yaml": 2_000, "curve.csv": 2_000, "environment.json": 2_000, "rates.csv": 60_000}

Took = tuple[float, float]
Rows = dict[str, dict[str, float]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sweep-seconds", type=float, default=40.0, help="length of the sweep beside the sender")
    parser.add_argument("--out", type=Path, default=Path("results/bench_tracking.json"))
    arguments = parser.parse_args()
    rows = {}
    for measure in (bench_record, bench_find, bench_send):
        with tempfile.TemporaryDirectory() as folder:
            rows |= measure(Path(folder), arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        rows |= bench_sender(Path(folder), arguments.sweep_seconds)
    for name, figures in rows.items():
        print(f"{name:<28}" + "  ".join(f"{key} {value:.3f}" for key, value in figures.items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"tracking": rows}, indent=1) + "\n")


def create(root: Path, number: int) -> Record:
    """A new record."""
    return Record.create(
        root / "runs",
        name=f"cosine-s{number}",
        experiment="mnist-mlp",
        tracking_uri=f"sqlite:///{root}/mlflow.db",
        fingerprint=fingerprint_of(number),
        tags=TAGS,
        params=PARAMS,
        dataset=DATASET,
        note="**cosine** on mnist",
    )


def evaluation(number: int) -> Evaluation:
    """The number-th of a run; no two of its floats are alike."""
    step = 105 * number
    metrics = {"train/loss": 1 / (step + 1.1), "val/loss": 1 / (step + 1.3), "val/accuracy": 1 - 1 / (step + 1.7)}
    rates = [(step - k, 0.1 / (step + k + 0.7), None) for k in range(10) if step > k]
    return Evaluation(step, 0.00123 * step, metrics, rates)


def fill(record: Record) -> Path:
    """Everything that happens to a record after its creation."""
    with record:
        for number in range(NUM_EVALUATIONS):
            record.append(evaluation(number))
        record.end("FINISHED", RunState.OK)
    return record.path


def write_artifacts(record: Record) -> None:
    """Files as a training leaves them."""
    for name, size in ARTIFACTS.items():
        (record.artifacts / name).write_bytes(b"x" * size)


def finished(root: Path, number: int) -> Path:
    """A record with all its files, not yet sent."""
    record = create(root, number)
    write_artifacts(record)
    return fill(record)


def bench_record(root: Path, rounds: int) -> Rows:
    """A record's life, without the artifacts, which are the caller's."""
    took = [timed(lambda n=n: fill(create(root, n)), 1) for n in range(NUM_TOGETHER * rounds)]
    return {"record": summary(took)}


def bench_find(root: Path, rounds: int) -> Rows:
    """Look-ups among ten thousand records, each with a directory, facts and a journal of a real size."""
    model = finished(root, 0)
    facts, journal = (model / "run.json").read_text(), (model / "journal.jsonl").read_bytes()
    own = fingerprint_of(0)
    fingerprints = [fingerprint_of(number) for number in range(NUM_RECORDS)]
    for number, fingerprint in enumerate(fingerprints[1:], start=1):
        path = root / "runs" / f"cosine-s{number}-{fingerprint[:8]}"
        path.mkdir()
        (path / "run.json").write_text(facts.replace(own, fingerprint))
        (path / "journal.jsonl").write_bytes(journal)
    runs = root / "runs"
    scans = [timed(lambda: RecordIndex(runs), 1) for _ in range(rounds)]
    index = RecordIndex(runs)
    some = fingerprints[:: NUM_RECORDS // 500]
    absent = [fingerprint_of(-1 - number) for number in range(500)]
    return {
        "find/scan": summary(scans),
        **{
            f"find/{name}": summary([timed(partial(look_up, find, wanted, index), len(wanted)) for _ in range(rounds)])
            for name, find, wanted in (
                ("finished", find_finished, some),
                ("unfinished", find_unfinished, some),
                ("absent", find_finished, absent),
            )
        },
    }


def look_up(find: Callable[..., Path | None], fingerprints: list[str], index: RecordIndex) -> None:
    """Look each fingerprint up."""
    for fingerprint in fingerprints:
        find(Path(), fingerprint, index=index)


def bench_send(root: Path, rounds: int) -> Rows:
    """Finished records into one database: one by one with the client, or all together; the two take turns."""
    from lrbench.tracking.client import Store

    store = Store(f"sqlite:///{root}/mlflow.db")

    def by_client(paths: list[Path]) -> None:
        for path in paths:
            store.send(path, abandoned=False)

    def in_bulk(paths: list[Path]) -> None:
        assert store.send_together(dict.fromkeys(paths, False)) == []

    took: dict[str, list[Took]] = {"send/client": [], "send/bulk": []}
    for number in range(2 * rounds):
        paths = [finished(root, NUM_TOGETHER * number + k) for k in range(NUM_TOGETHER)]
        name, send = ("send/bulk", in_bulk) if number % 2 else ("send/client", by_client)
        took[name].append(timed(partial(send, paths), NUM_TOGETHER))
    return {name: summary(values) for name, values in took.items()}


def bench_sender(root: Path, seconds: float) -> Rows:
    """A sweep that trains two runs at a time, by sleeping; the CPU of the sender's process beside it."""
    runs: list[Path] = []
    with Sender(root / "sender.log") as sender:
        runs.append(finished(root, 0))
        sender.follow(runs[0])
        wait_for(runs)
        start = cpu_of(sender)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pair = [create(root, len(runs) + k) for k in range(2)]
            runs.extend(record.path for record in pair)
            for record in pair:
                write_artifacts(record)
                sender.follow(record.path)
            for number in range(NUM_EVALUATIONS):
                time.sleep(RUN_SECONDS / NUM_EVALUATIONS)
                for record in pair:
                    record.append(evaluation(number))
            for record in pair:
                record.end("FINISHED", RunState.OK)
                record.close()
        wait_for(runs)
        total = cpu_of(sender)
    num_runs = len(runs) - 1
    return {
        "sender/start": {"cpu_ms": start},
        "sender/run": {"cpu_ms": (total - start) / num_runs, "num_runs": float(num_runs)},
    }


def wait_for(records: list[Path]) -> None:
    """Wait until MLflow has all of them."""
    while not all(map(is_complete, records)):
        time.sleep(0.2)


def cpu_of(sender: Sender) -> float:
    """CPU milliseconds of its process so far."""
    fields = Path(f"/proc/{sender._process.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fingerprint_of(number: int) -> str:
    """A digest as the config would give one."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def timed(work: Callable[[], object], num_runs: int) -> Took:
    """CPU and wall milliseconds a run."""
    began = time.process_time(), time.perf_counter()
    work()
    return 1000 * (time.process_time() - began[0]) / num_runs, 1000 * (time.perf_counter() - began[1]) / num_runs


def summary(took: list[Took]) -> dict[str, float]:
    """Median and least over the rounds."""
    cpu, wall = zip(*took, strict=True)
    return {
        "cpu_ms": statistics.median(cpu),
        "cpu_ms_least": min(cpu),
        "wall_ms": statistics.median(wall),
        "wall_ms_least": min(wall),
    }


if __name__ == "__main__":
    main()
