"""Which schedules may be the best of one workload: worse, equivalent or undecided (docs/metrics.md, rows 15 to 15c).

Costs are compared on their logarithms, so that a difference is a ratio. All words are read off one set of simultaneous
intervals (`simultaneous`): *worse* means that some other schedule's interval lies wholly below, *equivalent* that the
interval against the leader lies within +-log(1 + margin), *undecided* is the rest. If all schedules are equal, a claim
of any difference is made with probability alpha at most. Row 15's one-sided level alpha / (k - 1) alone would make one
in 10 % of the studies of two equal schedules and in 34 % of ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from lrbench.analysis.statistics.looks import LOOKS, look_with_power, planned_looks
from lrbench.analysis.statistics.simultaneous import half_widths, noise_of, shared_noise_of
from lrbench.analysis.statistics.terms import MIN_SEEDS, TIE_TOLERANCE, FloatArray, Interval, Unavailable

State = Literal["leader", "reference", "better", "worse", "equivalent", "undecided"]
Relation = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class Seeds:
    """The runs of one schedule on one workload.

    Attributes:
        costs: (num_seeds,) above 0, lower is better; a diverged run has the cost at step 0.
        seeds: (num_seeds,) which initial weights and batch order, without repeats.
        selection: variance that the choice of the rate adds to the mean log cost, see `rate_choice.tuned_rate`; 0 for
            a rate that was not chosen.
    """

    costs: FloatArray
    seeds: tuple[int, ...]
    selection: float = 0.0


@dataclass(frozen=True)
class Contender:
    """One schedule against the leader of its workload, or of all workloads; against the reference where there is one.

    Attributes:
        schedule: its name.
        state: `leader` for the smallest mean log cost, also where others are undecided. With a reference, `reference`
            for it, and the others' relation to it.
        is_contender: not shown worse than any other.
        beaten_by: who shows it worse, the best first.
        estimate: mean log cost minus that of the leader or reference; exp(estimate) is the ratio of geometric means.
        interval: of `estimate`, simultaneous over all pairs; [0, 0] for the leader or reference itself.
        within_margin: the interval lies within +-log(1 + margin); a schedule may be worse by less than the margin.
        num_seeds: runs, or sources where these are the replicates.
    """

    schedule: str
    state: State
    is_contender: bool
    beaten_by: tuple[str, ...]
    estimate: float
    interval: Interval
    within_margin: bool
    num_seeds: int


@dataclass(frozen=True)
class PairClaim:
    """One pair of schedules: first - second in log cost, with its simultaneous interval."""

    first: str
    second: str
    state: Relation
    estimate: float
    interval: Interval


@dataclass(frozen=True)
class NextLook:
    """What `lrbench settle` would do about an undecided pair, if the observed difference is true.

    Attributes:
        num_seeds: at the first planned look to come that shows the difference with 80 % power; None where not even the
            last does.
        more_seeds: of each, beyond those they share now; None likewise.
    """

    first: str
    second: str
    num_seeds: int | None
    more_seeds: int | None


@dataclass(frozen=True)
class Contenders:
    """The verdict on one family of schedules.

    Attributes:
        ranked: all compared schedules, the smallest mean log cost first.
        pairs: all pairs of them, in the order of `ranked`.
        left_out: schedules with fewer than three seeds, of which nothing is claimed, with the reason.
        alpha: probability that any claim here is false.
        margin: of equivalence, .1 = 10 %.
        method: for people.
        reference: the schedule that all others are compared with; None for all pairs.
        next_looks: of the undecided pairs that share three seeds or more.
    """

    ranked: tuple[Contender, ...]
    pairs: tuple[PairClaim, ...]
    left_out: tuple[tuple[str, str], ...]
    alpha: float
    margin: float
    method: str
    reference: str | None = None
    next_looks: tuple[NextLook, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The schedules that may be the best, the leader first."""
        return tuple(item.schedule for item in self.ranked if item.is_contender)


def contenders(
    costs: Mapping[str, Seeds], *, alpha: float = 0.05, margin: float = 0.1, reference: str | None = None
) -> Contenders | Unavailable:
    """Find the schedules of one workload that may be the best.

    Schedules that all share their seeds are compared within seeds; otherwise every schedule's seeds are its own, which
    costs power where seeds matter and no validity.

    Args:
        costs: by schedule.
        alpha: probability that any claim is false, in (0, 1).
        margin: of equivalence, above 0.
        reference: the schedule that all others are compared with, which takes fewer seeds than comparing all pairs.

    Raises:
        ValueError: a cost is NaN, infinite, zero or negative, or a seed is there twice.
    """
    check_levels(alpha, margin)
    logs = {name: log_costs(name, runs) for name, runs in costs.items()}
    few = tuple((n, f"{len(v)} of the {MIN_SEEDS} seeds it needs") for n, v in logs.items() if len(v) < MIN_SEEDS)
    names = [name for name, values in logs.items() if len(values) >= MIN_SEEDS]
    if len(names) < 2:
        return Unavailable(f"a comparison needs two schedules with {MIN_SEEDS} seeds each, got {len(names)}")
    if reference is not None and reference not in names:
        return Unavailable(f"the reference {reference} has fewer than {MIN_SEEDS} seeds here")
    shared = {tuple(sorted(costs[name].seeds)) for name in names}
    if len(shared) == 1:
        order = {name: np.argsort(costs[name].seeds) for name in names}
        noise = shared_noise_of(np.stack([logs[name][order[name]] for name in names], axis=1))
    else:
        noise = noise_of([logs[name] for name in names])
    means = np.array([logs[name].mean() for name in names])
    # One number for all: a few tuning seeds tell the variance of a choice too badly for each schedule on its own.
    selection = float(np.mean([costs[name].selection for name in names]))
    index = None if reference is None else names.index(reference)
    half = half_widths(noise, alpha=alpha, selection=selection, reference=index)
    if not _varies(half, means):
        return Unavailable("no schedule varies over seeds, so there is no scale for their differences")
    against = "" if reference is None else f", all against {reference}"
    method = f"simultaneous t over {len(names)} schedules{against}, {'paired' if noise.paired else 'unpaired'} seeds"
    numbers = [len(logs[name]) for name in names]
    found = read_off(names, means, half, numbers, few, alpha=alpha, margin=margin, method=method, reference=reference)
    return replace(found, next_looks=_next_looks(found, costs, logs, selection))


