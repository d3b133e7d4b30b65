"""Training code as a sequence of events: who is made and stepped, in which loop, under which condition.

Names are told by what they were assigned (`StepLR(...)`, `get_scheduler(...)`) and otherwise by how they are spelt, so
that a scheduler that comes in as a parameter is seen too.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

Function = ast.FunctionDef | ast.AsyncFunctionDef
Loop = ast.For | ast.AsyncFor | ast.While
Branch = tuple[ast.AST, int]  # an `if`, `try` or `match`, and which of its bodies

_SCHEDULERS = re.compile(
    r"^(Lambda|Multiplicative|Step|MultiStep|Constant|Linear|Exponential|Sequential|Polynomial|CosineAnnealing|Cyclic|"
    r"OneCycle)LR$|^ChainedScheduler$|^ReduceLROnPlateau$|^CosineAnnealingWarmRestarts$"
)
_OPTIMIZERS = re.compile(r"^(SGD|N?Adam[Wax]*|RAdam|Ada(grad|delta|factor)|ASGD|R(MS)?prop|LBFGS|Muon)$")
_MAKES_SCHEDULER = re.compile(r"^get_(\w+_)?schedule(r|_with_\w+)?$|^lr_schedulers$")
_SCHEDULER_NAME = re.compile(r"sched", re.IGNORECASE)
# Schedulers of something else: diffusion noise, sampling, jobs.
_OTHER_SCHEDULER = re.compile(r"noise|sampl|diffus|forcing|beta|job|task|temp|momentum", re.IGNORECASE)
_OPTIMIZER_NAME = re.compile(r"optim|^opt\d*$|^opt_|_opt$", re.IGNORECASE)


@dataclass(frozen=True)
class Event:
    """A call that a rule cares about.

    Attributes:
        kind: `scheduler` and `optimizer` were stepped (the latter also by a GradScaler), `made`: the value of a
            call was given a name, `other`: any other call.
        receiver: source of what was called upon; of the optimizer for a GradScaler; what was given the value.
        call: the node.
        around: loops and branches around it, outermost first; in a flow those around the call of its function too.
        scope: in which the receiver is to be read.
    """

    kind: Literal["backward", "made", "optimizer", "scheduler", "other"]
    receiver: str
    call: ast.Call
    around: tuple[Loop | Branch, ...]
    scope: "Scope"

    @property
    def loops(self) -> tuple[Loop, ...]:
        """Those around it, outermost first."""
        return tuple(node for node in self.around if isinstance(node, Loop))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Those around it, outermost first."""
        return tuple(node for node in self.around if isinstance(node, tuple))

    def branches_in(self, loop: Loop) -> tuple[Branch, ...]:
        """Those around it that are inside a loop around it."""
        inner = self.around[self.around.index(loop) + 1 :]
        return tuple(node for node in inner if isinstance(node, tuple))

    @property
    def values(self) -> list[ast.expr]:
        """Everything that the receiver is assigned in sight."""
        return self.scope.values_of(self.receiver)

    @property
    def thing(self) -> tuple[int, str]:
        """What the receiver stands for: equal for the same name of the same scope or class."""
        return self.scope.owner_of(self.receiver), self.receiver

    @property
    def has_arguments(self) -> bool:
        """Whether the call passes anything: a metric, an epoch."""
        return bool(self.call.args or self.call.keywords)


@dataclass
class Scope:
    """A function, or the statements of a module outside of functions.

    Attributes:
        node: the function or module.
        outer: the scope around it; None for the module.
        parameters: of the function.
        assigned: what each local name was assigned.
        members: what each `self.name` was assigned anywhere in the class.
        functions: scopes of what it can call by a plain name or as `self.name`.
        events: its calls in source order.
        flow: its events with those of the functions of the file that it calls in between.
    """

    node: Function | ast.Module
    outer: "Scope | None"
    parameters: frozenset[str]
    assigned: dict[str, list[ast.expr]]
    members: dict[str, list[ast.expr]]
    functions: dict[str, "Scope"] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    flow: list[Event] = field(default_factory=list)

    def owner_of(self, name: str) -> int:
        """Identity of the scope, or of the class, that a name belongs to."""
        root = name.partition(".")[0]
        if root == "self":
            return id(self.members)
        if root in self.assigned or root in self.parameters or self.outer is None:
            return id(self.node)
        return self.outer.owner_of(name)

    def values_of(self, name: str) -> list[ast.expr]:
        """Everything that a name, as written, is assigned, except None; empty when it comes from out of sight."""
        if "." in name:
            found = self.members.get(name, [])
        elif name in self.assigned or name in self.parameters or self.outer is None:
            found = self.assigned.get(name, [])
        else:
            return self.outer.values_of(name)
        return [value for value in found if not (isinstance(value, ast.Constant) and value.value is None)]

    def visible_names(self) -> set[str]:
        """Names that this scope can read: its own, its class's members, and those of the scopes around it."""
        own = set(self.assigned) | set(self.parameters) | set(self.members)
        return own if self.outer is None else own | self.outer.visible_names()

    def is_scheduler(self, name: str) -> bool:
        """Whether a name, as written, stands for a learning-rate scheduler."""
        if any(makes_scheduler(value) for value in self.values_of(name)):
            return True
        last = last_identifier(name)
        return bool(_SCHEDULER_NAME.search(last)) and not _OTHER_SCHEDULER.search(last)

    def is_optimizer(self, name: str) -> bool:
        """Whether a name, as written, stands for an optimizer."""
        if self.is_scheduler(name):
            return False
        return any(makes_optimizer(value) for value in self.values_of(name)) or bool(
            _OPTIMIZER_NAME.search(last_identifier(name))
        )


