"""A schedule as plain PyTorch: torch's own class with its numbers resolved, or the family's function in LambdaLR."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from lrbench.export.source import Source, literal
from lrbench.schedules import Warmup
from lrbench.schedules.rates import MakeOptimizer, Rates, Schedule, make_rates

__all__ = ["call", "optimizer_words", "torch_constructor", "torch_snippet", "unbound"]

_TORCH = "torch.optim.lr_scheduler"
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
        Source of a module with `make_scheduler(optimizer)`; for a closed-loop schedule behind a warmup it returns both,
        `(warmup, scheduler)`. Comments show how to step them.

    Raises:
        ValueError: a function has no importable name, or a parameter cannot be written as Python.
    """
    known = {"total_steps": total_steps, "num_evaluations": num_evaluations}
    rates = make_rates(schedule, make_optimizer, warmup=warmup, name=name, **known)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    base_lr = float(optimizer.param_groups[0]["lr"])
    source = Source()
    lines = _scheduler(schedule, optimizer, source, known | {"total_steps": total_steps - rates.warmup_steps})
    if warmup is not None and rates.warmup_steps:
        lines += _behind_warmup(warmup, rates, base_lr, source)
    else:
        lines.append("return scheduler")
    summary = f'"""Set the rates of {name}, {total_steps} steps, for an optimizer whose lr is {base_lr!r}."""'
    function = textwrap.indent("\n".join([summary, *lines]), "    ")
    parts = [
        "\n".join(source.import_lines()),
        *source.definitions.values(),
        f"def make_scheduler(optimizer):\n{function}",
        "\n".join(_usage(optimizer, rates, total_steps, num_evaluations)),
    ]
    return "\n\n\n".join(part for part in parts if part) + "\n"


def unbound(schedule: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Split a schedule into its function and the parameters bound to it by keyword."""
    if isinstance(schedule, functools.partial):
        return schedule.func, dict(schedule.keywords)
    return schedule, {}


def call(name: str, *arguments: str, **parameters: str) -> str:
    """Write a call on one line, or with one argument a line where it is longer than 80 characters."""
    words = [*arguments, *(f"{key}={value}" for key, value in parameters.items())]
    line = f"{name}({', '.join(words)})"
    return line if len(line) <= 80 else "\n".join([f"{name}(", *(f"    {word}," for word in words), ")"])


def torch_constructor(
    family: Callable[..., Any], optimizer: Optimizer, parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """Evaluate what a family passes to the torch class it returns.

    The function is run with its `return lr_scheduler.X(optimizer, a=..., b=...)` turned into data. Reading the numbers
    from the finished object would not do: OneCycleLR and CyclicLR do not keep theirs.

    Returns:
        Name of the class and its keyword arguments; None for a function that does not end like this.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(family)))
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef):
        return None
    match function.body[-1]:
        case ast.Return(
            value=ast.Call(
                func=ast.Attribute(value=ast.Name(id="lr_scheduler"), attr=class_name),
                args=[ast.Name(id="optimizer")],
                keywords=keywords,
            )
        ):
            data = ast.Call(ast.Name("dict", ast.Load()), [], keywords)
            function.body[-1] = ast.Return(data)
        case _:
            return None
    function.args = ast.arguments([], [ast.arg(n) for n in ("optimizer", *parameters)], None, [], [], None, [])
    function.returns = None
    namespace = dict(vars(inspect.getmodule(family)))
    exec(compile(ast.fix_missing_locations(tree), "<constructor>", "exec"), namespace)
    return class_name, namespace[function.name](optimizer, **parameters)


def _scheduler(schedule: Schedule, optimizer: Optimizer, source: Source, known: Mapping[str, int]) -> list[str]:
    """Lines that assign `scheduler`."""
    function, bound = unbound(schedule)
    parameters = inspect.signature(function).parameters
    if next(iter(parameters), None) == "step":
        return _factors(function, bound, source, known["total_steps"])
    given = {key: value for key, value in known.items() if key in parameters} | bound
    if inspect.isfunction(function):
        defaults = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
        constructor = torch_constructor(function, optimizer, defaults | given)
        if constructor is not None:
            name, given = constructor
            source.imports.add((_TORCH, name))
            return _assigned("scheduler", name, given, source)
    return _assigned("scheduler", source.add(function), given, source)


