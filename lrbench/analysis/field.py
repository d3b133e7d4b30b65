"""The field of one workload: who is compared, and what is fixed before anybody is ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lrbench.analysis.compared import Compared
from lrbench.analysis.model import WorkloadFacts
from lrbench.analysis.prepare import Run, test_twin
from lrbench.analysis.statistics.curves import (
    TimeToTarget,
    best_value,
    censoring_step,
    check_cadence,
    time_to_target,
)
from lrbench.analysis.statistics.targets import Target, absolute_target, constant_target, ladder
from lrbench.analysis.statistics.terms import Direction, FloatArray, Unavailable, sign, worst
from lrbench.spec import RunState

CONSTANT = "constant"
NOT_REACHED = "fewer than half of the runs reached the target"


@dataclass(frozen=True)
class Field:
    """One workload.

    Attributes:
        facts: target and ladder included.
        compared: by schedule, sorted.
        direction: of the metric.
        no_speed: why times to the target cannot be compared between any schedules; None if they can.
        off_cadence: the schedules that were evaluated at other steps than most, whose times do not compare.
    """

    facts: WorkloadFacts
    compared: Mapping[str, Compared]
    direction: Direction
    no_speed: Unavailable | None
    off_cadence: Mapping[str, Unavailable]

    def speed_refusal(self, scheduler: str) -> Unavailable | None:
        """Why the times of a schedule do not compare with the others'; None if they do."""
        return self.no_speed or self.off_cadence.get(scheduler)

    def runs(self, scheduler: str) -> tuple[Run, ...]:
        """Compared runs of a schedule."""
        return self.compared[scheduler].runs

    def hit(self, run: Run) -> TimeToTarget:
        """Steps of a run to the target of the workload; only where `no_speed` is None."""
        assert isinstance(self.facts.target, Target)
        return steps_to(run, self.facts.target.value, self.direction)

    def times(self, scheduler: str) -> FloatArray:
        """Steps to target of all runs, inf = not reached; (num_runs,), empty for a schedule of another cadence."""
        return np.empty(0) if scheduler in self.off_cadence else self._times[scheduler]

    @cached_property
    def _times(self) -> dict[str, FloatArray]:
        """Once for all, since every pair of schedules asks for them."""
        hits = {scheduler: [self.hit(run) for run in self.runs(scheduler)] for scheduler in self.compared}
        return {scheduler: times_of(here) for scheduler, here in hits.items()}


def make_field(
    name: str,
    compared: Mapping[str, Compared],
    *,
    task: str,
    direction: Direction,
    target: float | None,
) -> Field:
    """Fix target, ladder and facts of a workload.

    Args:
        name: of the workload.
        compared: by schedule.
        task: of the workload.
        direction: of the metric.
        target: absolute, from the user; None takes the median final value of `constant`.
    """
    runs = [run for scheduler in sorted(compared) for run in compared[scheduler].runs]
    initial = _initial(runs)
    frozen = _target(compared, target, direction)
    cadence, off_cadence = _cadence({scheduler: compared[scheduler].runs for scheduler in sorted(compared)})
    sizes = {run.curve.batch_size for run in runs}
    facts = WorkloadFacts(
        name=name,
        task=task,
        total_steps=runs[0].total_steps,
        batch_size=sizes.pop() if len(sizes) == 1 else None,
        eval_interval=_interval(cadence),
        initial=initial,
        target=frozen,
        ladder=_rungs(runs, initial, direction),
        seeds=tuple(sorted({run.seed for run in runs if run.seed is not None})),
        num_tuning=sum(len(c.others) for c in compared.values()),
        num_compared=len(runs),
    )
    no_speed = _no_speed(runs, frozen, direction)
    return Field(facts, {s: compared[s] for s in sorted(compared)}, direction, no_speed, off_cadence)


def steps_to(run: Run, target: float, direction: Direction) -> TimeToTarget:
    """Steps of a run to a target (docs/metrics.md, row 2).

    Only a run that ended well has reached it. One that diverged never did: it is the worst at speed too. One that did
    not finish is censored at its last step, whether or not it had been there: else those that were killed late would
    count as hits and those killed early not at all, and a schedule would gain by being killed.
    """
    curve = run.curve
    end = censoring_step(curve.steps, total_steps=curve.total_steps, state=run.state)
    if run.state is not RunState.OK:
        return TimeToTarget(end, False)
    return time_to_target(curve.steps, curve.values, target=target, direction=direction, end=end)


def times_of(hits: Sequence[TimeToTarget]) -> FloatArray:
    """Times with inf where the target was not reached, for `cells.median` and what is built on it; (len(hits),)."""
    return np.array([hit.value if hit.observed else np.inf for hit in hits])


