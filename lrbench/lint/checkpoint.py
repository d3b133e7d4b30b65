"""A checkpoint that forgets the scheduler."""

import ast
import re
from collections.abc import Iterator

from lrbench.lint.events import (
    Event,
    Loop,
    Scope,
    argument_of,
    callee,
    last_identifier,
    makes_scheduler,
    module_of,
    sets_rate,
)
from lrbench.lint.findings import Finding

_SAVES = re.compile(r"^save(_|$)|_save$|^save[A-Z]|[a-z]Save$")
_POSITION = re.compile(r"epoch|step|iter", re.IGNORECASE)  # how far a run had come
_RESTORES = re.compile(r"resum|restor|load(?!er)|start|begin|init_epoch|last_epoch", re.IGNORECASE)
_MEMORYLESS = {"ExponentialLR", "MultiplicativeLR"}  # their next rate depends on the last one, which the optimizer has
_LAST_EPOCH = {"StepLR": 3, "MultiStepLR": 3, "CosineAnnealingLR": 3, "ExponentialLR": 2, "LambdaLR": 2}  # its position


def state_not_saved(scope: Scope) -> Iterator[Finding]:
    """A saved dictionary with the optimizer's state and without the scheduler's, in a file that goes on from it.

    It speaks only if all of that is in the file: the scheduler is made and stepped, the very entry of the optimizer is
    loaded outside of the loop that trains, the run goes on from an epoch that it had reached, and nothing sets the
    rate or brings the scheduler forward.
    """
    saves = [e for e in scope.flow if e.kind == "other" and _SAVES.search(last_identifier(ast.unparse(e.call.func)))]
    for event in saves:
        given = [*event.call.args, *(keyword.value for keyword in event.call.keywords)]
        scheduler = _scheduler_at_hand(scope, event)
        if scheduler is None or any("sched" in ast.unparse(argument).lower() for argument in given):
            continue
        dictionaries = [saved for a in given if (saved := _dictionary(a, event.scope)) is not None]
        if any(_goes_on_from(saved, event, scope) for saved in dictionaries) and not _is_brought_forward(scope):
            yield Finding(
                "scheduler-not-saved",
                "warning",
                f"The checkpoint has the optimizer's state and not that of {scheduler}, so a resumed run starts "
                f'its schedule again: add "scheduler": {scheduler}.state_dict(), and load it when resuming.',
                event.call.lineno,
            )


def _goes_on_from(saved: ast.Dict, save: Event, scope: Scope) -> bool:
    """Whether the file loads the optimizer's entry of a dictionary, and trains on from where the run was."""
    entries = [
        (str(key.value), v) for key, v in zip(saved.keys, saved.values, strict=True) if isinstance(key, ast.Constant)
    ]
    optimizers = {key for key, value in entries if save.scope.is_optimizer(_state_of(value))}
    positions = {key for key, _ in entries if _POSITION.search(key)}
    tree = module_of(scope).node
    inside = {id(n) for loop in ast.walk(tree) if isinstance(loop, Loop) for part in loop.body for n in ast.walk(part)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in inside]
    loads = [
        c for c in calls if callee(c) == "load_state_dict" and _texts(c) & optimizers and _loads_optimizer(c, scope)
    ]
    # What is loaded in a loop, or behind the loop, is the best of this run.
    places = [i for i, event in enumerate(scope.flow) if event.call in loads]
    if not loads or any(scope.flow[place].loops for place in places):
        return False
    if places and not any(event.kind == "scheduler" and event.loops for event in scope.flow[places[0] :]):
        return False
    read = {
        t
        for n in ast.walk(tree)
        if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load)
        for t in _texts(n.slice)
    }
    return bool(positions & read) or any(
        isinstance(node, ast.For) and _starts_late(node.iter) for node in ast.walk(tree)
    )


def _loads_optimizer(call: ast.Call, scope: Scope) -> bool:
    return isinstance(call.func, ast.Attribute) and scope.is_optimizer(ast.unparse(call.func.value))


def _texts(node: ast.AST) -> set[str]:
    return {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)}


def _starts_late(iterated: ast.expr) -> bool:
    """Whether this is `range(start, stop)` with a start that is not written as a number."""
    bounds = iterated.args if isinstance(iterated, ast.Call) and callee(iterated) in ("range", "trange") else []
    return len(bounds) > 1 and not isinstance(bounds[0], ast.Constant)


