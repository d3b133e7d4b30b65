"""`lrbench.predict`: which of all schedules is best at a length nobody trained, or why that cannot be told."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from lrbench.analysis.optimised_shape import optimised_shape
from lrbench.analysis.predict import best_of, fit_probes, predict_ranks, short_ranks
from lrbench.analysis.prediction import OPTIMISED, Prediction
from lrbench.analysis.statistics.power_law_fit import split_warmup
from lrbench.analysis.statistics.terms import FloatArray, Unavailable
from lrbench.config.component import group_files, read_component
from lrbench.runs.relative_rates import SAME_PEAK, Node, described, gallery, nodes_of, probes_of
from lrbench.spec import RunState

PROBE_SHARE = 4  # of the wanted length, that a probe is long: a quarter
_NUM_POINTS = 101  # of a drawn shape
_FEWEST_STEPS = 20
_EVAL_EVERY = 0.05  # of a probe
_DECAY_FRACTIONS = np.round(np.arange(0.05, 1.001, 0.05), 2).tolist()


def predict(frame: pd.DataFrame, *, schedulers: Sequence[Node] | None, total_steps: int, optimise: bool) -> Prediction:
    """Rank schedules at a length from runs that are shorter.

    Args:
        frame: of the probes, with all their parameters; see `probes_of`.
        schedulers: to be ranked; None for the whole gallery. The probes' are ranked as well.
        total_steps: of the training that is asked about, warmup included.
        optimise: whether to search the best shape under the law.

    Raises:
        ValueError: see `probes_of`; or the probes are as long as what is asked about.
    """
    longest = int(frame["budget"].max())
    if total_steps <= longest:
        raise ValueError(f"total_steps must be more than the {longest} of the probes, got {total_steps}")
    found = probes_of(frame)
    workload = str(frame["workload"].iloc[0])
    if isinstance(found, Unavailable):
        return Prediction(workload, total_steps, refused=found)
    short = short_ranks(found.probes)
    fit = fit_probes(found.probes)
    if isinstance(fit, Unavailable):
        return Prediction(workload, total_steps, found.peak_lr, refused=fit, short_ranks=short)
    known = gallery() if schedulers is None else schedulers
    rates, left_out = found.candidates([*found.schedulers.values(), *known], total_steps)

    def rates_of(name: str, **parameters: object) -> FloatArray:
        (one,) = found.candidates([read_component("scheduler", name, parameters)], total_steps)[0].values()
        return one

    optimised = None
    if optimise:
        warmup, rest = split_warmup(rates_of("constant"))
        optimised = {"name": "piecewise_linear", **asdict(optimised_shape(fit.law, len(rest), warmup=warmup))}
        rates[OPTIMISED] = rates_of(**optimised)
    decays = {fraction: rates_of("wsd", decay_fraction=fraction) for fraction in _DECAY_FRACTIONS}
    return Prediction(
        workload,
        total_steps,
        found.peak_lr,
        ranks=tuple(predict_ranks(fit, found.probes, rates)),
        short_ranks=short,
        left_out=left_out,
        decay_fraction=best_of(fit, decays),
        optimised=optimised,
        shapes={name: _thinned(table) for name, table in rates.items()},
    )


def with_measured(prediction: Prediction, frame: pd.DataFrame) -> Prediction:
    """Add what the runs of a frame ended with that were trained as the prediction says.

    Args:
        prediction: for a length and a peak rate.
        frame: with all parameters of the schedules; runs of other lengths, rates and workloads are left alone.
    """
    losses: dict[str, list[float]] = defaultdict(list)
    for _, run in frame[frame["budget"] == prediction.total_steps].groupby("run_id", sort=False):
        first, last = run.iloc[0], run["val/loss"].dropna()
        is_same = _without_length(str(first["workload"])) == _without_length(prediction.workload)
        if (
            is_same
            and first["state"] == RunState.OK
            and len(last)
            and _is_near(first["optimizer.lr"], prediction.peak_lr)
        ):
            losses[_name(run, prediction)].append(float(last.iloc[-1]))
    return replace(prediction, measured={name: float(np.mean(values)) for name, values in losses.items()})


def probe_words(words: Sequence[str], total_steps: int) -> list[list[str]]:
    """Overrides of the recommended probes: two grids, since only one of the schedules has a decay fraction.

    Args:
        words: overrides of the training that is asked about.
        total_steps: its length.

    Raises:
        ValueError: it is too short to have a quarter.
    """
    if total_steps < PROBE_SHARE * _FEWEST_STEPS:
        raise ValueError(
            f"budget.steps must be at least {PROBE_SHARE * _FEWEST_STEPS}, four times {_FEWEST_STEPS}, got "
            f"{total_steps}: probes are a quarter as long, and the law needs so many evaluations of them"
        )
    kept = [word for word in words if not word.startswith(("budget.steps=", "budget.epochs="))]
    kept += [f"budget.steps={total_steps // PROBE_SHARE}", "budget.epochs=null", f"budget.eval_every={_EVAL_EVERY}"]
    kept.append("training.read_test=false")
    if not any(word.startswith("seed=") for word in words):
        kept.append("seed=0,1")
    return [[*kept, "scheduler=wsd", "scheduler.decay_fraction=0.2,0.6"], [*kept, "scheduler=step,cosine"]]


def _thinned(rates: FloatArray) -> list[float]:
    at = np.linspace(0, len(rates) - 1, _NUM_POINTS).round().astype(int)
    return list(np.round(rates[at], 4))


def _without_length(workload: str) -> str:
    """Its dataset, model, optimizer and batch size: the names of lrbench end in the steps and a digest."""
    return workload.rsplit("-", 2)[0]


def _is_near(lr: float, peak_lr: float | None) -> bool:
    return peak_lr is not None and abs(lr / peak_lr - 1) <= SAME_PEAK


def _name(run: pd.DataFrame, prediction: Prediction) -> str:
    """What the prediction calls the schedule of a run."""
    name = str(run["scheduler"].iloc[0])
    if name not in group_files("scheduler"):  # of the user's own
        return name
    scheduler, _ = nodes_of(run)
    is_optimised = prediction.optimised is not None and dict(prediction.optimised).items() <= scheduler.items()
    return OPTIMISED if is_optimised else described(scheduler)
