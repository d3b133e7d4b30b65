"""Small made-up results whose analysis can be worked out by hand."""

import numpy as np

from lrbench.analysis.analyse import Settings, analyse
from lrbench.results.schema import frame_from_rows

SCHEDULES = ("constant", "cosine", "linear")
EVERY = 10  # evaluations of one run after step 0


def run(workload, scheduler, seed, final, *, budget=100, role="final", rate=0.1, hit=1.0, initial=3.0, **facts):
    """Rows of one run that falls in a straight line to `final`, there at the fraction `hit` of the budget."""
    values = facts.pop("values", None)
    if values is None:
        values = [final + (initial - final) * max(0.0, 1 - k / EVERY / hit) for k in range(EVERY + 1)]
    steps = facts.pop("steps", [budget * k // EVERY for k in range(len(values))])
    test = facts.pop("test", None)
    base = {
        "run_id": f"{workload}-{scheduler}-{role}-{rate}-{seed}", "workload": workload, "scheduler": scheduler,
        "seed": seed, "budget": budget, "state": "ok", "role": role, "optimizer.lr": rate, **facts,
    }  # fmt: skip
    rows = [base | {"step": step, "val/loss": value} for step, value in zip(steps, values, strict=True)]
    rows[-1]["test/loss"] = test
    return rows


def field(finals, *, workload="w", **facts):
    """Final runs of every schedule: `finals` maps a schedule to the final value of each seed."""
    return [
        row
        for scheduler, values in finals.items()
        for seed, value in enumerate(values)
        for row in run(workload, scheduler, seed, value, **facts)
    ]


def spread_out(schedules=SCHEDULES, *, gap=0.3, noise=0.02, seeds=5, workloads=1, seed=0, **facts):
    """Each schedule better than the one before by `gap`, with noise over seeds."""
    rng = np.random.default_rng(seed)
    rows = []
    for w in range(workloads):
        finals = {s: 1.5 - gap * i + noise * rng.standard_normal(seeds) for i, s in enumerate(schedules)}
        rows += field(finals, workload=f"w{w}", **facts)
    return rows


def analysed(rows, *, metric="val/loss", direction="minimize", **settings):
    settings = {"num_resamples": 200, **settings}
    return analyse(frame_from_rows(rows), settings=Settings(metric, direction, **settings))


def cell(analysis, scheduler, workload=None, section=0):
    (found,) = [
        c for c in analysis.sections[section].cells if c.scheduler == scheduler and workload in (None, c.workload)
    ]
    return found


def pair(analysis, first, second):
    (found,) = [p for p in analysis.sections[0].pairs if (p.first, p.second) == (first, second)]
    return found
