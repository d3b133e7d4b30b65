"""Measure what the harness costs: `python scripts/bench.py [--root DATA] [--rounds 15]`.

Every figure is a ratio of two ways to do the same work, run in turn (A B A B ...) in one process with one thread, and
the median over the rounds is quoted: absolute times on shared machines drift, ratios of neighbours do not. Each ratio
is given in wall time and in the process's own CPU time; the second is the steadier one on a busy machine. Prints a
table and writes `results/bench.json`.

`overhead`: a whole lrbench training (loop, rates from the table, evaluations, journal, progress bar) against a loop
written by hand on the same tensors that makes the same updates and the same evaluations.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lrbench.cli.display import progress_bar
from lrbench.data import Mnist, Split, Splits
from lrbench.models import MLP, LeNet
from lrbench.optimizers import sgd
from lrbench.schedules import cosine
from lrbench.spec import Budget, Task, derived_seed
from lrbench.tracking.record import Record
from lrbench.training import batch_order
from lrbench.trials import Trial, Workload, build_training, run_training

BATCH_SIZE, STEPS, SEED = 128, 400, 0


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder with MNIST/raw; random images of its shape when absent")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = mnist(arguments.root)
    rows = []
    for name, make_model in (
        ("mlp", partial(MLP, hidden=[256, 128], activation="relu", dropout=0.0, batch_norm=False)),
        ("lenet", LeNet),
    ):
        workload = make_workload(data, make_model)
        wall, cpu, seconds = interleave(partial(by_harness, workload), partial(by_hand, workload), arguments.rounds)
        rows.append(
            {
                "figure": "overhead",
                "workload": f"mnist {name}, batch {BATCH_SIZE}",
                "wall_ratio": statistics.median(wall),
                "wall_quartiles": statistics.quantiles(wall, n=4),
                "cpu_ratio": statistics.median(cpu),
                "cpu_quartiles": statistics.quantiles(cpu, n=4),
                "us_per_step_by_hand": 1e6 * statistics.median(seconds) / STEPS,
                "rounds": arguments.rounds,
            }
        )
    for row in rows:
        print(f"{row['figure']}: {row['workload']}, {row['us_per_step_by_hand']:.0f} us a step by hand")
        for clock in ("wall", "cpu"):
            low, _, high = row[f"{clock}_quartiles"]
            print(f"  {clock:<4} {row[f'{clock}_ratio']:.4f}  (quartiles {low:.4f} to {high:.4f})")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"torch": str(torch.__version__), "rows": rows}, indent=1) + "\n")


def mnist(root: str | None) -> Splits:
    """Load MNIST, cut to 1,000 examples for validation and test: evaluation is the same work on both sides."""
    if root is None:
        generator = torch.Generator().manual_seed(0)
        train, small = (
            Split(torch.randn(n, 1, 28, 28, generator=generator), torch.randint(10, (n,), generator=generator))
            for n in (54_000, 1_000)
        )
        return Splits(train, small, small, None, "random")
    with tempfile.TemporaryDirectory() as cache:
        data = Mnist(root=root, cache_dir=cache).load()
    small = Split(data.validation.inputs[:1000], data.validation.targets[:1000])
    return Splits(data.train, small, small, None, data.digest)


def make_workload(data: Splits, make_model: Callable[..., nn.Module]) -> Workload:
    """The benchmark's workload: 400 steps, an evaluation every twentieth of them."""
    return Workload(
        data=data,
        task=Task.CLASSIFICATION,
        make_model=make_model,
        input_shape=(1, 28, 28),
        num_outputs=10,
        budget=Budget(STEPS, len(data.train) // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        eval_every=0.05,
        eval_batch_size=500,
        device=torch.device("cpu"),
    )


def by_harness(workload: Workload) -> None:
    """Train as `lrbench run` does, without the process around it."""
    training = build_training(workload, [Trial("cosine", cosine, partial(sgd, lr=0.05, momentum=0.9))], seed=SEED)
    with (
        tempfile.TemporaryDirectory() as folder,
        Record.create(
            Path(folder), name="bench", experiment="bench", tracking_uri="", fingerprint="0" * 64, tags={}, params={}
        ) as record,
        progress_bar("bench", STEPS) as bar,
    ):
        for progress in run_training(training, checkpoints=record.path / "checkpoints"):
            evaluation = progress.evaluations.get(0)
            if evaluation is not None:
                record.append(evaluation)
            bar.update(progress.step, evaluation)


def by_hand(workload: Workload) -> None:
    """Make the same updates and evaluations with nothing around them."""
    torch.manual_seed(derived_seed("weights", SEED))
    model = workload.make_model(input_shape=(1, 28, 28), num_outputs=10)
    optimizer = sgd(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    train, validation = workload.data.train, workload.data.validation
    order = list(batch_order(seed=SEED, num_train=len(train), batch_size=BATCH_SIZE, begin=0, end=STEPS))
    evaluate(model, validation)
    evaluate(model, Split(train.inputs[:BATCH_SIZE], train.targets[:BATCH_SIZE]))
    for begin, end in pairwise(workload.evaluate_at):
        model.train()
        for inputs, targets in train.batches(order[begin:end]):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            scheduler.step()
        evaluate(model, validation)
    evaluate(model, workload.data.test)


def evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean loss and accuracy."""
    model.eval()
    loss, correct = 0.0, 0
    with torch.inference_mode():
        for inputs, targets in zip(split.inputs.split(500), split.targets.split(500), strict=True):
            outputs = model(inputs)
            loss += F.cross_entropy(outputs, targets, reduction="sum").item()
            correct += int((outputs.argmax(1) == targets).sum())
    return loss / len(split), correct / len(split)


def interleave(
    a: Callable[[], None], b: Callable[[], None], rounds: int
) -> tuple[list[float], list[float], list[float]]:
    """Time a and b in turn; one round warms up.

    Returns:
        Ratios a/b of each round in wall time and in CPU time, and the wall seconds of b.
    """
    wall, cpu, seconds = [], [], []
    for round_number in range(rounds + 1):
        # The order alternates, so that a drift of the machine's speed favours neither.
        took = {}
        for work in (a, b) if round_number % 2 else (b, a):
            began = time.perf_counter(), time.process_time()
            work()
            took[work] = time.perf_counter() - began[0], time.process_time() - began[1]
        if round_number:
            wall.append(took[a][0] / took[b][0])
            cpu.append(took[a][1] / took[b][1])
            seconds.append(took[b][0])
    return wall, cpu, seconds


if __name__ == "__main__":
    main()
