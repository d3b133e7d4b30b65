"""What a worker process does with the jobs it is handed; imports all that a training needs.

Its functions take (plain values of configs, where their records are to be sent, positions of those that have finished
and are in their stack for company) and tell the parent, by the link:
("record", its directory) of every record, ("steps", steps done of all jobs together) now and then, and ("end",
(position of the job, its result)) of every job as soon as it has ended, errors of the user included, ("learner", its
name) of jobs that might have been stacked, and ("note", what a person may want to know).
"""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch._dynamo  # noqa: F401  # the first optimizer imports it: once before the workers are forked, not in each

from lrbench.config import Plan
from lrbench.config.plan import plan_of
from lrbench.data import OwnLoop
from lrbench.launch import Link
from lrbench.runs.environment import resolve_device
from lrbench.runs.errors import USER_ERRORS
from lrbench.runs.loading import load_data
from lrbench.runs.own_loop import train_loop
from lrbench.runs.result import Result, portable
from lrbench.runs.train import check, choose_learner, train, train_budgets
from lrbench.runs.try_out import try_out
from lrbench.spec import Evaluation

_SECONDS_BETWEEN_MESSAGES = 0.2

Assignment = tuple[Sequence[dict[str, Any]], str, Sequence[int]]
T = TypeVar("T")


def train_group(job: Assignment, link: Link) -> None:
    """Train configs that share workload and seed: as one stacked model where that is faster, else one by one."""
    plans = _checked(job, link)
    if len(plans) > 1:
        choice = _told(plans, link, lambda: choose_learner(list(plans.values())))
        if choice is None:
            return
        link.send(("note", f"{next(iter(plans.values())).workload}: {choice.learner} learner: {choice.reason}"))
        link.send(("learner", choice.learner))
        if choice.learner == "fused":
            _train(plans, job, link, train, steps_done=0)
            return
    _one_by_one({position: plan for position, plan in plans.items() if position not in job[2]}, job, link)


def train_one_by_one(job: Assignment, link: Link) -> None:
    """Train configs one after the other."""
    _one_by_one(_checked(job, link), job, link)


def _one_by_one(plans: Mapping[int, Plan], job: Assignment, link: Link) -> None:
    steps_done = 0
    for position, plan in plans.items():
        if link.is_stopping():
            return
        _train({position: plan}, job, link, train, steps_done=steps_done)
        steps_done += plan.budget.total_steps


def train_at_budgets(job: Assignment, link: Link) -> None:
    """Train one point at several budgets, its common steps once."""
    plans = _checked(job, link)
    if plans:
        _train(plans, job, link, train_budgets, steps_done=0)


def train_loops(job: tuple[Sequence[dict[str, Any]], str, bytes], link: Link) -> None:
    """Train by a loop of the user's, see `lrbench.runs.own_loop`, one config after the other."""
    values, uri, loop = job
    steps_done = 0
    for position, plan in enumerate(map(plan_of, values)):
        if link.is_stopping():
            return
        result = train_loop(
            loop,
            plan,
            tracking_uri=uri,
            on_record=lambda path: link.send(("record", path)),
            say=lambda text: link.send(("note", text)),
        )
        steps_done += plan.budget.total_steps
        link.send(("steps", steps_done))
        link.send(("end", (position, result)))


def device_type(name: str, link: Link) -> str:
    """Say what kind of device a name stands for, such as cpu or cuda."""
    return resolve_device(name).type


def prepare(values: dict[str, Any], link: Link) -> tuple[str, Exception | None]:
    """Try the parts of a config on its data and digest these; the second value is what the user did wrong."""
    try:
        plan = plan_of(values)
        if isinstance(plan.dataset, OwnLoop):
            return plan.dataset.load().digest, None
        try_out(plan, warn=lambda text: link.send(("note", text)))
        return load_data(plan).digest, None
    except USER_ERRORS as error:
        return "", portable(error)


def _checked(job: Assignment, link: Link) -> dict[int, Plan]:
    """The plans that can be trained, by position."""
    plans = {}
    for position, values in enumerate(job[0]):
        plan = plan_of(values)
        try:
            plan.dataset.check()
            check(plan, warn=lambda text: link.send(("note", text)))
            try_out(plan, warn=lambda text: link.send(("note", text)))
            plans[position] = plan
        except USER_ERRORS as error:
            link.send(("end", (position, Result(plan.run_name, error=portable(error)))))
    return plans


def _told(plans: Mapping[int, Plan], link: Link, do: Callable[[], T]) -> T | None:
    """Do something for all plans; what the user did wrong is the end of each, and gives None."""
    try:
        return do()
    except USER_ERRORS as error:
        for position, plan in plans.items():
            link.send(("end", (position, Result(plan.run_name, error=portable(error)))))
        return None


def _train(
    plans: Mapping[int, Plan], job: Assignment, link: Link, how: Callable[..., list[Result]], *, steps_done: int
) -> None:
    told_at = 0.0
    known = {"finished": [k for k, position in enumerate(plans) if position in job[2]]} if how is train else {}
    left = [position for position in plans if position not in job[2]]
    each = len(left) if how is train else 1  # `train_budgets` counts the steps of all

    def on_progress(step: int, evaluations: Mapping[int, Evaluation]) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > _SECONDS_BETWEEN_MESSAGES:
            told_at = time.monotonic()
            link.send(("steps", steps_done + step * each))

    results = _told(
        plans,
        link,
        lambda: how(
            list(plans.values()),
            tracking_uri=job[1],
            stop=link.is_stopping,
            on_record=lambda path: link.send(("record", path)),
            on_progress=on_progress,
            say=lambda text: link.send(("note", text)),
            **known,
        ),
    )
    for position, result in zip(left, results or [], strict=False):
        link.send(("end", (position, result)))


# Workers are forked from here on: what is imported is no garbage, and nobody shall look at all of it for any.
gc.freeze()
