"""`lrbench.predict`: which of all schedules is best at a length nobody trained, or why that cannot be told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lrbench.analysis.optimised_shape import optimised_shape
from lrbench.analysis.predict import LEVEL, Predicted, best_of, fit_probes, predict_ranks, short_ranks
from lrbench.analysis.statistics.power_law_fit import split_warmup
from lrbench.analysis.statistics.terms import FloatArray, Interval, Unavailable
from lrbench.config.component import read_component
from lrbench.runs.relative_rates import Node, gallery, probes_of

PROBE_SHARE = 4  # of the wanted length, that a probe is long: a quarter
_FEWEST_STEPS = 20
_EVAL_EVERY = 0.05  # of a probe
OPTIMISED = "optimised"
_COLUMNS = ["schedule", "rank", "rank_low", "rank_high", "short_rank"]
_DECAY_FRACTIONS = np.round(np.arange(0.05, 1.001, 0.05), 2).tolist()


@dataclass(frozen=True)
class Prediction:
    """What short runs say about a longer training.

    Attributes:
        workload: of the probes.
        total_steps: updates of the training that was asked about.
        peak_lr: of the probes, and of everything that is ranked.
        refused: why there are no ranks; None where there are.
        ranks: best first; empty where refused.
        short_ranks: the baseline, the probes' schedules by their last loss: always there, but of runs without one.
        left_out: schedules that are not ranked -> why.
        decay_fraction: of wsd, with the lowest predicted loss, and its interval; None where refused.
        optimised: the shape with the lowest loss under the law, as values of `scheduler`; None unless asked for.
    """

    workload: str
    total_steps: int
    peak_lr: float | None = None
    refused: Unavailable | None = None
    ranks: tuple[Predicted, ...] = ()
    short_ranks: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    decay_fraction: tuple[float, Interval | None] | None = None
    optimised: Mapping[str, Any] | None = None

    @property
    def pick(self) -> str | None:
        """The schedule that is predicted best, the optimised shape aside; None where refused."""
        return next((item.name for item in self.ranks if item.name != OPTIMISED), None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a schedule: schedule, rank, rank_low, rank_high, short_rank; where refused, the baseline alone."""
        rows = [(item.name, item.rank, *_ends(item.interval), item.short_rank) for item in self.ranks]
        baseline = [(name, None, None, None, rank) for name, rank in self.short_ranks.items()]
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows or baseline]

    @property
    def table(self) -> pd.DataFrame:
        """The rows as a frame."""
        return pd.DataFrame(self.rows, columns=_COLUMNS).astype(dict.fromkeys(_COLUMNS[1:], "Int64"))

    @property
    def document(self) -> dict[str, Any]:
        """All of it as JSON has it; refused is the reason or null."""
        best, interval = self.decay_fraction or (None, None)
        low, high = _ends(interval)
        return {
            "workload": self.workload,
            "total_steps": self.total_steps,
            "peak_lr": self.peak_lr,
            "refused": None if self.refused is None else self.refused.reason,
            "pick": self.pick,
            "short_ranks": dict(self.short_ranks),
            "ranks": self.rows,
            "level": LEVEL,
            "left_out": dict(self.left_out),
            "decay_fraction": {"best": best, "low": low, "high": high},
            "optimised": self.optimised,
        }


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


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
    )


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
