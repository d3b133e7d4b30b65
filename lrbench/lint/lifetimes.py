"""Rules on when a scheduler is made, whether it is ever stepped, and for which optimizer."""

import ast
import re
from collections.abc import Iterator, Sequence

from lrbench.lint.events import (
    Event,
    Loop,
    Scope,
    argument_of,
    callee,
    makes_optimizer,
    makes_scheduler,
    module_of,
    sets_rate,
)
from lrbench.lint.findings import Finding
from lrbench.lint.units import counts_epochs, is_per_batch, is_per_epoch, unguarded

# What may be done to a scheduler without stepping it.
_LOOKS = {"get_last_lr", "get_lr", "state_dict", "load_state_dict", "last_epoch", "base_lrs", "print_lr"}


_SETS_RATE = re.compile(
    r"(adjust|set|update|decay|change|reduce|warm)\w*(lr|rate)$|^(lr|learning_rate)_\w+", re.IGNORECASE
)


def stepped_twice(scope: Scope) -> Iterator[Finding]:
    """One scheduler stepped for every batch and once more an epoch."""
    steps = [e for e in scope.flow if e.kind == "scheduler" and not e.has_arguments]
    for batch in steps:
        if not is_per_batch(batch, scope.flow):
            continue
        for epoch in steps:
            loop = epoch.loops[-1] if epoch.loops else None
            if loop is None or epoch.thing != batch.thing or loop not in batch.loops[:-1]:
                continue
            between = len(unguarded(batch, loop)) - len(unguarded(batch, batch.loops[-1]))
            if is_per_epoch(epoch, scope.flow) and not unguarded(epoch, loop) and not between:
                yield Finding(
                    "stepped-twice",
                    "error",
                    f"{epoch.receiver} is stepped for every batch, in line {batch.call.lineno}, and here once more an "
                    "epoch: keep the one in whose unit its length is.",
                    epoch.call.lineno,
                )


def made_every_epoch(scope: Scope) -> Iterator[Finding]:
    """A scheduler made inside the loop that steps it, for an optimizer made outside: it never gets past its start."""
    for made in scope.flow:
        if not _is_scheduler_made(made) or not made.loops or _continues(made.call):
            continue
        loop = made.loops[-1]
        optimizer = _optimizer_of(made)
        if optimizer is None or made.branches_in(loop) or _is_assigned_in(loop, optimizer, scope.flow):
            continue
        # Those go on from the rate that the optimizer has; one that is told the epoch is where it should be.
        if callee(made.call) in ("ExponentialLR", "MultiplicativeLR", "LambdaLR") or _depends_on(loop, made.call):
            continue
        steps = [e for e in scope.flow if e.kind == "scheduler" and e.thing == made.thing and e.loops]
        trained = counts_epochs(loop) or any(e.kind == "optimizer" and e.loops[-1:] == (loop,) for e in scope.flow)
        if trained and steps and all(step.loops[-1] is loop for step in steps):
            yield Finding(
                "made-in-loop",
                "error",
                f"{made.receiver} is made anew in every turn of the loop in line {loop.lineno} and stepped once in it, "
                "so its schedule never gets past the start: make it in front of the loop.",
                made.call.lineno,
            )


def optimizer_replaced(scope: Scope) -> Iterator[Finding]:
    """An optimizer made anew after its scheduler, which goes on to set the rates of the old one."""
    for index, made in enumerate(scope.flow):
        optimizer = _optimizer_of(made) if _is_scheduler_made(made) else None
        if optimizer is None:
            continue
        owned = (made.scope.owner_of(optimizer), optimizer)
        for place in range(index + 1, len(scope.flow)):
            anew, later = scope.flow[place], scope.flow[place + 1 :]
            if (
                anew.kind != "made"
                or anew.thing != owned
                or anew.around != made.around
                or not makes_optimizer(anew.call)
            ):
                continue
            stepped = {
                kind
                for e in later
                for kind in ("scheduler", "optimizer")
                if e.kind == kind and e.thing in (made.thing, owned)
            }
            if stepped == {"scheduler", "optimizer"} and not any(
                e.kind == "made" and e.thing == made.thing for e in later
            ):
                yield Finding(
                    "optimizer-replaced",
                    "error",
                    f"{optimizer} is made anew after {made.receiver} was made for the old one in line "
                    f"{made.call.lineno}, so its rate never changes: make {made.receiver} after it.",
                    anew.call.lineno,
                )


