"""Epochs or steps: in which unit a scheduler's length was written, and how often it is stepped."""

import ast
import re
from collections.abc import Iterator

from lrbench.lint.events import Event, Loop, Scope, last_identifier
from lrbench.lint.findings import Finding

# Callee -> (name, position) of the argument that says how long it is.
_LENGTHS = {
    "CosineAnnealingLR": ("T_max", 1),
    "CosineAnnealingWarmRestarts": ("T_0", 1),
    "OneCycleLR": ("total_steps", 2),
    "PolynomialLR": ("total_iters", 1),
    "StepLR": ("step_size", 1),
    "get_scheduler": ("num_training_steps", 3),
    "get_linear_schedule_with_warmup": ("num_training_steps", 2),
    "get_cosine_schedule_with_warmup": ("num_training_steps", 2),
    "get_polynomial_decay_schedule_with_warmup": ("num_training_steps", 2),
}
_STEPS = re.compile(r"step|iter|batch|update|loader", re.IGNORECASE)
_EPOCHS = re.compile(r"epoch", re.IGNORECASE)
_ACCUMULATES = re.compile(r"accum|sync_grad|is_update|boundary", re.IGNORECASE)
_HOPS = 3  # assignments followed from a name to its value


def epochs_and_steps_mixed(scope: Scope) -> Iterator[Finding]:
    """A length in epochs stepped for every batch, or a length in steps stepped once an epoch."""
    for event in scope.events:
        if event.kind != "scheduler" or event.has_arguments or not event.loops:
            continue
        lengths = [_length(value) for value in scope.values_of(event.receiver)]
        units = {None if length is None else unit_of(length, scope) for length in lengths}
        if len(units) != 1:
            continue
        (unit,), written = units, ast.unparse(lengths[0]) if lengths[0] is not None else ""
        if unit == "epochs" and _is_batch_loop(event, scope):
            yield Finding(
                "epochs-for-steps",
                "error",
                f"{event.receiver} is as long as {written}, a number of epochs, and is stepped for every batch: move "
                f"{event.receiver}.step() behind the loop over batches, or give its length as len(loader) * {written}.",
                event.call.lineno,
            )
        elif unit == "steps" and _is_epoch_loop(event, scope):
            yield Finding(
                "steps-for-epochs",
                "error",
                f"{event.receiver} is as long as {written}, a number of steps, and is stepped once an epoch, so "
                f"it hardly moves: call {event.receiver}.step() after every optimizer.step(), or count epochs.",
                event.call.lineno,
            )


def unit_of(expression: ast.expr, scope: Scope, hops: int = _HOPS) -> str | None:
    """Return "steps", "epochs", or None when an expression does not tell.

    An expression with any count of steps in it is one, since `epochs * len(loader)` is. Names are followed to what they
    were assigned, if that is one thing only.
    """
    units: set[str | None] = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Name | ast.Attribute):
            name = ast.unparse(node)
            word = last_identifier(name)
            units.add("steps" if _STEPS.search(word) else "epochs" if _EPOCHS.search(word) else None)
            values = scope.values_of(name)
            # A number says nothing about its unit, so the name has the last word.
            if hops and len(values) == 1 and not isinstance(values[0], ast.Constant):
                units.add(unit_of(values[0], scope, hops - 1))
    return "steps" if "steps" in units else "epochs" if "epochs" in units else None


def is_accumulation(event: Event, scope: Scope) -> bool:
    """Whether a call happens for every n-th batch only, as when gradients are accumulated."""
    return any(isinstance(node, ast.If) and _counts(node.test, scope) for node, _ in event.branches)


def _counts(test: ast.expr, scope: Scope) -> bool:
    for node in ast.walk(test):
        if isinstance(node, ast.Mod):
            return True
        if isinstance(node, ast.Name | ast.Attribute):
            name = ast.unparse(node)
            if _ACCUMULATES.search(last_identifier(name)):
                return True
            if any(isinstance(n, ast.Mod) for value in scope.values_of(name) for n in ast.walk(value)):
                return True
    return False


def _length(value: ast.expr) -> ast.expr | None:
    """The expression that gives a scheduler's length."""
    if not isinstance(value, ast.Call):
        return None
    name, position = _LENGTHS.get(last_identifier(ast.unparse(value.func)), ("", 0))
    keywords = {keyword.arg: keyword.value for keyword in value.keywords}
    if name == "total_steps" and "steps_per_epoch" in keywords:
        return keywords["steps_per_epoch"]
    if name in keywords:
        return keywords[name]
    return value.args[position] if name and len(value.args) > position else None


def _is_batch_loop(event: Event, scope: Scope) -> bool:
    """Whether an event happens as often as an update, in a loop over batches inside a loop over epochs."""
    loop = event.loops[-1]
    updates = [e for e in scope.events if e.kind == "optimizer" and e.loops and e.loops[-1] is loop]
    # Under a condition of its own (`if last batch`) it may be right.
    as_often = any(e.branches == event.branches for e in updates)
    return as_often and not _counts_epochs(loop) and any(_counts_epochs(outer) for outer in event.loops[:-1])


def _is_epoch_loop(event: Event, scope: Scope) -> bool:
    """Whether an event happens once in a loop over epochs that has updates in a loop inside it."""
    loop = event.loops[-1]
    inside = any(e.kind == "optimizer" and loop in e.loops[:-1] for e in scope.events)
    return inside and _counts_epochs(loop)


def _counts_epochs(loop: Loop) -> bool:
    head = [loop.test] if isinstance(loop, ast.While) else [loop.target, loop.iter]
    return any(_EPOCHS.search(ast.unparse(expression)) for expression in head)
