"""From the tidy frame to runs: one object per training, with its curve and what identifies it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from lrbench.analysis.audit.findings import Cell
from lrbench.analysis.statistics.curves import Curve, curves_of, final_mean, final_value
from lrbench.analysis.statistics.states import judged_states
from lrbench.analysis.statistics.terms import Direction, FloatArray, worst
from lrbench.results.schema import COLUMNS, as_floats, check_domain, sort_rows
from lrbench.spec import RunState

RATE = "optimizer.lr"
# What a search may vary; two runs that agree in all of it and in the seed are repeats of one replicate.
_POINT_PREFIXES = ("scheduler.", "warmup.", "optimizer.")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        seed: None if not recorded.
        role: tuning, final or run.
        state: how it ended, judged by the metric in use (`statistics.states.judge`).
        rate: base learning rate, None if not recorded.
        point: everything a search may vary, as one comparable text.
        beside_rate: the same without the rate.
        curve: of the validation metric; empty if it was never measured.
        lrs: learning rate at each evaluation of the curve, NaN where not recorded.
        test: the test twin of the metric at the end, None if not measured.
        device: None if not recorded.
    """

    run_id: str
    workload: str
    scheduler: str
    seed: int | None
    role: str
    state: RunState
    rate: float | None
    point: str
    beside_rate: str
    curve: Curve
    lrs: FloatArray
    test: float | None
    device: str | None

    @property
    def total_steps(self) -> int:
        """The budget."""
        return self.curve.total_steps

    @property
    def is_finished(self) -> bool:
        """Whether it has a final value: not incomplete, and measured."""
        return self.state is not RunState.INCOMPLETE and len(self.curve.steps) > 0

    def final(self, direction: Direction) -> float:
        """Last value of the validation metric; diverged = worst.

        Only for a run that is finished.
        """
        if self.state is RunState.DIVERGED:
            return worst(direction)
        return final_value(self.curve.steps, self.curve.values)

    def last3(self, direction: Direction) -> float | None:
        """Mean of the last three evaluations; diverged = worst, None if there are fewer."""
        if self.state is RunState.DIVERGED:
            return worst(direction)
        mean = final_mean(self.curve.steps, self.curve.values)
        return mean if mean is None or np.isfinite(mean) else worst(direction)


def test_twin(metric: str) -> str | None:
    """Return the test metric that belongs to a validation metric, None if the name is no `val/...`."""
    return f"test/{metric.removeprefix('val/')}" if metric.startswith("val/") else None


def printable_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Show characters in names that would end a line or steer a terminal as their escapes."""
    wrong = {}
    for name in (c.name for c in COLUMNS if c.dtype == "string" and c.name in frame.columns):
        escapes = {text: repr(text)[1:-1] for text in frame[name].dropna().unique() if not str(text).isprintable()}
        if escapes:
            wrong[name] = frame[name].replace(escapes)
    return frame.assign(**wrong) if wrong else frame


def check_needed(frame: pd.DataFrame, *, metric: str) -> None:
    """Refuse a frame that cannot be analysed.

    Raises:
        ValueError: no run, a required column is absent, or the metric is absent, never measured, or beyond its domain.
    """
    absent = [c.name for c in COLUMNS if c.required and c.name not in frame.columns]
    if absent:
        raise ValueError(f"the frame needs the columns {absent}; it has {sorted(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("there are no runs with an evaluation; train some, or check the experiment and the tags")
    if metric not in frame.columns or as_floats(frame[metric])[1].all():
        raise ValueError(f"metric={metric} was not measured in any run; measured are {measured_metrics(frame)}")
    for name in {metric, test_twin(metric)} & {*frame.columns}:
        check_domain(frame, str(name), source="the runs")


def measured_metrics(frame: pd.DataFrame) -> list[str]:
    """Names of the metrics that at least one evaluation has."""
    names = [name for name in map(str, frame.columns) if name.startswith(("train/", "val/", "test/"))]
    return sorted(name for name in names if not as_floats(frame[name])[1].all())


def slim(frame: pd.DataFrame, *, metric: str) -> pd.DataFrame:
    """Keep only the columns that an analysis reads: parameters are many."""
    names = [c.name for c in COLUMNS if c.name not in ("samples", "train/loss", "fingerprint", "run_name")]
    wanted = [*names, metric, test_twin(metric) or metric, RATE]
    return frame[[name for name in dict.fromkeys(wanted) if name in frame.columns]]


def judged(frame: pd.DataFrame, *, metric: str, direction: Direction) -> pd.DataFrame:
    """Order rows by run and step, with the states that the runs have in the metric in use."""
    is_sorted = frame["run_id"].is_monotonic_increasing and not _steps_fall_within_a_run(frame)
    ordered = frame.reset_index(drop=True) if is_sorted else sort_rows(frame)
    return ordered.assign(state=judged_states(ordered, metric=metric, direction=direction))


def runs_of(frame: pd.DataFrame, *, parameters: pd.DataFrame, metric: str) -> list[Run]:
    """Read the runs off a slim frame, by run_id.

    Args:
        frame: from `judged` and `slim`.
        parameters: indexed by run_id, the columns that a search may vary; see `points_of`.
        metric: validation metric.

    Raises:
        ValueError: a run has two rows of one step.
    """
    curves = curves_of(frame, metric=metric)
    firsts = np.flatnonzero(~frame["run_id"].duplicated().to_numpy(dtype=bool))
    ends = [*firsts[1:], len(frame)]
    lrs = _floats_or_nan(frame, "lr")
    measured = ~as_floats(frame[metric])[1]
    twin = test_twin(metric)
    tests = _floats_or_nan(frame, twin) if twin is not None else np.full(len(frame), np.nan)
    tested = ~as_floats(frame[twin])[1] if twin is not None and twin in frame.columns else np.zeros(len(frame), bool)
    points, beside_rate = points_of(parameters), points_of(parameters.drop(columns=RATE, errors="ignore"))
    heads = frame.iloc[firsts]
    columns = {name: _objects(heads, name) for name in ("workload", "scheduler", "seed", "role", "device", RATE)}
    runs = []
    for i, (start, stop) in enumerate(zip(firsts, ends, strict=True)):
        run_id = str(heads["run_id"].iloc[i])
        curve = curves[run_id]
        here = np.flatnonzero(tested[start:stop])
        seed, rate, device = columns["seed"][i], columns[RATE][i], columns["device"][i]
        runs.append(
            Run(
                run_id=run_id,
                workload=str(columns["workload"][i]),
                scheduler=str(columns["scheduler"][i]),
                seed=None if seed is None else int(str(seed)),
                role="run" if columns["role"][i] is None else str(columns["role"][i]),
                state=curve.state,
                rate=None if rate is None else float(str(rate)),
                point=points[run_id],
                beside_rate=beside_rate[run_id],
                curve=replace(curve, seconds=_recorded(curve.seconds)),
                lrs=lrs[start:stop][measured[start:stop]],
                test=float(tests[start + here[-1]]) if here.size else None,
                device=None if device is None else str(device),
            )
        )
    return runs


def parameters_of(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run, indexed by run_id: the parameters that a search may vary."""
    names = [name for name in map(str, frame.columns) if name.startswith(_POINT_PREFIXES)]
    return frame.loc[~frame["run_id"].duplicated(), ["run_id", *names]].set_index("run_id")


