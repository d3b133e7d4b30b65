"""Epochs or steps: in which unit a number was written, and how often a scheduler is stepped."""

import ast
import re
from collections.abc import Iterator, Sequence

from lrbench.lint.events import Event, Loop, Scope, callee, last_identifier

_STEPS = re.compile(r"steps|(total|max|num|train|training)_?step$|iter|batch|updates?(_|$)|loader", re.IGNORECASE)
_EPOCHS = re.compile(r"(?<!per)(?<!per_)epoch", re.IGNORECASE)
# Lengths of an epoch, and how often a rate is lowered, tell no unit.
_NEITHER = re.compile(r"epoch_?(size|len)|(lr|decay|sched|milestone)\w*step|step\w*(lr|decay|sched)", re.IGNORECASE)
_TRANSPARENT = {"int", "float", "round", "ceil", "floor", "max", "min", "len"}
_ACCUMULATES = re.compile(r"accum|sync_grad|is_update|boundary", re.IGNORECASE)
_HOPS = 3  # assignments followed from a name to its value


def unit_of(expression: ast.expr, scope: Scope, hops: int = _HOPS) -> str | None:
    """Return "steps", "epochs", or None when an expression does not tell.

    An expression with any count of steps in it is one, since `epochs * len(loader)` is; one of epochs has nothing else
    in it but numbers. Names are followed to what they were assigned, if that is one thing only, and tell nothing when
    that contradicts them.
    """
    units = {_unit_of_name(leaf, scope, hops) for leaf in leaves(expression)}
    return "steps" if "steps" in units else "epochs" if units == {"epochs"} else None


def leaves(expression: ast.AST) -> Iterator[ast.expr]:
    """The names in an expression, `config["epochs"]` and calls of unknown functions among them."""
    if isinstance(expression, ast.Name | ast.Attribute | ast.Subscript):
        yield expression
    elif isinstance(expression, ast.Call) and callee(expression) not in _TRANSPARENT:
        yield expression
        yield from (leaf for argument in expression.args for leaf in leaves(argument))
    else:
        skipped = expression.func if isinstance(expression, ast.Call) else None
        yield from (leaf for n in ast.iter_child_nodes(expression) if n is not skipped for leaf in leaves(n))


def number_of(expression: ast.expr | None, scope: Scope) -> float | None:
    """A number that is written out, or the only one that a name is assigned."""
    if isinstance(expression, ast.Name):
        values = scope.values_of(expression.id)
        expression = values[0] if len(values) == 1 else None
    if isinstance(expression, ast.Constant) and isinstance(expression.value, int | float):
        return float(expression.value)
    return None


def counts_epochs(loop: Loop) -> bool:
    """Whether a loop says that it runs over epochs."""
    return any(_EPOCHS.search(ast.unparse(expression)) for expression in head_of(loop))


def head_of(loop: Loop) -> Sequence[ast.expr]:
    """The expressions that say what a loop runs over."""
    return [loop.test] if isinstance(loop, ast.While) else [loop.target, loop.iter]


def is_per_batch(event: Event, flow: Sequence[Event]) -> bool:
    """Whether an event happens as often as an update, in a loop over batches inside a loop over epochs."""
    if not event.loops:
        return False
    loop = event.loops[-1]
    updates = [e for e in flow if e.kind == "optimizer" and e.loops and e.loops[-1] is loop]
    # Under a condition of its own (`if last batch`) it may be right.
    as_often = any(unguarded(e, loop) == unguarded(event, loop) for e in updates)
    return as_often and not counts_epochs(loop) and any(counts_epochs(outer) for outer in event.loops[:-1])


def is_per_epoch(event: Event, flow: Sequence[Event]) -> bool:
    """Whether an event happens once in a loop over epochs that has updates in a loop inside it."""
    if not event.loops:
        return False
    loop = event.loops[-1]
    inside = any(e.kind == "optimizer" and loop in e.loops[:-1] for e in flow)
    return inside and counts_epochs(loop)


def unguarded(event: Event, loop: Loop) -> tuple[object, ...]:
    """The branches around an event inside a loop, but for those that ask whether the receiver is there at all."""
    presence = {event.receiver, f"{event.receiver} is not None"}
    if isinstance(event.call.func, ast.Attribute):
        # As the function that was called names it.
        own = ast.unparse(event.call.func.value)
        presence |= {own, f"{own} is not None"}
    return tuple(b for b in event.branches_in(loop) if not (_test(b[0]) in presence and b[1] == 0))


def is_accumulation(event: Event) -> bool:
    """Whether a call happens for every n-th batch only, as when gradients are accumulated."""
    branches = event.branches_in(event.loops[-1]) if event.loops else ()
    return any(isinstance(node, ast.If) and _counts(node.test, event.scope) for node, _ in branches)


def _unit_of_name(leaf: ast.expr, scope: Scope, hops: int) -> str | None:
    word = _word(leaf)
    tells = None if _NEITHER.search(word) else "steps" if _STEPS.search(word) else None
    if tells is None and _EPOCHS.search(word) and not _NEITHER.search(word):
        tells = "epochs"
    values = scope.values_of(ast.unparse(leaf)) if isinstance(leaf, ast.Name | ast.Attribute) else []
    # A number says nothing about its unit, so the name has the last word.
    if not hops or len(values) != 1 or isinstance(values[0], ast.Constant):
        return tells
    followed = unit_of(values[0], scope, hops - 1)
    return tells if followed in (tells, None) else followed if tells is None else None


def _word(leaf: ast.expr) -> str:
    if isinstance(leaf, ast.Subscript):
        return str(leaf.slice.value) if isinstance(leaf.slice, ast.Constant) else last_identifier(ast.unparse(leaf))
    return callee(leaf) if isinstance(leaf, ast.Call) else last_identifier(ast.unparse(leaf))


def _test(node: ast.AST) -> str:
    return ast.unparse(node.test) if isinstance(node, ast.If) else ""


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
