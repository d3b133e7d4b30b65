"""Rules on the lengths of torch's schedulers: counted in steps here, in epochs by many who wrote them down."""

import math
from collections.abc import Iterator

from torch.optim import lr_scheduler

from lrbench.lint.findings import Finding
from lrbench.lint.subject import Part, Subject

SLACK = 0.01  # share of the run by which a length may miss it
EARLY = 0.1  # share of the run below which a length that equals a count of epochs most likely is one
NOTHING_LEFT = 1e-6  # of the base rate


def one_cycle_past_its_end(subject: Subject) -> Iterator[Finding]:
    """OneCycleLR with its own `total_steps` below the budget: torch raises ValueError one step past it."""
    for part in _of(subject, lr_scheduler.OneCycleLR):
        own = part.scheduler.total_steps
        if own < part.length:
            epochs = ", as many as the run has epochs, though every update is a step" if own == subject.epochs else ""
            message = (
                f"OneCycleLR is made for {own} steps{epochs}, and the run takes {part.length}, so torch raises "
                f"ValueError at step {own}: {part.setting('total_steps', part.length)}, or scheduler=one_cycle, which "
                "follows the budget."
            )
            yield Finding("one-cycle-past-end", "error", message)


def t_max_differs(subject: Subject) -> Iterator[Finding]:
    """CosineAnnealingLR whose `T_max` is not the budget: it climbs again after T_max, with period 2 T_max."""
    for part in _of(subject, lr_scheduler.CosineAnnealingLR):
        t_max = part.scheduler.T_max
        if abs(t_max - part.length) <= max(1, SLACK * part.length) or _is_epochs(subject, part, t_max):
            continue
        fix = f"{part.setting('T_max', part.length)}, or scheduler=cosine, which follows the budget"
        end = part.scheduler.eta_min + (subject.base_lr - part.scheduler.eta_min) * (
            (1 + math.cos(math.pi * (part.length - 1) / t_max)) / 2
        )
        if t_max < part.length:
            what = f"climbs again after step {t_max} of {part.length}, back to {end:.3g} at the last"
        else:
            what = f"is cut short: the last rate is {end:.3g} and not {part.scheduler.eta_min:g}"
        message = f"CosineAnnealingLR has T_max={t_max} for {part.length} steps, so the rate {what}: {fix}."
        yield Finding("t-max", "warning", message)


def cut_short(subject: Subject) -> Iterator[Finding]:
    """A one-cycle, linear or polynomial decay that is longer than the run and never arrives."""
    for part in subject.parts:
        scheduler = part.scheduler
        if isinstance(scheduler, lr_scheduler.OneCycleLR):
            name, own = "total_steps", scheduler.total_steps
        elif isinstance(scheduler, lr_scheduler.LinearLR | lr_scheduler.PolynomialLR):
            name, own = "total_iters", scheduler.total_iters
        else:
            continue
        if own > (1 + SLACK) * part.length + 1:
            message = (
                f"{type(scheduler).__name__} is made for {own} steps and the run has {part.length}, so it stops after "
                f"{part.length / own:.0%} of its way: {part.setting(name, part.length)}."
            )
            yield Finding("cut-short", "warning", message)


def never_leaves_its_start(subject: Subject) -> Iterator[Finding]:
    """A LinearLR, ConstantLR or PolynomialLR of zero steps: torch stays at its first rate for ever."""
    for part in _of(subject, lr_scheduler.LinearLR, lr_scheduler.ConstantLR, lr_scheduler.PolynomialLR):
        scheduler = part.scheduler
        ratio = getattr(scheduler, "start_factor", getattr(scheduler, "factor", 1.0))
        if scheduler.total_iters > 0 or (ratio == 1 and isinstance(scheduler, lr_scheduler.ConstantLR)):
            continue
        fix = "scheduler.initial_fraction=0.1" if subject.stretches else part.setting("total_iters", part.length)
        message = (
            f"{type(scheduler).__name__} has total_iters={scheduler.total_iters}, so torch leaves the rate at "
            f"{ratio:.3g} of optimizer.lr for the whole run: {fix}."
        )
        yield Finding("zero-length", "warning", message)


