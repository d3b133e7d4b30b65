"""What a study searches: the spaces of optimizer, scheduler and warmup, less what is fixed, plus what the user adds.

A component's YAML holds its space: `search: {gamma: {low: 0.1, high: 0.9}}`. A parameter that only matters for some
values of another says so: `end_ratio: {low: 0.01, high: 0.5, log: true, when: {mode: exp_range}}`; names without a dot
are the component's own parameters. Conditions may be nested; what depends on an inactive parameter is inactive too.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from optuna.distributions import BaseDistribution

from lrbench.search.ranges import contains, in_words, no_such, range_document, read_range, stored
from lrbench.spec import DOCUMENTATION

# In this order, because the base rate dominates everything and is read first.
GROUPS = ("optimizer", "scheduler", "warmup")
RATE = "optimizer.lr"
_ABSENT = object()


@dataclass(frozen=True)
class Dimension:
    """One searched hyperparameter.

    Attributes:
        name: dotted, as on the command line, e.g. "optimizer.lr".
        distribution: its range; list-valued choices as JSON text, see lrbench.search.ranges.
        when: by name of another dimension, the values with which this one is active; empty = always active. Conditions
            on parameters that are not searched are resolved when the space is read.
        default: its value in the config, in stored form.
    """

    name: str
    distribution: BaseDistribution
    when: Mapping[str, tuple[object, ...]]
    default: object = field(default=None, compare=False)

    def is_active(self, params: Mapping[str, Any]) -> bool:
        """Whether this dimension counts in a point, given all active dimensions it depends on."""
        return all(name in params and params[name] in values for name, values in self.when.items())


def read_space(
    values: Mapping[str, Any], *, fixed: Mapping[str, Any], ranges: Mapping[str, Mapping[str, Any]]
) -> tuple[Dimension, ...]:
    """Read the space of one study.

    Args:
        values: the resolved config as plain dictionaries.
        fixed: by dotted name, what the command line sets; not searched. Names that no space has are ignored.
        ranges: by dotted name, what the command line searches: a range that replaces a space's own, or adds one. The
            condition of a replaced range stays, unless the new one has its own.

    Returns:
        optimizer.lr first, then by group and name, whatever the order in the files: a point drawn for a space shall not
        change when a file is sorted differently.

    Raises:
        ValueError: naming the place, the rule, the value and what exists.
    """
    for name in sorted(fixed.keys() & ranges.keys()):
        raise ValueError(
            f"{name} is both fixed (to {fixed[name]!r}) and searched (in {ranges[name]}); write one of them"
        )
    entries = _read_files(values)
    _check_conditions(values, entries, entries)
    for name, spec in ranges.items():
        entries[name] = _read_added(values, entries, name, spec)
    _check_conditions(values, {name: entries[name] for name in ranges if "when" in ranges[name]}, entries)
    return tuple(sorted(_settle(values, fixed, entries, ranges.keys()), key=_order))


def parents_first(space: Sequence[Dimension]) -> list[Dimension]:
    """The dimensions in an order in which each comes after those it depends on."""
    by_name = {dimension.name: dimension for dimension in space}
    return [by_name[name] for name in TopologicalSorter({d.name: d.when for d in space}).static_order()]


def space_document(space: Sequence[Dimension]) -> dict[str, Any]:
    """The space as JSON, equal for equal spaces: what a study remembers of it."""
    document = {}
    for dimension in sorted(space, key=_order):
        document[dimension.name] = range_document(dimension.distribution)
        if dimension.when:
            document[dimension.name]["when"] = {k: list(dimension.when[k]) for k in sorted(dimension.when)}
    return document


def space_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two documents of `space_document`, a line for each dimension; empty when nothing does."""
    lines = []
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            before, after = (in_words(space[name]) if name in space else "not searched" for space in (old, new))
            # Words hide the type of a choice: 1 or "1".
            lines.append(f"{name}: {before} -> {after}" + (" (of another type)" if before == after else ""))
    return lines


@dataclass(frozen=True)
class _Entry:
    """A range as read, before it is known what is fixed."""

    path: str
    distribution: BaseDistribution
    when: dict[str, tuple[object, ...]]
    default: object


def _order(dimension: Dimension) -> tuple[bool, int, str]:
    group = dimension.name.split(".")[0]
    return dimension.name != RATE, GROUPS.index(group) if group in GROUPS else len(GROUPS), dimension.name


