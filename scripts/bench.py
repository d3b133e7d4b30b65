"""Measure the training core: `python scripts/bench.py [overhead] [evaluation] [others] [fused] [--data-dir DIR]`.

Every figure is a ratio of ways to do the same work, run in turn (A B A B ...) in one process with one thread, and the
median over the rounds is quoted: absolute times on shared machines drift, ratios of neighbours do not. Each ratio is
given in wall time and in the process's own CPU time; the second is the steadier one on a busy machine. Prints a table
and writes JSON.

`overhead`: a whole lrbench training (loop, rates from the table, evaluations, journal, progress bar) against a loop
written by hand on the same tensors that makes the same updates and the same evaluations.

`evaluation`: a pass over 5,000 images by size of the batch, over the default's.

`others`: the same 400 steps and an evaluation at the end by the loop of the tutorials (a torchvision dataset of PIL
images, a DataLoader) and by Lightning with its default logger, checkpoint and bar (on tensors in memory), over lrbench,
which also evaluates at the start and on the test split. Needs MNIST.

`fused`: trial-steps per second of 32 trials stacked, plainly and compiled, against the better of one trial alone and
32 trials in turn.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lrbench.data import Digits, Mnist, Mnist1d, Split, Splits
from lrbench.models import CNN, MLP, CNN1d, LeNet
from lrbench.optimizers import adamw, sgd
from lrbench.runs.progress import progress_bar
from lrbench.schedules import cosine, rex
from lrbench.spec import Budget, Task, derived_seed
from lrbench.tracking.record import Record
from lrbench.training import StepOptions, batch_order
from lrbench.trials import Trial, Workload, build_learner, build_training, run_training

BATCH_SIZE, STEPS, SEED = 128, 400, 0
NUM_TRIALS = 32
EVALUATED, EVAL_SIZE = 5_000, 250
EVAL_SIZES = (100, 250, 500, 1000, 5000)
SAMPLE_SECONDS = 0.05  # of one measurement of a learner: long for the clock, short for the scheduler


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=["overhead", "evaluation", "others", "fused"])
    parser.add_argument("--data-dir", help="folder with MNIST/raw; random images of its shape when absent")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled steps")
    parser.add_argument("--only", help="leave out workloads whose name does not contain this")
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # torch.compile tells that there is no GPU
    data = mnist(arguments.data_dir)
    rows = []
    if "overhead" in arguments.figures:
        rows += overhead(data, arguments.rounds)
    if "evaluation" in arguments.figures:
        rows += evaluation(data, arguments.rounds)
    if "others" in arguments.figures and arguments.data_dir:
        rows += others(data, Path(arguments.data_dir), max(3, arguments.rounds // 3))
    if "fused" in arguments.figures:
        rows += fused(data, arguments.rounds, with_compiled=not arguments.no_compile, only=arguments.only or "")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"torch": str(torch.__version__), "rows": rows}, indent=1) + "\n")


def overhead(data: Splits, rounds: int) -> list[dict[str, Any]]:
    """Harness over hand-written loop."""
    rows = []
    for name, make_model in (("mlp", mlp(256, 128)), ("lenet", LeNet)):
        workload = make_workload(data, make_model)
        wall, cpu, seconds = interleave(partial(by_harness, workload), partial(by_hand, workload), rounds)
        row = {
            "figure": "overhead",
            "workload": f"mnist {name}, batch {BATCH_SIZE}",
            "wall_ratio": statistics.median(wall),
            "wall_quartiles": statistics.quantiles(wall, n=4),
            "cpu_ratio": statistics.median(cpu),
            "cpu_quartiles": statistics.quantiles(cpu, n=4),
            "us_per_step_by_hand": 1e6 * statistics.median(seconds) / STEPS,
            "rounds": rounds,
        }
        print(f"overhead: {row['workload']}, {row['us_per_step_by_hand']:.0f} us a step by hand")
        for clock in ("wall", "cpu"):
            low, _, high = row[f"{clock}_quartiles"]
            print(f"  {clock:<4} {row[f'{clock}_ratio']:.4f}  (quartiles {low:.4f} to {high:.4f})")
        rows.append(row)
    return rows


def evaluation(data: Splits, rounds: int) -> list[dict[str, Any]]:
    """Sizes of evaluation batches, in turn, over the default size."""
    rows = []
    split = Split(data.train.inputs[:EVALUATED], data.train.targets[:EVALUATED])
    for name, make_model in (
        ("mlp", mlp(256, 128)),
        ("lenet", LeNet),
        ("cnn", partial(CNN, channels=[32, 64, 128], batch_norm=True)),
    ):
        learner = build_learner(
            make_workload(data, make_model),
            [Trial("rex", rex, partial(sgd, lr=0.01))],
            data,
            seed=SEED,
            learner="sequential",
        )
        seconds: dict[int, list[float]] = {size: [] for size in EVAL_SIZES}
        for _ in range(rounds + 1):
            for size, found in seconds.items():
                began = time.perf_counter()
                learner.evaluate(partial(split.batches, torch.arange(EVALUATED).split(size)), [0])
                found.append(time.perf_counter() - began)
        medians = {size: statistics.median(found[1:]) for size, found in seconds.items()}
        ratios = {size: median / medians[EVAL_SIZE] for size, median in medians.items()}
        print(f"evaluation: mnist {name}, {1e3 * medians[EVAL_SIZE]:.1f} ms at {EVAL_SIZE}; over those by batch size")
        print("  " + "  ".join(f"{size}: {ratio:.2f}" for size, ratio in ratios.items()))
        rows.append({"figure": "evaluation", "workload": f"mnist {name}", "rounds": rounds, "ratios": ratios})
    return rows


def others(data: Splits, data_dir: Path, rounds: int) -> list[dict[str, Any]]:
    """Ways of others over harness."""
    from bench_sweep import unpack
    from opponents import by_lightning, by_tutorial

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "torchvision"
        unpack(data_dir / "MNIST" / "raw", root / "MNIST" / "raw")
        for name, make in (("mlp", mlp(256, 128)), ("lenet", LeNet)):
            harness = partial(by_harness, make_workload(data, make, eval_every=1.0))
            make_model = partial(make, input_shape=(1, 28, 28), num_outputs=10)
            same = {"batch_size": BATCH_SIZE, "steps": STEPS}
            ways = {
                "tutorial": partial(by_tutorial, root, make_model, num_evaluated=len(data.validation), **same),
                "lightning": partial(by_lightning, Path(folder), data.train, data.validation, make_model, **same),
            }
            for way, work in ways.items():
                wall, cpu, _ = interleave(work, harness, rounds)
                row = {
                    "figure": "others",
                    "workload": f"mnist {name}, batch {BATCH_SIZE}",
                    "way": way,
                    "rounds": rounds,
                    "wall_ratio": statistics.median(wall),
                    "cpu_ratio": statistics.median(cpu),
                }
                print(f"others: {row['workload']}, {way}: {row['wall_ratio']:.2f} (wall), {row['cpu_ratio']:.2f} (CPU)")
                rows.append(row)
    return rows


def mlp(*hidden: int) -> Callable[..., nn.Module]:
    """An MLP without dropout and BatchNorm."""
    return partial(MLP, hidden=list(hidden), activation="relu", dropout=0.0, batch_norm=False)


def fused(data: Splits, rounds: int, *, with_compiled: bool, only: str) -> list[dict[str, Any]]:
    """Stacked over sequential trials; targets are named for the small models, where Python dominates."""
    with tempfile.TemporaryDirectory() as cache:
        digits, mnist1d = Digits(cache_dir=cache).load(), Mnist1d().load()
    momentum = partial(sgd, momentum=0.9)
    workloads = {
        "digits mlp 32, batch 32": (digits, mlp(32), 32, momentum),
        "digits mlp 32, batch 32, adamw": (digits, mlp(32), 32, adamw),
        "digits mlp 256-128 (default), batch 64": (digits, mlp(256, 128), 64, momentum),
        "mnist1d mlp 100-100, batch 100": (mnist1d, mlp(100, 100), 100, momentum),
        "mnist1d cnn1d, batch 64": (mnist1d, partial(CNN1d, channels=[25, 25, 25]), 64, momentum),
        "digits cnn 8-16, batch 32": (digits, partial(CNN, channels=[8, 16], batch_norm=True), 32, momentum),
        "digits cnn 32-64-128 (default), batch 64": (
            digits,
            partial(CNN, channels=[32, 64, 128], batch_norm=True),
            64,
            momentum,
        ),
        "mnist mlp 256-128, batch 128": (data, mlp(256, 128), 128, momentum),
        "mnist mlp 256-128, batch 128, adamw": (data, mlp(256, 128), 128, adamw),
        "mnist lenet, batch 128": (data, LeNet, 128, momentum),
    }
    rows = []
    for name, (splits, make_model, batch_size, make_optimizer) in workloads.items():
        if only not in name:
            continue
        advance = partial(make_advance, splits, make_model, batch_size, make_optimizer)
        ways = {
            "alone": (1, advance(1, "sequential")),
            "in turn": (NUM_TRIALS, advance(NUM_TRIALS, "sequential")),
            "stacked": (NUM_TRIALS, advance(NUM_TRIALS, "fused")),
        }
        if with_compiled and "mlp" in name:
            ways["compiled"] = (NUM_TRIALS, advance(NUM_TRIALS, "fused", compile=True))
        row = {"figure": "fused", "workload": name, "trials": NUM_TRIALS, "rounds": rounds, **rates(ways, rounds)}
        print(f"fused: {name}, {NUM_TRIALS} trials; us a trial-step (CPU), ratio to the better sequential (wall, CPU)")
        for way, found in row["ways"].items():
            print(f"  {way:<9} {found['cpu_us']:7.0f}  {found['wall_ratio']:6.2f}  {found['cpu_ratio']:6.2f}")
        rows.append(row)
    return rows


def make_advance(
    splits: Splits,
    make_model: Callable[..., nn.Module],
    batch_size: int,
    make_optimizer: Callable[..., torch.optim.Optimizer],
    num_trials: int,
    learner: str,
    **options: bool,
) -> Callable[[int], None]:
    """Build a learner; the result takes n steps with each of its trials."""
    workload = Workload(
        data=splits,
        task=Task.CLASSIFICATION,
        make_model=make_model,
        input_shape=tuple(splits.train.inputs.shape[1:]),
        num_outputs=10,
        budget=Budget(1, 1),
        batch_size=batch_size,
        eval_every=1.0,
        eval_batch_size=EVAL_SIZE,
        device=torch.device("cpu"),
        options=StepOptions(**options),
    )
    trials = [Trial("rex", rex, partial(make_optimizer, lr=0.01)) for _ in range(num_trials)]
    built = build_learner(workload, trials, splits, seed=SEED, learner=learner)
    order = batch_order(seed=SEED, num_train=len(splits.train), batch_size=batch_size, begin=0, end=10**9)
    batches = splits.train.batches(order)

    def advance(num_steps: int) -> None:
        lr = np.full((num_trials, num_steps), 1e-3)
        built.advance(islice(batches, num_steps), range(num_trials), lr, [None] * num_trials)

    return advance


def rates(ways: Mapping[str, tuple[int, Callable[[int], None]]], rounds: int) -> dict[str, Any]:
    """Time learners in turn; seconds are per trial and step."""
    steps = {}
    for way, (_, advance) in ways.items():
        advance(2)  # warms up, and compiles
        began = time.perf_counter()
        advance(2)
        steps[way] = max(2, round(2 * SAMPLE_SECONDS / (time.perf_counter() - began)))
    found: dict[str, dict[str, list[float]]] = {way: {"wall": [], "cpu": []} for way in ways}
    for _ in range(rounds):
        for way, (num_trials, advance) in ways.items():
            began = time.perf_counter(), time.process_time()
            advance(steps[way])
            share = 1 / (steps[way] * num_trials)
            found[way]["wall"].append((time.perf_counter() - began[0]) * share)
            found[way]["cpu"].append((time.process_time() - began[1]) * share)
    table: dict[str, dict[str, float]] = {way: {} for way in ways}
    for clock in ("wall", "cpu"):
        medians = {way: statistics.median(times[clock]) for way, times in found.items()}
        best = min(medians["alone"], medians["in turn"])
        for way in ways:
            table[way][f"{clock}_us"] = 1e6 * medians[way]
            table[way][f"{clock}_ratio"] = best / medians[way]
    return {"ways": table}


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


def make_workload(data: Splits, make_model: Callable[..., nn.Module], *, eval_every: float = 0.05) -> Workload:
    """The benchmark's workload: 400 steps, by default an evaluation every twentieth of them."""
    return Workload(
        data=data,
        task=Task.CLASSIFICATION,
        make_model=make_model,
        input_shape=(1, 28, 28),
        num_outputs=10,
        budget=Budget(STEPS, len(data.train) // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        eval_every=eval_every,
        eval_batch_size=EVAL_SIZE,
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
        for inputs, targets in zip(split.inputs.split(EVAL_SIZE), split.targets.split(EVAL_SIZE), strict=True):
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
