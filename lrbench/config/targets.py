"""From a config node with a `_target_` to a bound callable, or a refusal that names the path, the rule and the value.

A target is code that a config file names. Without the user's word it is one of our components, by its public name, or
an optimizer, a schedule or a module of PyTorch and the optimizers' packages, by what it is: `torch.nn` and
`lrbench.data` also hold functions that import or write what they are told. Nothing of an untrusted module is imported
or executed.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from typing import Any, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lrbench.spec import DOCUMENTATION
from lrbench.typos import did_you_mean

# Each name in the `__all__` of these, and no other, is a target.
_OURS = ("lrbench.schedules", "lrbench.models", "lrbench.data", "lrbench.optimizers")
# Of these, what is a class of the right kind, or a builder of a model.
_LIBRARIES = ("torch.optim", "torch.nn", "torchvision.models", "schedulefree", "prodigyopt")


def bind(
    path: str,
    node: Mapping[str, Any],
    *,
    trusted_modules: Collection[str] = (),
    given: Collection[str] = (),
    reserved: Collection[str] = (),
) -> Callable[..., Any]:
    """Bind a node's parameters to its target, without calling it.

    Args:
        path: of the node in the config, e.g. "scheduler".
        node: `_target_`, parameters, documentation.
        trusted_modules: of the user.
        given: parameters that the caller will pass; a node may not set the first, positional ones.
        reserved: keys of the node that the caller deals with.

    Returns:
        functools.partial of the target with the checked parameters.

    Raises:
        ValueError: the target is missing, not trusted or not found, a parameter is unknown or absent, or a value breaks
            the domain in the target's annotation.
    """
    target = locate(f"{path}._target_", node.get("_target_"), trusted_modules=trusted_modules)
    values = {k: v for k, v in node.items() if k not in DOCUMENTATION and k not in reserved and k != "_target_"}
    values = {k: _bind_nested(f"{path}.{k}", v, trusted_modules) for k, v in values.items()}
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    allowed = [name for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    checked = {}
    for key, value in values.items():
        if key not in allowed and not takes_any:
            raise ValueError(unknown(f"{path}.{key}", key, sorted(set(allowed) - set(given)), "parameter"))
        checked[key] = check_value(f"{path}.{key}", value, _annotation(target, parameters.get(key)))
    absent = [
        name
        for name in allowed
        if parameters[name].default is inspect.Parameter.empty and name not in checked and name not in given
    ]
    if absent:
        raise ValueError(f"{path} needs {path}.{absent[0]}; write +{path}.{absent[0]}=VALUE")
    return partial(target, **checked)


def locate(path: str, name: object, *, trusted_modules: Collection[str] = ()) -> Callable[..., Any]:
    """Import the callable that a dotted name stands for, if it is trusted.

    Raises:
        ValueError: see `bind`.
    """
    if not isinstance(name, str) or name.count(".") < 1:
        raise ValueError(f"{path} must be a dotted name such as lrbench.models.MLP, got {name!r}")
    if is_within(name, trusted_modules):
        find_beside_data()
        found = _import(path, name)
        home = getattr(found, "__module__", None)
        if not (isinstance(home, str) and is_within(home, trusted_modules)) and not _is_library_part(found):
            raise ValueError(
                f"{path}={name} is not a function or class defined in a trusted module (it is from {home})"
            )
    elif is_within(name, _OURS):
        found = _component(path, name)
    elif is_within(name, _LIBRARIES):
        found = _import(path, name)
        if not _is_library_part(found):
            raise ValueError(
                f"{path} must be an optimizer, a schedule or a module, and {name} is none; "
                f"trusted_modules=[{name.rpartition('.')[0]}] allows all of it"
            )
    else:
        trusted = ", ".join((*_OURS, *_LIBRARIES, *trusted_modules))
        raise ValueError(
            f"{path} must lie in a trusted module, got {name!r}; trusted are {trusted}; "
            "add your own with trusted_modules=[mymodule]"
        )
    if not callable(found):
        raise ValueError(f"{path}={name} is not a function or class")
    return cast("Callable[..., Any]", found)


def _component(path: str, name: str) -> Any:
    """One of ours by its public name."""
    package = next(package for package in _OURS if is_within(name, [package]))
    module = importlib.import_module(package)
    part = name[len(package) + 1 :]
    if part not in module.__all__:
        raise ValueError(unknown(f"{path}={name}", part, list(module.__all__), f"name in {package}"))
    return getattr(module, part)


def _import(path: str, name: str) -> Any:
    """Import what a dotted name stands for."""
    module_name = name
    found: Any = None
    while found is None:
        module_name = module_name.rpartition(".")[0]
        if not module_name:
            raise ValueError(f"{path}: no module of {name!r} can be imported")
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only the parts of the name itself may be missing; a missing import inside the module is its own error.
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise ValueError(
                    f"{path}={name}: importing {module_name} needs {error.name!r}, which is missing"
                ) from error
    for part in name[len(module_name) + 1 :].split("."):
        if not hasattr(found, part):
            names = [n for n in dir(found) if not n.startswith("_")]
            raise ValueError(unknown(f"{path}={name}", part, names, f"name in {module_name}"))
        found = getattr(found, part)
    return found


def _is_library_part(found: object) -> bool:
    """Whether it is an optimizer, a schedule, a module, or a builder of a model, of the libraries themselves."""
    home = getattr(found, "__module__", None)
    if not isinstance(home, str) or not is_within(home, _LIBRARIES):
        return False
    from torch import nn, optim  # a configuration is also read without torch

    if isinstance(found, type):
        return issubclass(found, (optim.Optimizer, optim.lr_scheduler.LRScheduler, nn.Module))
    if not is_within(home, ["torchvision.models"]):
        return False
    from torchvision import models

    return any(models.get_model_builder(name) is found for name in models.list_models())


def find_beside_data() -> None:
    """Let the user's own modules be found in the working directory, after all that is installed."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def check_value(path: str, value: Any, annotation: Any) -> Any:
    """Check one value against a type or domain, strictly: "0.1" is no number, true is no count, nan is no rate.

    Raises:
        ValueError: naming path, rule and value.
    """
    if annotation is inspect.Parameter.empty:
        return value
    try:
        adapter = _adapter(annotation)
    except TypeError:  # it cannot be hashed
        adapter = _adapter.__wrapped__(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        # For unions pydantic lists each member's complaint; `none_required` helps nobody.
        complaints = [e for e in error.errors() if e["type"] != "none_required"] or error.errors()
        first = complaints[0]
        inner = "".join(f"[{i}]" for i in first["loc"] if isinstance(i, int))
        rule = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise ValueError(f"{path}{inner} {rule}, got {value!r}") from None


@cache  # as many as there are annotations; to build one takes longer than to use it a hundred times
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))