def _assigned(variable: str, name: str, parameters: Mapping[str, Any], source: Source) -> list[str]:
    words = {key: literal(value, source) for key, value in parameters.items()}
    return [f"{variable} = {call(name, 'optimizer', **words)}"]


def _factors(function: Schedule, bound: Mapping[str, Any], source: Source, total_steps: int) -> list[str]:
    """Lines for a pure family; one table, since numpy rounds single numbers differently from arrays."""
    source.imports.add((_TORCH, "LambdaLR"))
    source.imports.add(("", "numpy as np"))
    if hasattr(function, "__wrapped__") and function.__module__.startswith("lrbench."):
        last = total_steps  # our families stay there past the end
        table = f"{source.add(function, bound)}(np.arange({last + 1}.0), {total_steps})"
    else:
        last = total_steps - 1  # where a user's function may be called is not ours to say
        words = {key: literal(value, source) for key, value in bound.items()}
        values = call(source.add(function), f"np.arange({last + 1})", str(total_steps), **words)
        table = f"np.broadcast_to({values}, {last + 1})"
    return [
        f"factors = {table}.tolist()",
        f"scheduler = LambdaLR(optimizer, lambda step: factors[min(step, {last})])",
    ]


def _behind_warmup(warmup: Warmup, rates: Rates, base_lr: float, source: Source) -> list[str]:
    """Lines that put a warmup in front of `scheduler` and return."""
    source.imports.add((_TORCH, "LambdaLR"))
    source.imports.add(("", "numpy as np"))
    steps = rates.warmup_steps
    shape, bound = unbound(warmup.shape)
    lines = [f"ramp = {source.add(shape, bound)}(np.arange({steps}), {steps}).tolist()"]
    if rates.closed_loop:
        # SequentialLR refuses schedulers whose step takes a metric.
        return [
            *lines,
            f"warmup = LambdaLR(optimizer, lambda step: ramp[step] if step < {steps} else 1.0)",
            "return warmup, scheduler",
        ]
    source.imports.add((_TORCH, "SequentialLR"))
    chain = f"return SequentialLR(optimizer, [warmup, scheduler], milestones=[{steps}])"
    lines.append("warmup = LambdaLR(optimizer, lambda step: ramp[step])")
    if rates.lr[steps] == base_lr:
        return [*lines, chain]
    return [
        'first_rates = [group["lr"] for group in optimizer.param_groups]',
        *lines,
        "warmup.base_lrs = first_rates  # climb to the first rate of the schedule, not to the optimizer's",
        chain,
    ]


def _usage(optimizer: Optimizer, rates: Rates, total_steps: int, num_evaluations: int) -> list[str]:
    """Comments with the loop that the rates belong to."""
    both = rates.closed_loop and rates.warmup_steps
    lines = [
        f"optimizer = {optimizer_words(optimizer)}",
        f"{'warmup, scheduler' if both else 'scheduler'} = make_scheduler(optimizer)",
        f"for step in range({total_steps}):",
        "    ...; loss.backward(); optimizer.step()",
    ]
    if not rates.closed_loop:
        lines[-1] += "; scheduler.step()"
        return [f"# {line}" for line in lines]
    if both:
        lines.append(f"    if step < {rates.warmup_steps}: warmup.step()")
    when = "elif" if both else "if"
    lines.append(f"    {when} evaluated: scheduler.step(val_loss)  # after each of {num_evaluations} evaluations")
    return [f"# {line}" for line in lines]


def optimizer_words(optimizer: Optimizer) -> str:
    """Write how the optimizer is made, as far as its rate and momentum go."""
    kind = type(optimizer)
    module = "torch.optim" if kind.__module__.startswith("torch.optim") else kind.__module__
    values = {key: optimizer.defaults[key] for key in _SHOWN if optimizer.defaults.get(key)}
    return f"{module}.{kind.__name__}({', '.join(['model.parameters()', *(f'{k}={v!r}' for k, v in values.items())])})"
