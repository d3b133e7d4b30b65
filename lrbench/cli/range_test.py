"""`lrbench range-test [overrides] [min_lr=1e-6 max_lr=10 num_steps=200 seeds=3 out=range.png]`: find useful rates.

    lrbench range-test model=mlp dataset=digits optimizer=adamw
    lrbench range-test optimizer=sgd min_lr=1e-4 max_lr=100 seeds=5 out=range.svg

A fresh model a seed trains for num_steps updates while its rate grows geometrically from min_lr to max_lr. Prints the
range in which the loss falls, a suggested rate, why, and the overrides that hand them to a training and to a search;
leaves a record with table, picture and suggestion. Seeds count up from `seed`. Schedule, warmup and budget of the
config are not used: the same words as for the training will do.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from lrbench import api
from lrbench.runs.compose import compose_plans, split_options
from lrbench.runs.range_test_settings import RangeTestSettings


def main(arguments: list[str]) -> int:
    """Run a range test and say what it found; see the package's docstring for exit codes.

    Raises:
        ValueError: an option outside its range, several combinations, or what `lrbench run` refuses as well.
    """
    options, words = split_options(arguments, "min_lr", "max_lr", "num_steps", "seeds", "out")
    settings = read_settings(options)
    try:
        found = api.range_test_of_plans(compose_plans(words), settings)
    except KeyboardInterrupt:
        print("lrbench: interrupted; a range test cannot be resumed", file=sys.stderr)
        return 130
    for name in ("low", "high", "suggested"):
        value = getattr(found.suggestion, name)
        print(f"{name}\t{'unknown' if value is None else f'{value:.3g}'}")
    for reason in found.suggestion.reasons:
        print(f"because\t{reason}")
    for purpose, handed_on in found.overrides.items():
        print(f"{purpose}\t{' '.join(handed_on)}")
    print(f"record\t{found.record}")
    return 3 if found.unsent else 0


def read_settings(options: Mapping[str, str]) -> RangeTestSettings:
    """Read the command's own options.

    Raises:
        ValueError: naming the option, the rule and the value.
    """
    default = RangeTestSettings()
    return RangeTestSettings(
        min_lr=_number(options, "min_lr", default.min_lr),
        max_lr=_number(options, "max_lr", default.max_lr),
        num_steps=_count(options, "num_steps", default.num_steps),
        num_seeds=_count(options, "seeds", default.num_seeds),
        out=Path(options["out"]) if "out" in options else None,
    )


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(options.get(name, default))
    except ValueError:
        raise ValueError(f"{name} must be a finite number, got {options[name]!r}") from None


def _count(options: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(options.get(name, default))
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {options[name]!r}") from None
