"""The source files behind the parts that a config takes from the user's own modules; imports none of them.

Followed are import statements, from the module that a `_target_` names to every module of the same root (the folder on
the path in which it lies). Of an installed package all sources count. Data files, and modules that are imported by
computed names, are not seen.
"""

import ast
import hashlib
import importlib.util
import os
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lrbench.config.targets import find_beside_data, is_within

_INSTALLED = frozenset(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))


def own_targets(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The dotted names in a config that lie in the user's `trusted_modules`, sorted."""
    trusted = values["trusted_modules"]
    # The code of lrbench is digested in any case.
    return tuple(sorted({n for n in _targets(values) if is_within(n, trusted) and not is_within(n, ["lrbench"])}))


def source_digests(targets: Collection[str]) -> dict[str, str]:
    """Digest the source files that dotted names lead to.

    Args:
        targets: such as `mymodels.nets.Net`.

    Returns:
        sha256 (hex) by the file's path below its root; empty where no source is found.
    """
    digests: dict[str, str] = {}
    if targets:
        find_beside_data()
    for target in targets:
        root = _root_of(target.partition(".")[0])
        if root is not None:
            files = _all_of(root, target) if root.resolve() in _INSTALLED else _reached(root, target)
            digests |= {file.relative_to(root).as_posix(): _read(file)[0] for file in files}
    return digests


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _root_of(package: str) -> Path | None:
    """The folder on the path in which a module or package lies; None for built-in and absent ones."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module without a spec, such as __main__
        return None
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        return Path(folder).parent
    return Path(spec.origin).parent if spec.origin is not None and spec.has_location else None


def _all_of(root: Path, target: str) -> list[Path]:
    top = root / target.partition(".")[0]
    return sorted(top.rglob("*.py")) if top.is_dir() else _modules_on(root, target)


def _reached(root: Path, target: str) -> set[Path]:
    """The files that importing a dotted name executes, those below the root."""
    reached: set[Path] = set()
    waiting = _modules_on(root, target)
    while waiting:
        file = waiting.pop()
        if file in reached:
            continue
        reached.add(file)
        package = file.relative_to(root).parent.parts
        for level, name in _read(file)[1]:
            above = package[: len(package) - level + 1] if level else ()
            full = ".".join((*above, *filter(None, [name])))
            if full.partition(".")[0] != "lrbench":
                waiting += _modules_on(root, full)
    return reached


def _modules_on(root: Path, name: str) -> list[Path]:
    """The files of the modules and packages that lead to a dotted name, as far as they exist below the root."""
    files, folder = [], root
    for part in name.split("."):
        files += [file for file in (folder / f"{part}.py", folder / part / "__init__.py") if file.is_file()]
        folder /= part
    return files


def _read(file: Path) -> tuple[str, tuple[tuple[int, str], ...]]:
    """Digest and imports of a file, read again when it has changed."""
    stat = os.stat(file)
    return _read_as_of(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _read_as_of(file: Path, mtime_ns: int, size: int) -> tuple[str, tuple[tuple[int, str], ...]]:
    content = file.read_bytes()
    try:
        tree = ast.parse(content)
    except SyntaxError:  # importing it will say so
        return hashlib.sha256(content).hexdigest(), ()
    imports: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {(0, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # What is imported from a package may be one of its modules.
            imports |= {(node.level, ".".join(filter(None, [node.module, alias.name]))) for alias in node.names}
    return hashlib.sha256(content).hexdigest(), tuple(sorted(imports))
