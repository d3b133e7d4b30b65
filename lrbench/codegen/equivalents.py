"""The schedules that transformers and optax have too, as calls of theirs.

transformers: constant, linear, cosine, cosine_hard_restarts, cosine_wave, cosine_to_min, polynomial, polynomial_decay,
inverse_sqrt, wsd, trapezoid, plateau. optax: constant, linear, cosine, generalized_cosine, polynomial,
polynomial_decay, exponential, step, multistep. A family is left out where the library's differs at any step: optax's
one-cycle rounds its phases differently from torch's, for one.

transformers computes the same factor with Python floats, equal to about 1e-15; optax computes in float32 unless told
otherwise.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from lrbench.codegen.calls import call, constructor, unbound
from lrbench.codegen.pytorch import optimizer_words
from lrbench.schedules import Warmup, plateau
from lrbench.schedules.rates import MakeOptimizer, Schedule
from lrbench.spec import steps_of

__all__ = ["optax_snippet", "transformers_snippet"]


@dataclass(frozen=True)
class _Given:
    """What an equivalent is made from.

    Attributes:
        name: of the schedule, for messages.
        family: name of its function, "" for a function that is not ours.
        parameters: of the family, defaults included.
        optimizer: made, with its base rate.
        warmup_steps: in front of the schedule.
        warmup_start: first rate of a straight warmup, of the schedule's first rate; None for other shapes.
        num_steps: the schedule's own budget.
        num_evaluations: after the first update.
    """

    name: str
    family: str
    parameters: Mapping[str, Any]
    optimizer: Optimizer
    warmup_steps: int
    warmup_start: float | None
    num_steps: int
    num_evaluations: int

    @property
    def base_lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])


def transformers_snippet(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    *,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
) -> str:
    """Write the `transformers.get_scheduler` call that gives the same rates; arguments as for `torch_snippet`.

    Raises:
        ValueError: transformers has no equal schedule, or not with these parameters or this warmup.
    """
    given = _given(schedule, make_optimizer, total_steps, num_evaluations, warmup, name)
    found = _transformers_name(given)
    if found is None:
        raise ValueError(f"scheduler={name} with these parameters has no equal in transformers; write to=torch")
    kind, warmup_steps, extra = found
    words = {"num_warmup_steps": str(warmup_steps), "num_training_steps": str(total_steps)}
    if extra:
        words["scheduler_specific_kwargs"] = repr(extra)
    body = call("get_scheduler", repr(kind), "optimizer", **words).replace("\n", "\n    ")
    step = "scheduler.step(val_loss) after each evaluation" if kind == "reduce_lr_on_plateau" else "scheduler.step()"
    return (
        "from transformers import get_scheduler\n\n\n"
        "def make_scheduler(optimizer):\n"
        f'    """Set the rates of {name}, {total_steps} steps, for an optimizer whose lr is {given.base_lr!r}."""\n'
        f"    return {body}\n\n\n"
        f"# optimizer = {optimizer_words(given.optimizer)}; after every optimizer.step(): {step}\n"
    )


def optax_snippet(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    *,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
) -> str:
    """Write the optax schedule, step -> rate, that gives the same rates; arguments as for `torch_snippet`.

    Raises:
        ValueError: optax has no equal schedule, or not with these parameters or this warmup.
    """
    given = _given(schedule, make_optimizer, total_steps, num_evaluations, warmup, name)
    found = _optax_call(given)
    if found is None:
        raise ValueError(f"scheduler={name} with these parameters has no equal in optax; write to=torch")
    expression, first = found
    if given.warmup_steps:
        if given.warmup_start is None:
            raise ValueError("warmup must be linear for to=optax, which has no equal of the others; write to=torch")
        climb = f"optax.linear_schedule({given.warmup_start * first!r}, {first!r}, {given.warmup_steps})"
        parts = ",\n    ".join([climb, expression.replace("\n", "\n    ")])
        expression = f"optax.join_schedules([\n    {parts},\n], boundaries=[{given.warmup_steps}])"
    usage = f"# {name}, {total_steps} steps; e.g. optimizer = optax.sgd(schedule)"
    return f"import optax\n\n{usage}\nschedule = {expression}\n"


def _given(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None,
    name: str,
) -> _Given:
    function, bound = unbound(schedule)
    defaults = {k: p.default for k, p in signature(function).parameters.items() if p.default is not p.empty}
    warmup_steps = 0 if warmup is None else warmup.num_steps(total_steps)
    warmup_start = None
    if warmup is not None:
        shape, shape_bound = unbound(warmup.shape)
        if shape.__name__ == "linear_warmup":
            warmup_start = shape_bound.get("start_ratio", signature(shape).parameters["start_ratio"].default)
    return _Given(
        name=name,
        family=function.__name__ if function.__module__.startswith("lrbench.schedules.") else "",
        parameters=defaults | bound,
        optimizer=make_optimizer([torch.nn.Parameter(torch.zeros(1))]),
        warmup_steps=warmup_steps,
        warmup_start=warmup_start,
        num_steps=total_steps - warmup_steps,
        num_evaluations=num_evaluations,
    )


def _transformers_name(given: _Given) -> tuple[str, int, dict[str, Any]] | None:
    """Name for get_scheduler, its warmup steps, and its own keyword arguments."""
    p, warmup_steps = given.parameters, given.warmup_steps
    match given.family:
        case "wsd" | "trapezoid":
            return _transformers_wsd(given)
        case "inverse_sqrt" if not warmup_steps and p["start_ratio"] == 0:
            return "inverse_sqrt", steps_of(p["warmup_fraction"], given.num_steps, at_least=1), {}
        case "cosine_to_min" if not warmup_steps:
            extra = {"min_lr_rate": p["min_ratio"], "warmup_lr_rate": p["start_ratio"]}
            own_steps = steps_of(p["warmup_fraction"], given.num_steps)
            return "cosine_warmup_with_min_lr", own_steps, {k: v for k, v in extra.items() if v is not None}
        case "plateau" if not warmup_steps:
            known = {"total_steps": given.num_steps, "num_evaluations": given.num_evaluations}
            found = constructor(plateau, given.optimizer, {**p, **known})
            assert found is not None
            return "reduce_lr_on_plateau", 0, found[1]
    decay = _transformers_decay(given)
    if decay is not None and warmup_steps and given.warmup_start != 0:
        raise ValueError(
            "warmup must be linear with warmup.start_ratio=0, as transformers has it, for to=transformers; "
            "change it, or write to=torch"
        )
    return None if decay is None else (decay[0], warmup_steps, decay[1])


def _transformers_decay(given: _Given) -> tuple[str, dict[str, Any]] | None:
    """Name and keyword arguments of those that stand behind transformers' warmup, which starts at zero."""
    p = given.parameters
    match given.family:
        case "constant" if _is_flat(given):
            return "constant_with_warmup" if given.warmup_steps else "constant", {}
        case "linear" if p["start_ratio"] == 1 and p["end_ratio"] == 0:
            return "linear", {}
        case "polynomial":
            return "polynomial", {"power": p["power"], "lr_end": 0.0}
        case "polynomial_decay" if p["k"] == 1 and p["min_ratio"] < 1:
            return "polynomial", {"power": p["power"], "lr_end": p["min_ratio"] * given.base_lr}
        case "cosine" if p["min_ratio"] == 0:
            return "cosine", {}
        case "cosine":
            return "cosine_with_min_lr", {"min_lr_rate": p["min_ratio"]}
        case "cosine_wave" if p["start"] == "peak" and p["envelope"] == "none":
            return "cosine_with_min_lr", {"min_lr_rate": p["min_ratio"], "num_cycles": p["num_cycles"]}
        case "cosine_hard_restarts" if _restarts_agree(p["num_cycles"], given.num_steps):
            return "cosine_with_restarts", {"num_cycles": p["num_cycles"]}
    return None


