"""Ranks of schedules at a length nobody trained, from short runs; or the reason why there are none.

The law's losses are off by some hundredths at four times the length, all in one direction: only ranks are given.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from lrbench.analysis.statistics.power_law import annealed
from lrbench.analysis.statistics.power_law_fit import Law, Probe, fit_law, largest_reach, split_warmup
from lrbench.analysis.statistics.terms import FloatArray, Interval, Unavailable

_KNOWN = 0.8  # of a probe, when its end is predicted
_FEWEST = 20  # evaluations, for the seven parameters
_REFITS = 20
_PROPORTIONAL = 0.75  # effect of all / (2 x effect of half): 1 where in proportion; .53 to .56 where the law held
LEVEL = 0.8
METHOD = "refits on resampled seeds"


@dataclass(frozen=True)
class Fit:
    """The law of some probes.

    Attributes:
        law: fitted to the means over seeds.
        refits: fitted to means over seeds drawn with replacement; none where some probe has one seed.
    """

    law: Law
    refits: tuple[Law, ...]


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


def fit_probes(probes: Sequence[Probe], *, random_seed: int = 0) -> Fit | Unavailable:
    """Fit the law, and again on resampled seeds.

    Args:
        probes: of one peak rate and workload; those of one name are seeds of one schedule, evaluated at equal steps.
        random_seed: of the resampling.

    Returns:
        `Unavailable` where the law does not hold for the probes or they cannot tell.
    """
    seeds = by_name(probes)
    means = [_mean(runs) for runs in seeds.values()]
    reason = too_little(seeds) or rises(means, seeds) or missed_end(means, seeds)
    if reason is not None:
        return reason
    law = fit_law(means)
    reason = endless(law, means)
    if reason is not None:
        return reason
    if any(len(runs) < 2 for runs in seeds.values()):
        return Fit(law, ())
    random = np.random.default_rng(random_seed)
    drawn = [
        [_mean([runs[i] for i in random.integers(len(runs), size=len(runs))]) for runs in seeds.values()]
        for _ in range(_REFITS)
    ]
    return Fit(law, tuple(fit_law(means, start=law) for means in drawn))


def predict_ranks(fit: Fit, probes: Sequence[Probe], schedules: Mapping[str, FloatArray]) -> list[Predicted]:
    """Rank schedules by the loss that the law predicts at their end.

    Args:
        fit: to the probes.
        probes: whose order by the short runs stands beside.
        schedules: name -> rates of every update, warmup included, relative to the peak rate of the probes.

    Returns:
        Best first.
    """
    split = [split_warmup(rates) for rates in schedules.values()]
    ranks = _ranks(fit.law, split)
    intervals = _intervals(np.array([_ranks(law, split) for law in fit.refits]), ranks)
    short = short_ranks(probes)
    found = [
        Predicted(name, int(rank), interval, short.get(name))
        for name, rank, interval in zip(schedules, ranks, intervals, strict=True)
    ]
    return sorted(found, key=lambda item: item.rank)


def best_of(fit: Fit, schedules: Mapping[float, FloatArray]) -> tuple[float, Interval | None]:
    """The value of a parameter with the lowest predicted loss, and its interval over the refits.

    Args:
        fit: of some probes.
        schedules: value -> rates, see `predict_ranks`.
    """
    values, split = list(schedules), [split_warmup(rates) for rates in schedules.values()]
    best = [values[int(np.argmin(_losses(law, split)))] for law in (fit.law, *fit.refits)]
    if not fit.refits:
        return best[0], None
    low, high = np.quantile(best[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="closest_observation")
    return best[0], Interval(min(float(low), best[0]), max(float(high), best[0]), LEVEL, METHOD)


def short_ranks(probes: Sequence[Probe]) -> dict[str, int]:
    """The baseline: ranks of the probes' schedules by their measured last loss, the mean over seeds."""
    seeds = by_name(probes)
    last = [float(np.mean([run.losses[-1] for run in runs])) for runs in seeds.values()]
    return dict(zip(seeds, rankdata(last, method="min").astype(int).tolist(), strict=True))


def by_name(probes: Sequence[Probe]) -> dict[str, list[Probe]]:
    """Group seeds of one schedule."""
    seeds: dict[str, list[Probe]] = defaultdict(list)
    for probe in probes:
        seeds[probe.name].append(probe)
    return dict(seeds)


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


def endless(law: Law, means: Sequence[Probe]) -> Unavailable | None:
    """Why the probes cannot identify the law, if so: they must be long enough to see the effect of a fall slow down.

    Half as much training after a fall has half the effect as long as it only just begins. Nothing then says where it
    ends, and what it is at four times the length is made up.
    """
    reach, parameters = max(largest_reach(probe, law) for probe in means), law.parameters
    shape = {name: parameters[name] for name in ("C", "beta")}
    whole, half = annealed(np.array([reach, reach / 2]), np.ones(1), gamma=0.0, **shape)
    if whole <= _PROPORTIONAL * 2 * half:
        return None
    return Unavailable(
        "the probes are too short to identify the law: in them the effect of a fall of the rate grows in proportion to "
        "the training after it, and they do not tell where it ends"
    )


def _margin(means: Sequence[Probe], seeds: Mapping[str, Sequence[Probe]]) -> float:
    """max(2 standard deviations of the last loss over seeds, a quarter of the probes' spread)."""
    variances = [np.var([run.losses[-1] for run in runs], ddof=1) for runs in seeds.values() if len(runs) > 1]
    spread = float(np.ptp([probe.losses[-1] for probe in means]))
    return max(2 * float(np.sqrt(np.mean(variances))) if variances else 0.0, spread / 4)


def _mean(runs: Sequence[Probe]) -> Probe:
    losses = np.mean([run.losses for run in runs], axis=0)
    return Probe(runs[0].name, runs[0].rates, runs[0].warmup, runs[0].steps, losses)


def _losses(law: Law, split: Sequence[tuple[float, FloatArray]]) -> list[float]:
    return [law.loss(rates, warmup=warmup) for warmup, rates in split]


def _ranks(law: Law, split: Sequence[tuple[float, FloatArray]]) -> FloatArray:
    return np.asarray(rankdata(_losses(law, split), method="min"))


def _intervals(refitted: FloatArray, ranks: FloatArray) -> list[Interval | None]:
    """Of each rank, which is within.

    Args:
        refitted: (num_refits, num_schedules) ranks.
        ranks: (num_schedules,).
    """
    if not len(refitted):
        return [None] * len(ranks)
    low, high = np.quantile(refitted, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="closest_observation")
    pairs = zip(np.minimum(low, ranks).tolist(), np.maximum(high, ranks).tolist(), strict=True)
    return [Interval(a, b, LEVEL, METHOD) for a, b in pairs]
