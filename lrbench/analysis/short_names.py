"""Workloads under their own names, for people: what all of a section share is not in them, nor a hash without need."""

import dataclasses
import re
from dataclasses import replace
from typing import Any, cast

from lrbench.analysis.model import Analysis, Section

# dataset-model-optimizer-b64-340steps-53fa, as `config.plan` writes them; the hash is of all the rest.
_OURS = re.compile(r"(?P<head>.+?)-(?P<optimizer>[^-]+)-b(?P<batch>\d+)-(?P<steps>\d+)steps(?:-(?P<hash>[0-9a-f]{4}))?")
_PARTS = ("optimizer", "batch", "steps", "hash")
_WRITTEN = {"optimizer": "{}", "batch": "b{}", "steps": "{}steps", "hash": "{}"}


def with_short_names(analysis: Analysis) -> Analysis:
    """The same analysis with short workload names, also inside its sentences.

    Names are distinct within a section, whose title says the budget; machines keep the long ones.
    """
    return replace(analysis, sections=tuple(_renamed_section(section) for section in analysis.sections))


def short_names(names: list[str]) -> dict[str, str]:
    """Shorten the names of one section, by as much as leaves them distinct; others than ours stay as they are."""
    found = {name: match for name in names if (match := _OURS.fullmatch(name))}
    kept: list[str] = []
    for part in ("", *_PARTS):
        kept += [part] if part else []
        short = {name: _joined(found[name], kept) if name in found else name for name in names}
        if len(set(short.values())) == len(set(names)):
            return short
    return {name: name for name in names}


def _joined(match: re.Match[str], kept: list[str]) -> str:
    parts = [_WRITTEN[part].format(match[part]) for part in kept if match[part] is not None]
    return "-".join([match["head"], *parts]).replace("-", "_") if not parts else "-".join([match["head"], *parts])


def _renamed_section(section: Section) -> Section:
    names = short_names([facts.name for facts in section.workloads])
    # The longest first: no name is then a part of one that is still to be replaced.
    changed = sorted(((old, new) for old, new in names.items() if old != new), key=lambda pair: -len(pair[0]))
    return cast(Section, _renamed(section, dict(changed))) if changed else section


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, tuple):
        return tuple(_renamed(item, names) for item in value) if any(_has_words(item) for item in value) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return replace(value, **{name: _renamed(item, names) for name, item in fields.items() if _has_words(item)})
    return value


def _has_words(value: object) -> bool:
    """Whether a name can be in there; most of an analysis is numbers."""
    return isinstance(value, str | tuple) or dataclasses.is_dataclass(value)