def _scheduler_at_hand(scope: Scope, save: Event) -> str | None:
    """A scheduler made in the file that the saving code can read, or that is stepped by the code that calls it."""
    for name in sorted(save.scope.visible_names()):
        values = save.scope.values_of(name)
        # One of another kind may have no state, and set the rate from the epoch that it is told.
        if values and all(_needs_state(value) for value in values) and _is_stepped(name, scope):
            return name
    stepped = (e for e in scope.flow if e.kind == "scheduler" and e.values)
    return next((e.receiver for e in stepped if all(_needs_state(value) for value in e.values)), None)


def _is_stepped(name: str, scope: Scope) -> bool:
    """Whether `name.step` is in the file."""
    nodes = ast.walk(module_of(scope).node)
    return any(isinstance(n, ast.Attribute) and n.attr == "step" and ast.unparse(n.value) == name for n in nodes)


def _needs_state(value: ast.expr) -> bool:
    """Whether this makes a scheduler that cannot go on without its state.

    An own factory may know where to go on, and a plateau goes on from the rate that the optimizer has.
    """
    own = isinstance(value, ast.Call) and callee(value) == "get_scheduler" and not _of_transformers(value)
    return makes_scheduler(value) and callee(value) not in {*_MEMORYLESS, "ReduceLROnPlateau"} and not own


def _of_transformers(call: ast.Call) -> bool:
    return any((keyword.arg or "").startswith("num_") for keyword in call.keywords)


def _is_brought_forward(scope: Scope) -> bool:
    """Whether a scheduler's state is saved or loaded somewhere, or a scheduler may go on where it was without it.

    By `last_epoch`, an argument or a helper that knows where, the epoch in `step(epoch)`, steps in a loop with
    nothing else in it or under such a condition, or rates that are set by hand.
    """
    tree = module_of(scope).node
    for node in ast.walk(tree):
        if _sets_last_epoch(node) or sets_rate(node):
            return True
        if isinstance(node, ast.Call) and _may_bring_forward(node, scope):
            return True
        if isinstance(node, ast.For | ast.If):
            only = len(node.body) == 1 and isinstance(node.body[0], ast.Expr)
            alone = only if isinstance(node, ast.For) else _RESTORES.search(ast.unparse(node.test))
            if alone and any(_steps_scheduler(n, scope) for part in node.body for n in ast.walk(part)):
                return True
    return False


def _may_bring_forward(call: ast.Call, scope: Scope) -> bool:
    receiver = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if callee(call) in ("state_dict", "load_state_dict") and scope.is_scheduler(receiver):
        return True
    given = [ast.unparse(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]]
    if makes_scheduler(call):
        return any(_RESTORES.search(text) for text in given)
    if _steps_scheduler(call, scope) and given:
        return True
    handed = any(scope.is_scheduler(text) for text in given)
    return handed and bool(_RESTORES.search(callee(call)) or callee(call) in ("save", "dump", "vars", "prepare"))


def _steps_scheduler(node: ast.AST, scope: Scope) -> bool:
    method = node.func if isinstance(node, ast.Call) else None
    return isinstance(method, ast.Attribute) and method.attr == "step" and scope.is_scheduler(ast.unparse(method.value))


def _sets_last_epoch(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "last_epoch" and isinstance(node.ctx, ast.Store)
    if not isinstance(node, ast.Call):
        return False
    given = argument_of(node, "last_epoch", _LAST_EPOCH.get(callee(node), len(node.args)))
    return given is not None and ast.unparse(given) != "-1"


def _dictionary(argument: ast.expr, scope: Scope) -> ast.Dict | None:
    """The dictionary literal that is saved, when all of it is in sight and no scheduler is mentioned."""
    if isinstance(argument, ast.Name):
        values = scope.assigned.get(argument.id, [])
        # Entries that are added later are out of sight here.
        touched = any(
            isinstance(node, ast.Subscript | ast.Attribute) and ast.unparse(node.value) == argument.id
            for node in ast.walk(scope.node)
        )
        if len(values) != 1 or touched:
            return None
        argument = values[0]
    if not isinstance(argument, ast.Dict) or None in argument.keys or "sched" in ast.unparse(argument).lower():
        return None
    return argument


def _state_of(value: ast.expr) -> str:
    """`x` of `x.state_dict()`, otherwise ""."""
    method = value.func if isinstance(value, ast.Call) else None
    return ast.unparse(method.value) if isinstance(method, ast.Attribute) and method.attr == "state_dict" else ""
