"""Rules on training code, read with Python's ast and never run.

They prefer silence to a false alarm: what comes from another file is not seen.
"""

import re
from collections.abc import Callable, Iterator

from lrbench.lint.checkpoint import state_not_saved
from lrbench.lint.events import Scope
from lrbench.lint.findings import Finding
from lrbench.lint.lifetimes import made_every_epoch, never_stepped, optimizer_replaced, stepped_twice
from lrbench.lint.plateau import plateau_of_batches, plateau_of_the_wrong_direction, plateau_without_metric
from lrbench.lint.scopes import scopes_of
from lrbench.lint.source import parsed
from lrbench.lint.spans import epochs_and_steps_mixed, few_batches, length_of_batches_stepped_per_update
from lrbench.lint.updates import gradients_not_zeroed, stepped_before_update, stepped_while_accumulating

__all__ = ["lint_code"]

_RULES: tuple[Callable[[Scope], Iterator[Finding]], ...] = (
    stepped_before_update,
    gradients_not_zeroed,
    stepped_while_accumulating,
    stepped_twice,
    made_every_epoch,
    optimizer_replaced,
    never_stepped,
    epochs_and_steps_mixed,
    few_batches,
    length_of_batches_stepped_per_update,
    plateau_without_metric,
    plateau_of_batches,
    plateau_of_the_wrong_direction,
    state_not_saved,
)
_TURNED_OFF = re.compile(r"#.*sched\w*\.step\(", re.IGNORECASE)


def lint_code(source: str, filename: str) -> list[Finding]:
    """Look for mistakes around schedulers in the source of one file.

    Args:
        source: Python code.
        filename: for messages.

    Returns:
        Findings in the order of their lines, one a rule and line.

    Raises:
        ValueError: the source is not Python; names file and line.
    """
    try:
        tree = parsed(source)
    except SyntaxError as error:
        raise ValueError(f"{filename}:{error.lineno}: not valid Python: {error.msg}") from error
    # A step that is commented out was left out on purpose.
    rules = [rule for rule in _RULES if rule is not never_stepped or not _TURNED_OFF.search(source)]
    # A function is looked at by itself and from each of its callers.
    found: dict[tuple[int, str], Finding] = {}
    for scope in scopes_of(tree):
        for rule in rules:
            for finding in rule(scope):
                found.setdefault((finding.line or 0, finding.rule), finding)
    return [found[key] for key in sorted(found)]
