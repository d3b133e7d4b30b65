"""Everything a report shows, as plain values, in the order in which the report shows it.

`analyse` fills these, `verdict` puts them into words, the report draws them. No array, no NaN and no infinity
in here: what cannot be computed is `Unavailable(reason)`, what a run did not reach is None, and a diverged run
has a state instead of a value. `to_plain` turns all of it into JSON values.

Names: `workload` and `scheduler` are those of the frame. Unless said otherwise a value is in the unit of the
metric, a time in steps, a share between 0 and 1.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from lrbench.analysis.audit.findings import Finding
from lrbench.analysis.statistics.across import Friedman
from lrbench.analysis.statistics.aggregates import Estimate
from lrbench.analysis.statistics.cells import MeanOfSeeds
from lrbench.analysis.statistics.contenders import Contenders
from lrbench.analysis.statistics.improvements import Improvement
from lrbench.analysis.statistics.over_workloads import OverWorkloads
from lrbench.analysis.statistics.pairs import Difference, SeedsNeeded
from lrbench.analysis.statistics.pareto import Relation
from lrbench.analysis.statistics.profiles import SpeedUp
from lrbench.analysis.statistics.ranks import RankInterval
from lrbench.analysis.statistics.robustness import Basin, Sensitivity, Spread, SpreadTest
from lrbench.analysis.statistics.survival import RestrictedMean
from lrbench.analysis.statistics.targets import Target
from lrbench.analysis.statistics.terms import Direction, Interval, Share, Unavailable

Origin = Literal["final", "run", "search"]  # fresh seeds | runs at one rate | the best rate of the search itself


# ---------------------------------------------------------------- 1 question, states, audit: can I trust this?


@dataclass(frozen=True)
class Question:
    """What was asked, and everything that was fixed before anything was ranked.

    Attributes:
        metric: validation metric of the curves, on which rates were chosen and targets are set.
        endpoint: metric of the final values, the primary endpoint: the test twin of `metric`, or `metric`.
        endpoint_reason: why it is not the test metric, "" when it is.
        direction: of both.
        rate: column of the base learning rate.
        alpha: level of all tests; intervals have 1 - alpha.
        margin: of equivalence, .1 = 10 % of the error or loss.
        reference: the schedule that all others are compared with; None compares all pairs.
        bootstrap_seed: of every bootstrap, with B resamples (`num_resamples`).
        versions: (name, version) of lrbench, Python and the libraries that computed this.
    """

    metric: str
    endpoint: str
    endpoint_reason: str
    direction: Direction
    rate: str
    alpha: float
    margin: float
    reference: str | None
    bootstrap_seed: int
    num_resamples: int
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WorkloadFacts:
    """One workload of a section.

    Attributes:
        name: of the workload.
        task: the workload without its budget; tasks of several budgets make a budget sweep.
        total_steps: the budget T.
        batch_size: examples a step, None if unknown.
        eval_interval: steps between evaluations (of most schedules), the resolution of every time; None when irregular.
        initial: mean value of the metric at step 0; Unavailable without such an evaluation.
        target: frozen before ranking; Unavailable says why speed cannot be judged.
        ladder: six targets (`targets.LADDER`) of increasing difficulty.
        seeds: of the compared runs, sorted; empty when not recorded.
        num_tuning: tuning runs.
        num_compared: runs the results are made of.
    """

    name: str
    task: str
    total_steps: int
    batch_size: int | None
    eval_interval: float | None
    initial: float | Unavailable
    target: Target | Unavailable
    ladder: tuple[float, ...] | Unavailable
    seeds: tuple[int, ...]
    num_tuning: int
    num_compared: int


@dataclass(frozen=True)
class StateRow:
    """All runs of one (workload, scheduler), tuning included, by how they ended.

    Attributes:
        ok, diverged, incomplete, missing: sum up to `planned`.
        collapsed: of the ok ones, those that lost much of their improvement again (`curves.has_collapsed`).
    """

    workload: str
    scheduler: str
    ok: int
    diverged: int
    incomplete: int
    missing: int
    planned: int
    collapsed: int


# ---------------------------------------------------------------- 2, 4, 9 cells: one schedule on one workload


@dataclass(frozen=True)
class RunResult:
    """One compared run.

    Attributes:
        seed: None if not recorded.
        final: endpoint at the largest step; None unless the state is "ok".
        last3: mean of the last three evaluations of `metric`; None if there are fewer, or the state is not "ok".
        best: best evaluation of `metric`, optimistic; None if none is finite.
        time: steps to the target, or up to where it was not reached; None when there is no target.
        reached: whether `time` is a hit.
    """

    run_id: str
    seed: int | None
    state: Literal["ok", "diverged", "incomplete"]
    final: float | None
    last3: float | None
    best: float | None
    time: float | None
    reached: bool


@dataclass(frozen=True)
class TimeSummary:
    """Time to the target over the runs of a cell, in `unit`.

    Attributes:
        horizon: the budget in this unit.
        median: Kaplan-Meier; Unavailable if more than half never got there.
        restricted_mean: mean of min(time, horizon).
        share: of runs that reached the target within the budget.
    """

    unit: Literal["steps", "samples", "seconds"]
    horizon: float
    median: float | Unavailable
    restricted_mean: RestrictedMean | Unavailable
    share: Share | Unavailable


@dataclass(frozen=True)
class AtFraction:
    """Value of `metric` at the last evaluation up to a fraction of the budget, in runs planned for the whole of it."""

    fraction: float
    step: float
    value: MeanOfSeeds


@dataclass(frozen=True)
class Cell:
    """One schedule on one workload.

    Attributes:
        origin: which runs these are (`Origin`).
        rate: base rate of the compared runs, None if it is not recorded or they differ.
        num_runs: compared runs; num_ok, num_diverged, num_incomplete sum up to it.
        diverged: share of the finished runs.
        final: the headline, of `endpoint`.
        last3: of `metric`.
        best: of `metric`, optimistic.
        rank: of `final` within the workload, 1 = best, ties averaged.
        steps, sustained, samples, seconds: time to target; `sustained` in steps, for the target staying reached.
        speed_ratio: median time / that of the fastest schedule, 1 = fastest; Unavailable if missed by half or more.
        anytime: area between step 0 (0) and target (1), diagnostic.
        spread: over seeds.
        path: values on the way, at fractions of the budget.
        runs: by seed, then run_id.
    """

    workload: str
    scheduler: str
    origin: Origin
    rate: float | None
    num_runs: int
    num_ok: int
    num_diverged: int
    num_incomplete: int
    diverged: Share | Unavailable
    final: MeanOfSeeds
    last3: MeanOfSeeds
    best: MeanOfSeeds
    rank: float | Unavailable
    steps: TimeSummary | Unavailable
    sustained: TimeSummary | Unavailable
    samples: TimeSummary | Unavailable
    seconds: TimeSummary | Unavailable
    speed_ratio: float | Unavailable
    anytime: MeanOfSeeds | Unavailable
    spread: Spread | Unavailable
    path: tuple[AtFraction, ...]
    runs: tuple[RunResult, ...]


# ---------------------------------------------------------------- 3 speed against final value


@dataclass(frozen=True)
class FrontPoint:
    """One schedule in the plane of speed and final value.

    Attributes:
        workload: None for the overall front.
        time: median steps to target over the runs; overall the performance-profile score (higher = faster).
        time_interval: of order statistics, with the level it reaches (94 % at five runs); None where there is none.
        final: mean of the endpoint; overall the mean rank (1 = best).
        final_interval: None where there is none.
        reached: False puts the point into the "not reached" column (median over seeds is a miss).
        on_front: no other schedule is at least as good in both and better in one.
        membership: how often it is on the front when seeds are resampled.
    """

    workload: str | None
    scheduler: str
    time: float | Unavailable
    time_interval: Interval | None
    final: float | Unavailable
    final_interval: Interval | None
    reached: bool
    on_front: bool
    membership: float | Unavailable


# ---------------------------------------------------------------- 5 rate against loss


@dataclass(frozen=True)
class RatePoint:
    """One base rate: the mean final value of `metric` over the runs there, None when all diverged or none finished.

    `time` is the median of their steps to the target, None where half or more missed it or speed does not compare.
    """

    rate: float
    mean: float | None
    time: float | None
    values: tuple[float, ...]
    num_diverged: int
    num_incomplete: int


@dataclass(frozen=True)
class RateCurve:
    """The searched rates of one (workload, scheduler), increasing, and the one that was chosen."""

    workload: str
    scheduler: str
    points: tuple[RatePoint, ...]
    chosen: float | None
    at_edge: Literal["smallest", "largest"] | None
    sensitivity: Sensitivity | Unavailable
    basin: Basin | Unavailable


@dataclass(frozen=True)
class SharedRate:
    """Ranking, at one base rate, of the schedules of a workload that ran it, two or more, best first (fact 1).

    Attributes:
        ranking: (scheduler, mean value of `metric`), those that diverged last with None.
    """

    workload: str
    rate: float
    ranking: tuple[tuple[str, float | None], ...]


# ---------------------------------------------------------------- 6 learning curves


@dataclass(frozen=True)
class LearningCurve:
    """Median over the compared runs of a cell, with the range over them as band.

    Attributes:
        steps: increasing.
        middle: (len(steps),) median over runs evaluated there, None where it is not finite.
        low, high: (len(steps),) smallest and largest finite value, None below three runs.
        rates: (len(steps),) median learning rate at the evaluation, None where not recorded.
        num_runs: compared runs.
    """

    workload: str
    scheduler: str
    steps: tuple[float, ...]
    middle: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    rates: tuple[float | None, ...]
    num_runs: int


# ---------------------------------------------------------------- 7 target ECDF and performance profile


@dataclass(frozen=True)
class TargetEcdf:
    """Share of (workload, seed, rung of the ladder) reached by each fraction of the budget, as a step function.

    Attributes:
        fractions: increasing, from 0 to 1.
        share: (len(fractions),).
        low, high: (len(fractions),) Kaplan-Meier band, or None below three.
        num_targets: targets pooled.
    """

    scheduler: str
    fractions: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None
    num_targets: int


@dataclass(frozen=True)
class ProfileScore:
    """Score of one schedule at one tau_max, exact and as AlgoPerf computes it."""

    tau_max: float
    exact: float
    algoperf: float


@dataclass(frozen=True)
class Profile:
    """Share of workloads on which a schedule is within tau of the fastest, and its scores at tau_max 2, 4, 8."""

    scheduler: str
    taus: tuple[float, ...]
    share: tuple[float, ...]
    scores: tuple[ProfileScore, ...]
    num_workloads: int


# ---------------------------------------------------------------- 8 pairs


@dataclass(frozen=True)
class Pair:
    """Two schedules on one workload; differences are first - second.

    Attributes:
        final: test of the endpoint, a diverged run counting as the value at step 0.
        final_p_holm: after Holm over all pairs and workloads of the section.
        time: test of min(steps to target, T).
        time_p_holm: after Holm over all pairs and workloads of the section, a family of its own.
        relation: what can be claimed for the first; from differences whose Holm p is at most alpha.
        reverse: what can be claimed for the second.
        improvement: probability that a run of the first beats one of the second.
        seeds_to_settle: where `final` is undecided.
    """

    workload: str
    first: str
    second: str
    final: Difference | Unavailable
    final_p_holm: float | Unavailable
    time: Difference | Unavailable
    time_p_holm: float | Unavailable
    relation: Relation
    reverse: Relation
    improvement: Improvement | Unavailable
    seeds_to_settle: SeedsNeeded | Unavailable


# ---------------------------------------------------------------- across workloads


@dataclass(frozen=True)
class RankedPair:
    """Two schedules over all common workloads: signed-rank test of the finals, Holm over all pairs."""

    first: str
    second: str
    p_value: float
    p_holm: float
    better: str | None  # the schedule with the larger rank sum when p_holm <= alpha
    num_tied: int  # workloads on which both are equal
    attainable: bool  # whether any result of the other workloads could have been significant


@dataclass(frozen=True)
class OverallPair:
    """Probability of improvement over the common workloads, first over second."""

    first: str
    second: str
    improvement: Improvement


@dataclass(frozen=True)
class Overall:
    """One schedule over the common workloads of a section.

    Attributes:
        mean_rank: of the finals, 1 = best.
        ranks: its bootstrap interval and how often it is first.
        iqm: interquartile mean of finals on the scale 0 = constant, 1 = best.
        speed_up: geometric mean against constant, > 1 = faster.
        speed_ranks: rank by the profile score at tau_max 4, with its interval.
    """

    scheduler: str
    mean_rank: float
    ranks: RankInterval | Unavailable
    iqm: Estimate | Unavailable
    speed_up: SpeedUp | Unavailable
    speed_ranks: RankInterval | Unavailable


@dataclass(frozen=True)
class Across:
    """All schedules over the workloads that every one of them ran.

    Attributes:
        workloads: those in these numbers.
        left_out: (workload, why) of the others.
        no_headroom: workloads on which constant is as good as the best; the IQM leaves them out.
        overall: by mean rank, best first.
        critical_difference: Nemenyi's, for the CD diagram; Unavailable says why there is none.
        cliques: groups of schedules whose mean ranks lie within the critical difference, for the diagram's bars.
        tests: conclusions come from these.
    """

    workloads: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    no_headroom: tuple[str, ...]
    overall: tuple[Overall, ...]
    friedman: Friedman | Unavailable
    critical_difference: float | Unavailable
    cliques: tuple[tuple[str, ...], ...]
    tests: tuple[RankedPair, ...] | Unavailable
    improvements: tuple[OverallPair, ...]


# ---------------------------------------------------------------- 10 robustness


@dataclass(frozen=True)
class FlipNote:
    """`ahead` is ahead of `behind` only as long as `without` takes part; `by` names the ranking."""

    by: Literal["final", "speed"]
    without: str
    ahead: str
    behind: str


@dataclass(frozen=True)
class EndpointRanks:
    """Mean rank of one schedule by three readings of the end of a run."""

    scheduler: str
    last: float | Unavailable
    last3: float | Unavailable
    best: float | Unavailable


@dataclass(frozen=True)
class LadderRow:
    """One rung of the target ladder: how many runs of a schedule reached it, and the median steps (None = never)."""

    workload: str
    fraction: float
    target: float
    scheduler: str
    share: Share | Unavailable
    median: float | None


@dataclass(frozen=True)
class SpreadRow:
    """Brown-Forsythe test of equal spread over seeds on one workload; low power."""

    workload: str
    test: SpreadTest | Unavailable


@dataclass(frozen=True)
class Robustness:
    """What the ranking depends on; rank intervals are in `Across`, scores at other tau_max in `Profile`."""

    flips: tuple[FlipNote, ...]
    endpoints: tuple[EndpointRanks, ...]
    ladder: tuple[LadderRow, ...]
    spread: tuple[SpreadRow, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One schedule on one task at one planned length: its final value, and its median steps to the target."""

    task: str
    scheduler: str
    total_steps: int
    final: MeanOfSeeds
    time: float | Unavailable
    rank: float | Unavailable
    rate: float | None


