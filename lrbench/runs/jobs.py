"""A job of a sweep: config values, and the override words from which Hydra composes the same."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Values = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        base: override words of the command line.
        changes: what the job has beyond them, by dotted name.
        values: the plain config of both.
    """

    base: tuple[str, ...]
    changes: Mapping[str, Any]
    values: Values

    @property
    def words(self) -> list[str]:
        """Override words for launchers that compose in another process."""
        return [*self.base, *(f"++{name}={literal(value)}" for name, value in self.changes.items())]


def changed(values: Values, changes: Mapping[str, Any]) -> Values:
    """Copy values with some of them replaced, by dotted name."""
    result = copy.deepcopy(values)
    for name, value in changes.items():
        *groups, key = name.split(".")
        node = result
        for group in groups:
            node = node[group]
        node[key] = copy.deepcopy(value)
    return result


def literal(value: object) -> str:
    """Write a value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(literal, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return json.dumps(value)
