"""Measure stacked trials and recorded steps on a GPU: `python scripts/bench_gpu.py [fused] [single] [--only NAME]`.

Every figure is a ratio of ways to do the same steps, run in turn in one process; the median over the rounds is quoted.
Data are random tensors of the datasets' shapes, on the device. Prints a line a figure and writes JSON with the name of
the card.

`fused`: trial-steps per second of K stacked trials, whose step is replayed as a CUDA graph, against one trial stepped
eagerly by the sequential learner.

`single`: time of a step of one trial as `lrbench run` takes it on a GPU (gathering its batch, rates from the table, a
replayed graph) over a CUDA-graph loop written by hand, with the same batches and a rate that changes every step.

`--device cpu` runs all of it without graphs: a rehearsal, whose figures say nothing about a GPU.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bench import mlp
from numpy.typing import NDArray
from torch import Tensor, nn

from lrbench.data import Split, Splits
from lrbench.models import CNN, CifarResNet, LeNet
from lrbench.optimizers import sgd
from lrbench.schedules import cosine
from lrbench.spec import Budget, Task
from lrbench.training import Learner, StepOptions, batch_order
from lrbench.trials import Trial, Workload, build_learner, build_model

SEED, LR, MOMENTUM = 0, 0.01, 0.9
NUM_EXAMPLES = 20_000
WARM_UP = 5  # steps: more than a graph needs before it is recorded
SAMPLE_SECONDS = 0.3


@dataclass(frozen=True)
class Case:
    """A model on data of some shape, and how many trials of it are stacked."""

    make_model: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    batch_size: int
    num_trials: int
    options: StepOptions


IMAGE, PLAIN, FAST = (1, 28, 28), StepOptions(), StepOptions(autocast=True, channels_last=True)
CASES = {
    "digits mlp 32, batch 32": Case(mlp(32), (1, 8, 8), 32, 64, PLAIN),
    "mnist mlp 256-128, batch 128": Case(mlp(256, 128), IMAGE, 128, 64, PLAIN),
    "mnist lenet, batch 128": Case(LeNet, IMAGE, 128, 32, PLAIN),
    "digits cnn 8-16, batch 32": Case(partial(CNN, channels=[8, 16], batch_norm=True), (1, 8, 8), 32, 64, PLAIN),
    "cifar10 resnet20, batch 128": Case(
        partial(CifarResNet, blocks_per_stage=3, channels=16), (3, 32, 32), 128, 16, PLAIN
    ),
    "cifar10 resnet20, batch 128, bf16, channels last": Case(
        partial(CifarResNet, blocks_per_stage=3, channels=16), (3, 32, 32), 128, 16, FAST
    ),
}
Advance = Callable[[int], None]  # takes n steps with every trial, and waits for them


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", default=["fused", "single"])
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="leave out cases whose name does not contain this")
    parser.add_argument("--out", type=Path, default=Path("results/bench_gpu.json"))
    arguments = parser.parse_args()
    device = arguments.device
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    rows = []
    for name, case in CASES.items():
        if arguments.only in name:
            for figure in arguments.figures:
                found = {"fused": fused, "single": single}[figure](case, device, arguments.rounds)
                print(
                    f"{figure}: {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True
                )
                rows.append({"figure": figure, "case": name, "rounds": arguments.rounds, **found})
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                document = {"device": card, "torch": str(torch.__version__), "rows": rows}
                arguments.out.write_text(json.dumps(document, indent=1) + "\n")


def fused(case: Case, device: torch.device, rounds: int) -> dict[str, float]:
    """Stacked trials over one that is stepped eagerly."""
    workload = make_workload(case, device)
    alone = by_learner(workload, 1, "sequential")
    stacked = by_learner(workload, case.num_trials, "fused")
    times = in_turn({"alone": alone, "stacked": stacked}, rounds)
    return {
        "trials": case.num_trials,
        "us_per_step_alone": 1e6 * times["alone"],
        "us_per_step_stacked": 1e6 * times["stacked"],
        "ratio": case.num_trials * times["alone"] / times["stacked"],
    }


def single(case: Case, device: torch.device, rounds: int) -> dict[str, float]:
    """Our step of one trial over that of a loop written by hand."""
    workload = make_workload(case, device)
    ways = {
        "lrbench": by_learner(workload, 1, "fused"),
        "eager": by_learner(workload, 1, "sequential"),
        "hand": by_hand(workload),
    }
    times = in_turn(ways, rounds)
    return {
        "us_per_step_by_hand": 1e6 * times["hand"],
        "ratio": times["lrbench"] / times["hand"],
        "eager_over_hand": times["eager"] / times["hand"],
    }


def by_learner(workload: Workload, num_trials: int, learner: str) -> Advance:
    """Steps as lrbench takes them."""
    trials = [Trial("cosine", cosine, partial(sgd, lr=LR, momentum=MOMENTUM)) for _ in range(num_trials)]
    built: Learner = build_learner(workload, trials, workload.data, seed=SEED, learner=learner)
    batches = workload.data.train.batches(order_of(workload))

    def advance(num_steps: int) -> None:
        lr = np.tile(rates(num_steps), (num_trials, 1))
        built.advance(islice(batches, num_steps), range(num_trials), lr, [None] * num_trials).cpu()

    return advance


def by_hand(workload: Workload) -> Advance:
    """Steps as a careful person writes them: static tensors, one graph, rate and batch copied in."""
    device, options = workload.device, workload.options
    model = build_model(workload, seed=SEED)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    rate = torch.tensor(LR, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM, fused=True)
    train = workload.data.train
    order = order_of(workload)
    inputs, targets = next(train.batches(iter([next(order)])))
    if options.channels_last and inputs.ndim == 4:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    loss = torch.zeros((), device=device)

    def work() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16) if options.autocast else nullcontext():
            found = F.cross_entropy(model(inputs), targets)
        found.backward()
        optimizer.step()
        loss.copy_(found.detach())

    replay = recorded(work) if device.type == "cuda" else work

    def advance(num_steps: int) -> None:
        losses: list[Tensor] = []
        table = torch.from_numpy(rates(num_steps)).float().to(device)
        for step, batch in enumerate(train.batches(islice(order, num_steps))):
            inputs.copy_(batch[0], non_blocking=True)
            targets.copy_(batch[1], non_blocking=True)
            rate.copy_(table[step])
            replay()
            losses.append(loss.clone())
        torch.stack(losses).cpu()

    return advance


def recorded(work: Callable[[], None]) -> Callable[[], None]:
    """Record a CUDA graph, as torch's notes on them say."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def in_turn(ways: Mapping[str, Advance], rounds: int) -> dict[str, float]:
    """Median seconds a step of each way."""
    steps = {}
    for way, advance in ways.items():
        advance(WARM_UP)
        began = time.perf_counter()
        advance(WARM_UP)
        steps[way] = max(WARM_UP, round(WARM_UP * SAMPLE_SECONDS / (time.perf_counter() - began)))
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, advance in ways.items():
            began = time.perf_counter()
            advance(steps[way])
            found[way].append((time.perf_counter() - began) / steps[way])
    return {way: statistics.median(times) for way, times in found.items()}


def rates(num_steps: int) -> NDArray[np.float64]:
    """A rate that changes every step and keeps every model finite."""
    return LR * np.linspace(1.0, 0.9, num_steps)


def order_of(workload: Workload) -> Iterator[Tensor]:
    """Batches without end."""
    return batch_order(seed=SEED, num_train=NUM_EXAMPLES, batch_size=workload.batch_size, begin=0, end=10**9)


def make_workload(case: Case, device: torch.device) -> Workload:
    """A workload on random data that lie on the device."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(NUM_EXAMPLES, *case.input_shape, generator=generator)
    split = Split(inputs, torch.randint(10, (NUM_EXAMPLES,), generator=generator)).to(device)
    return Workload(
        data=Splits(split, split, split, None, "random"),
        task=Task.CLASSIFICATION,
        make_model=case.make_model,
        input_shape=case.input_shape,
        num_outputs=10,
        budget=Budget(1, 1),
        batch_size=case.batch_size,
        eval_every=1.0,
        eval_batch_size=case.batch_size,
        device=device,
        options=case.options,
    )


if __name__ == "__main__":
    main()
