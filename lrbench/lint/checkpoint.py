"""A checkpoint that forgets the scheduler."""

import ast
from collections.abc import Iterator

from lrbench.lint.events import Scope
from lrbench.lint.findings import Finding

_SAVERS = ("torch.save", "xm.save", "accelerator.save", "fabric.save")


def state_not_saved(scope: Scope) -> Iterator[Finding]:
    """A saved dictionary with the optimizer's state and without the scheduler's, where there is a scheduler."""
    scheduler = _scheduler_at_hand(scope)
    if scheduler is None or any(_is_state(e.call, scope, "scheduler") for e in scope.events):
        return
    for event in scope.events:
        if ast.unparse(event.call.func) not in _SAVERS:
            continue
        for argument in event.call.args:
            saved = _dictionary(argument, scope)
            if saved is not None and any(_is_state(value, scope, "optimizer") for value in saved.values):
                yield Finding(
                    "scheduler-not-saved",
                    "warning",
                    f"The checkpoint has the optimizer's state and not that of {scheduler}, so a resumed run starts "
                    f'its schedule again: add "scheduler": {scheduler}.state_dict(), and load it when resuming.',
                    event.call.lineno,
                )


def _scheduler_at_hand(scope: Scope) -> str | None:
    """A scheduler that the scope can read: assigned as one, or handed in under such a name."""
    visible = sorted(scope.visible_names())
    return next((n for n in visible if scope.is_scheduler(n) and (scope.values_of(n) or n in scope.parameters)), None)


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


def _is_state(value: ast.expr, scope: Scope, what: str) -> bool:
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "state_dict"):
        return False
    name = ast.unparse(value.func.value)
    return scope.is_scheduler(name) if what == "scheduler" else scope.is_optimizer(name)