def step_size_too_long(subject: Subject) -> Iterator[Finding]:
    """A StepLR whose first cut would come after the end."""
    for part in _of(subject, lr_scheduler.StepLR):
        size = part.scheduler.step_size
        if size < part.length:
            continue
        if subject.stretches:
            fix = "scheduler.interval_fraction=0.3333"
        else:
            fix = part.setting("step_size", max(1, part.length // 3))
        message = f"The first cut comes after {size} of {part.length} steps, so the rate never changes: {fix}."
        yield Finding("step-size", "warning", message)


def milestones_never_reached(subject: Subject) -> Iterator[Finding]:
    """Milestones of a MultiStepLR at or after the end."""
    for part in _of(subject, lr_scheduler.MultiStepLR):
        late = sorted(m for m in part.scheduler.milestones if m >= part.length)
        if not late:
            continue
        if subject.stretches:
            fix = "scheduler.milestone_fractions=[0.5,0.75]"
        else:
            fix = part.setting("milestones", f"[{part.length // 2},{part.length * 3 // 4}]")
        steps = ", ".join(map(str, late))
        message = f"The run has {part.length} steps, so it never reaches the milestones at step {steps}: {fix}."
        yield Finding("milestones", "warning", message)


def all_cuts_at_the_start(subject: Subject) -> Iterator[Finding]:
    """Every milestone of a MultiStepLR in the first tenth of the run, as when epochs are given for steps."""
    for part in _of(subject, lr_scheduler.MultiStepLR):
        milestones = sorted(part.scheduler.milestones.elements())
        if subject.stretches or not milestones or milestones[-1] >= EARLY * part.length:
            continue
        meant = [m * subject.steps_per_epoch for m in milestones]
        if meant[-1] >= part.length:
            meant = [part.length // 2, part.length * 3 // 4]
        message = (
            f"All milestones {milestones} lie in the first {max(milestones) / part.length:.1%} of {part.length} steps; "
            f"lrbench counts updates, {subject.steps_per_epoch} an epoch, so if epochs were meant: "
            f"{part.setting('milestones', str(meant).replace(' ', ''))}."
        )
        yield Finding("epochs-for-steps", "warning", message)


def counts_epochs(subject: Subject) -> Iterator[Finding]:
    """A length or a gamma per epoch in a schedule that is stepped per update."""
    if subject.stretches:
        return
    for part in subject.parts:
        for name, value, meant in _per_epoch(subject, part):
            family = type(part.scheduler).__name__
            message = (
                f"{family} has {name}={value:g} for {part.length} steps; lrbench counts updates, "
                f"{subject.steps_per_epoch} an epoch, so if epochs were meant: {part.setting(name, meant)}."
            )
            yield Finding("epochs-for-steps", "warning", message)


def base_rate_unused(subject: Subject) -> Iterator[Finding]:
    """OneCycleLR and CyclicLR with their own `max_lr`: they ignore `optimizer.lr`, and so does a search over it."""
    for part in _of(subject, lr_scheduler.OneCycleLR, lr_scheduler.CyclicLR):
        peak = subject.given.get("max_lr")
        if part.is_whole and isinstance(peak, float | int) and peak != subject.base_lr:
            message = (
                f"scheduler.max_lr={peak:g} replaces optimizer.lr={subject.base_lr:g}, which has no effect: "
                "scheduler.max_lr=${optimizer.lr}, so that tuning the one tunes the other."
            )
            yield Finding("base-rate-unused", "warning", message)


def torch_defaults(subject: Subject) -> Iterator[Finding]:
    """ConstantLR and LinearLR as torch ships them: a third of the rate for five steps, then all of it."""
    for part in _of(subject, lr_scheduler.ConstantLR, lr_scheduler.LinearLR):
        own = {"factor", "start_factor", "total_iters"} & set(subject.given)
        if part.is_whole and not subject.stretches and not own:
            plain = "linear" if isinstance(part.scheduler, lr_scheduler.LinearLR) else "constant"
            message = (
                f"{type(part.scheduler).__name__} without parameters starts at a third of optimizer.lr and is flat "
                f"after {part.scheduler.total_iters} steps: scheduler={plain} is what its name says."
            )
            yield Finding("torch-defaults", "warning", message)


def _of(subject: Subject, *families: type) -> Iterator[Part]:
    return (part for part in subject.parts if isinstance(part.scheduler, families))


def _is_epochs(subject: Subject, part: Part, length: int) -> bool:
    """Whether a length makes sense in epochs and none in steps."""
    return subject.steps_per_epoch > 1 and 0 < length <= math.ceil(subject.epochs) and length < EARLY * part.length


def _per_epoch(subject: Subject, part: Part) -> Iterator[tuple[str, float, object]]:
    """(parameter, value, what it would be per update) of what looks like a number of, or for, epochs."""
    scheduler, epoch = part.scheduler, subject.steps_per_epoch
    if isinstance(scheduler, lr_scheduler.CosineAnnealingLR) and _is_epochs(subject, part, scheduler.T_max):
        yield "T_max", scheduler.T_max, min(scheduler.T_max * epoch, part.length)
    elif isinstance(scheduler, lr_scheduler.CosineAnnealingWarmRestarts) and _is_epochs(subject, part, scheduler.T_0):
        yield "T_0", scheduler.T_0, scheduler.T_0 * epoch
    elif isinstance(scheduler, lr_scheduler.PolynomialLR) and _is_epochs(subject, part, scheduler.total_iters):
        yield "total_iters", scheduler.total_iters, min(scheduler.total_iters * epoch, part.length)
    elif isinstance(scheduler, lr_scheduler.StepLR):
        # 30 epochs may exceed the run: that the rate is gone is what tells.
        cuts = (part.length - 1) // scheduler.step_size
        if scheduler.step_size < EARLY * part.length and scheduler.gamma**cuts < NOTHING_LEFT and epoch > 1:
            yield "step_size", scheduler.step_size, min(scheduler.step_size * epoch, math.ceil(part.length / 3))
    elif isinstance(scheduler, lr_scheduler.ExponentialLR) and epoch > 1:
        per_update, per_epoch = scheduler.gamma**part.length, scheduler.gamma**subject.epochs
        if per_update < NOTHING_LEFT < per_epoch:
            yield "gamma", scheduler.gamma, f"{scheduler.gamma ** (1 / epoch):.7g}"
