"""Which jobs of a sweep train as one task of a worker.

Two reasons: the same point at several budgets, where the first steps are the same and taken once; and points that
share workload and seed, which the fused learner trains as one stacked model.

All is decided before torch is loaded. Rates are compared for schedules that are functions of the step only; those of
torch's own classes decay from the first step on anyway.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lrbench.config import Plan
from lrbench.config.plan import shaping_values
from lrbench.schedules.factors import ScheduleError, factors_of

MOST_FUSED = 32  # trials of one stack: beyond, speed grows little more and everything waits for the slowest
_GROUPS_A_WORKER = 4  # so that the last of them to end keeps the others waiting for little
_SHORT_SECONDS = 10.0  # work that nobody minds waiting for
_LEAST_SHARED = 0.1  # of the shorter budget: below that, one task after the other costs more than it saves


@dataclass(frozen=True)
class Group:
    """Jobs of one task.

    Attributes:
        indices: of the jobs.
        function: name in lrbench.runs.worker that trains them.
    """

    indices: tuple[int, ...]
    function: Literal["train_group", "train_one_by_one", "train_at_budgets"] = "train_group"


def groups_left(
    plans: Mapping[int, Plan],
    finished: Collection[int],
    num_workers: int,
    began_in: Callable[[int, str], bool] = lambda index, stack: False,
) -> list[Group]:
    """Group the jobs that have not finished, in the stacks that they would be in if none had.

    Stacks of another size round otherwise, and a sweep that goes on shall end as an unbroken one. So a stack that was
    killed between the ends of its members is trained whole, the finished ones for company. The members of other groups
    that are partly finished are grouped anew.

    Args:
        plans: by job, all of them.
        finished: some of the jobs.
        num_workers: processes that will train them.
        began_in: whether a job was begun, and not finished, in the stack with this `stack_id`.
    """

    def is_whole(group: Group) -> bool:
        left = [index for index in group.indices if index not in finished]
        if len(left) in (0, len(group.indices)):
            return bool(left)
        stack = stack_id([plans[index] for index in group.indices])
        return group.function == "train_group" and any(began_in(index, stack) for index in left)

    whole = [group for group in make_groups(plans, num_workers) if is_whole(group)]
    grouped = {index for group in whole for index in group.indices}
    others = {i: plan for i, plan in plans.items() if i not in grouped and i not in finished}
    return [*whole, *make_groups(others, num_workers)]


def stack_id(plans: Sequence[Plan]) -> str:
    """What identifies a stack: its runs and their order; "" for one alone."""
    if len(plans) == 1:
        return ""
    return hashlib.sha256("\n".join(plan.fingerprint for plan in plans).encode()).hexdigest()[:16]


def make_groups(plans: Mapping[int, Plan], num_workers: int) -> list[Group]:
    """Put every job in one group; the groups are many enough for all workers.

    Args:
        plans: by job.
        num_workers: processes that will train them.
    """
    groups, left = _by_budget(plans)
    together: dict[str, list[int]] = {}
    for index in left:
        together.setdefault(_shared_start(plans[index]), []).append(index)
    # Small stacks are slow, but a worker without one does nothing: split what is alike only where there is little else.
    enough = math.ceil(len(left) / (_GROUPS_A_WORKER * num_workers))
    for indices in together.values():
        most = min(MOST_FUSED, max(math.ceil(len(indices) / num_workers), enough))
        if plans[indices[0]].values["training"]["learner"] == "sequential":
            most = 1
        groups += [Group(tuple(indices[first : first + most])) for first in range(0, len(indices), most)]
    return groups


def cut(group: Group, *, num_left: int, num_workers: int, job_seconds: float | None) -> tuple[Group, Group | None]:
    """Cut off what a worker shall do next: less and less towards the end, so that none waits long for the last.

    Only of jobs that train one by one: what is in a stack must not depend on a clock.

    Args:
        group: whose turn it is.
        num_left: jobs that no worker has begun, those of the group included.
        num_workers: processes.
        job_seconds: wall time of such a job in the group that ended last; None while none has.

    Returns:
        What to do now, and the rest if there is one: of groups that take as long as nobody minds, there is none.
    """
    if group.function != "train_one_by_one" or not job_seconds:
        return group, None
    most = math.ceil(max(num_left / (2 * num_workers), _SHORT_SECONDS / job_seconds))
    if most >= len(group.indices):
        return group, None
    return Group(group.indices[:most], group.function), Group(group.indices[most:], group.function)


def _by_budget(plans: Mapping[int, Plan]) -> tuple[list[Group], list[int]]:
    """The jobs that share steps with another budget of their point, and all the others."""
    alike: dict[str, list[int]] = {}
    for index, plan in plans.items():
        alike.setdefault(_all_but_budget(plan), []).append(index)
    groups, left = [], []
    for indices in alike.values():
        longest = max(indices, key=lambda index: plans[index].budget.total_steps)
        sharing = [i for i in indices if i != longest and shared_steps(plans[longest], plans[i])]
        if sharing:
            groups.append(Group((longest, *sharing), "train_at_budgets"))
        left += [i for i in indices if i not in sharing and not (sharing and i == longest)]
    return groups, sorted(left)


def shared_steps(one: Plan, other: Plan) -> int:
    """Leading steps at which two plans have the same rate, or 0 when they are few or the rates are not known yet."""
    factors = [_factors(plan) for plan in (one, other)]
    if any(factor is None for factor in factors):
        return 0
    first, second = (np.asarray(factor) for factor in factors)
    shortest = min(len(first), len(second))
    different = np.flatnonzero(first[:shortest] != second[:shortest])
    shared = int(different[0]) if different.size else shortest
    return shared if shared >= _LEAST_SHARED * shortest else 0


def _factors(plan: Plan) -> np.ndarray | None:
    is_averaged = plan.values["training"]["average"] != "none"  # over another part of each budget
    if plan.warmup is not None or plan.values["study"]["prune_steps"] or is_averaged:
        return None
    if next(iter(inspect.signature(plan.schedule).parameters), None) != "step":
        return None
    try:
        return factors_of(plan.schedule, plan.budget.total_steps, name=plan.values["scheduler"]["name"])
    except ScheduleError:  # the job says so itself
        return None


def _all_but_budget(plan: Plan) -> str:
    shaping = shaping_values(plan.values)
    shaping["budget"] = {k: v for k, v in shaping["budget"].items() if k not in ("steps", "epochs")}
    return json.dumps([shaping, plan.values["results_dir"], plan.values["tracking"]], sort_keys=True)


def _shared_start(plan: Plan) -> str:
    """What jobs must have in common to train as one stacked model: all but schedule and the optimizer's numbers."""
    shaping = shaping_values(plan.values)
    del shaping["scheduler"], shaping["warmup"]
    shaping["optimizer"] = {k: v for k, v in shaping["optimizer"].items() if not isinstance(v, float)}
    places = {key: plan.values[key] for key in ("results_dir", "tracking", "device", "threads")}
    return json.dumps([shaping, places], sort_keys=True)
