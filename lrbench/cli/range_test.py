"""`lrbench range-test [overrides] [min_lr=1e-6 max_lr=10 num_steps=200 seeds=3 out=range.png]`: find useful rates.

    lrbench range-test model=mlp dataset=digits optimizer=adamw
    lrbench range-test optimizer=sgd min_lr=1e-4 max_lr=100 seeds=5 out=range.svg

A fresh model a seed trains for num_steps updates while its rate grows geometrically from min_lr to max_lr. Prints the
range in which the loss falls, a suggested rate, why, and the overrides that hand them to a training and to a search;
leaves a record with table, picture and suggestion. Seeds count up from `seed`. Schedule, warmup and budget of the
config are not used: the same words as for the training will do.
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lrbench.config import Plan
from lrbench.runs.compose import compose_plans, split_options
from lrbench.runs.destination import check_destination, report_unsent
from lrbench.runs.range_test_settings import RangeTestSettings
from lrbench.tracking.sender import Sender

if TYPE_CHECKING:
    from lrbench.lr_range import Suggestion

_PICTURES = (".png", ".svg")


def main(arguments: list[str]) -> int:
    """Run a range test and say what it found; see the package's docstring for exit codes.

    Raises:
        ValueError: an option outside its range, several combinations, or what `lrbench run` refuses as well.
    """
    options, words = split_options(arguments, "min_lr", "max_lr", "num_steps", "seeds", "out")
    settings = read_settings(options)
    plans = compose_plans(words)
    if len(plans) > 1:
        raise ValueError(f"lrbench range-test takes one combination at a time, got {len(plans)}")
    plan = plans[0]
    uri = check_destination(plan)
    plan.dataset.check()

    # torch comes after everything that can be refused without it.
    from lrbench.runs.range_test import check, run_range_test

    check(plan)
    sender = Sender(Path(plan.values["results_dir"]) / "sender.log") if uri else None
    if sender is not None:
        sender.allow(uri)
    try:
        record, suggestion = run_range_test(
            plan, settings, tracking_uri=uri, on_record=sender.follow if sender else lambda _: None
        )
    except KeyboardInterrupt:
        print("lrbench: interrupted; a range test cannot be resumed", file=sys.stderr)
        return 130
    finally:
        unsent = sender.close() if sender else []
    _report(plan, record, suggestion)
    report_unsent(unsent)
    return 3 if unsent else 0


def read_settings(options: Mapping[str, str]) -> RangeTestSettings:
    """Check the command's own options.

    Raises:
        ValueError: naming the option, the rule and the value.
    """
    default = RangeTestSettings()
    min_lr = _number(options, "min_lr", default.min_lr)
    max_lr = _number(options, "max_lr", default.max_lr)
    if not min_lr > 0:
        raise ValueError(f"min_lr must be greater than 0, got {min_lr:g}")
    if not max_lr > min_lr:
        raise ValueError(f"max_lr must be greater than min_lr={min_lr:g}, got {max_lr:g}")
    num_steps = _count(options, "num_steps", default.num_steps, at_least=10)
    num_seeds = _count(options, "seeds", default.num_seeds, at_least=1)
    out = Path(options["out"]) if "out" in options else None
    if out is not None and out.suffix not in _PICTURES:
        raise ValueError(f"out must end in {' or '.join(_PICTURES)}, got {str(out)!r}")
    if out is not None and not out.absolute().parent.is_dir():
        raise ValueError(f"out={out}: there is no directory {out.absolute().parent}")
    return RangeTestSettings(min_lr=min_lr, max_lr=max_lr, num_steps=num_steps, num_seeds=num_seeds, out=out)


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {options[name]!r}")
    return value


def _count(options: Mapping[str, str], name: str, default: int, *, at_least: int) -> int:
    try:
        value = int(options.get(name, default))
    except ValueError:
        raise ValueError(f"{name} must be a whole number, got {options[name]!r}") from None
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}")
    return value


def _report(plan: Plan, record: Path, suggestion: "Suggestion") -> None:
    """Print `name<TAB>value` lines: what was found, each reason, and the words that hand it on."""
    from lrbench.runs.range_test import override_words

    for name in ("low", "high", "suggested"):
        value = getattr(suggestion, name)
        print(f"{name}\t{'unknown' if value is None else f'{value:.3g}'}")
    for reason in suggestion.reasons:
        print(f"because\t{reason}")
    for purpose, words in override_words(suggestion).items():
        print(f"{purpose}\t{' '.join(words)}")
    print(f"record\t{record}")