def configs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a run, indexed by run_id: everything that is recorded of its configuration, in whatever columns."""
    others = {c.name for c in COLUMNS if c.name not in ("dataset", "model", "optimizer", "batch_size")}
    measured = ("train/", "val/", "test/", "time/")
    names = [name for name in map(str, frame.columns) if name not in others and not name.startswith(measured)]
    return frame.loc[~frame["run_id"].duplicated(), ["run_id", *names]].set_index("run_id")


def points_of(parameters: pd.DataFrame) -> dict[str, str]:
    """Name the hyperparameter point of each run; equal names, equal points."""
    varying = [name for name in parameters.columns if parameters[name].nunique(dropna=False) > 1]
    texts = parameters[varying].astype(object).to_numpy()
    return {
        str(run_id): ", ".join(f"{name}={value}" for name, value in zip(varying, row, strict=True))
        for run_id, row in zip(parameters.index, texts, strict=True)
    }


def _steps_fall_within_a_run(frame: pd.DataFrame) -> bool:
    same = (frame["run_id"] == frame["run_id"].shift()).to_numpy(dtype=bool, na_value=False)
    falls = np.diff(frame["step"].to_numpy(dtype=np.int64), prepend=0) < 0
    return bool((same & falls).any())


def _recorded(seconds: FloatArray | None) -> FloatArray | None:
    """Seconds that are NaN were not recorded, as of runs that came from a file."""
    return seconds if seconds is not None and np.isfinite(seconds).all() else None


def _floats_or_nan(frame: pd.DataFrame, name: str) -> FloatArray:
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    values, missing = as_floats(frame[name])
    return np.where(missing, np.nan, values)


def _objects(frame: pd.DataFrame, name: str) -> list[object]:
    """A column as plain objects, None where missing or absent."""
    if name not in frame.columns:
        return [None] * len(frame)
    return [None if is_missing(value) else value for value in frame[name].astype(object)]


def is_missing(value: object) -> bool:
    """Whether a cell of a frame, as a plain object, is None, <NA> or NaN."""
    return value is None or value is pd.NA or value != value


def by_cell(runs: Iterable[Run]) -> dict[Cell, list[Run]]:
    """Group runs by (workload, scheduler), sorted, each by seed, then run_id."""
    cells: dict[Cell, list[Run]] = {}
    for run in sorted(runs, key=lambda r: (r.workload, r.scheduler, r.seed is None, r.seed or 0, r.run_id)):
        cells.setdefault((run.workload, run.scheduler), []).append(run)
    return cells