def never_stepped(scope: Scope) -> Iterator[Finding]:
    """A scheduler that nothing steps and that is handed to nobody, beside a loop that steps its optimizer.

    In a file that sets rates by hand it may be a leftover.
    """
    if any(sets_rate(node) or _sets_rate_out_of_sight(node) for node in ast.walk(module_of(scope).node)):
        return
    for made in scope.events:
        optimizer = _optimizer_of(made) if _is_scheduler_made(made) else None
        # A constant schedule has nothing to do.
        if optimizer is None or callee(made.call) == "get_constant_schedule" or not _only_looked_at(made):
            continue
        # Another class or file may step the member of an object, unless the loop over epochs is in this one.
        member = "." in made.receiver
        if member and _has_base(scope):
            continue
        sights = [scope, *scope.functions.values()] if member else [scope]
        owned = (scope.owner_of(optimizer), optimizer)
        updates = [e for sight in sights for e in sight.flow if e.kind == "optimizer" and e.thing == owned and e.loops]
        if any(not member or any(counts_epochs(loop) for loop in e.loops) for e in updates):
            yield Finding(
                "never-stepped",
                "warning",
                f"{made.receiver} is never stepped, so the rate stays what it was: {made.receiver}.step() after "
                f"{optimizer}.step(), or once an epoch.",
                made.call.lineno,
            )


def _is_scheduler_made(event: Event) -> bool:
    return event.kind == "made" and makes_scheduler(event.call)


def _optimizer_of(made: Event) -> str | None:
    """The name of the optimizer that a scheduler is made for."""
    # transformers' get_scheduler takes its kind first, those of others take an optimizer.
    places = (0, 1) if callee(made.call) == "get_scheduler" else (0,)
    given = [argument_of(made.call, "optimizer", place) for place in places]
    names = [ast.unparse(argument) for argument in given if isinstance(argument, ast.Name | ast.Attribute)]
    return next((name for name in names if len(places) == 1 or made.scope.is_optimizer(name)), None)


def _continues(call: ast.Call) -> bool:
    """Whether a scheduler is told how far its schedule is."""
    return any(keyword.arg in ("last_epoch", None) for keyword in call.keywords)


def _depends_on(loop: Loop, call: ast.Call) -> bool:
    """Whether the arguments of a call have a name that the loop assigns: its epoch, or what was computed from it."""
    names = {node.id for part in (*call.args, *call.keywords) for node in ast.walk(part) if isinstance(node, ast.Name)}
    stores = (node for node in ast.walk(loop) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return any(node.id in names for node in stores)


def _is_assigned_in(loop: Loop, name: str, flow: Sequence[Event]) -> bool:
    made = any(e.kind == "made" and e.receiver == name and loop in e.loops for e in flow)
    stores = (node for node in ast.walk(loop) if isinstance(node, ast.Name | ast.Attribute))
    return made or any(isinstance(node.ctx, ast.Store) and ast.unparse(node) == name for node in stores)


def _sets_rate_out_of_sight(node: ast.AST) -> bool:
    """Whether this calls a helper whose name says that it sets the rate: `adjust_learning_rate(optimizer, epoch)`."""
    return isinstance(node, ast.Call) and bool(_SETS_RATE.search(callee(node)))


def _has_base(scope: Scope) -> bool:
    """Whether the class of a method has a base, which may step what the method made."""
    classes = [node for node in ast.walk(module_of(scope).node) if isinstance(node, ast.ClassDef)]
    return any(node.bases and scope.node in ast.walk(node) for node in classes)


def _only_looked_at(made: Event) -> bool:
    """Whether every mention of what was made is of its state."""
    scope, name = made.scope, made.receiver.removeprefix("self.")
    if not name.isidentifier():
        return False
    region: ast.AST = scope.node
    shared = any(isinstance(node, ast.Global | ast.Nonlocal) and name in node.names for node in ast.walk(region))
    if shared or "." in made.receiver:
        region = module_of(scope).node
    nodes = list(ast.walk(region))
    if any(isinstance(node, ast.Constant) and node.value == name for node in nodes):
        return False
    if "." in made.receiver:
        members = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == name]
        mentions = {id(node) for node in members if isinstance(node.ctx, ast.Load)}
    else:
        names = [node for node in nodes if isinstance(node, ast.Name) and node.id == name]
        mentions = {id(node) for node in names if isinstance(node.ctx, ast.Load)}
    return mentions <= {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr in _LOOKS}
