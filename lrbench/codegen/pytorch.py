"""A schedule as plain PyTorch: torch's own class with its numbers resolved, or the family's function in LambdaLR."""

import textwrap
from inspect import signature

import torch
from torch.optim import Optimizer, lr_scheduler

from lrbench.codegen.calls import call, factor_table, given_parameters, is_factor, scheduler_call, unbound
from lrbench.codegen.source import Source
from lrbench.schedules import Warmup
from lrbench.schedules.rates import MakeOptimizer, Rates, Schedule, make_rates

__all__ = ["optimizer_words", "torch_snippet"]

_TORCH = "torch.optim.lr_scheduler"
# Torch's classes that compute the rate from the number of steps alone, and so can begin behind a warmup.
_FROM_STEP = (
    lr_scheduler.LambdaLR,
    lr_scheduler.OneCycleLR,
    lr_scheduler.CyclicLR,
    lr_scheduler.CosineAnnealingWarmRestarts,
)
_SHOWN = ("lr", "momentum", "betas", "nesterov", "weight_decay")


def torch_snippet(
    schedule: Schedule,
    make_optimizer: MakeOptimizer,
    *,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
) -> str:
    """Write Python that reproduces every rate of `make_rates` bit for bit with torch, and numpy where it needs it.

    Args:
        schedule: as for `make_rates`, like the arguments after it.
        make_optimizer: builds the optimizer, base rate included.
        total_steps: the budget.
        num_evaluations: evaluations after the first update.
        warmup: in front of the schedule.
        name: of the schedule, for the text.

    Returns:
        Source of a module with `make_scheduler(optimizer)`; comments show the loop. Schedulers that SequentialLR cannot
        start behind a warmup (closed-loop and recursive ones) are returned beside it: `(warmup, scheduler)`.

    Raises:
        ValueError: a function has no importable name, or a parameter cannot be written as Python.
    """
    known = {"total_steps": total_steps, "num_evaluations": num_evaluations}
    rates = make_rates(schedule, make_optimizer, warmup=warmup, name=name, **known)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    base_lr = float(optimizer.param_groups[0]["lr"])
    source = Source()
    lines = _scheduler(schedule, optimizer, source, known | {"total_steps": total_steps - rates.warmup_steps})
    pair = False
    if warmup is not None and rates.warmup_steps:
        pair = rates.closed_loop or not _can_begin_later(schedule, make_optimizer, known)
        lines += _behind_warmup(warmup, rates, base_lr, source, pair=pair)
    else:
        lines.append("return scheduler")
    summary = f'"""Set the rates of {name}, {total_steps} steps, for an optimizer whose lr is {base_lr!r}."""'
    function = textwrap.indent("\n".join([summary, *lines]), "    ")
    parts = [
        "\n".join(source.import_lines()),
        *source.definitions.values(),
        f"def make_scheduler(optimizer):\n{function}",
        "\n".join(_usage(optimizer, rates, num_evaluations, pair=pair)),
    ]
    return "\n\n\n".join(part for part in parts if part) + "\n"


def _scheduler(schedule: Schedule, optimizer: Optimizer, source: Source, known: dict[str, int]) -> list[str]:
    """Lines that assign `scheduler`."""
    if not is_factor(schedule):
        return [f"scheduler = {scheduler_call(schedule, optimizer, source, known)}"]
    source.imports.add((_TORCH, "LambdaLR"))
    total_steps = known["total_steps"]
    function, _ = unbound(schedule)
    # Ours stay at the value of step T past the end; where a user's function may be called is not ours to say.
    ours = hasattr(function, "__wrapped__") and not function.__module__.endswith(".compose")
    last = total_steps if ours else total_steps - 1
    return [
        f"factors = {factor_table(schedule, last + 1, source, total_steps=total_steps)}.tolist()",
        f"scheduler = LambdaLR(optimizer, lambda step: factors[min(step, {last})])",
    ]


def _can_begin_later(schedule: Schedule, make_optimizer: MakeOptimizer, known: dict[str, int]) -> bool:
    """Whether SequentialLR can start the scheduler behind another; it cannot where rates come from the rate before."""
    if is_factor(schedule):
        return True
    parameters = signature(schedule).parameters
    bound = unbound(schedule)[1]
    given = {key: value for key, value in known.items() if key in parameters and key not in bound}
    made = schedule(make_optimizer([torch.nn.Parameter(torch.zeros(1))]), **given)
    return isinstance(made, _FROM_STEP) or hasattr(made, "_get_closed_form_lr")


def _behind_warmup(warmup: Warmup, rates: Rates, base_lr: float, source: Source, *, pair: bool) -> list[str]:
    """Lines that put a warmup in front of `scheduler` and return.

    Args:
        warmup: the shape.
        rates: the table, for the first rate of the schedule.
        base_lr: of the optimizer.
        source: gets what the lines need.
        pair: return both schedulers, for a loop that steps one after the other.
    """
    source.imports |= {(_TORCH, "LambdaLR"), ("", "numpy as np")}
    steps = rates.warmup_steps
    shape, bound = unbound(warmup.shape)
    ramp = call(source.add(shape), f"np.arange({steps})", str(steps), **given_parameters(shape, bound))
    rule = f"ramp[step] if step < {steps} else 1.0" if pair else "ramp[step]"
    lines = [f"ramp = {ramp}.tolist()", f"warmup = LambdaLR(optimizer, lambda step: {rule})"]
    if rates.lr[steps] != base_lr:
        lines.insert(0, 'first_rates = [group["lr"] for group in optimizer.param_groups]')
        lines.append("warmup.base_lrs = first_rates  # climb to the first rate of the schedule, not to the optimizer's")
    if pair:
        return [*lines, "return warmup, scheduler"]
    source.imports.add((_TORCH, "SequentialLR"))
    return [*lines, f"return SequentialLR(optimizer, [warmup, scheduler], milestones=[{steps}])"]


def _usage(optimizer: Optimizer, rates: Rates, num_evaluations: int, *, pair: bool) -> list[str]:
    """Comments with the loop that the rates belong to."""
    step = "scheduler.step(val_loss)" if rates.closed_loop else "scheduler.step()"
    lines = [
        f"optimizer = {optimizer_words(optimizer)}",
        f"{'warmup, scheduler' if pair else 'scheduler'} = make_scheduler(optimizer)",
        f"for step in range({len(rates.lr)}):",
        "    ...; loss.backward(); optimizer.step()",
    ]
    if pair:
        lines.append(f"    if step < {rates.warmup_steps}: warmup.step()")
    if rates.closed_loop:
        lines.append(f"    {'elif' if pair else 'if'} evaluated: {step}  # after each of {num_evaluations} evaluations")
    elif pair:
        lines.append(f"    else: {step}")
    else:
        lines[-1] += f"; {step}"
    return [f"# {line}" for line in lines]


def optimizer_words(optimizer: Optimizer) -> str:
    """Write how the optimizer is made, as far as its rate and momentum go."""
    kind = type(optimizer)
    module = "torch.optim" if kind.__module__.startswith("torch.optim") else kind.__module__
    values = {key: optimizer.defaults[key] for key in _SHOWN if optimizer.defaults.get(key)}
    return f"{module}.{kind.__name__}({', '.join(['model.parameters()', *(f'{k}={v!r}' for k, v in values.items())])})"
