"""The scopes of a module, and what happens in each when the functions of the file that it calls are read along.

A helper that is given a scheduler, and a method that steps what another one made, are so seen from where they are
called. Only calls by a plain name, or as `self.name`, of something defined once in the file are followed.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from lrbench.lint.events import Event, Function, Scope, classified, events_of, makes_optimizer, makes_scheduler

_DEPTH = 3  # calls followed into one another


def scopes_of(tree: ast.Module) -> list[Scope]:
    """Every scope of a module with its events and its flow, the module's own first."""
    scopes = list(_scopes(tree, tree.body, outer=None, members={}))
    plain = [(s.node.name, s) for s in scopes if isinstance(s.node, Function) and not _is_method(s)]
    counts = Counter(name for name, _ in plain)
    functions = {name: scope for name, scope in plain if counts[name] == 1}
    for scope in scopes:
        scope.functions = {**scope.functions, **functions} if scope.events else {}
    worth: set[int] = set()
    for _ in range(_DEPTH):
        worth |= {id(scope) for scope in scopes if _is_worth_following(scope, worth)}
    for scope in scopes:
        scope.functions = {name: called for name, called in scope.functions.items() if id(called) in worth}
    for scope in scopes:
        scope.flow += _flow(scope, _DEPTH)
    return scopes


def _flow(scope: Scope, depth: int) -> Iterator[Event]:
    for event in scope.events:
        yield event
        called = scope.functions.get(_name_called(event)) if event.kind == "other" else None
        if called is None or called is scope or depth == 0:
            continue
        bound = _bound(event.call, called)
        if bound is not None:
            for inner in _flow(called, depth - 1):
                yield _seen_from(event, inner, called, bound)


def _is_worth_following(scope: Scope, worth: set[int]) -> bool:
    """Whether something happens in a function that a rule cares about, or in one that it calls."""
    for event in scope.events:
        if event.kind in ("backward", "optimizer", "scheduler"):
            return True
        if event.kind == "made" and (makes_scheduler(event.call) or makes_optimizer(event.call)):
            return True
        called = _name_called(event)
        if "save" in called or id(scope.functions.get(called)) in worth:
            return True
    return False


def _name_called(event: Event) -> str:
    """`f` of `f()`, `self.f` of `self.f()`, `save` of `x.save()`."""
    function = event.call.func
    if isinstance(function, ast.Attribute):
        return f"self.{function.attr}" if event.receiver == "self" else "save" * (function.attr == "save")
    return function.id if isinstance(function, ast.Name) else ""


def _bound(call: ast.Call, called: Scope) -> dict[str, ast.expr] | None:
    """What a call passes for each parameter; None when the call does not say."""
    assert isinstance(called.node, Function)
    # A decorator may change what is passed.
    starred = any(isinstance(a, ast.Starred) for a in call.args) or any(k.arg is None for k in call.keywords)
    if starred or called.node.decorator_list:
        return None
    names = [argument.arg for argument in [*called.node.args.posonlyargs, *called.node.args.args]]
    if _is_method(called):
        names = names[1:]
    return {**dict(zip(names, call.args, strict=False)), **{k.arg: k.value for k in call.keywords if k.arg}}


def _seen_from(call: Event, inner: Event, called: Scope, bound: dict[str, ast.expr]) -> Event:
    """An event of a called function, in terms of the caller."""
    placed = replace(inner, around=(*call.around, *inner.around))
    root, dot, rest = inner.receiver.partition(".")
    if inner.scope is not called or inner.kind == "made" or root not in called.parameters or root == "self":
        return placed
    argument = bound.get(root)
    if not isinstance(argument, ast.Name | ast.Attribute):
        # A default, most likely None, or something computed.
        return replace(placed, kind="other", receiver="")
    renamed = replace(placed, kind="other", receiver=ast.unparse(argument) + dot + rest, scope=call.scope)
    known = classified(renamed)
    # What the caller's name does not tell, the parameter's does, unless it is in sight that it is something else.
    return replace(known, kind=inner.kind) if known.kind == "other" and not known.values else known


def _is_method(scope: Scope) -> bool:
    return f"self.{getattr(scope.node, 'name', '')}" in scope.functions


def _scopes(
    node: Function | ast.Module, body: list[ast.stmt], *, outer: Scope | None, members: dict[str, list[ast.expr]]
) -> Iterator[Scope]:
    arguments = [] if isinstance(node, ast.Module) else [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    scope = Scope(node, outer, frozenset(a.arg for a in arguments), _assignments(_own_nodes(body)), members)
    for statement in body:
        scope.events += events_of(statement, scope, ())
    yield scope
    for child in _own_nodes(body):
        if isinstance(child, Function):
            yield from _scopes(child, child.body, outer=scope, members=members)
        elif isinstance(child, ast.ClassDef):
            attributes = {k: v for k, v in _assignments(ast.walk(child)).items() if k.startswith("self.")}
            methods: dict[str, Scope] = {}
            for inner in _own_nodes(child.body):
                if isinstance(inner, Function):
                    found = list(_scopes(inner, inner.body, outer=scope, members=attributes))
                    methods[f"self.{inner.name}"] = found[0]
                    for within in found:
                        within.functions = methods
                    yield from found


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
