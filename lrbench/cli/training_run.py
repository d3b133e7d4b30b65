"""One training from its plan to its record: everything of `lrbench run` that needs torch."""

import csv
import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from lrbench.cli.assemble import trial_of, workload_of
from lrbench.cli.check import fails, findings_of
from lrbench.cli.display import progress_bar, summarize
from lrbench.cli.environment import environment, resolve_device
from lrbench.cli.signals import StopRequest
from lrbench.config import Plan
from lrbench.config.plan import flat_values
from lrbench.data import Splits
from lrbench.schedules.rates import RateError, Rates
from lrbench.spec import Evaluation, RunState, run_state
from lrbench.tracking.facts import DatasetFacts
from lrbench.tracking.find import find_unfinished
from lrbench.tracking.record import Record, RecordBusyError
from lrbench.trials import build_training, call_model, run_training


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        plan: of the run.
        record: its directory.
        state: see RunState.
        found: last and best metrics, seconds and steps, see `summarize`.
    """

    plan: Plan
    record: Path
    state: RunState
    found: Mapping[str, float]


class Stopped(Exception):  # noqa: N818  # not an error: the user asked for it
    """A signal ended the run; its record can be resumed."""

    def __init__(self, step: int, total_steps: int, exit_code: int) -> None:
        super().__init__(f"stopped at step {step} of {total_steps}")
        self.exit_code = exit_code


def check(plan: Plan) -> None:
    """Build what can be built before any data is read, and lint the schedule; warnings go to stderr.

    Raises:
        ValueError: a rate is unusable, the schedule refuses its parameters, the model refuses the shape of the data,
            there is no such device, or the lint found what must stop the run (with `strict`, any warning).
    """
    resolve_device(plan.values["device"])
    trial_of(plan).rates(budget=plan.budget, eval_every=plan.values["budget"]["eval_every"])
    findings = findings_of(plan)
    for finding in findings:
        if finding.severity != "note":
            print(f"lrbench: {finding.severity}: {finding.message}", file=sys.stderr)
    if fails(findings, strict=plan.values["strict"]):
        raise ValueError(
            f"scheduler={plan.values['scheduler']['name']} is set up wrongly, see above; nothing was trained"
        )
    call_model(plan.make_model, input_shape=plan.dataset.input_shape, num_outputs=plan.dataset.num_outputs)


def train(plan: Plan, *, tracking_uri: str, on_record: Callable[[Path], None]) -> Outcome:
    """Train a plan, resuming an interrupted run of the same fingerprint, and leave its record.

    Args:
        plan: checked, its rates too.
        tracking_uri: where the record is to be sent; "" for nowhere.
        on_record: told the record's directory as soon as it exists.

    Raises:
        Stopped: by a signal.
        RateError: a closed-loop schedule gave an unusable rate.
        ValueError: the data are missing or damaged.
        OSError: the disk is full.
    """
    device = resolve_device(plan.values["device"])
    torch.set_num_threads(plan.values["threads"])
    data = plan.dataset.load()
    training = build_training(workload_of(plan, data, device), [trial_of(plan)], seed=plan.values["seed"])
    facts = environment(device)
    with _open_record(plan, data, tracking_uri, facts) as record:
        on_record(record.path)
        _write_json(record.artifacts / "environment.json", facts)
        OmegaConf.save(OmegaConf.create(plan.values), record.artifacts / "config.yaml")
        if not training.rates[0].closed_loop:
            _write_rates(record.artifacts / "rates.csv", training.rates[0])

        failure: RateError | None = None
        with (
            StopRequest() as stop,
            progress_bar(plan.run_name, training.total_steps, completed=max(0, record.last_step)) as bar,
        ):
            for progress in run_training(
                training,
                checkpoints=record.path / "checkpoints",
                every_seconds=plan.values["training"]["checkpoint_seconds"],
                stop_requested=stop,
                before_checkpoint=record.sync,
            ):
                evaluation = progress.evaluations.get(0)
                if evaluation is not None:
                    record.append(evaluation)
                failure = progress.failures.get(0)
                bar.update(progress.step, evaluation)

        evaluations = record.evaluations()
        last = evaluations[-1]
        state = run_state(
            first_loss=evaluations[0].metrics["val/loss"],
            last_loss=last.metrics["val/loss"],
            last_step=last.step,
            total_steps=training.total_steps,
        )
        if stop() and training.step < training.total_steps and state is RunState.INCOMPLETE:
            record.end("KILLED", state, f"{stop.name} at step {training.step}")
            raise Stopped(training.step, training.total_steps, stop.exit_code)
        if failure is not None:
            record.end("FAILED", state, str(failure))
            raise failure
        found = summarize(evaluations, plan.dataset.task, batch_size=plan.values["training"]["batch_size"])
        _write_rates(record.artifacts / "rates.csv", training.rates[0])
        _write_curve(record.artifacts / "curve.csv", evaluations)
        weights = training.learner.state_dict()["models"][0]
        _write_json(record.artifacts / "outcome.json", {"state": state, **found, "weights_sha256": _digest(weights)})
        record.end("FINISHED", state)
        shutil.rmtree(record.path / "checkpoints", ignore_errors=True)  # there is nothing left to resume
        return Outcome(plan=plan, record=record.path, state=state, found=found)


def _open_record(plan: Plan, data: Splits, tracking_uri: str, facts: Mapping[str, str]) -> Record:
    """Take up an interrupted run of this fingerprint, or start a new record."""
    root = Path(plan.values["results_dir"]) / "runs"
    values = plan.values
    interrupted = find_unfinished(root, plan.fingerprint)
    if interrupted is not None:
        try:
            record = Record.open(interrupted)
        except RecordBusyError:
            pass  # another process was quicker; it trains that one, we train our own
        else:
            if record.facts.dataset is not None and record.facts.dataset.digest != data.digest:
                record.close()
                raise ValueError(
                    f"dataset={values['dataset']['name']} has the digest {data.digest[:12]}…, but the interrupted run "
                    f"in {interrupted} was trained on {record.facts.dataset.digest[:12]}…; restore the data, or delete "
                    "that record"
                )
            return record
    names = {group: values[group]["name"] for group in ("scheduler", "warmup", "model", "dataset", "optimizer")}
    tags = {
        **names,
        "seed": values["seed"],
        "budget": plan.budget.total_steps,
        "batch_size": values["training"]["batch_size"],
        "workload": plan.workload,
        "role": "run",
        "fingerprint": plan.fingerprint,
        "device": facts["device"],
    }
    if "commit" in facts:
        tags["commit"] = facts["commit"]
    return Record.create(
        root,
        name=plan.run_name,
        experiment=values["tracking"]["experiment"] or plan.workload,
        tracking_uri=tracking_uri,
        fingerprint=plan.fingerprint,
        tags={key: str(value) for key, value in tags.items()},
        params={**flat_values(values), "budget.total_steps": plan.budget.total_steps},
        dataset=DatasetFacts(
            name=names["dataset"],
            digest=data.digest,
            profile={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        ),
        note=f"**{names['scheduler']}** on {names['dataset']}, {names['model']}, {plan.budget.total_steps} steps "
        f"({plan.budget.epochs:.4g} epochs), base rate {values['optimizer']['lr']:g}.",
    )


def _write_rates(path: Path, rates: Rates) -> None:
    """Write the table: zero-based step, the rate it used, and the momentum when the schedule moves it."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if rates.momentum is None:
            writer.writerow(["step", "lr"])
            writer.writerows(enumerate(rates.lr.tolist()))
        else:
            writer.writerow(["step", "lr", "momentum"])
            writer.writerows(zip(range(len(rates.lr)), rates.lr.tolist(), rates.momentum.tolist(), strict=True))


def _write_curve(path: Path, evaluations: list[Evaluation]) -> None:
    """Write one row an evaluation; a metric that was not measured is an empty cell, NaN is nan."""
    names = list(dict.fromkeys(name for e in evaluations for name in e.metrics))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "time/seconds", *names])
        for e in evaluations:
            writer.writerow([e.step, e.seconds, *(e.metrics.get(name, "") for name in names)])


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON: it has no NaN, so non-finite numbers become strings."""
    strict = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in document.items()}
    path.write_text(json.dumps(strict, indent=1, allow_nan=False) + "\n")


def _digest(weights: Mapping[str, Tensor]) -> str:
    """Digest weights, so that two runs can be compared bit for bit."""
    digest = hashlib.sha256()
    for name, tensor in weights.items():
        digest.update(name.encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
