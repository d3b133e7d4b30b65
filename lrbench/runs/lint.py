"""The findings of a plan: what is set up wrongly before anything trains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrbench.lint import Finding
from lrbench.spec import evaluation_steps

if TYPE_CHECKING:
    from lrbench.config import Plan
    from lrbench.lint.schedule import Subject


def fails(findings: Sequence[Finding], *, strict: bool) -> bool:
    """Whether findings must stop what follows: errors always, warnings when strict, notes never."""
    return any(f.severity == "error" or (strict and f.severity == "warning") for f in findings)


def findings_of(plan: "Plan") -> list[Finding]:
    """Lint the schedule of a plan; errors first. See `subject_of`."""
    from lrbench.lint.schedule import lint_schedule

    return lint_schedule(subject_of(plan))


def subject_of(plan: "Plan") -> "Subject":
    """What there is to lint of a plan: its schedule, with its warmup, optimizer and budget.

    Raises:
        ValueError: the optimizer refuses its parameters. A schedule that does so is a finding.
    """
    from lrbench.lint.schedule import make_subject

    values = plan.values
    num_evaluations = len(evaluation_steps(plan.budget.total_steps, values["budget"]["eval_every"])) - 1
    return make_subject(
        plan.schedule,
        plan.make_optimizer,
        total_steps=plan.budget.total_steps,
        steps_per_epoch=plan.budget.steps_per_epoch,
        num_evaluations=num_evaluations,
        warmup=plan.warmup,
        name=values["scheduler"]["name"],
        optimizer=values["optimizer"]["name"],
    )
