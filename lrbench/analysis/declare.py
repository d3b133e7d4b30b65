"""What a report declares before it looks: the metric, its direction, the target; and what the frame mixes."""

import math
from collections.abc import Mapping

import pandas as pd

from lrbench.analysis.analyse import Settings
from lrbench.analysis.audit.findings import Finding, listed, plural
from lrbench.analysis.prepare import measured_metrics
from lrbench.analysis.statistics.terms import Direction
from lrbench.results.schema import as_floats
from lrbench.spec import Task, direction_of

_WORDS: dict[str, Direction] = {"minimize": "minimize", "maximize": "maximize"}
_HEADLINES = (Task.CLASSIFICATION.objective, Task.REGRESSION.objective)
_MOST_NAMED = 5  # experiments in a sentence


def declare(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    direction: str | None = None,
    target: float | Mapping[str, float] | None = None,
    margin: float = 0.1,
    reference: str | None = None,
    bootstrap_seed: int = 0,
) -> Settings:
    """Declare metric, direction, target, margin, reference and seed.

    Args:
        frame: tidy; decides the metric where none is given.
        metric: without one it is the endpoint by which all runs were judged; else `val/accuracy` where every run
            measured it, else `val/loss`; where neither was measured in every run, the one that more workloads have.
        direction: minimize or maximize; known for the metrics that lrbench measures (`lrbench.spec.METRICS`).
        target: see `Settings`.
        margin: of equivalence, above 0: .1 = 10 % of the error or loss.
        reference: the schedule that all others are compared with; None compares all pairs.
        bootstrap_seed: whole number >= 0.

    Raises:
        ValueError: the metric was not measured, its direction is unknown, the margin is not above 0, or the seed is no
            whole number.
    """
    metric = metric or _default_metric(frame)
    given = direction or direction_of(metric)
    if given is None:
        raise ValueError(f"direction must be declared for metric={metric}: direction=minimize or direction=maximize")
    if given not in _WORDS:
        raise ValueError(f"direction must be minimize or maximize, got {given!r}")
    if bootstrap_seed < 0:
        raise ValueError(f"bootstrap_seed must be a whole number >= 0, got {bootstrap_seed!r}")
    if not 0 < margin < math.inf:
        raise ValueError(f"margin must be above 0 (.1 = 10 % of the error or loss), got {margin!r}")
    return Settings(
        metric=metric,
        direction=_WORDS[given],
        target=target,
        margin=margin,
        reference=reference,
        bootstrap_seed=bootstrap_seed,
    )


def mixture_of(frame: pd.DataFrame, *, is_selected: bool) -> list[Finding]:
    """Say what is mixed where nothing was selected, and what was left out.

    Args:
        frame: tidy.
        is_selected: somebody chose these runs, so that they belong together.
    """
    findings = []
    runs = frame.loc[~frame["run_id"].duplicated()]
    counts = runs["experiment"].value_counts().sort_index()
    if len(counts) > 1 and not is_selected:
        shown = [f"{name} ({plural(count, 'run')})" for name, count in counts.items()]
        if len(shown) > _MOST_NAMED:
            shown = [*shown[:_MOST_NAMED], f"{len(counts) - _MOST_NAMED} more"]
        sentence = (
            f"All runs of this store are taken, of {len(counts)} experiments that need not belong together: "
            f"{listed(shown)}; tracking.experiment=NAME takes those of one."
        )
        findings.append(Finding("several experiments", "note", sentence, ()))
    judged_by = sorted(frame["endpoint"].dropna().unique()) if "endpoint" in frame else []
    if len(judged_by) > 1:
        sentence = (
            f"The workloads were tuned for different metrics, {listed(judged_by)}; here all are compared by one of "
            "them, metric=NAME chooses."
        )
        findings.append(Finding("several endpoints", "note", sentence, ()))
    if num_superseded := frame.attrs.get("num_superseded", 0):
        sentence = (
            f"{plural(num_superseded, 'older run')} left out that {'was' if num_superseded == 1 else 'were'} begun "
            "anew, because code or data had changed or for want of a checkpoint; tag.code=DIGEST takes them."
        )
        findings.append(Finding("superseded runs", "note", sentence, ()))
    return findings


def _default_metric(frame: pd.DataFrame) -> str:
    endpoints = set(frame["endpoint"].dropna().unique()) if "endpoint" in frame else set()
    if len(endpoints) == 1 and frame["endpoint"].notna().all():
        return str(endpoints.pop())
    candidates = [metric for metric in _HEADLINES if metric in frame.columns]
    measured = {metric: frame[~as_floats(frame[metric])[1]] for metric in candidates}
    for metric, rows in measured.items():
        if rows["run_id"].nunique() == frame["run_id"].nunique():
            return metric
    num_workloads = {metric: rows["workload"].nunique() for metric, rows in measured.items()}
    if any(num_workloads.values()):
        return max(num_workloads, key=lambda metric: num_workloads[metric])
    found = measured_metrics(frame)
    if not found:
        raise ValueError("no metric was measured: no column train/..., val/... or test/... has a value")
    raise ValueError(f"neither {' nor '.join(_HEADLINES)} was measured; choose metric=NAME direction=..., of {found}")
