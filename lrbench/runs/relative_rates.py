"""Schedules as rates relative to a peak, and runs of a frame as probes with their exact rates."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from lrbench.analysis.statistics.power_law_fit import Probe
from lrbench.analysis.statistics.terms import FloatArray, Unavailable
from lrbench.config.component import group_files, read_component
from lrbench.config.plan import bind_schedule, bind_warmup
from lrbench.schedules.rates import Rates, make_rates
from lrbench.spec import DOCUMENTATION, RunState

Node = Mapping[str, Any]  # of a config: a file of a group, with values of the caller
SAME_PEAK = 0.05  # the law fails across peak rates
_SAME_RATE = 1e-6  # of what a run recorded and what its parameters give


def described(scheduler: Node) -> str:
    """Name a schedule by its file and by the values that the caller changed, such as `wsd decay_fraction=0.6`."""
    name = str(scheduler["name"])
    own = read_component("scheduler", name, {}) if name in group_files("scheduler") else {}
    changed = {key: value for key, value in parameters_of(scheduler).items() if key not in own or own[key] != value}
    return " ".join([name, *(f"{key}={value}" for key, value in changed.items())])


def parameters_of(node: Node) -> dict[str, Any]:
    """The parameters of a component: all but what it is called and how it is documented."""
    return {key: value for key, value in node.items() if key not in DOCUMENTATION and key != "_target_"}


def rates_of(scheduler: Node, warmup: Node, *, total_steps: int, base_lr: float) -> Rates:
    """The table of rates of a schedule in an optimizer that leaves its rates alone.

    Raises:
        ValueError: see `make_rates`.
    """
    return make_rates(
        bind_schedule(scheduler),
        functools.partial(torch.optim.SGD, lr=base_lr),
        total_steps=total_steps,
        num_evaluations=20,
        warmup=bind_warmup(warmup),
        name=str(scheduler["name"]),
    )


@dataclass(frozen=True)
class Probes:
    """Short runs of one workload and peak rate.

    Attributes:
        probes: one a run.
        schedulers: by the names of the probes.
        warmup: of all.
        base_lr: that their schedules scale.
        peak_lr: highest rate.
    """

    probes: tuple[Probe, ...]
    schedulers: Mapping[str, Node]
    warmup: Node
    base_lr: float
    peak_lr: float

    def candidates(self, schedulers: Sequence[Node], total_steps: int) -> tuple[dict[str, FloatArray], dict[str, str]]:
        """Rates of other trainings, with the warmup and the base rate of the probes, relative to their peak.

        Args:
            schedulers: of the trainings.
            total_steps: of each, warmup included.

        Returns:
            By name, the rates, (total_steps,), of those of which the law can speak; and why it cannot of the others.

        Raises:
            ValueError: see `make_rates`.
        """
        rates, left_out = {}, {}
        for scheduler in schedulers:
            name = described(scheduler)
            table = rates_of(scheduler, self.warmup, total_steps=total_steps, base_lr=self.base_lr)
            highest = float(table.lr.max()) / self.peak_lr
            if table.closed_loop:
                left_out[name] = "its rates depend on the loss"
            elif table.momentum is not None:
                left_out[name] = "it moves the momentum, of which the law knows nothing"
            elif abs(highest - 1) > SAME_PEAK:
                left_out[name] = f"its peak rate is {highest:.3g} times that of the probes"
            else:
                rates[name] = table.lr / self.peak_lr
        return rates, left_out


def gallery() -> list[Node]:
    """Every schedule of conf/scheduler that needs nothing of the user's, at its defaults."""
    names = [name for name in group_files("scheduler") if not name.startswith("own/")]
    return [read_component("scheduler", name, {}) for name in names]


