"""Rules on how long a scheduler is: written in one unit, stepped in another."""

import ast
import re
from collections.abc import Iterator, Sequence

from lrbench.lint.events import Event, Scope, argument_of, callee, last_identifier
from lrbench.lint.findings import Finding
from lrbench.lint.units import (
    counts_epochs,
    head_of,
    is_accumulation,
    is_per_batch,
    is_per_epoch,
    number_of,
    unit_of,
)

_TRANSFORMERS = (("num_training_steps", 2), ("num_warmup_steps", 1))
# Callee -> (name, position) of the arguments that count calls of step(), the whole length first.
_SPANS: dict[str, tuple[tuple[str, int], ...]] = {
    "CosineAnnealingLR": (("T_max", 1),),
    "CosineAnnealingWarmRestarts": (("T_0", 1),),
    "OneCycleLR": (("total_steps", 2),),
    "PolynomialLR": (("total_iters", 1),),
    "StepLR": (("step_size", 1),),
    "MultiStepLR": (("milestones", 1),),
    "LinearLR": (("total_iters", 3),),
    "ConstantLR": (("total_iters", 2),),
    "SequentialLR": (("milestones", 2),),
    "get_scheduler": (("num_training_steps", 3), ("num_warmup_steps", 2)),
    "get_linear_schedule_with_warmup": _TRANSFORMERS,
    "get_cosine_schedule_with_warmup": _TRANSFORMERS,
    "get_polynomial_decay_schedule_with_warmup": _TRANSFORMERS,
    "get_constant_schedule_with_warmup": (("num_warmup_steps", 1),),
}
# A rate that falls to half or less every so many batches is gone before the first epochs are.
_FEW, _STEEP, _EXPONENTIAL = 100, 0.5, 0.98
_BATCH_SIZE = re.compile(r"^(train_?)?(batch_?size|bs)$", re.IGNORECASE)


def epochs_and_steps_mixed(scope: Scope) -> Iterator[Finding]:
    """A length in epochs stepped for every batch, or a length in steps stepped once an epoch."""
    for event in scope.flow:
        if event.kind != "scheduler" or event.has_arguments or not event.loops:
            continue
        if is_per_batch(event, scope.flow) and (written := _in_unit("epochs", event)):
            receiver = event.receiver
            # With another length in steps, stepping once an epoch would be wrong too.
            mend = f"move {receiver}.step() behind the loop over batches, or " * (not _in_unit("steps", event))
            yield Finding(
                "epochs-for-steps",
                "error",
                f"{receiver} counts in {written}, a number of epochs, and is stepped for every batch: {mend}multiply "
                "it by the number of batches an epoch, len(loader).",
                event.call.lineno,
            )
        elif is_per_epoch(event, scope.flow) and (written := _in_unit("steps", event)):
            yield Finding(
                "steps-for-epochs",
                "error",
                f"{event.receiver} is as long as {written}, a number of steps, and is stepped once an epoch, so "
                f"it hardly moves: call {event.receiver}.step() after every optimizer.step(), or count epochs.",
                event.call.lineno,
            )


def few_batches(scope: Scope) -> Iterator[Finding]:
    """Numbers that can only be meant as epochs, in a scheduler that is stepped for every batch."""
    for event in scope.flow:
        if event.kind != "scheduler" or event.has_arguments or not is_per_batch(event, scope.flow):
            continue
        epochs = _num_epochs(event)
        written = [_few_batches(value, event.scope, epochs) for value in event.values]
        if written and all(written):
            yield Finding(
                "few-batches",
                "warning",
                f"{event.receiver} is stepped for every batch, so {written[0]} counts batches; if epochs were meant: "
                f"move {event.receiver}.step() behind the loop over batches.",
                event.call.lineno,
            )


def length_of_batches_stepped_per_update(scope: Scope) -> Iterator[Finding]:
    """A length of epochs x batches, where optimizer and scheduler are stepped for every n-th batch."""
    for event in scope.flow:
        if event.kind != "scheduler" or event.has_arguments or not is_per_batch(event, scope.flow):
            continue
        lengths = [length for value in event.values for _, length in list(_spans(value, event.scope))[:1]]
        if len(lengths) == len(event.values) == 1 and is_accumulation(event):
            undivided = _is_number_of_batches(lengths[0], event.scope)
            updates = [e for e in scope.flow if e.kind == "optimizer" and e.loops and e.loops[-1] is event.loops[-1]]
            if undivided and all(is_accumulation(update) for update in updates):
                yield Finding(
                    "length-without-accumulation",
                    "warning",
                    f"{event.receiver} is as long as there are batches ({ast.unparse(lengths[0])}), and is stepped for "
                    "every n-th only, so it is cut off: divide its length by the number of batches accumulated.",
                    event.call.lineno,
                )


def counts_updates(event: Event, update: Event) -> bool:
    """Whether a scheduler's only length was divided by the number of batches after which an update happens."""
    lengths = [length for value in event.values for _, length in list(_spans(value, event.scope))[:1]]
    if len(lengths) != 1 or len(event.values) != 1:
        return False
    divisors = _operands(lengths[0], event.scope, (ast.Div, ast.FloorDiv))
    tests = [node.test for node, _ in update.branches if isinstance(node, ast.If)]
    return any(divisors & _operands(test, update.scope, (ast.Mod,)) for test in tests)


