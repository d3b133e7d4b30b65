"""Ranks of schedules at a length nobody trained, from short runs; or the reason why there are none.

The law's losses are off by some hundredths at four times the length, all in one direction: only ranks are given.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from lrbench.analysis.statistics.power_law_fit import Law, Probe, fit_law
from lrbench.analysis.statistics.terms import FloatArray, Interval, Unavailable

_KNOWN = 0.8  # of a probe, when its end is predicted
_FEWEST = 20  # evaluations, for the seven parameters
_REFITS = 20
_LEVEL = 0.8


@dataclass(frozen=True)
class Predicted:
    """One schedule.

    Attributes:
        name: of it.
        rank: 1 = lowest predicted loss.
        interval: of the rank, over refits on resampled seeds; None where some probe has one seed.
        short_rank: its rank among the probes by their measured last loss, the baseline; None for one that is no probe.
    """

    name: str
    rank: int
    interval: Interval | None
    short_rank: int | None


def predict_ranks(
    probes: Sequence[Probe], schedules: Mapping[str, FloatArray], *, warmup: float = 0.0, random_seed: int = 0
) -> list[Predicted] | Unavailable:
    """Rank schedules by the loss that the law, fitted to the probes, predicts at their end.

    Args:
        probes: of one peak rate and workload; those of one name are seeds of one schedule, evaluated at equal steps.
        schedules: name -> rates of every update relative to the peak rate of the probes, warmup left out.
        warmup: sum of the relative rates of their warmup.
        random_seed: of the resampling.

    Returns:
        Best first; `Unavailable` where the law does not hold for the probes or they cannot tell.
    """
    seeds: dict[str, list[Probe]] = defaultdict(list)
    for probe in probes:
        seeds[probe.name].append(probe)
    reason = too_little(seeds)
    if reason is not None:
        return reason
    means = [_mean(runs) for runs in seeds.values()]
    reason = rises(means, seeds) or missed_end(means, seeds)
    if reason is not None:
        return reason
    law = fit_law(means)
    losses = _losses(law, schedules, warmup)
    intervals: list[Interval | None] = [None] * len(losses)
    if all(len(runs) > 1 for runs in seeds.values()):
        ranks = _resampled_ranks(seeds, schedules, law, warmup=warmup, random_seed=random_seed)
        tails = np.quantile(ranks, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0, method="closest_observation").T
        intervals = [Interval(float(a), float(b), _LEVEL, "refits on resampled seeds") for a, b in tails]
    short = dict(zip(seeds, rankdata([probe.losses[-1] for probe in means], method="min").tolist(), strict=True))
    ranks_now = rankdata(losses, method="min").tolist()
    found = [
        Predicted(name, int(rank), interval, int(short[name]) if name in short else None)
        for name, rank, interval in zip(schedules, ranks_now, intervals, strict=True)
    ]
    return sorted(found, key=lambda item: item.rank)


def too_little(seeds: Mapping[str, Sequence[Probe]]) -> Unavailable | None:
    """Why the probes cannot identify the law, if so: what a fall gains needs falls of two shapes and enough points."""
    falling = [name for name, runs in seeds.items() if (np.diff(runs[0].rates) < 0).any()]
    if len(falling) < 2:
        return Unavailable(f"the law needs probes of two schedules whose rate falls, got {falling or 'none'}")
    points = sum(len(runs[0].steps) for runs in seeds.values())
    if points < _FEWEST:
        return Unavailable(f"the law has seven parameters and needs {_FEWEST} evaluations of the probes, got {points}")
    return None


def rises(means: Sequence[Probe], seeds: Mapping[str, Sequence[Probe]]) -> Unavailable | None:
    """Why the law cannot hold, if so: under it the loss falls to the end, where the rate does not rise."""
    margin = _margin(means, seeds)
    for probe in means:
        rise = float(probe.losses[-1] - probe.losses.min())
        if rise > margin:
            return Unavailable(
                f"the validation loss of {probe.name} rises by {rise:.3g} towards its end, more than {margin:.3g}; the "
                "law is one of training that still learns"
            )
    return None


def missed_end(means: Sequence[Probe], seeds: Mapping[str, Sequence[Probe]]) -> Unavailable | None:
    """Why the law does not hold, if so: the end of a probe, left out of the fit, is missed by more than the margin."""
    margin = _margin(means, seeds)
    for place, probe in enumerate(means):
        law = fit_law([*means[:place], probe.before(_KNOWN), *means[place + 1 :]])
        until = int(probe.steps[-1])
        miss = abs(law.loss(probe.rates[:until], warmup=probe.warmup) - float(probe.losses[-1]))
        if miss > margin:
            return Unavailable(
                f"the law misses the end of {probe.name}, left out of its fit, by {miss:.3g}, more than {margin:.3g}, "
                "the larger of two standard deviations over seeds and a quarter of what sets the probes apart"
            )
    return None


def _margin(means: Sequence[Probe], seeds: Mapping[str, Sequence[Probe]]) -> float:
    """max(2 standard deviations of the last loss over seeds, a quarter of the probes' spread)."""
    variances = [np.var([run.losses[-1] for run in runs], ddof=1) for runs in seeds.values() if len(runs) > 1]
    spread = float(np.ptp([probe.losses[-1] for probe in means]))
    return max(2 * float(np.sqrt(np.mean(variances))) if variances else 0.0, spread / 4)


def _mean(runs: Sequence[Probe]) -> Probe:
    losses = np.mean([run.losses for run in runs], axis=0)
    return Probe(runs[0].name, runs[0].rates, runs[0].warmup, runs[0].steps, losses)


def _losses(law: Law, schedules: Mapping[str, FloatArray], warmup: float) -> list[float]:
    return [law.loss(rates, warmup=warmup) for rates in schedules.values()]


def _resampled_ranks(
    seeds: Mapping[str, Sequence[Probe]],
    schedules: Mapping[str, FloatArray],
    law: Law,
    *,
    warmup: float,
    random_seed: int,
) -> FloatArray:
    """Ranks after refits on seeds drawn with replacement: (_REFITS, num_schedules)."""
    random = np.random.default_rng(random_seed)
    ranks = []
    for _ in range(_REFITS):
        drawn = [_mean([runs[i] for i in random.integers(len(runs), size=len(runs))]) for runs in seeds.values()]
        ranks.append(rankdata(_losses(fit_law(drawn, start=law), schedules, warmup)))
    return np.array(ranks)
