"""All rules over one schedule, before anything is trained.

Rules on the table of rates come first: they also catch a schedule that a user wrote. Those on parameters see what
the table cannot know, such as a milestone after the end. A rule takes a `Subject` and yields findings.
"""

from collections.abc import Callable, Iterable

from lrbench.lint.findings import Finding
from lrbench.lint.lengths import (
    all_cuts_at_the_start,
    base_rate_unused,
    counts_epochs,
    cut_short,
    milestones_never_reached,
    never_leaves_its_start,
    one_cycle_past_its_end,
    step_size_too_long,
    t_max_differs,
    torch_defaults,
)
from lrbench.lint.optimizer import (
    decay_without_need,
    momentum_overwritten,
    plateau_direction,
    plateau_patience,
    prodigy_warmup,
)
from lrbench.lint.subject import Subject, make_subject
from lrbench.lint.table import (
    below_float_resolution,
    climbs_to_the_end,
    ends_mid_cycle,
    hardly_moves,
    warmup_length,
    zero_at_the_start,
    zero_for_a_while,
)

__all__ = ["RULES", "Subject", "lint_schedule", "make_subject"]

RULES: tuple[Callable[[Subject], Iterable[Finding]], ...] = (
    warmup_length,
    zero_at_the_start,
    zero_for_a_while,
    below_float_resolution,
    ends_mid_cycle,
    climbs_to_the_end,
    hardly_moves,
    one_cycle_past_its_end,
    t_max_differs,
    cut_short,
    never_leaves_its_start,
    step_size_too_long,
    milestones_never_reached,
    all_cuts_at_the_start,
    counts_epochs,
    base_rate_unused,
    torch_defaults,
    momentum_overwritten,
    decay_without_need,
    prodigy_warmup,
    plateau_patience,
    plateau_direction,
)
_WORST_FIRST = ("error", "warning", "note")


def lint_schedule(subject: Subject) -> list[Finding]:
    """Apply every rule; errors first.

    A schedule that cannot be built is an error too, in its own words when no rule knows better.
    """
    # What cannot be built may have lengths of zero, which no other rule expects.
    rules = RULES if subject.rates is not None else (warmup_length, one_cycle_past_its_end)
    findings = [finding for rule in rules for finding in rule(subject)]
    if subject.rates is None and not any(finding.severity == "error" for finding in findings):
        findings.append(Finding("rates", "error", _unbuilt(subject)))
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.severity))


def _unbuilt(subject: Subject) -> str:
    if "must support momentum" in subject.problem:  # torch, for optimizers such as Adagrad
        return f"{subject.problem}; {subject.optimizer} has none to move: scheduler.cycle_momentum=false."
    if "gives the rate" in subject.problem:
        return f"{subject.problem}: look at the formula there, a division or a logarithm of zero is usual."
    zeros = [f"scheduler.{name}={value}" for name, value in subject.given.items() if value == 0 and value is not False]
    hint = f"; {' and '.join(zeros)} may be why" if zeros and "Error: " in subject.problem else ""
    return f"{subject.problem}{hint}."
