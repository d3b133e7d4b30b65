"""What a job of training leaves behind, in a form that travels between processes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrbench.runs.errors import explain
from lrbench.spec import Evaluation, RunState, direction_of, run_state


@dataclass(frozen=True)
class Result:
    """The end of one job.

    Attributes:
        name: of the run, e.g. cosine-s0.
        tracking_uri: where the record is to be sent, "" for nowhere.
        record: its directory; None when the job was refused before there was one.
        state: None when the job was refused.
        found: last and best metrics, seconds and steps, see `summarize`.
        curve: headline validation metric by step; NaN where the run had diverged.
        error: why the job failed; None when it did not.
        stopped: a signal ended the run, which can be resumed.
        pruned: step at which the sweep cut the run short; None when it did not.
    """

    name: str
    tracking_uri: str = ""
    record: Path | None = None
    state: RunState | None = None
    found: Mapping[str, float] = field(default_factory=dict)
    curve: Mapping[int, float] = field(default_factory=dict)
    error: Exception | None = None
    stopped: bool = False
    pruned: int | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the machine failed and not the run (disk full, process killed): the same command tries again."""
        return isinstance(self.error, OSError)


def portable(error: Exception) -> Exception:
    """Return an error that can be pickled and means the same to a person.

    Exceptions with arguments of their own, such as Hydra's, cannot be unpickled.
    """
    is_plain = type(error) is ValueError or (isinstance(error, OSError) and type(error).__module__ == "builtins")
    return error if is_plain else ValueError(explain(error))


def summarize(evaluations: Sequence[Evaluation], endpoint: str, *, batch_size: int) -> dict[str, float]:
    """Pick what to report of one curve: last and best value of every metric, steps, seconds and speed.

    Best is over validation evaluations and is optimistic: the largest of many noisy values.
    """
    last = evaluations[-1]
    found = dict(last.metrics)
    values = [e.metrics[endpoint] for e in evaluations]
    finite = [v for v in values if math.isfinite(v)]
    if finite:
        found[f"best/{endpoint}"] = max(finite) if direction_of(endpoint) == "maximize" else min(finite)
    found["steps"] = last.step
    found["time/seconds"] = last.seconds
    if last.seconds > 0:
        found["time/samples_per_second"] = last.step * batch_size / last.seconds
    return found


def judge(evaluations: Sequence[Evaluation], endpoint: str, *, total_steps: int) -> RunState:
    """Say how a run ended, see `run_state`."""
    first, last = evaluations[0].metrics, evaluations[-1].metrics
    sign = 1 if direction_of(endpoint) == "maximize" else -1
    return run_state(
        first_loss=first["val/loss"],
        last_loss=last["val/loss"],
        last_step=evaluations[-1].step,
        total_steps=total_steps,
        has_improved=endpoint != "val/loss" and (last[endpoint] - first[endpoint]) * sign > 0,
    )


def curve_of(evaluations: Sequence[Evaluation], endpoint: str) -> dict[int, float]:
    """Pick the headline metric of every evaluation."""
    return {evaluation.step: evaluation.metrics[endpoint] for evaluation in evaluations}


def format_metric(name: str, value: float) -> str:
    """Write a metric for people: accuracies as percentages, losses with four digits, NaN as NaN."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"