def module_of(scope: Scope) -> Scope:
    """The outermost scope around one."""
    while scope.outer is not None:
        scope = scope.outer
    return scope


def last_identifier(name: str) -> str:
    """The word that names a thing: `self.optimizers()[0]` is `optimizers`."""
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"\[.*?\]|\(.*?\)", "", name))
    return words[-1] if words else ""


def callee(value: ast.expr) -> str:
    """Last identifier of what an assigned value calls, "" when it is no call."""
    return last_identifier(ast.unparse(value.func)) if isinstance(value, ast.Call) else ""


def makes_scheduler(value: ast.expr) -> bool:
    """Whether an assigned value is a scheduler of torch or transformers."""
    return bool(_SCHEDULERS.search(callee(value)) or _MAKES_SCHEDULER.search(callee(value)))


def makes_optimizer(value: ast.expr) -> bool:
    """Whether an assigned value is a well-known optimizer."""
    return bool(_OPTIMIZERS.search(callee(value)))


def argument_of(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """What a call passes for a parameter, None when it leaves it out."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in given:
        return given[name]
    positional = call.args[: position + 1]
    if len(positional) <= position or any(isinstance(argument, ast.Starred) for argument in positional):
        return None
    return positional[position]


def sets_rate(node: ast.AST) -> bool:
    """Whether this is the left side of `group["lr"] = ...`."""
    return (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.slice, ast.Constant)
        and node.slice.value == "lr"
    )


def events_of(node: ast.AST, scope: Scope, around: tuple[Loop | Branch, ...]) -> Iterator[Event]:
    """Calls below a node in source order, a call before the name that its value is given."""
    if isinstance(node, Function | ast.ClassDef | ast.Lambda):
        return
    for name, value in ast.iter_fields(node):
        children = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)]
        for index, child in enumerate(children):
            if isinstance(node, Loop) and name == "body":
                yield from events_of(child, scope, (*around, node))
            elif isinstance(node, ast.If | ast.IfExp) and name in ("body", "orelse"):
                yield from events_of(child, scope, (*around, (node, int(name == "orelse"))))
            elif isinstance(node, ast.Try | ast.Match) and name in ("handlers", "cases"):
                yield from events_of(child, scope, (*around, (node, index + 1)))
            else:
                yield from events_of(child, scope, around)
    if isinstance(node, ast.Call):
        receiver = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        yield classified(Event("other", receiver, node, around, scope))
    elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if len(targets) == 1 and isinstance(targets[0], ast.Name | ast.Attribute):
            yield Event("made", ast.unparse(targets[0]), node.value, around, scope)


def classified(event: Event) -> Event:
    """An event with the kind that its receiver, read in its scope, gives it."""
    if not isinstance(event.call.func, ast.Attribute):
        return event
    method, receiver = event.call.func.attr, event.receiver
    # Distributed autograd keeps gradients in a context of its own and adds nothing up.
    if method in ("backward", "manual_backward") and "dist_autograd" not in receiver:
        return replace(event, kind="backward")
    if method == "step":
        if event.scope.is_scheduler(receiver):
            return replace(event, kind="scheduler")
        if "scaler" in last_identifier(receiver).lower() and event.call.args:
            return replace(event, kind="optimizer", receiver=ast.unparse(event.call.args[0]))
        if event.scope.is_optimizer(receiver):
            return replace(event, kind="optimizer")
    return event
