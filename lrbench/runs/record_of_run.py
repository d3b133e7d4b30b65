"""The record of a training: how it is found or made, and the files that describe it."""

import csv
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from lrbench.addresses import masked
from lrbench.config import Plan
from lrbench.config.plan import flat_values
from lrbench.data import Splits
from lrbench.runs.code import imported_code_digest
from lrbench.schedules.rates import Rates
from lrbench.spec import Evaluation
from lrbench.tracking.facts import DatasetFacts, read_facts
from lrbench.tracking.find import RecordIndex, is_finished
from lrbench.tracking.record import Record, RecordBusyError, is_busy


@dataclass(frozen=True)
class Manner:
    """How a run is trained; another manner rounds otherwise, and a curve must not change it half way.

    Attributes:
        learner: sequential or fused.
        num_stacked: runs that train as one model.
        stack: what identifies them and their order; "" for one alone.
    """

    learner: str
    num_stacked: int
    stack: str

    @property
    def tags(self) -> dict[str, str]:
        """As the record keeps it. Seconds of stacked runs are shares of a common clock."""
        stack = {"stack": self.stack} if self.stack else {}
        return {"learner": self.learner, "stacked": str(self.num_stacked), **stack}


def open_record(
    plan: Plan,
    data: Splits,
    tracking_uri: str,
    facts: Mapping[str, str],
    manner: Manner,
    say: Callable[[str], None],
) -> Record:
    """Take up an interrupted run of this fingerprint, code, data and manner, or start a new record.

    Args:
        plan: of the run.
        data: read.
        tracking_uri: where the record is to be sent; "" for nowhere.
        facts: of the environment.
        manner: in which it will be trained.
        say: told that an interrupted run is begun anew, and why.
    """
    root = Path(plan.values["results_dir"]) / "runs"
    values, study = plan.values, plan.values["study"]
    origin = {"code": imported_code_digest(values), "data": data.digest[:16], **manner.tags}
    if (interrupted := _interrupted(root, plan, origin, say)) is not None:
        return interrupted
    names = {group: values[group]["name"] for group in ("warmup", "model", "dataset")}
    names["scheduler"] = plan.contestant
    tags = {
        **tags_of_workload(plan, facts),
        "scheduler": names["scheduler"],
        "warmup": names["warmup"],
        "seed": values["seed"],
        "budget": plan.budget.total_steps,
        "role": study["role"],
        "fingerprint": plan.fingerprint,
        **origin,
        **study["tags"],
    }
    if study["name"] is not None:
        tags |= {"study": study["name"], "trial": study["trial"]}
    return Record.create(
        root,
        name=plan.run_name,
        experiment=values["tracking"]["experiment"] or plan.workload,
        tracking_uri=tracking_uri,
        fingerprint=plan.fingerprint,
        tags=tags,
        params={**flat_values(values), "budget.total_steps": plan.budget.total_steps},
        dataset=facts_of_dataset(plan, data),
        parent=None if study["parent"] is None else root / study["parent"],
        note=f"**{names['scheduler']}** on {names['dataset']}, {names['model']}, {plan.budget.total_steps} steps "
        f"({plan.budget.epochs:.4g} epochs), base rate {values['optimizer']['lr']:g}.",
    )


def tags_of_workload(plan: Plan, facts: Mapping[str, str]) -> dict[str, object]:
    """What whatever trains a plan's model on its data is found by, and where it ran."""
    return {
        **{group: plan.values[group]["name"] for group in ("model", "dataset", "optimizer")},
        "workload": plan.workload,
        "batch_size": plan.values["training"]["batch_size"],
        **{name: facts[name] for name in ("device", "commit") if name in facts},
    }


def facts_of_dataset(plan: Plan, data: Splits) -> DatasetFacts:
    """The data as MLflow shows them."""
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    return DatasetFacts(name=plan.values["dataset"]["name"], digest=data.digest, profile=sizes)


def _interrupted(root: Path, plan: Plan, origin: Mapping[str, str], say: Callable[[str], None]) -> Record | None:
    """Open the unfinished record that can be gone on with."""
    index = _index_of(root)
    index.refresh()
    for path in index.paths(plan.fingerprint):
        if is_finished(path) or is_busy(path):
            continue
        before = read_facts(path).tags
        changed = [name for name, value in origin.items() if before.get(name) != value]
        if changed:
            say(f"{plan.run_name} is begun anew: {', '.join(changed)} changed since {path.name} was interrupted")
            continue
        try:
            return Record.open(path)
        except RecordBusyError:
            continue  # another process was quicker; it trains that one, we train our own
    return None


@lru_cache(maxsize=1)  # the runs of a process have one home
def _index_of(root: Path) -> RecordIndex:
    return RecordIndex(root)


def describe(record: Record, plan: Plan, facts: Mapping[str, str], rates: Rates) -> None:
    """Write what is known before the first step."""
    write_json(record.artifacts / "environment.json", facts)
    write_yaml(record.artifacts / "config.yaml", plan.values)
    if not rates.closed_loop:
        write_rates(record.artifacts / "rates.csv", rates)


def write_rates(path: Path, rates: Rates) -> None:
    """Write the table: zero-based step, the rate it used, and the momentum when the schedule moves it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if rates.momentum is None:
            writer.writerow(["step", "lr"])
            writer.writerows(enumerate(rates.lr.tolist()))
        else:
            writer.writerow(["step", "lr", "momentum"])
            writer.writerows(zip(range(len(rates.lr)), rates.lr.tolist(), rates.momentum.tolist(), strict=True))


def write_curve(path: Path, evaluations: list[Evaluation]) -> None:
    """Write one row an evaluation; a metric that was not measured is an empty cell, NaN is nan."""
    names = list(dict.fromkeys(name for e in evaluations for name in e.metrics))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "time/seconds", *names])
        for e in evaluations:
            writer.writerow([e.step, e.seconds, *(e.metrics.get(name, "") for name in names)])


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as OmegaConf.save does, in a tenth of the time and without passwords."""
    text = yaml.dump(values, Dumper=_ConfigDumper, allow_unicode=True, sort_keys=False)
    path.write_text(masked(text), encoding="utf-8")


class _ConfigDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The C library's dumper where there is one."""

    def ignore_aliases(self, data: object) -> bool:
        """Write a value twice rather than name it."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quote what OmegaConf would read as a number: it takes 1e3 for one, YAML 1.1 does not."""
    try:
        float(text)
    except ValueError:
        return dumper.represent_str(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_ConfigDumper.add_representer(str, _represent_text)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON: it has no NaN, so non-finite numbers become strings."""
    strict = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in document.items()}
    path.write_text(json.dumps(strict, indent=1, allow_nan=False) + "\n")


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Digest weights, so that two runs can be compared bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
