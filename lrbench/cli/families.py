"""Which jobs of a sweep train as one: the same point at several budgets, where the first steps are the same.

The rates are compared before torch is loaded, so only schedules that are functions of the step are; those of torch's
own classes decay from the first step on anyway.
"""

import inspect
import json
from collections.abc import Mapping

import numpy as np

from lrbench.config import Plan
from lrbench.config.plan import shaping_values

_LEAST_SHARED = 0.1  # of the shorter budget: below that, one task after the other costs more than it saves


def families(plans: Mapping[int, Plan]) -> list[tuple[int, ...]]:
    """Group jobs, each in one group; most are alone in theirs."""
    alike: dict[str, list[int]] = {}
    for index, plan in plans.items():
        alike.setdefault(_all_but_budget(plan), []).append(index)
    groups: list[tuple[int, ...]] = []
    for indices in alike.values():
        longest = max(indices, key=lambda index: plans[index].budget.total_steps)
        together = [i for i in indices if i == longest or shared_steps(plans[longest], plans[i]) > 0]
        groups += [tuple(together), *((i,) for i in indices if i not in together)]
    return groups


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
    if plan.warmup is not None or plan.values["study"]["prune_steps"]:
        return None
    if next(iter(inspect.signature(plan.schedule).parameters), None) != "step":
        return None
    total = plan.budget.total_steps
    return np.broadcast_to(np.asarray(plan.schedule(np.arange(total), total), dtype=np.float64), (total,))


def _all_but_budget(plan: Plan) -> str:
    shaping = shaping_values(plan.values)
    shaping["budget"] = {k: v for k, v in shaping["budget"].items() if k not in ("steps", "epochs")}
    return json.dumps([shaping, plan.values["results_dir"], plan.values["tracking"]], sort_keys=True)
