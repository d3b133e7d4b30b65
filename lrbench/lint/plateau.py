"""Rules on ReduceLROnPlateau: what it is shown, and how often."""

import ast
import re
from collections.abc import Iterator

from lrbench.lint.events import Event, Scope, argument_of, callee, last_identifier
from lrbench.lint.findings import Finding
from lrbench.lint.units import is_per_batch, leaves, number_of, unit_of

_SCORES = {"acc", "accuracy", "f1", "auc", "auroc", "iou", "miou", "psnr", "ssim", "bleu"}
_LOSSES = {"loss", "losses"}
# A name with such a word may be of either direction.
_TURNED = {"loss", "losses", "err", "error", "neg", "negative", "minus", "inv", "inverse", "one", "grad"}
_PATIENT = 50  # calls without improvement that may well be batches


def plateau_without_metric(scope: Scope) -> Iterator[Finding]:
    """`ReduceLROnPlateau.step()` without the metric it waits for: torch raises TypeError."""
    for event in scope.flow:
        if event.kind == "scheduler" and not event.has_arguments and _plateaus(event):
            yield Finding(
                "plateau-metric",
                "error",
                f"{event.receiver} is a ReduceLROnPlateau and needs the metric it watches: "
                f"{event.receiver}.step(val_loss), after each evaluation.",
                event.call.lineno,
            )


def plateau_of_batches(scope: Scope) -> Iterator[Finding]:
    """A plateau shown the loss of every batch: noise, so its patience is soon over."""
    for event in scope.flow:
        made = _plateaus(event) if event.kind == "scheduler" and event.has_arguments else []
        if not made or not is_per_batch(event, scope.flow) or any(_is_patient(call, event.scope) for call in made):
            continue
        yield Finding(
            "plateau-per-batch",
            "warning",
            f"{event.receiver} is a ReduceLROnPlateau and is stepped for every batch, whose losses are noisy, so its "
            f"patience is soon over: {event.receiver}.step(val_loss) behind the loop over batches.",
            event.call.lineno,
        )


def plateau_of_the_wrong_direction(scope: Scope) -> Iterator[Finding]:
    """A plateau in mode "min" shown an accuracy, or in mode "max" a loss: it acts on progress."""
    for event in scope.flow:
        made = _plateaus(event) if event.kind == "scheduler" and event.call.args else []
        modes = {_mode(call) for call in made}
        wanted = _direction(event.call.args[0], event) if made else None
        if wanted and len(modes) == 1 and not modes & {wanted, None}:
            yield Finding(
                "plateau-mode",
                "error",
                f"{event.receiver} waits for a {modes.pop()}imum and is shown {ast.unparse(event.call.args[0])}, so it "
                f'lowers the rate while things get better: ReduceLROnPlateau(..., mode="{wanted}").',
                event.call.lineno,
            )


def _plateaus(event: Event) -> list[ast.Call]:
    """What makes the receiver, when that is nothing else than plateaus; a name for either is most likely guarded."""
    values = event.values
    made = [value for value in values if isinstance(value, ast.Call) and callee(value) == "ReduceLROnPlateau"]
    return made if len(made) == len(values) else []


def _is_patient(call: ast.Call, scope: Scope) -> bool:
    given = argument_of(call, "patience", 3)
    if given is None:
        return False
    number = number_of(given, scope)
    return number >= _PATIENT if number is not None else unit_of(given, scope) != "epochs" and any(leaves(given))


def _mode(call: ast.Call) -> str | None:
    """The mode, or None when it is not written out."""
    given = argument_of(call, "mode", 1)
    if given is None:
        return None if any(keyword.arg is None for keyword in call.keywords) else "min"
    return str(given.value) if isinstance(given, ast.Constant) else None


def _direction(shown: ast.expr, event: Event) -> str | None:
    """Where a metric goes when things get better, by its name: "min", "max" or None."""
    if isinstance(shown, ast.Subscript) and isinstance(shown.slice, ast.Constant):
        name = str(shown.slice.value)
    elif isinstance(shown, ast.Name | ast.Attribute):
        name = last_identifier(ast.unparse(shown))
        values = event.scope.values_of(ast.unparse(shown))
        if any(isinstance(node, ast.USub) or "1 -" in ast.unparse(node) for v in values for node in ast.walk(v)):
            return None
    else:
        return None
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    if words & _SCORES and not words & _TURNED:
        return "max"
    return "min" if words & _LOSSES and not words & (_TURNED - _LOSSES) and not words & _SCORES else None
