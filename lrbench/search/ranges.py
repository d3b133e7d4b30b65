"""The range of one hyperparameter: as a YAML file or the command line writes it, and as Optuna takes it.

Written `{low: 0.1, high: 0.9}`, with `log: true`, `step: 0.1` or `int: true` where wanted, or `{choices: [a, b]}`.
Optuna stores numbers, strings, booleans and null only; a choice that is a list (milestones, say) becomes its JSON text,
which is what the command line would call it too.
"""

import json
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.typos import did_you_mean

_WORDS = ("low", "high", "log", "step", "int", "choices", "when")


def read_range(path: str, spec: object, *, name: str, default: object) -> BaseDistribution:
    """Turn one range into a distribution.

    Args:
        path: of the range in the config, e.g. "scheduler.search.gamma"; begins every message.
        spec: what is written there.
        name: of the hyperparameter, e.g. "scheduler.gamma".
        default: its value in the config. Whole bounds mean whole numbers, unless this is a float.

    Raises:
        ValueError: naming the path, the rule and the value.
    """
    if not isinstance(spec, Mapping):
        raise ValueError(
            f"{path} must be {{low: ..., high: ...}} or {{choices: [...]}}, got {spec!r}; "
            f"to take {name} out of the search, write {name}=VALUE"
        )
    for word in spec:
        if word not in _WORDS:
            raise ValueError(no_such(f"{path}.{word}", str(word), _WORDS, "word"))
    if "choices" in spec:
        others = [word for word in spec if word not in ("choices", "when")]
        if others:
            raise ValueError(f"{path} must have either choices or low and high, got choices and {others[0]}")
        return CategoricalDistribution(_read_choices(f"{path}.choices", spec["choices"], name))
    for word in ("low", "high"):
        if word not in spec:
            raise ValueError(f"{path} needs {word} (or choices), got {dict(spec)}")
    return _read_interval(path, spec, name, default)


def stored(value: Any) -> Any:
    """The form in which Optuna keeps a value: lists as JSON text, everything else as it is."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else value


def config_value(value: Any) -> Any:
    """The value that the config gets for one that Optuna kept; the inverse of `stored`."""
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def contains(distribution: BaseDistribution, value: object) -> bool:
    """Whether a stored value can be drawn from a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if not distribution.low <= value <= distribution.high:
        return False
    steps = 0.0 if distribution.step is None else (value - distribution.low) / distribution.step
    return abs(steps - round(steps)) < 1e-8


def extremes(distribution: BaseDistribution) -> list[Any]:
    """The stored values at the ends of a range; of choices, all."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return [distribution.low, distribution.high]


def range_document(distribution: BaseDistribution) -> dict[str, Any]:
    """A distribution as JSON, in the words of the YAML files."""
    if isinstance(distribution, CategoricalDistribution):
        return {"choices": list(distribution.choices)}
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    document: dict[str, Any] = {"low": distribution.low, "high": distribution.high}
    whole = isinstance(distribution, IntDistribution)
    if distribution.log:
        document["log"] = True
    if distribution.step is not None and not (whole and distribution.step == 1):
        document["step"] = distribution.step
    if whole:
        document["int"] = True
    return document


def in_words(document: Mapping[str, Any]) -> str:
    """A range of `range_document` for people, e.g. "0.0001 to 1.0, log"; with its condition, if it has one."""
    if "choices" in document:
        words = " | ".join(map(str, document["choices"]))
    else:
        words = f"{document['low']} to {document['high']}"
        words += ", log" if document.get("log") else ""
        words += f", step {document['step']}" if "step" in document else ""
        words += ", whole numbers" if document.get("int") else ""
    for name, accepted in document.get("when", {}).items():
        words += f", when {name} is {' or '.join(map(str, accepted))}"
    return words


def no_such(path: str, name: str, existing: Iterable[str], kind: str) -> str:
    """Word the message for a name that does not exist."""
    names = sorted(existing)
    return f"{path}: no {kind} {name!r}{did_you_mean(name, names)} There are: {', '.join(names) or 'none'}"


def _read_interval(path: str, spec: Mapping[str, Any], name: str, default: object) -> BaseDistribution:
    low, high = (_finite(f"{path}.{word}", spec[word]) for word in ("low", "high"))
    log = _boolean(f"{path}.log", spec.get("log", False))
    step = None if spec.get("step") is None else _finite(f"{path}.step", spec["step"])
    if low > high:
        raise ValueError(f"{path}.low must be below {path}.high, got low={low} and high={high}")
    if low == high:
        raise ValueError(f"{path}.low must be below {path}.high, got {low} for both; to fix it, write {name}={low}")
    if log and low <= 0:
        raise ValueError(f"{path}.low must be above 0 with log: true, got {low}")
    if log and step is not None:
        raise ValueError(f"{path} must have either log: true or a step, got both (step={step})")
    numbers = [n for n in (low, high, step) if n is not None]
    are_whole = all(isinstance(n, int) for n in numbers)
    whole = _boolean(f"{path}.int", spec.get("int", are_whole and not isinstance(default, float)))
    if whole and not are_whole:
        fraction = next(n for n in numbers if not isinstance(n, int))
        raise ValueError(f"{path} must have whole low, high and step with int: true, got {fraction}")
    if step is not None:
        _check_step(path, low, high, step)
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=1 if step is None else int(step))
    return FloatDistribution(low, high, log=log, step=step)


def _check_step(path: str, low: float, high: float, step: float) -> None:
    if step <= 0:
        raise ValueError(f"{path}.step must be above 0, got {step}")
    # In decimals: 0.9 - 0.1 is no multiple of 0.1 in floating point.
    exact_low, exact_high, exact_step = (Decimal(str(number)) for number in (low, high, step))
    rest = (exact_high - exact_low) % exact_step
    if rest:
        raise ValueError(
            f"{path}.high must be {path}.low and a whole number of steps, got low={low}, high={high}, step={step}; "
            f"the last step ends at {exact_high - rest}"
        )


def _read_choices(path: str, choices: object, name: str) -> list[Any]:
    if not isinstance(choices, list | tuple):
        raise ValueError(f"{path} must be a list, got {choices!r}")
    if len(choices) == 0:
        raise ValueError(f"{path} must not be empty")
    read: list[Any] = []
    for index, choice in enumerate(choices):
        value = stored(_check_choice(f"{path}[{index}]", choice))
        if value in read:
            raise ValueError(f"{path} must not repeat a value, got {choice!r} twice")
        read.append(value)
    if len(read) == 1:
        raise ValueError(f"{path} must have at least two values, got {read}; to fix it, write {name}={read[0]}")
    return read


def _check_choice(path: str, choice: Any) -> Any:
    for part in choice if isinstance(choice, list | tuple) else [choice]:
        if part is not None and not isinstance(part, bool | int | float | str):
            raise ValueError(f"{path} must be a number, string, boolean, null or a flat list of them, got {choice!r}")
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{path} must be finite, got {choice!r}")
    if isinstance(choice, str) and choice.startswith("["):
        raise ValueError(f"{path} must be a list itself, not the text of one, got {choice!r}")
    return choice


def _finite(path: str, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{path} must be a finite number, got {value!r}")
    return value


def _boolean(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{path} must be true or false, got {value!r}")
    return value