def _operands(expression: ast.expr, scope: Scope, operators: tuple[type[ast.operator], ...]) -> set[str]:
    """What is on the right of the operators in an expression and in what its names are assigned."""
    operations = (node for node in _followed(expression, scope, hops=3) if isinstance(node, ast.BinOp))
    return {ast.unparse(node.right) for node in operations if isinstance(node.op, operators)}


def _in_unit(unit: str, event: Event) -> str:
    """The length that is in a unit, as written, when everything that the receiver may be has one; or ""."""
    found = []
    for value in event.values:
        spans = [(call, span) for call, span in _spans(value, event.scope) if unit_of(span, event.scope) == unit]
        if unit == "steps":
            spans = [(call, span) for call, span in spans if _is_length_in_steps(call, span, event)]
        if not spans:
            return ""
        found.append(ast.unparse(spans[0][1]))
    return found[0] if found else ""


def _is_length_in_steps(call: ast.Call, span: ast.expr, event: Event) -> bool:
    """Whether a length is in steps beyond doubt: `args.steps` may be a list of epochs, `max_iter` the outer loop's."""
    written = ast.unparse(span)
    if any(written in ast.unparse(expression) for loop in event.loops for expression in head_of(loop)):
        return False
    return callee(call) not in ("StepLR", "MultiStepLR", "SequentialLR") or "loader" in written or "batch" in written


def _spans(value: ast.expr, scope: Scope) -> Iterator[tuple[ast.Call, ast.expr]]:
    """The numbers of steps that a scheduler is made with, and those of its parts, with the calls that they are in."""
    if not isinstance(value, ast.Call):
        return
    if callee(value) == "OneCycleLR" and (given := argument_of(value, "steps_per_epoch", 4)) is not None:
        yield value, given
        return
    for name, position in _SPANS.get(callee(value), ()):
        given = argument_of(value, name, position)
        if given is not None:
            yield value, given
    if callee(value) in ("SequentialLR", "ChainedScheduler"):
        parts = argument_of(value, "schedulers", 0 if callee(value) == "ChainedScheduler" else 1)
        for part in parts.elts if isinstance(parts, ast.List | ast.Tuple) else []:
            made = scope.values_of(ast.unparse(part)) if isinstance(part, ast.Name | ast.Attribute) else [part]
            for one in made if len(made) == 1 else []:
                yield from _spans(one, scope)


def _num_epochs(event: Event) -> float | None:
    """How often the loop over epochs around an event runs, when it is written out."""
    loop = next(loop for loop in reversed(event.loops) if counts_epochs(loop))
    if (
        isinstance(loop, ast.While)
        or not isinstance(loop.iter, ast.Call)
        or callee(loop.iter) not in ("range", "trange")
    ):
        return None
    arguments: Sequence[ast.expr] = loop.iter.args
    return number_of(arguments[min(1, len(arguments) - 1)], event.scope) if arguments else None


def _few_batches(value: ast.expr, scope: Scope, epochs: float | None) -> str:
    """What in a scheduler's arguments counts so few batches that it must be meant as epochs, or ""."""
    if not isinstance(value, ast.Call):
        return ""
    gamma = number_of(argument_of(value, "gamma", {"StepLR": 2, "MultiStepLR": 2}.get(callee(value), 1)), scope)
    if callee(value) == "ExponentialLR":
        return f"gamma={gamma:g}" if gamma is not None and gamma <= _EXPONENTIAL else ""
    spans = list(_spans(value, scope))
    if not spans or callee(value) in ("SequentialLR", "ChainedScheduler"):
        return ""
    span = spans[0][1]
    if callee(value) in ("StepLR", "MultiStepLR"):
        if argument_of(value, "gamma", 2) is not None and (gamma is None or gamma > _STEEP):
            return ""
        numbers = [number_of(n, scope) for n in (span.elts if isinstance(span, ast.List | ast.Tuple) else [span])]
        known = [number for number in numbers if number is not None]
        few = known and len(known) == len(numbers) and max(known) < (_FEW if epochs is None else epochs)
        return ast.unparse(span) if few else ""
    number = number_of(span, scope)
    return ast.unparse(span) if number is not None and number == epochs else ""


def _is_number_of_batches(length: ast.expr, scope: Scope) -> bool:
    """Whether a length is a product with the number of batches in it, and nothing is divided but by a batch size."""
    nodes = list(_followed(length, scope, hops=3))
    quotients = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv)]
    sizes = [node for node in quotients if _BATCH_SIZE.search(last_identifier(ast.unparse(node.right)))]
    conditional = any(isinstance(node, ast.IfExp) for node in nodes)
    accumulates = any("accum" in ast.unparse(node).lower() for node in nodes if isinstance(node, ast.expr))
    calls = [node for node in nodes if isinstance(node, ast.Call) and callee(node) not in ("int", "ceil")]
    counted = [ast.unparse(node) for node in calls]
    lengths = [call for call in counted if call.startswith("len(") and (sizes or "loader" in call or "batch" in call)]
    return bool(lengths) and lengths == counted and sizes == quotients and not conditional and not accumulates


def _followed(expression: ast.AST, scope: Scope, hops: int) -> Iterator[ast.AST]:
    """The nodes of an expression and of what its names are assigned, but for what is inside `len()`."""
    yield expression
    if isinstance(expression, ast.Call) and callee(expression) == "len":
        return
    if isinstance(expression, ast.Name | ast.Attribute):
        values = scope.values_of(ast.unparse(expression)) if hops else []
        yield from (node for value in values for node in _followed(value, scope, hops - 1))
        return
    yield from (node for child in ast.iter_child_nodes(expression) for node in _followed(child, scope, hops))
