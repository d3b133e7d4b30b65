"""Calls that make schedulers and tables of factors, as text, with every number resolved."""

import ast
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from lrbench.codegen.source import Source, literal
from lrbench.schedules.compose import from_csv, product, sequence
from lrbench.schedules.rates import Schedule
from lrbench.spec import steps_of

__all__ = ["call", "constructor", "factor_table", "given_parameters", "is_factor", "scheduler_call", "unbound"]

_LONGEST = 80  # characters of a call on one line
_TABULATE = '''def tabulate(make_scheduler, total_steps):
    """Rates that a scheduler gives a base rate of one."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)'''


def unbound(schedule: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Split a schedule into its function and the parameters bound to it by keyword."""
    if isinstance(schedule, functools.partial):
        return schedule.func, dict(schedule.keywords)
    return schedule, {}


def is_factor(schedule: Callable[..., Any]) -> bool:
    """Whether it is a pure `factor(step, total_steps, ...)`, by the rule of `lrbench.schedules.rates`."""
    return next(iter(inspect.signature(schedule).parameters), None) == "step"


def given_parameters(function: Callable[..., Any], bound: Mapping[str, Any]) -> dict[str, str]:
    """The bound parameters that differ from the function's defaults, as Python."""
    defaults = inspect.signature(function).parameters
    return {key: literal(v) for key, v in bound.items() if key not in defaults or defaults[key].default != v}


def call(name: str, *arguments: str, **parameters: str) -> str:
    """Write a call on one line, or, where that is long, with one argument a line."""
    words = [*arguments, *(f"{key}={value}" for key, value in parameters.items())]
    line = f"{name}({', '.join(words)})"
    if len(line) <= _LONGEST and "\n" not in line:
        return line
    return f"{name}(\n" + textwrap.indent("".join(f"{word},\n" for word in words), "    ") + ")"


def scheduler_call(schedule: Schedule, optimizer: Optimizer, source: Source, known: Mapping[str, int]) -> str:
    """Write the call that makes a torch scheduler for the variable `optimizer`.

    Args:
        schedule: follows torch's convention.
        optimizer: whose base rate the numbers are for.
        source: gets what the call needs.
        known: `total_steps` and `num_evaluations`, passed where the schedule asks for them.
    """
    function, bound = unbound(schedule)
    parameters = inspect.signature(function).parameters
    given = {key: value for key, value in known.items() if key in parameters} | bound
    found = constructor(function, optimizer, given)
    if found is not None:
        function, given = found
    words = {key: literal(value) for key, value in given.items()}
    return call(source.add(function), "optimizer", **words)


def constructor(
    family: Callable[..., Any], optimizer: Optimizer, parameters: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """Evaluate what a family of lrbench passes to the class it returns.

    The function is run with its `return X(optimizer, a=..., b=...)` turned into data. Reading the numbers from the
    finished object would not do: OneCycleLR and CyclicLR do not keep theirs.

    Returns:
        The class and its keyword arguments; None for a function that does not end like this.
    """
    if not inspect.isfunction(family) or not family.__module__.startswith("lrbench."):
        return None
    tree = ast.parse(inspect.getsource(family))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    match function.body[-1]:
        case ast.Return(value=ast.Call(func=made, args=[ast.Name(id="optimizer")], keywords=keywords)):
            data = ast.Call(ast.Name("dict", ast.Load()), [], keywords)
            function.body[-1] = ast.Return(ast.Tuple([made, data], ast.Load()))
        case _:
            return None
    # Without its decorator, defaults and annotations, whose names need not exist at run time.
    function.decorator_list = []
    function.args = ast.arguments([], [ast.arg(a.arg) for a in _arguments(function)], None, [], [], None, [])
    function.returns = None
    namespace = dict(family.__globals__)
    exec(compile(ast.fix_missing_locations(tree), "<constructor>", "exec"), namespace)
    defaults = {k: p.default for k, p in inspect.signature(family).parameters.items() if p.default is not p.empty}
    made, given = namespace[function.name](optimizer, **(defaults | dict(parameters)))
    return made, given


def factor_table(schedule: Schedule, num_steps: int, source: Source, *, total_steps: int) -> str:
    """Write the factors of steps 0 to num_steps - 1 of a schedule as an array expression.

    One table, since numpy rounds single numbers differently from arrays.

    Args:
        schedule: of either shape; a torch-style one counts as the factor that it gives a base rate of one.
        num_steps: length of the table.
        source: gets what the expression needs.
        total_steps: the schedule's own budget.
    """
    source.imports.add(("", "numpy as np"))
    function, bound = unbound(schedule)
    if function is sequence:
        ends = [steps_of(share, total_steps) for share in np.cumsum(bound["fractions"])]
        lengths = [end - begin for begin, end in itertools.pairwise([0, *ends])]
        parts = [(part, length) for part, length in zip(bound["parts"], lengths, strict=True) if length > 0]
        return f"np.concatenate({_tables(parts, source)})"
    if function is product:
        return f"np.prod({_tables([(part, total_steps) for part in bound['parts']], source)}, axis=0)"
    if function is from_csv:
        # A snippet stands alone: its numbers, not the way to their file.
        return f"np.array({literal(from_csv(np.arange(num_steps), total_steps, **bound).tolist())})"
    if not is_factor(schedule):
        return _tabulated(schedule, total_steps, source)
    words = given_parameters(function, bound)
    if hasattr(function, "__wrapped__") and function.__module__.startswith("lrbench."):
        return call(source.add(function), f"np.arange({num_steps}.0)", str(total_steps), **words)
    # A user's function may answer with one number for all steps.
    factors = call(source.add(function), f"np.arange({num_steps})", str(total_steps), **words)
    return f"np.broadcast_to({factors}, {num_steps})"


def _tables(parts: list[tuple[Schedule, int]], source: Source) -> str:
    tables = [f"{factor_table(part, length, source, total_steps=length)},\n" for part, length in parts]
    return "[\n" + textwrap.indent("".join(tables), "    ") + "]"


def _tabulated(schedule: Schedule, total_steps: int, source: Source) -> str:
    source.imports |= {("", "torch"), ("torch.optim", "SGD")}
    source.definitions["tabulate"] = _TABULATE
    unit = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    made = scheduler_call(schedule, unit, source, {"total_steps": total_steps, "num_evaluations": 1})
    return call("tabulate", f"lambda optimizer: {made}", str(total_steps))


def _arguments(function: ast.FunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