def unknown(path: str, name: str, existing: list[str], kind: str) -> str:
    """Word the message for a name that does not exist."""
    return f"{path}: no {kind} {name!r}{did_you_mean(name, existing)} There are: {', '.join(existing) or 'none'}"


def _bind_nested(path: str, value: Any, trusted_modules: Collection[str]) -> Any:
    """Bind nodes inside a parameter (the parts of a sequence, say)."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return bind(path, value, trusted_modules=trusted_modules, given=_CONTEXT)
        return {k: _bind_nested(f"{path}.{k}", v, trusted_modules) for k, v in value.items()}
    if isinstance(value, list):
        return [_bind_nested(f"{path}[{i}]", v, trusted_modules) for i, v in enumerate(value)]
    return value


# What the harness passes to a schedule when it is asked for.
_CONTEXT = ("optimizer", "step", "total_steps", "num_evaluations")


def _annotation(target: Callable[..., Any], parameter: inspect.Parameter | None) -> Any:
    """Resolve one annotation; names that exist for type checkers only (torch's classes) are not checked."""
    if parameter is None or not isinstance(parameter.annotation, str):
        return inspect.Parameter.empty if parameter is None else parameter.annotation
    try:
        return eval(parameter.annotation, vars(sys.modules[target.__module__]))
    except NameError:
        return inspect.Parameter.empty


def is_within(name: str, modules: Collection[str]) -> bool:
    """Whether a dotted name is one of the modules or lies in one."""
    return any(name == module or name.startswith(module + ".") for module in modules)
