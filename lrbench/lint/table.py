"""Rules on the table of rates: what a picture of the schedule would show."""

import math
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from torch.optim import lr_scheduler

from lrbench.lint.findings import Finding
from lrbench.lint.subject import Subject

Floats = NDArray[np.float64]

LONG_WARMUP = 0.5  # of the run
NEGLIGIBLE = 0.01  # share of a run, or of the peak rate, that nobody would miss
SWING = 0.05  # of the peak: a smaller rise is a wiggle, not a cycle
HIGH_END = 0.1  # of the range between lowest and highest rate
FLOAT32_RESOLUTION = 1e-7  # spacing of float32 numbers next to 1 is 1.2e-7
NOTICEABLE = 0.1  # share of the run


def warmup_length(subject: Subject) -> Iterator[Finding]:
    """A warmup as long as the run, or longer than half of it."""
    warmup, total = subject.warmup_steps, subject.total_steps
    fix = "warmup.fraction=0.05 warmup.steps=null"
    if warmup >= total:
        message = f"The warmup takes {warmup} steps and the run has {total}, so the schedule never starts: {fix}."
        yield Finding("warmup-length", "error", message)
    elif warmup > LONG_WARMUP * total:
        message = (
            f"The warmup takes {warmup} of {total} steps ({warmup / total:.0%}), which leaves "
            f"{total - warmup} for the schedule; a few per cent are usual: {fix}."
        )
        yield Finding("warmup-length", "warning", message)


def zero_at_the_start(subject: Subject) -> Iterator[Finding]:
    """A rate of zero at step 0: those updates change nothing."""
    if subject.rates is None or not subject.rates.lr.any():
        return
    num_zeros = int(np.argmax(subject.rates.lr > 0))
    if not num_zeros:
        return
    # One idle step is in the nature of curves such as |sin|; a warmup can start anywhere.
    slight = not subject.warmup_steps and num_zeros <= max(1, NEGLIGIBLE * subject.total_steps)
    updates = "update changes" if num_zeros == 1 else f"{num_zeros} updates change"
    fix = "warmup.start_ratio=0.01" if subject.warmup_steps else "let the schedule start one step later, at step + 1"
    message = f"The rate is 0 at the start, so the first {updates} nothing: {fix}."
    yield Finding("zero-at-start", "note" if slight else "warning", message)


def zero_for_a_while(subject: Subject) -> Iterator[Finding]:
    """A rate of zero for all of the run or a stretch of it: the training stands still and costs time."""
    if subject.rates is None:
        return
    lr, total = subject.rates.lr, subject.total_steps
    if not lr.any():
        message = (
            "The rate is 0 at every step, so nothing is trained: raise the ratio, gamma or minimum that makes it 0."
        )
        yield Finding("zero-rate", "error", message)
        return
    begin, length = _longest(lr == 0)
    if length < 2 or length <= NEGLIGIBLE * total or begin == 0:  # at the start it has a rule of its own
        return
    if begin + length == total:
        fix = f"make the schedule as long as the run, or stop there: budget=steps budget.steps={begin}"
    else:
        fix = "leave a rate above 0 there"
    message = (
        f"The rate is 0 from step {begin} to {begin + length - 1} of {total} ({length / total:.0%} of the run): {fix}."
    )
    yield Finding("zero-rate", "warning", message)


def below_float_resolution(subject: Subject) -> Iterator[Finding]:
    """Rates so far below the base rate that float32 weights do not notice their updates."""
    lr = subject.main_lr
    tiny = (lr > 0) & (lr < FLOAT32_RESOLUTION * subject.base_lr)
    if tiny.sum() <= NOTICEABLE * subject.total_steps:
        return
    message = (
        f"The rate is below {FLOAT32_RESOLUTION:g} of optimizer.lr={subject.base_lr:g} for {tiny.sum()} of "
        f"{subject.total_steps} steps and ends at {lr[-1]:.2g}: float32 weights do not notice such updates; "
        f"{_slower_decay(subject)}."
    )
    yield Finding("float-resolution", "warning", message)


