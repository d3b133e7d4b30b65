"""Training code as a sequence of events: who is stepped, in which loop, under which condition.

Names are told by what they were assigned (`StepLR(...)`, `get_scheduler(...)`) and otherwise by how they are spelt, so
that a scheduler that comes in as a parameter is seen too.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
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
        kind: `scheduler` and `optimizer` were stepped (the latter also by a GradScaler), `other`: any other call.
        receiver: source of what was called upon; of the optimizer for a GradScaler.
        call: the node.
        loops: those around it in its function, outermost first.
        branches: those around it in its function, outermost first.
    """

    kind: Literal["backward", "optimizer", "scheduler", "other"]
    receiver: str
    call: ast.Call
    loops: tuple[Loop, ...]
    branches: tuple[Branch, ...]

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
        events: its calls in source order.
    """

    node: Function | ast.Module
    outer: "Scope | None"
    parameters: frozenset[str]
    assigned: dict[str, list[ast.expr]]
    members: dict[str, list[ast.expr]]
    events: list[Event] = field(default_factory=list)

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
        if any(_SCHEDULERS.search(callee(v)) or _MAKES_SCHEDULER.search(callee(v)) for v in self.values_of(name)):
            return True
        last = last_identifier(name)
        return bool(_SCHEDULER_NAME.search(last)) and not _OTHER_SCHEDULER.search(last)

    def is_optimizer(self, name: str) -> bool:
        """Whether a name, as written, stands for an optimizer."""
        if self.is_scheduler(name):
            return False
        return any(_OPTIMIZERS.search(callee(v)) for v in self.values_of(name)) or bool(
            _OPTIMIZER_NAME.search(last_identifier(name))
        )


def scopes_of(tree: ast.Module) -> list[Scope]:
    """Every scope of a module with its events, the module's own first."""
    return list(_scopes(tree, tree.body, outer=None, members={}))


def last_identifier(name: str) -> str:
    """The word that names a thing: `self.optimizers()[0]` is `optimizers`."""
    words = re.findall(r"[A-Za-z_]\w*", re.sub(r"\[.*?\]|\(.*?\)", "", name))
    return words[-1] if words else ""


def callee(value: ast.expr) -> str:
    """Last identifier of what an assigned value calls, "" when it is no call."""
    return last_identifier(ast.unparse(value.func)) if isinstance(value, ast.Call) else ""


def _scopes(
    node: Function | ast.Module, body: list[ast.stmt], *, outer: Scope | None, members: dict[str, list[ast.expr]]
) -> Iterator[Scope]:
    arguments = [] if isinstance(node, ast.Module) else [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    scope = Scope(node, outer, frozenset(a.arg for a in arguments), _assignments(_own_nodes(body)), members)
    for statement in body:
        scope.events += _events(statement, scope, (), ())
    yield scope
    for child in _own_nodes(body):
        if isinstance(child, Function):
            yield from _scopes(child, child.body, outer=scope, members=members)
        elif isinstance(child, ast.ClassDef):
            attributes = {k: v for k, v in _assignments(ast.walk(child)).items() if k.startswith("self.")}
            for inner in _own_nodes(child.body):
                if isinstance(inner, Function):
                    yield from _scopes(inner, inner.body, outer=scope, members=attributes)


def _own_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes of a body; functions and classes are given, what is inside them is not."""
    for statement in body:
        stack: list[ast.AST] = [statement]
        while stack:
            node = stack.pop()
            yield node
            if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
                stack.extend(ast.iter_child_nodes(node))


def _assignments(nodes: Iterator[ast.AST]) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}

    def bind(target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            pairs = value.elts if isinstance(value, ast.Tuple | ast.List) else [value] * len(target.elts)
            for inner, part in zip(target.elts, pairs, strict=False):
                bind(inner, part)
        elif isinstance(target, ast.Name | ast.Attribute):
            found.setdefault(ast.unparse(target), []).append(value)

    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                bind(target, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            bind(node.target, node.value)
    return found


def _events(node: ast.AST, scope: Scope, loops: tuple[Loop, ...], branches: tuple[Branch, ...]) -> Iterator[Event]:
    """Calls below a node in source order."""
    if isinstance(node, Function | ast.ClassDef | ast.Lambda):
        return
    for name, value in ast.iter_fields(node):
        children = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, ast.AST)]
        for index, child in enumerate(children):
            if isinstance(node, Loop) and name == "body":
                yield from _events(child, scope, (*loops, node), branches)
            elif isinstance(node, ast.If | ast.IfExp) and name in ("body", "orelse"):
                yield from _events(child, scope, loops, (*branches, (node, int(name == "orelse"))))
            elif isinstance(node, ast.Try | ast.Match) and name in ("handlers", "cases"):
                yield from _events(child, scope, loops, (*branches, (node, index + 1)))
            else:
                yield from _events(child, scope, loops, branches)
    if isinstance(node, ast.Call):
        yield _event(node, scope, loops, branches)


def _event(call: ast.Call, scope: Scope, loops: tuple[Loop, ...], branches: tuple[Branch, ...]) -> Event:
    if not isinstance(call.func, ast.Attribute):
        return Event("other", "", call, loops, branches)
    receiver = ast.unparse(call.func.value)
    # Distributed autograd keeps gradients in a context of its own and adds nothing up.
    if call.func.attr in ("backward", "manual_backward") and "dist_autograd" not in receiver:
        return Event("backward", receiver, call, loops, branches)
    if call.func.attr == "step":
        if scope.is_scheduler(receiver):
            return Event("scheduler", receiver, call, loops, branches)
        if "scaler" in last_identifier(receiver).lower() and call.args:
            return Event("optimizer", ast.unparse(call.args[0]), call, loops, branches)
        if scope.is_optimizer(receiver):
            return Event("optimizer", receiver, call, loops, branches)
    return Event("other", receiver, call, loops, branches)