def _transformers_wsd(given: _Given) -> tuple[str, int, dict[str, Any]] | None:
    """Its warmup, ours or one in front, climbs in a straight line from min_ratio."""
    p, total_steps = given.parameters, given.num_steps + given.warmup_steps
    shape = p.get("shape", "linear")
    own_steps = steps_of(p["warmup_fraction"], given.num_steps)
    starts = {*([given.warmup_start] if given.warmup_steps else []), *([p["start_ratio"]] if own_steps else [])}
    if shape not in ("linear", "cosine", "1-sqrt") or (own_steps and given.warmup_steps) or starts - {p["min_ratio"]}:
        return None
    decay_steps = min(steps_of(p["decay_fraction"], given.num_steps), given.num_steps - own_steps)
    extra = {"num_decay_steps": decay_steps, "decay_type": shape, "min_lr_ratio": p["min_ratio"]}
    return "warmup_stable_decay", own_steps or total_steps - given.num_steps, extra


def _restarts_agree(num_cycles: int, num_steps: int) -> bool:
    """Whether transformers' float arithmetic restarts at the right steps for this budget."""
    steps = np.arange(num_steps)
    return bool(np.array_equal(num_cycles * (steps / num_steps) // 1, num_cycles * steps // num_steps))


def _is_flat(given: _Given) -> bool:
    p = given.parameters
    return bool(p["initial_ratio"] == 1 or steps_of(p["initial_fraction"], given.num_steps) == 0)


def _optax_call(given: _Given) -> tuple[str, float] | None:
    """The schedule without its warmup as a call, and its first rate."""
    p, lr, steps = given.parameters, given.base_lr, given.num_steps
    match given.family:
        case "constant" if _is_flat(given):
            return f"optax.constant_schedule({lr!r})", lr
        case "linear":
            first = p["start_ratio"] * lr
            return f"optax.linear_schedule({first!r}, {p['end_ratio'] * lr!r}, {steps})", first
        case "cosine" | "generalized_cosine":
            words = {"alpha": repr(p["min_ratio"]), "exponent": repr(p.get("exponent", 1.0))}
            return call("optax.cosine_decay_schedule", repr(lr), str(steps), **words), lr
        case "polynomial" | "polynomial_decay" if p.get("k", 1) == 1:
            words = {"power": repr(p["power"]), "transition_steps": str(steps)}
            end = p.get("min_ratio", 0.0) * lr
            return call("optax.polynomial_schedule", repr(lr), repr(end), **words), lr
        case "exponential":
            return f"optax.exponential_decay({lr!r}, {steps}, {p['end_ratio']!r})", lr
        case "step":
            interval = steps_of(p["interval_fraction"], steps, at_least=1)
            return _optax_cuts(lr, range(interval, steps, interval), p["gamma"])
        case "multistep":
            fractions = [0.5, 0.75] if p["milestone_fractions"] is None else p["milestone_fractions"]
            return _optax_cuts(lr, [steps_of(f, steps) for f in fractions], p["gamma"])
    return None


def _optax_cuts(lr: float, steps: Iterable[int], gamma: float) -> tuple[str, float]:
    """Cuts at steps, repeated ones twice; optax applies a cut at its step, as torch does."""
    cuts = {step: gamma**times for step, times in sorted(Counter(steps).items())}
    return call("optax.piecewise_constant_schedule", repr(lr), repr(cuts)), lr * cuts.get(0, 1.0)
