"""Source code of functions of this package, with what they need from it, as text that stands alone.

What only serves lrbench goes: domain annotations, decorators of pure families, checks of parameters (a snippet's
parameters are bound and have been checked), all of a docstring but its summary, which holds the formula.
"""

import ast
import functools
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Source", "literal"]

_PACKAGE = __name__.partition(".")[0]
_Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom


@dataclass
class Source:
    """Collects definitions, each once, every one after those it needs.

    Attributes:
        imports: (module, what is imported from it), or ("", what is imported itself); either with its `as`.
        definitions: source of functions, classes and constants, by the name they have in the text.
    """

    imports: set[tuple[str, str]] = field(default_factory=set)
    definitions: dict[str, str] = field(default_factory=dict)
    _names: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, function: Callable[..., Any]) -> str:
        """Add a function or class, and what it needs; return the name by which the text can call it.

        A function of lrbench is copied, any other is imported.

        Raises:
            ValueError: the function has no name by which it can be imported.
        """
        function = inspect.unwrap(function)
        module, name = function.__module__, function.__qualname__
        if "<" in name or module == "__main__":
            raise ValueError(f"{module}.{name} has no importable name; define it at the top level of a module")
        if module.partition(".")[0] == _PACKAGE:
            return self._add_definition(module, name)
        self.imports.add((module, name))
        return name

    def _add_definition(self, module: str, name: str) -> str:
        if (module, name) in self._names:
            return self._names[module, name]
        definition = _definitions(module)[name]
        if isinstance(definition, ast.Import | ast.ImportFrom):
            return self._add_import(definition, name)
        # Two modules may each have their own `_ramp`.
        written = name if name not in self.definitions else f"{name}_{module.rpartition('.')[2]}"
        self._names[module, name] = written
        clean = _Cleaner().visit(_copy(definition))
        needed = _free_names(clean) & _definitions(module).keys() - {name}
        renamed = {need: self._add_definition(module, need) for need in sorted(needed)}
        text = ast.unparse(ast.fix_missing_locations(_Renamer(renamed | {name: written}).visit(clean)))
        self.definitions[written] = text
        return written

    def _add_import(self, statement: ast.Import | ast.ImportFrom, name: str) -> str:
        """Follow an import inside the package, keep any other."""
        alias = next(a for a in statement.names if name in (a.asname, a.name.partition(".")[0]))
        if isinstance(statement, ast.Import):
            self.imports.add(("", ast.unparse(alias)))
        elif statement.module is not None and statement.module.partition(".")[0] == _PACKAGE:
            return self._add_definition(statement.module, alias.name)
        else:
            self.imports.add((statement.module or "", ast.unparse(alias)))
        return name

    def import_lines(self) -> list[str]:
        """Import statements, one a module, libraries after the standard library."""
        lines = [f"import {name}" for module, name in self.imports if not module]
        for origin in {module for module, _ in self.imports if module}:
            lines.append(f"from {origin} import {', '.join(sorted(n for m, n in self.imports if m == origin))}")
        return sorted(lines, key=lambda line: (line.split()[1].partition(".")[0] not in sys.stdlib_module_names, line))


def literal(value: Any) -> str:
    """Write a parameter as Python that evaluates to it.

    Raises:
        ValueError: it is no plain value.
    """
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(v)}" for key, v in value.items()) + "}"
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    raise ValueError(f"a parameter of the type {type(value).__name__} cannot be written as Python: {value!r}")


@functools.cache
def _definitions(module: str) -> dict[str, _Definition]:
    """What a module of this package defines or imports at its top level, by name."""
    path = inspect.getsourcefile(importlib.import_module(module))
    assert path is not None
    found: dict[str, _Definition] = {}
    for node in ast.parse(Path(path).read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = node
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found |= {alias.asname or alias.name.partition(".")[0]: node for alias in aliases}
    return found


def _copy(node: _Definition) -> ast.stmt:
    return ast.parse(ast.unparse(node)).body[0]


def _free_names(node: ast.AST) -> set[str]:
    """Names that a definition reads and does not bind itself."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    bound = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    bound |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    return {n.id for n in names} - bound


class _Cleaner(ast.NodeTransformer):
    """Takes out what a snippet does not need; see the module's docstring."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        summary = _summary(node)
        self.generic_visit(node)
        node.decorator_list = [d for d in node.decorator_list if not _is_factor(d)]
        node.returns = None
        node.body = summary + node.body
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        summary = _summary(node)
        # The annotated fields of a dataclass stay as they are: they are its constructor.
        node.body = [self.visit(n) if isinstance(n, ast.FunctionDef) else n for n in node.body[len(summary) :]]
        node.body = summary + node.body
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return None if node.value is None else ast.Assign([node.target], node.value)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        match node.value:
            case ast.Constant():  # a docstring; its summary comes back
                return None
            case ast.Call(func=ast.Name(id=name)) if name.startswith(("check_", "assert_")):
                return None
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        self.generic_visit(node)
        return None if not node.orelse and isinstance(node.body[0], ast.Raise) else node


class _Renamer(ast.NodeTransformer):
    """Gives definitions and their uses the names they have in the text."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id, node.id), node.ctx)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self._names.get(node.name, node.name)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self._names.get(node.name, node.name)
        return node


def _summary(node: ast.FunctionDef | ast.ClassDef) -> list[ast.stmt]:
    """The first paragraph of a docstring as a docstring, or nothing."""
    text = ast.get_docstring(node)
    if text is None:
        return []
    lines = textwrap.wrap(" ".join(text.partition("\n\n")[0].split()), 90)
    return [ast.Expr(ast.Constant("\n    ".join(lines)))]


def _is_factor(decorator: ast.expr) -> bool:
    """Whether it is the adapter of pure families, which snippets do without: they only ask for arrays in range."""
    return isinstance(decorator, ast.Name) and decorator.id in ("factor", "_of_steps")