def read_off(
    names: list[str],
    means: FloatArray,
    half: FloatArray,
    num_seeds: list[int],
    left_out: tuple[tuple[str, str], ...],
    *,
    alpha: float,
    margin: float,
    method: str,
    reference: str | None = None,
) -> Contenders:
    """Turn means (k,) and half widths (k, k) of simultaneous intervals into words."""
    order = sorted(range(len(names)), key=lambda i: (means[i], names[i]))
    base = order[0] if reference is None else names.index(reference)
    bound = float(np.log1p(margin))

    def interval(i: int, j: int) -> Interval:
        middle = float(means[i] - means[j])
        return Interval(middle - float(half[i, j]), middle + float(half[i, j]), 1 - alpha, method)

    ranked = []
    for i in order:
        beaten = [j for j in order if j != i and interval(i, j).low > 0]  # by the best one first
        against = Interval(0.0, 0.0, 1 - alpha, method) if i == base else interval(i, base)
        within = -bound < against.low and against.high < bound
        state: State
        if reference is not None:
            state = "reference" if i == base else relation_of(against, margin)
        else:
            state = "leader" if i == base else "worse" if beaten else "equivalent" if within else "undecided"
        ranked.append(
            Contender(
                schedule=names[i],
                state=state,
                is_contender=not beaten,
                beaten_by=tuple(names[j] for j in beaten),
                estimate=float(means[i] - means[base]),
                interval=against,
                within_margin=within,
                num_seeds=num_seeds[i],
            )
        )
    pairs = []
    for i, j in combinations(order, 2):
        found = interval(i, j)
        pairs.append(PairClaim(names[i], names[j], relation_of(found, margin), float(means[i] - means[j]), found))
    return Contenders(tuple(ranked), tuple(pairs), left_out, alpha, margin, method, reference)


def _next_looks(
    found: Contenders, costs: Mapping[str, Seeds], logs: Mapping[str, FloatArray], selection: float
) -> tuple[NextLook, ...]:
    """Looks at all pairs, or at those with the reference, each at its share of alpha as `settle` would take them."""
    undecided = [
        pair for pair in found.pairs if pair.state == "undecided" and found.reference in (None, pair.first, pair.second)
    ]
    if not undecided:
        return ()
    k = len(found.ranked)
    num_pairs = k - 1 if found.reference is not None else k * (k - 1) // 2
    plan = planned_looks(LOOKS, level=found.alpha / (2 * num_pairs))
    looks = []
    for pair in undecided:
        first, second = (dict(zip(costs[name].seeds, logs[name], strict=True)) for name in (pair.first, pair.second))
        d = np.array([first[seed] - second[seed] for seed in first if seed in second])
        if d.size < MIN_SEEDS:
            continue
        look = look_with_power(d, plan, selection=selection)
        number = None if look is None else look.num_seeds
        looks.append(NextLook(pair.first, pair.second, number, None if number is None else number - d.size))
    return tuple(looks)


def relation_of(interval: Interval, margin: float) -> Relation:
    """The word for first - second in log cost; a difference that is shown comes before equivalence."""
    if interval.high < 0:
        return "better"
    if interval.low > 0:
        return "worse"
    bound = float(np.log1p(margin))
    return "equivalent" if -bound < interval.low and interval.high < bound else "undecided"


def log_costs(name: str, runs: Seeds) -> FloatArray:
    """Check the runs of a schedule and return their logarithms, (num_seeds,)."""
    values = np.asarray(runs.costs, dtype=np.float64)
    if values.shape != (len(runs.seeds),) or len(set(runs.seeds)) != len(runs.seeds):
        raise ValueError(f"{name}: {values.size} costs for the seeds {list(runs.seeds)}; one each is needed")
    if not (np.isfinite(runs.selection) and runs.selection >= 0):
        raise ValueError(f"{name}: the variance of the choice must be finite and at least 0, got {runs.selection}")
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"{name}: costs must be finite and above 0 to be compared as ratios, got {values.tolist()}; "
            "a diverged run counts with its cost at step 0, and where an error is 0 compare the loss"
        )
    return np.log(values)


def check_levels(alpha: float, margin: float) -> None:
    """Refuse a level or a margin that no comparison can have."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin}")


def _varies(half: FloatArray, means: FloatArray) -> bool:
    return bool((half[~np.eye(len(means), dtype=bool)] > TIE_TOLERANCE * max(1e-300, float(abs(means).max()))).all())
