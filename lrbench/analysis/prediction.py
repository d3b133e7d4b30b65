"""What short runs say about a longer training: ranks or a refusal, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lrbench.analysis.predict import LEVEL, METHOD, Predicted
from lrbench.analysis.statistics.terms import Interval, Unavailable

OPTIMISED = "optimised"
_COLUMNS = ["schedule", "rank", "rank_low", "rank_high", "short_rank"]


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
        shapes: rates of the schedules, at equal distances over the training, relative to the peak.
        measured: mean last validation loss of those that were trained at that length as well.
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
    shapes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

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
            "shapes": {name: list(rates) for name, rates in self.shapes.items()},
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Prediction":
        """Read what `document` gave.

        Raises:
            ValueError: it is no such document.
        """
        try:
            level, decay = document["level"], document["decay_fraction"]
            ranks = [
                Predicted(
                    row["schedule"], row["rank"], _interval(row["rank_low"], row["rank_high"], level), row["short_rank"]
                )
                for row in document["ranks"]
                if row["rank"] is not None
            ]
            refused = document["refused"]
            kept = ("workload", "total_steps", "peak_lr", "short_ranks", "left_out", "optimised", "shapes")
            return cls(
                **{name: document[name] for name in kept},
                refused=None if refused is None else Unavailable(refused),
                ranks=tuple(ranks),
                decay_fraction=None
                if decay["best"] is None
                else (decay["best"], _interval(decay["low"], decay["high"], level)),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not what lrbench predict --json prints: {error!r}") from None


def _interval(low: float | None, high: float | None, level: float) -> Interval | None:
    return None if low is None or high is None else Interval(low, high, level, METHOD)


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
