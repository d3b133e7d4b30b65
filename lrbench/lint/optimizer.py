"""Rules on a schedule together with the optimizer or the evaluations it works with."""

from collections.abc import Iterator

from torch.optim import lr_scheduler

from lrbench.lint.findings import Finding
from lrbench.lint.subject import Subject

DECAYS = 0.9  # of the highest rate: a last rate below it is a decay


def momentum_overwritten(subject: Subject) -> Iterator[Finding]:
    """A schedule that moves the optimizer's momentum, whatever the config says it is.

    Behind a schedule-free optimizer such a schedule cannot be built at all.
    """
    if subject.rates is None or subject.rates.momentum is None:
        return
    low, high = float(subject.rates.momentum.min()), float(subject.rates.momentum.max())
    moved = f"scheduler={subject.name} moves the momentum between {low:.2g} and {high:.2g}"
    fix = "scheduler.cycle_momentum=false"
    outside = subject.momentum is not None and not low <= subject.momentum <= high
    message = (
        f"{moved}, so the optimizer's own {subject.momentum:g} is {'never used' if outside else 'overwritten'}; "
        f"to keep it: {fix}."
    )
    yield Finding("momentum-overwritten", "warning" if outside else "note", message)


def decay_without_need(subject: Subject) -> Iterator[Finding]:
    """A schedule-free optimizer behind a decaying schedule: its average does the decay's work already.

    Defazio et al. 2024, 2405.15682: a constant rate after a warmup. Prodigy is not meant here, since its authors
    recommend a cosine.
    """
    lr = subject.main_lr
    if subject.schedule_free and lr.size and lr[-1] < DECAYS * lr.max():
        message = (
            f"{subject.optimizer} replaces a decay by averaging, and scheduler={subject.name} decays the rate from "
            f"{lr.max():.3g} to {lr[-1]:.3g} on top: scheduler=constant warmup=linear."
        )
        yield Finding("schedule-free-decay", "warning", message)


def prodigy_warmup(subject: Subject) -> Iterator[Finding]:
    """Prodigy behind a warmup without its safeguard: small first rates spoil its estimate (its README)."""
    if subject.safeguard_warmup is False and subject.warmup_steps:
        message = (
            f"{subject.optimizer} estimates its rate from the first updates, and {subject.warmup_steps} of them are a "
            "warmup: optimizer.safeguard_warmup=true."
        )
        yield Finding("prodigy-warmup", "warning", message)


def plateau_patience(subject: Subject) -> Iterator[Finding]:
    """A plateau that waits longer than the run has evaluations, so that it never cuts.

    It sees those after the warmup, except the last, after which no update follows. The first of them sets the mark,
    and `patience` + 1 must fail to beat it.
    """
    every = subject.total_steps / subject.num_evaluations
    seen = sum(i * every > subject.warmup_steps for i in range(1, subject.num_evaluations))
    for part in subject.parts:
        if not isinstance(part.scheduler, lr_scheduler.ReduceLROnPlateau) or part.scheduler.patience + 2 <= seen:
            continue
        patience = part.scheduler.patience
        if subject.stretches:
            fix = "scheduler.patience_fraction=0.1, or evaluate more often: budget.eval_every=0.01"
        else:
            fix = f"{part.setting('patience', max(0, seen // 10))}, or evaluate more often: budget.eval_every=0.01"
        message = (
            f"The rate is cut after {patience + 1} evaluations without gain, and the schedule sees {seen} in the whole "
            f"run, the first of which sets the mark, so it never acts: {fix}."
        )
        yield Finding("plateau-patience", "warning", message)


def plateau_direction(subject: Subject) -> Iterator[Finding]:
    """A plateau that waits for its metric to rise; what it is shown is the validation loss."""
    for part in subject.parts:
        if isinstance(part.scheduler, lr_scheduler.ReduceLROnPlateau) and part.scheduler.mode == "max":
            message = (
                "ReduceLROnPlateau has mode=max and is shown the validation loss, so it cuts the rate while the loss "
                f"falls: {part.setting('mode', 'min')}."
            )
            yield Finding("plateau-direction", "error", message)
