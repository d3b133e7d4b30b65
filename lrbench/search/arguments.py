"""The words of a sweep's command line, sorted by what they ask for.

    scheduler=cosine,step model=mlp,cnn budget.epochs=5,20     axes: every combination is a study
    optimizer.lr=tag(log,interval(1e-3,1))                     ranges: searched in every study that has the parameter
    scheduler.gamma=0.5                                        fixed: no longer searched
    seed=0,1                                                   tuning seeds, by default 3: an objective is their mean

Parameters of schedule, warmup and optimizer are what studies search, so a choice of theirs is a range, not an axis.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

_SEARCHED_GROUPS = ("optimizer", "scheduler", "warmup")


@dataclass(frozen=True)
class Arguments:
    """What a command line asks for.

    Attributes:
        words: overrides that are the same in every job.
        axes: override words of each axis, one of which every study takes.
        ranges: dotted name -> spec of a dimension, see lrbench.search.space.
        fixed: dotted name -> value, of parameters that would be searched.
        seeds: tuning seeds; empty for three from that of the config on.
    """

    words: tuple[str, ...]
    axes: tuple[tuple[str, ...], ...]
    ranges: Mapping[str, Mapping[str, Any]]
    fixed: Mapping[str, Any]
    seeds: tuple[int, ...]

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """Words of every study, in the order of the command line."""
        return [(*self.words, *chosen) for chosen in itertools.product(*self.axes)]


def read_arguments(overrides: Sequence[Override]) -> Arguments:
    """Sort parsed overrides.

    Raises:
        ValueError: a key is given twice (fixed and swept, say), a seed is no whole number, or a range stands where only
            choices can.
    """
    words: list[str] = []
    axes: list[tuple[str, ...]] = []
    ranges: dict[str, dict[str, Any]] = {}
    fixed: dict[str, Any] = {}
    seeds: tuple[int, ...] = ()
    seen: dict[str, str] = {}
    for override in overrides:
        key, line = override.key_or_group, override.input_line or ""
        if key in seen:
            raise ValueError(
                f"{key} is given twice, as {seen[key]!r} and as {line!r}; an axis is either fixed or swept"
            )
        seen[key] = line
        is_searchable = key.partition(".")[0] in _SEARCHED_GROUPS and "." in key and not override.is_delete()
        if key == "seed":
            seeds = _seeds(override)
        elif not override.is_sweep_override():
            words.append(line)
            if is_searchable and ".search" not in key and not key.endswith("_target_"):
                fixed[key] = override.value()
        elif is_searchable and ".search." not in key:
            ranges[key] = _spec(override)
        elif override.is_discrete_sweep():
            prefix = override.get_key_element()
            axes.append(tuple(f"{prefix}={value}" for value in override.sweep_string_iterator()))
        else:
            raise ValueError(
                f"{line}: an interval can be searched for parameters of {', '.join(_SEARCHED_GROUPS)} only"
            )
    return Arguments(tuple(words), tuple(axes), ranges, fixed, seeds)


def _seeds(override: Override) -> tuple[int, ...]:
    if not override.is_sweep_override():
        values = [override.value()]
    elif override.is_discrete_sweep():
        values = list(override.sweep_iterator())
    else:
        values = [override.input_line]
    seeds = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]
    if len(seeds) < len(values) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seed must be different whole numbers >= 0, got {override.input_line!r}")
    return tuple(seeds)


def _spec(override: Override) -> dict[str, Any]:
    """Turn Hydra's sweep into the words of a search space."""
    sweep = override.value()
    log = {"log": True} if "log" in getattr(sweep, "tags", ()) else {}
    if isinstance(sweep, IntervalSweep):
        return {"low": sweep.start, "high": sweep.end, **log}
    if isinstance(sweep, RangeSweep):
        values = list(override.sweep_iterator())
        whole = [value for value in values if isinstance(value, int)]
        if sweep.step == 1 and whole and len(whole) == len(values):
            return {"low": min(whole), "high": max(whole), **log}
        return {"choices": values}
    assert isinstance(sweep, ChoiceSweep)
    return {"choices": list(override.sweep_iterator())}
