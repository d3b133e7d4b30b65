"""A checkpoint that forgets the scheduler."""

import ast
import re
from collections.abc import Iterator

from lrbench.lint.events import Event, Scope, argument_of, callee, last_identifier, makes_scheduler, module_of
from lrbench.lint.findings import Finding

_SAVES = re.compile(r"^save(_|$)|_save$|^save[A-Z]|[a-z]Save$")
_RESUMES = re.compile(r"opt\w*\.load_state_dict|resum|(start|begin|init\w*|first)_epoch", re.IGNORECASE)
_MEMORYLESS = {"ExponentialLR", "MultiplicativeLR"}  # their next rate depends on the last one, which the optimizer has
_LAST_EPOCH = {"StepLR": 3, "MultiStepLR": 3, "CosineAnnealingLR": 3, "ExponentialLR": 2, "LambdaLR": 2}  # its position


def state_not_saved(scope: Scope) -> Iterator[Finding]:
    """A saved dictionary with the optimizer's state and without the scheduler's, in a file that resumes.

    What is saved when training has ended, and is not loaded further down, is there to be used.
    """
    saves: list[Event] = []
    trained = False
    for index, event in enumerate(scope.flow):
        trained |= event.kind == "optimizer" and bool(event.loops)
        saves_it = event.kind == "other" and _SAVES.search(last_identifier(ast.unparse(event.call.func)))
        if saves_it and (event.loops or not trained or any(_loads_optimizer(e) for e in scope.flow[index:])):
            saves.append(event)
    if not saves or not _RESUMES.search(ast.unparse(module_of(scope).node)) or _is_brought_forward(scope):
        return
    for event in saves:
        given = [*event.call.args, *(keyword.value for keyword in event.call.keywords)]
        scheduler = _scheduler_at_hand(scope, event)
        if scheduler is None or any("sched" in ast.unparse(argument).lower() for argument in given):
            continue
        for argument in given:
            saved = _dictionary(argument, event.scope)
            if saved is not None and any(event.scope.is_optimizer(_state_of(value)) for value in saved.values):
                yield Finding(
                    "scheduler-not-saved",
                    "warning",
                    f"The checkpoint has the optimizer's state and not that of {scheduler}, so a resumed run starts "
                    f'its schedule again: add "scheduler": {scheduler}.state_dict(), and load it when resuming.',
                    event.call.lineno,
                )


def _scheduler_at_hand(scope: Scope, save: Event) -> str | None:
    """A scheduler that the saving code can read, or that is stepped by the code that calls it."""
    for name in sorted(save.scope.visible_names()):
        values = save.scope.values_of(name)
        # One of another kind may have no state, and set the rate from the epoch that it is told.
        in_sight = any(_needs_state(value) or isinstance(value, ast.Name) for value in values)
        if save.scope.is_scheduler(name) and (in_sight or (not values and name in save.scope.parameters)):
            return name
    stepped = (e for e in scope.flow if e.kind == "scheduler" and e.values)
    return next((e.receiver for e in stepped if all(_needs_state(value) for value in e.values)), None)


def _loads_optimizer(event: Event) -> bool:
    return callee(event.call) == "load_state_dict" and event.scope.is_optimizer(event.receiver)


def _needs_state(value: ast.expr) -> bool:
    """Whether this makes a scheduler that cannot go on without its state; an own factory may know where to go on."""
    own = isinstance(value, ast.Call) and callee(value) == "get_scheduler" and not _of_transformers(value)
    return makes_scheduler(value) and callee(value) not in _MEMORYLESS and not own


def _of_transformers(call: ast.Call) -> bool:
    return any((keyword.arg or "").startswith("num_") for keyword in call.keywords)


def _is_brought_forward(scope: Scope) -> bool:
    """Whether a scheduler's state is saved somewhere, or a scheduler is told where to go on without it.

    By `last_epoch`, by the epoch in every `step(epoch)`, or by steps in a loop with nothing else in it.
    """
    module = module_of(scope)
    for event in [*scope.flow, *module.flow]:
        if event.scope.is_scheduler(_state_of(event.call)):
            return True
        if event.kind == "scheduler":
            plateau = event.values and all(callee(value) == "ReduceLROnPlateau" for value in event.values)
            if (event.has_arguments and not plateau) or (event.loops and len(event.loops[-1].body) == 1):
                return True
    return any(_sets_last_epoch(node) for node in ast.walk(module.node))


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
