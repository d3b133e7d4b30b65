"""The HTML report: complete, self-contained, escaped, and the same look for the same schedule everywhere."""

import math

import numpy as np
import pytest

from lrbench.analysis.analyse import Settings, analyse
from lrbench.results import frame_from_rows

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)


def example_frame(*, schedulers=("constant", "cosine", "linear"), workloads=("digits-mlp",), seeds=4, budgets=(200,)):
    """A made-up comparison with tuning runs and final runs; rate 0.3 diverges, and so does a last seed of the last."""
    rows = []
    for w, workload in enumerate(workloads):
        for budget in budgets:
            name = workload if len(budgets) == 1 else f"{workload}-{budget}"
            for s, scheduler in enumerate(schedulers):
                best = 0.3 - 0.1 * ((s * 7 + w) % len(schedulers)) / len(schedulers)
                for trial, rate in enumerate(RATES):
                    rows += _run(name, scheduler, "tuning", 1000 + trial, budget, rate, best, rate == RATES[-1])
                for seed in range(seeds):
                    diverges = seed == seeds - 1 and s == len(schedulers) - 1 and seeds > 1
                    rows += _run(name, scheduler, "final", seed, budget, 0.03, best, diverges)
    return frame_from_rows(rows)


def _run(workload, scheduler, role, seed, budget, rate, best, diverges):
    noise = np.random.default_rng([seed, *map(ord, workload + scheduler)])
    worse = 0.15 * abs(math.log10(rate / 0.03))
    rows = []
    steps = range(0, budget + 1, budget // 20)
    for step in steps:
        u = step / budget
        loss = best + worse + (2.3 - best) * math.exp(-6 * u) + 0.01 * noise.standard_normal()
        if diverges and u > 0.5:
            loss = math.nan
        rows.append(
            {
                "run_id": f"{workload}/{scheduler}/{role}/{seed}", "workload": workload, "scheduler": scheduler,
                "budget": budget, "seed": seed, "role": role, "study": f"{workload}/{scheduler}",
                "trial": seed - 1000 if role == "tuning" else None, "status": "FINISHED", "batch_size": 32,
                "state": "diverged" if diverges else "ok", "step": step, "samples": 32 * step,
                "time/seconds": 0.01 * step, "lr": rate * (1 - u) + 1e-5, "val/loss": loss, "optimizer.lr": rate,
                "commit": "abc", "device": "cpu",
            }
        )  # fmt: skip
        if diverges and u > 0.5:
            break
    return rows
