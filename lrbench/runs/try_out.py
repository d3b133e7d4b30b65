"""The parts of a plan together, on a few of its examples, before anything is trained."""

import logging
from collections.abc import Callable
from functools import lru_cache

import torch

from lrbench.config import Plan
from lrbench.dry_run import try_parts
from lrbench.runs.assemble import trial_of, workload_of
from lrbench.runs.environment import resolve_device
from lrbench.runs.loading import Parts, load_data

_log = logging.getLogger(__name__)


def try_out(plan: Plan, *, warn: Callable[[str], None] = _log.warning) -> None:
    """Load the data, and take a few examples through model, loss and optimizer; plans with equal parts do so once.

    Args:
        plan: checked.
        warn: told what may be a mistake.

    Raises:
        ValueError: the data are missing or damaged, or they, model and optimizer do not fit together.
    """
    for text in _tried(Parts(plan, "dataset", "model", "optimizer", "training", "device")):
        warn(text)


@lru_cache(maxsize=8)
def _tried(parts: Parts) -> list[str]:
    plan = parts.plan
    device = resolve_device(plan.values["device"])
    torch.set_num_threads(plan.values["threads"])
    return try_parts(workload_of(plan, load_data(plan), device), trial_of(plan), seed=plan.values["seed"])