def decide_endpoint(compared: Sequence[Compared], *, metric: str) -> tuple[str, str]:
    """Choose the primary endpoint: the test twin of the metric where it is honest, else the metric.

    Returns:
        Its name, and why it is not the test metric ("" when it is).
    """
    twin = test_twin(metric)
    if twin is None:
        return metric, f"{metric} has no test twin"
    if any(c.origin == "search" for c in compared):
        return metric, f"{twin} is for runs chosen beforehand, and some results are the best of a search"
    finished = [run for c in compared for run in c.runs if run.state is RunState.OK]
    if any(run.test is None or not np.isfinite(run.test) for run in finished):
        return metric, f"{twin} was not measured in all compared runs"
    return twin, ""


def endpoint_values(runs: Sequence[Run], *, endpoint: str, metric: str, direction: Direction) -> FloatArray:
    """Final values of the finished runs, diverged = worst; shape (num_finished,)."""
    values = [_endpoint_value(run, endpoint == metric, direction) for run in runs if run.is_finished]
    return np.array(values, dtype=np.float64)


def _endpoint_value(run: Run, is_metric: bool, direction: Direction) -> float:
    if run.state is RunState.DIVERGED:
        return worst(direction)
    if is_metric:
        return run.final(direction)
    assert run.test is not None  # `decide_endpoint` looked
    return run.test


def _initial(runs: Sequence[Run]) -> float | Unavailable:
    """Mean over the runs of the value at step 0."""
    starts = [r.curve.values[0] for r in runs if r.curve.steps[0] == 0 and np.isfinite(r.curve.values[0])]
    return float(np.mean(starts)) if starts else Unavailable("no run was evaluated at step 0")


def _target(compared: Mapping[str, Compared], target: float | None, direction: Direction) -> Target | Unavailable:
    if target is not None:
        return absolute_target(target)
    runs = compared[CONSTANT].runs if CONSTANT in compared else ()
    finals = [run.final(direction) for run in runs if run.is_finished]
    if runs and not finals:
        return Unavailable(f"no run of {CONSTANT} finished; a target can be given as target=VALUE")
    frozen = constant_target(finals, direction=direction)
    if isinstance(frozen, Unavailable):
        return Unavailable(f"{frozen.reason}; a target can be given as target=VALUE")
    return frozen


def _rungs(runs: Sequence[Run], initial: float | Unavailable, direction: Direction) -> tuple[float, ...] | Unavailable:
    if isinstance(initial, Unavailable):
        return initial
    bests = [best_value(r.curve.steps, r.curve.values, direction=direction) for r in runs]
    finite = [sign(direction) * value for value in bests if np.isfinite(value)]
    if not finite:
        return Unavailable("no run has a finite value")
    rungs = ladder(initial=initial, best=sign(direction) * min(finite), direction=direction)
    return rungs if isinstance(rungs, Unavailable) else tuple(float(rung) for rung in rungs)


def _cadence(runs: Mapping[str, Sequence[Run]]) -> tuple[FloatArray, dict[str, Unavailable]]:
    """Find the evaluation steps that most schedules share, and refuse the others; of equals the finest counts.

    Where as many schedules share one as another, as fine, nobody's times compare: their names must not decide.
    """
    longest = {s: max((run.curve for run in group), key=lambda c: len(c.steps)) for s, group in runs.items()}
    odd: dict[str, dict[str, Unavailable]] = {}
    for candidate, reference in longest.items():
        odd[candidate] = {}
        for scheduler, group in runs.items():
            try:
                check_cadence({candidate: reference, **{r.run_id: r.curve for r in group}})
            except ValueError:
                # The audit says which steps; this reason stands once a schedule in tables and sentences.
                odd[candidate][scheduler] = Unavailable("evaluated at other steps than most runs")
    order = {s: (len(odd[s]), -len(longest[s].steps)) for s in longest}
    firsts = [s for s in longest if order[s] == min(order.values())]
    best = firsts[0]
    if any(odd[s].keys() != odd[best].keys() for s in firsts):
        return longest[best].steps, dict.fromkeys(longest, Unavailable("schedules were evaluated at different steps"))
    return longest[best].steps, odd[best]


def _interval(cadence: FloatArray) -> float | None:
    """Steps between evaluations; the last interval may be shorter than the others."""
    if len(cadence) < 2:
        return None
    gaps = np.diff(cadence)
    # Fractions of a budget round to whole steps, so neighbours may differ by one; the longest is the resolution.
    inner = gaps[:-1] if len(gaps) > 1 else gaps
    return float(inner.max()) if np.ptp(inner) <= 1 and gaps[-1] <= inner.max() else None


def _no_speed(runs: Sequence[Run], target: Target | Unavailable, direction: Direction) -> Unavailable | None:
    if isinstance(target, Unavailable):
        return target
    if any(steps_to(run, target.value, direction) == TimeToTarget(0.0, True) for run in runs):
        return Unavailable(f"the target {target.value:.6g} is reached at step 0, so it is too easy to measure speed")
    return None
