"""Config values as keyword arguments: the same names and values as on the command line, in Python's own types.

scheduler="cosine"                                 the file conf/scheduler/cosine.yaml
scheduler={"name": "wsd", "decay_fraction": 0.2}   a file, and parameters of it
budget={"epochs": 5}, seed=0                       values
scheduler=["cosine", "wsd"], seed=[0, 1]           choices, where several runs are asked for
**{"optimizer.lr": [0.1, 0.2]}                     choices of a value inside a group
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lrbench.config.component import group_files
from lrbench.runs.jobs import literal

_log = logging.getLogger(__name__)
_LISTS = ("trusted_modules",)  # values that are lists themselves


def override_words(config: Mapping[str, object]) -> list[str]:
    """Turn keyword arguments into overrides of Hydra's grammar.

    Args:
        config: by name; see the module.

    Raises:
        ValueError: a group's value is neither a file of it nor a mapping, or a list of choices is empty.
    """
    return [word for name, value in config.items() for word in _words(name, value)]


def settled(words: Sequence[str]) -> list[str]:
    """Let the last word of a key count, saying so, and one length of the budget take the place of the other.

    Args:
        words: overrides, and flags.
    """
    last = {word.partition("=")[0]: word for word in words if "=" in word and not word.startswith("-")}
    for key, word in last.items():
        given = [other for other in words if other.startswith(f"{key}=")]
        if len(given) > 1:
            _log.warning("%s is given %d times; the last counts: %s", key, len(given), word)
    for given_length, other in (("steps", "epochs"), ("epochs", "steps")):
        is_set = last.get(f"budget.{given_length}", "=null").partition("=")[2] != "null"
        if is_set and not {f"budget.{other}", "budget"} & set(last):
            return [*words, f"budget.{other}=null"]
    return list(words)


def _words(name: str, value: object) -> Iterator[str]:
    files = group_files(name)
    if isinstance(value, Mapping):
        parameters: dict[str, Any] = dict(value)
        if files and parameters.get("name") in files:
            yield f"{name}={parameters.pop('name')}"
        yield from _values(name, parameters)
    elif isinstance(value, list | tuple) and name not in _LISTS:
        if not value:
            raise ValueError(f"{name} must have at least one choice, got {value!r}")
        yield f"{name}={','.join(_choice(name, item, files) for item in value)}"
    else:
        yield f"{name}={_choice(name, value, files)}"


def _values(prefix: str, values: Mapping[str, object]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _values(f"{prefix}.{key}", value)
        else:
            # A part of the user's own has parameters that no file of ours declares.
            plus = "++" if prefix.partition(".")[0] in ("scheduler", "model", "dataset", "optimizer", "warmup") else ""
            yield f"{plus}{prefix}.{key}={literal(value)}"


def _choice(name: str, value: object, files: Sequence[str]) -> str:
    if not files or value is None:
        return literal(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be the name of a file of conf/{name} or a mapping with its name, got {value!r}")
    return value