# ---------------------------------------------------------------- 11 costs


@dataclass(frozen=True)
class Cost:
    """What one schedule consumed on one workload: steps and seconds; seconds None if not recorded."""

    workload: str
    scheduler: str
    tuning_runs: int
    tuning_steps: int
    tuning_seconds: float | None
    compared_runs: int
    compared_steps: int
    compared_seconds: float | None


# ---------------------------------------------------------------- the whole


@dataclass(frozen=True)
class WorkloadContenders:
    """Who may be the best of one workload, or why nothing is claimed."""

    workload: str
    found: Contenders | Unavailable


@dataclass(frozen=True)
class Section:
    """Everything about one budget; nothing in it mixes planned lengths of one task.

    Attributes:
        title: "50000 steps"; or "25 % of the steps" and so on up to "all of the steps", where every task has the same
            shares of a longest budget of its own; or "each workload at its own budget", where no task has several.
        schedulers: sorted.
        sentences: what a reader must know of how these numbers came about, e.g. that rates were chosen on the
            runs that are compared, or "valid for this workload".
        overall_front: FrontPoint with workload None, empty for one workload.
        shared_rates: by workload, then rate; empty unless schedules share rates.
        contenders: who may be the best of each workload, in the order of `workloads`.
        over_workloads: who may be the best of these workloads, and of workloads like these.
    """

    title: str
    schedulers: tuple[str, ...]
    sentences: tuple[str, ...]
    workloads: tuple[WorkloadFacts, ...]
    states: tuple[StateRow, ...]
    findings: tuple[Finding, ...]
    cells: tuple[Cell, ...]
    front: tuple[FrontPoint, ...]
    overall_front: tuple[FrontPoint, ...]
    rate_curves: tuple[RateCurve, ...]
    shared_rates: tuple[SharedRate, ...]
    learning_curves: tuple[LearningCurve, ...]
    ecdf: tuple[TargetEcdf, ...] | Unavailable
    profiles: tuple[Profile, ...] | Unavailable
    pairs: tuple[Pair, ...]
    across: Across | Unavailable
    contenders: tuple[WorkloadContenders, ...]
    over_workloads: OverWorkloads | Unavailable
    robustness: Robustness
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class Analysis:
    """The whole: one section a budget, shortest first.

    Attributes:
        schedulers: all, sorted; colours and markers follow this order.
        findings: of the frame as a whole, such as mixed budgets under one workload name.
        sweep: finals by planned length, when a task was run with several; empty otherwise.
    """

    question: Question
    schedulers: tuple[str, ...]
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]
    sweep: tuple[SweepPoint, ...]


def to_plain(value: object) -> object:
    """Turn any value of this module, or a container of them, into JSON values.

    Dataclasses become objects of their fields (a Share also carries its `value`), Unavailable becomes
    `{"unavailable": reason}`, tuples become lists.

    Raises:
        ValueError: a float is not finite; the model has no such numbers.
        TypeError: the value is of a type that the model does not have.
    """
    if isinstance(value, Unavailable):
        return {"unavailable": value.reason}
    if isinstance(value, Share):
        return {"count": value.count, "total": value.total, "value": value.value, "interval": to_plain(value.interval)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a report has no number {value}; say Unavailable(reason) or None")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a report has no values of type {type(value).__name__}")