def _read_files(values: Mapping[str, Any]) -> dict[str, _Entry]:
    entries = {}
    for group in GROUPS:
        node = values.get(group) or {}
        if node.get("_target_") is None:
            continue
        search = node.get("search") or {}
        if not isinstance(search, Mapping):
            raise ValueError(f"{group}.search must map parameters to ranges, got {search!r}")
        parameters = _parameters(node)
        for key, spec in search.items():
            path = f"{group}.search.{key}"
            if key not in parameters:
                raise ValueError(no_such(path, str(key), parameters, f"parameter of {node.get('name', group)}"))
            distribution = read_range(path, spec, name=f"{group}.{key}", default=node[key])
            entries[f"{group}.{key}"] = _Entry(path, distribution, _read_when(path, spec, group), stored(node[key]))
    return entries


def _read_added(values: Mapping[str, Any], entries: Mapping[str, _Entry], name: str, spec: object) -> _Entry:
    group, _, key = name.rpartition(".")
    found = _lookup(values, group)
    node = found if isinstance(found, Mapping) else {}
    parameters = _parameters(node)
    if key not in parameters or isinstance(node[key], Mapping):
        raise ValueError(no_such(name, key, parameters, f"parameter in {group or 'the config'} that can be searched"))
    distribution = read_range(name, spec, name=name, default=node[key])
    when = _read_when(name, spec, group)
    if isinstance(spec, Mapping) and "when" not in spec and name in entries:
        when = entries[name].when
    return _Entry(name, distribution, when, stored(node[key]))


def _parameters(node: Mapping[str, Any]) -> list[str]:
    return [str(key) for key in node if key not in DOCUMENTATION and key != "_target_"]


def _read_when(path: str, spec: Any, group: str) -> dict[str, tuple[object, ...]]:
    """Dotted names and stored values of a condition."""
    conditions = spec.get("when") or {}
    if not isinstance(conditions, Mapping):
        raise ValueError(f"{path}.when must map parameters to a value or a list of values, got {conditions!r}")
    when = {}
    for key, allowed in conditions.items():
        accepted = tuple(stored(value) for value in (allowed if isinstance(allowed, list | tuple) else [allowed]))
        if not accepted:
            raise ValueError(f"{path}.when.{key} must have at least one value, got {allowed!r}")
        when[str(key) if "." in str(key) else f"{group}.{key}"] = accepted
    return when


def _lookup(values: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted name, or `_ABSENT`."""
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _ABSENT
        found = found[part]
    return found


def _check_conditions(values: Mapping[str, Any], checked: Mapping[str, _Entry], entries: Mapping[str, _Entry]) -> None:
    """Refuse conditions on what does not exist, and on values that a searched parameter never takes."""
    for entry in checked.values():
        for other, accepted in entry.when.items():
            value = _lookup(values, other)
            if value is _ABSENT or isinstance(value, Mapping):
                group, _, key = other.rpartition(".")
                node = _lookup(values, group)
                existing = _parameters(node) if isinstance(node, Mapping) else []
                raise ValueError(no_such(f"{entry.path}.when", key, existing, f"parameter in {group}"))
            for wanted in accepted if other in entries else ():
                searched = entries[other].distribution
                if not contains(searched, wanted):
                    raise ValueError(
                        f"{entry.path}.when: {other} can never be {wanted!r}; "
                        f"its range is {in_words(range_document(searched))}"
                    )


def _settle(
    values: Mapping[str, Any], fixed: Mapping[str, Any], entries: Mapping[str, _Entry], added: Collection[str]
) -> list[Dimension]:
    """Resolve the conditions that do not wait for a searched value, and drop what can never be active."""
    parents = {n: [o for o in e.when if o in entries and o not in fixed] for n, e in entries.items() if n not in fixed}
    try:
        names = list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        circle = error.args[1]
        raise ValueError(
            f"{entries[circle[0]].path}.when must not lead back to itself: {' <- '.join(circle)}"
        ) from None
    settled: dict[str, Dimension] = {}
    for name in names:
        when = {}
        for other, accepted in entries[name].when.items():
            if other not in parents:
                value = fixed[other] if other in fixed else _lookup(values, other)
                is_possible = stored(value) in accepted
            else:
                # A range from the command line may leave out what a file's condition names.
                possible = [v for v in accepted if other in settled and contains(settled[other].distribution, v)]
                is_possible = bool(possible)
                when[other] = tuple(possible)
            if not is_possible:
                if name in added:
                    raise ValueError(
                        f"{name} is searched but can never matter: {other} must be one of {list(accepted)}"
                    )
                break
        else:
            settled[name] = Dimension(name, entries[name].distribution, when, entries[name].default)
    return list(settled.values())