def ends_mid_cycle(subject: Subject) -> Iterator[Finding]:
    """A cyclic table that stops far above its lowest rate, so that the final weights are noisy."""
    lr = subject.main_lr
    if len(lr) < 4 or any(isinstance(p.scheduler, lr_scheduler.CosineAnnealingLR) for p in subject.parts):
        return  # torch's cosine has a rule of its own, which knows T_max
    rises = [r for r in _rises(lr) if r[0] > 0]
    if not rises or lr[-1] == lr[-2]:  # a schedule at rest is not inside a cycle
        return
    # A cycle whose foot falls on the step after the last one is whole.
    one_step = 3 * float(np.median(np.abs(np.diff(lr))))
    if lr[-1] - lr.min() <= HIGH_END * np.ptp(lr) + one_step:
        return
    message = (
        f"The run ends high in a cycle, at the rate {lr[-1]:.3g}, after {len(rises)} rises between {lr.min():.3g} and "
        f"{lr.max():.3g}; final weights are best at the foot: {_whole_cycles(subject)}."
    )
    yield Finding("ends-mid-cycle", "warning", message)


def climbs_to_the_end(subject: Subject) -> Iterator[Finding]:
    """A rate that only rises until the run is nearly over."""
    lr = subject.main_lr
    if len(lr) < 4 or (np.diff(lr) < 0).any() or lr[0] >= (1 - NEGLIGIBLE) * lr[-1]:
        return
    peak = int(np.argmax(lr))
    if peak < (1 - NOTICEABLE) * (len(lr) - 1):
        return
    message = (
        f"The rate climbs from {lr[0]:.3g} to {lr[-1]:.3g} and never comes down: for a warmup write scheduler=cosine "
        "warmup=linear; to look for a good rate use `lrbench range-test`."
    )
    yield Finding("never-decays", "warning", message)


def hardly_moves(subject: Subject) -> Iterator[Finding]:
    """A schedule that moves its rate by less than a per cent, as one that is stepped per epoch or too slow does."""
    lr = subject.main_lr
    if len(lr) < 10 or lr.max() == 0:
        return
    change = float(np.ptp(lr) / lr.max())
    if not 0 < change < NEGLIGIBLE:
        return
    message = (
        f"The rate moves by {change:.2g} of itself in the whole run of {len(lr)} steps, as if the schedule counted "
        f"more steps than there are: lrbench steps it once per update, so let its lengths add up to {len(lr)}, or "
        "write scheduler=constant."
    )
    yield Finding("hardly-moves", "warning", message)


def _longest(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """Begin and length of the longest stretch of True; (0, 0) if there is none."""
    best, begin = (0, 0), 0
    for value, group in groupby(mask.tolist()):
        length = sum(1 for _ in group)
        if value and length > best[1]:
            best = (begin, length)
        begin += length
    return best


def _rises(lr: Floats) -> list[tuple[int, int]]:
    """(first, last) index of every stretch that climbs by more than SWING of the peak."""
    found, begin = [], 0
    for climbing, group in groupby((np.diff(lr) > 0).tolist()):
        end = begin + sum(1 for _ in group)
        if climbing and lr[end] - lr[begin] > SWING * lr.max():
            found.append((begin, end))
        begin = end
    return found


def _whole_cycles(subject: Subject) -> str:
    """Word how the last cycle is made to end with the run."""
    for part in subject.parts:
        if isinstance(part.scheduler, lr_scheduler.CosineAnnealingWarmRestarts):
            first, growth = part.scheduler.T_0, part.scheduler.T_mult
            unit_lengths, next_length = 0, 1  # of all cycles that fit, in lengths of the first
            while unit_lengths * first < part.length:
                unit_lengths, next_length = unit_lengths + next_length, next_length * growth
            return part.setting("T_0", math.ceil(part.length / unit_lengths))
        if isinstance(part.scheduler, lr_scheduler.CyclicLR):
            cycles = max(1, round(part.length / part.scheduler.total_size))
            return part.setting("step_size_up", f"{part.length / cycles / 2:g}") + " (and step_size_down=null)"
    if subject.given.get("start") == "peak":
        return "scheduler.start=foot"
    return "let the last cycle end with the budget"


def _slower_decay(subject: Subject) -> str:
    """Word a decay that ends at a thousandth."""
    for part in subject.parts:
        if isinstance(part.scheduler, lr_scheduler.ExponentialLR):
            if subject.stretches:
                return "scheduler.end_ratio=0.001"
            return part.setting("gamma", f"{0.001 ** (1 / part.length):.7g}") + " ends at a thousandth"
        if isinstance(part.scheduler, lr_scheduler.StepLR):
            cuts = max(1, (part.length - 1) // part.scheduler.step_size)
            return part.setting("gamma", f"{0.001 ** (1 / cuts):.3g}") + " ends at a thousandth"
    return "decay more slowly, or leave a minimum"
