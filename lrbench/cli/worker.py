"""What a worker process does with the jobs it is handed; imports all that a training needs."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrbench.cli.errors import USER_ERRORS
from lrbench.cli.result import Result, portable
from lrbench.cli.training_run import check, load_data, train, train_budgets
from lrbench.config import Plan
from lrbench.config.plan import plan_of
from lrbench.launch import Link
from lrbench.spec import Evaluation

_SECONDS_BETWEEN_MESSAGES = 0.2


def train_family(job: tuple[Sequence[dict[str, Any]], str], link: Link) -> list[Result]:
    """Train one point at several budgets, its common steps once; else as `train_group`."""
    return _train_checked(job, link, train_budgets)


def train_group(job: tuple[Sequence[dict[str, Any]], str], link: Link) -> list[Result]:
    """Train configs that share workload and seed.

    Args:
        job: plain values of the configs, and where their records are to be sent.
        link: gets ("record", its directory) of every record, and now and then ("steps", steps done of all runs).

    Returns:
        One result a config, in their order; errors of the user are in them.
    """
    return _train_checked(job, link, train)


def _train_checked(
    job: tuple[Sequence[dict[str, Any]], str], link: Link, how: Callable[..., list[Result]]
) -> list[Result]:
    values, tracking_uri = job
    results: dict[int, Result] = {}
    plans: dict[int, Plan] = {}
    for index, config in enumerate(values):
        plan = plan_of(config)
        try:
            plan.dataset.check()
            check(plan)
            plans[index] = plan
        except USER_ERRORS as error:
            results[index] = Result(plan.run_name, error=portable(error))
    if plans:
        results |= dict(zip(plans, _train(list(plans.values()), tracking_uri, link, how), strict=True))
    return [results[index] for index in range(len(values))]


def _train(plans: list[Plan], tracking_uri: str, link: Link, how: Callable[..., list[Result]]) -> list[Result]:
    told_at = 0.0

    def on_progress(step: int, evaluations: Mapping[int, Evaluation]) -> None:
        nonlocal told_at
        if time.monotonic() - told_at > _SECONDS_BETWEEN_MESSAGES:
            told_at = time.monotonic()
            link.send(("steps", step * len(plans) if how is train else step))

    try:
        return how(
            plans,
            tracking_uri=tracking_uri,
            stop=link.is_stopping,
            on_record=lambda path: link.send(("record", path)),
            on_progress=on_progress,
        )
    except USER_ERRORS as error:
        return [Result(plan.run_name, error=portable(error)) for plan in plans]


def dataset_digest(values: dict[str, Any], link: Link) -> tuple[str, Exception | None]:
    """Digest the data of a config; the second value is what the user did wrong."""
    try:
        return load_data(plan_of(values)).digest, None
    except USER_ERRORS as error:
        return "", portable(error)