def probes_of(frame: pd.DataFrame) -> Probes | Unavailable:
    """Read the runs of a frame as probes, their rates made again from their parameters.

    The frame knows rates at the evaluations only; there they are held against those of the table.

    Args:
        frame: `lrbench.results.schema`, with `optimizer.lr`, `lr`, `val/loss` and all parameters of the schedules.

    Returns:
        `Unavailable` where a run diverged or has not ended, or there are several peak rates.

    Raises:
        ValueError: a column is missing, runs are of several workloads or warmups, or a table contradicts the rates
            that were recorded.
    """
    missing = [name for name in ("optimizer.lr", "lr", "val/loss") if name not in frame or frame[name].isna().all()]
    if missing:
        raise ValueError(f"predict needs {', '.join(missing)} of the probes, which these results do not have")
    workloads = sorted(set(frame["workload"]))
    if len(workloads) != 1:
        raise ValueError(f"probes must be of one workload, got {len(workloads)}: {', '.join(workloads)}")
    tables, schedulers, warmups = [], {}, []
    for run_id, run in frame.groupby("run_id", sort=False):
        scheduler, warmup = nodes_of(run)
        name, first = described(scheduler), run.iloc[0]
        if first["state"] != RunState.OK:
            return Unavailable(f"the probe {name} of seed {first['seed']} is {first['state']}")
        table = rates_of(scheduler, warmup, total_steps=int(first["budget"]), base_lr=float(first["optimizer.lr"]))
        _check_rates(run, table, f"run {run_id} ({name})")
        tables.append((name, table.lr, run[run["val/loss"].notna() & (run["step"] > 0)].sort_values("step")))
        schedulers[name] = scheduler
        warmups.append(warmup)
    if any(warmup != warmups[0] for warmup in warmups):
        raise ValueError("probes must have one warmup, and these have several")
    peaks = [float(lr.max()) for _, lr, _ in tables]
    if max(peaks) > (1 + SAME_PEAK) * min(peaks):
        distinct = ", ".join(f"{peak:.4g}" for peak in sorted(set(peaks)))
        return Unavailable(f"the law holds at one peak rate, and the probes have several: {distinct}")
    probes = [
        Probe.of(name, lr / max(peaks), *(known[key].to_numpy(dtype=np.float64) for key in ("step", "val/loss")))
        for name, lr, known in tables
    ]
    return Probes(tuple(probes), schedulers, warmups[0], float(frame["optimizer.lr"].iloc[0]), max(peaks))


def nodes_of(run: pd.DataFrame) -> tuple[Node, Node]:
    """The schedule and the warmup of a run, as its parameters have them; what they leave open is the default.

    Raises:
        ValueError: the schedule is no file of conf/scheduler.
    """
    first = run.iloc[0]
    given: dict[str, dict[str, Any]] = {"scheduler": {}, "warmup": {}}
    for column in run.columns:
        group, _, key = column.partition(".")
        if group in given and key not in ("", "_target_") and pd.notna(first[column]):
            given[group][key] = _plain(first[column])
    names = {"scheduler": str(first["scheduler"]), "warmup": str(given["warmup"].pop("name", "none"))}
    given["scheduler"].pop("name", None)
    scheduler, warmup = (read_component(group, names[group], given[group]) for group in ("scheduler", "warmup"))
    return scheduler, warmup


def _plain(value: Any) -> Any:
    """A config value as YAML has it, of a cell of the frame: lists are text there."""
    if isinstance(value, str):
        return yaml.safe_load(value) if value.startswith(("[", "{")) else value
    return value.item() if isinstance(value, np.generic) else value


def _check_rates(run: pd.DataFrame, table: Rates, what: str) -> None:
    known = run[run["lr"].notna() & (run["step"] > 0)]
    for step, lr in zip(known["step"], known["lr"], strict=True):
        if abs(table.lr[step - 1] - lr) > _SAME_RATE * table.lr.max():
            raise ValueError(
                f"{what} had the rate {lr:.6g} at step {step}, and its parameters give {table.lr[step - 1]:.6g}: its "
                "rates cannot be made again"
            )
