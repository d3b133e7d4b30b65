"""Rules on the loop: in which order an optimizer and a scheduler are stepped, and on which gradients."""

import ast
import re
from collections.abc import Iterator

from lrbench.lint.events import Event, Loop, Scope, callee, last_identifier, makes_scheduler, module_of
from lrbench.lint.findings import Finding
from lrbench.lint.spans import counts_updates
from lrbench.lint.units import is_accumulation

_ZEROES = re.compile(r"zero_grad|\.grad = None|\.grad(\.data)?\.zero_\(")
# What may well step an optimizer out of sight; meters have an `update`, and modules a `train` without arguments.
_TRAINS = re.compile(r"train_|_train|^fit|update_|_update|learn|optimi[sz]e$|epoch", re.IGNORECASE)
_TRAINS_BY_NAME = re.compile(r"^train(_|$)|_train$|^fit$")


# They may keep gradients elsewhere, overwrite or zero them.
_FRAMEWORKS = re.compile(r"^autograd$|engine|optim|booster|strategy", re.IGNORECASE)


def stepped_before_update(scope: Scope) -> Iterator[Finding]:
    """`scheduler.step()` in front of the loop body's only `optimizer.step()`: the first rate is never used."""
    for index, event in enumerate(scope.flow):
        if event.kind != "scheduler" or event.has_arguments or not event.loops:
            continue
        # One of another kind, made in sight, may set the rate of the step to come.
        if not all(makes_scheduler(value) for value in event.values):
            continue
        loop = event.loops[-1]
        before = [e for e in scope.flow[:index] if loop in e.loops]
        after = [e for e in scope.flow[index + 1 :] if loop in e.loops and (e.kind == "optimizer" or _trains(e, event))]
        # `if epoch > 0: scheduler.step()` at the top of a loop is right, so the update must not be less conditional.
        follows = any(e.branches[: len(event.branches)] == event.branches for e in after)
        if follows and not any(e.kind == "optimizer" or _may_update(e) for e in before):
            first = after[0]
            update = (
                f"{first.receiver}.step()" if first.kind == "optimizer" else f"{callee(first.call)}(), which trains,"
            )
            yield Finding(
                "step-order",
                "error",
                f"{event.receiver}.step() comes before {update} in line {first.call.lineno}, so "
                f"the first rate of the schedule is never used: move {event.receiver}.step() below it.",
                event.call.lineno,
            )


def gradients_not_zeroed(scope: Scope) -> Iterator[Finding]:
    """A loop that calls backward and steps an optimizer, and never zeroes gradients: they add up for ever.

    A loop that mentions a function of the file that zeroes them is fine, and so is a framework that keeps gradients its
    own way: `engine.backward(loss)`, MXNet's `autograd.backward(losses)`.
    """
    reported: set[Loop] = set()
    for event in scope.events:
        if event.kind != "optimizer":
            continue
        loop = next((around for around in reversed(event.loops) if _goes_backward(around, scope)), None)
        if loop is None or loop in reported:
            continue
        source = ast.unparse(loop)
        mentioned = set(re.findall(r"[A-Za-z_]\w*", source))
        rebuilt = any(line.strip().startswith(f"{event.receiver} = ") for line in source.splitlines())
        if _ZEROES.search(source) or rebuilt or mentioned & _zeroing(scope):
            continue
        reported.add(loop)
        optimizer = event.receiver
        yield Finding(
            "no-zero-grad",
            "error",
            f"The loop in line {loop.lineno} calls backward and {optimizer}.step() and never zeroes the gradients, so "
            f"those of all earlier batches are added in: {optimizer}.zero_grad() after {optimizer}.step().",
            event.call.lineno,
        )


def stepped_while_accumulating(scope: Scope) -> Iterator[Finding]:
    """A scheduler as long as there are updates, stepped for every batch while the optimizer is for every n-th only.

    One whose length counts batches is right to be stepped for every batch, and so is one that accelerate wraps, which
    skips what is no update.
    """
    for event in scope.flow:
        if event.kind != "scheduler" or event.has_arguments or not event.loops:
            continue
        updates = [e for e in scope.flow if e.kind == "optimizer" and e.loops and e.loops[-1] is event.loops[-1]]
        rarer = updates and all(is_accumulation(e) for e in updates) and not is_accumulation(event)
        wrapped = any(callee(e.call) in ("prepare", "prepare_scheduler", "initialize") for e in scope.flow)
        if rarer and not wrapped and all(counts_updates(event, update) for update in updates):
            update = updates[0]
            yield Finding(
                "accumulation",
                "warning",
                f"{event.receiver}.step() runs for every batch, and {update.receiver}.step() only for every n-th, in "
                f"line {update.call.lineno}, so the schedule ends too early: move it under the same `if`.",
                event.call.lineno,
            )


def _zeroing(scope: Scope) -> set[str]:
    """Names of the functions of the file that zero gradients."""
    functions = (node for node in ast.walk(module_of(scope).node) if isinstance(node, ast.FunctionDef))
    return {node.name for node in functions if _ZEROES.search(ast.unparse(node))}


def _goes_backward(loop: Loop, scope: Scope) -> bool:
    """Whether a loop calls backward, and none of a framework."""
    inside = [event for event in scope.events if event.kind == "backward" and loop in event.loops]
    return bool(inside) and not any(_FRAMEWORKS.search(last_identifier(event.receiver)) for event in inside)


def _trains(event: Event, step: Event) -> bool:
    """Whether a call of a function out of sight, told by its name, is given the optimizer of a scheduler in sight."""
    if event.kind != "other" or not _TRAINS_BY_NAME.search(callee(event.call)):
        return False
    optimizers = {ast.unparse(made.args[0]) for made in step.values if isinstance(made, ast.Call) and made.args}
    given = {ast.unparse(argument) for argument in [*event.call.args, *(k.value for k in event.call.keywords)]}
    return bool(optimizers & given)


def _may_update(event: Event) -> bool:
    """Whether a call may step an optimizer out of sight: a helper that is given one, or is named so."""
    if event.kind != "other":
        return False
    given = [ast.unparse(a) for a in [*event.call.args, *(k.value for k in event.call.keywords)]]
    called = callee(event.call)
    trains = bool(_TRAINS.search(called)) or (called == "train" and event.has_arguments)
    return trains or any(event.scope.is_optimizer(name) for name in given if name.isidentifier())
