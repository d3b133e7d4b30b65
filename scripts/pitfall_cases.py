"""The mistakes of docs/pitfalls.md: what each is, in code that runs.

A snippet finds `model`, `optimizer`, `loader` (an iterable of batches with a length), `EPOCHS`, `loss(batch)`,
`evaluate()`, which returns the validation loss, torch and its schedulers, and what a new process would start from:
`build()`, which gives a new model and optimizer, and `path`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        name: of its picture and in measured.json.
        title: heading.
        why: what is wrong.
        lr, momentum: of the optimizer.
        mistake, right: code.
        shows: what the picture shows; `{mistake.last_rate:.2g}` and the like are filled in.
        check: words for `lrbench check` that say what the mistake is in a configuration; empty where none can.
        unseen: said where neither reading the code nor the configuration finds it.
    """

    name: str
    title: str
    why: str
    mistake: str
    right: str
    shows: str
    lr: float = 0.1
    momentum: float = 0.9
    check: str = ""
    unseen: str = ""


_LOG_IT = (
    "`lrbench check --code` does not find this one: log the rate, and look whether it arrives where it should when it "
    "should. `lrbench preview` draws it beforehand, and a `warmup=` of lrbench leaves the schedule the rest of the "
    "budget."
)


def _loop(setup: str, *, per_batch: str = "", per_epoch: str = "", epochs: str = "range(EPOCHS)") -> str:
    """The usual loop round a scheduler."""
    lines = [setup.strip(), f"for epoch in {epochs}:", "    for batch in loader:"]
    lines += [f"        {line}" for line in ("optimizer.zero_grad()", "loss(batch).backward()", "optimizer.step()")]
    lines += [f"        {line}" for line in per_batch.splitlines()]
    lines += [f"    {line}" for line in per_epoch.splitlines()]
    return "\n".join(lines) + "\n"


_COSINE = "scheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader))\n"
_WARMUP = "warmup_steps = 4 * len(loader)\nwarmup = LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)\n"
_SEQUENCE = "scheduler = SequentialLR(optimizer, [warmup, cosine], milestones=[warmup_steps])"
_RESUMED = _COSINE + 'optimizer.load_state_dict(saved["optimizer"])\n'


def _interrupted(saved: str) -> str:
    """Half of a run, a checkpoint, and the other half in a new process."""
    first = _loop(_COSINE, per_batch="scheduler.step()", epochs="range(EPOCHS // 2)")
    save = f'state = {{"model": model.state_dict(), {saved}}}\ntorch.save(state, path)\n'
    load = 'model, optimizer = build()\nsaved = torch.load(path)\nmodel.load_state_dict(saved["model"])\n'
    second = _loop(_RESUMED, per_batch="scheduler.step()", epochs="range(EPOCHS // 2, EPOCHS)")
    return f"{first}{save}\n# a new process\n{load}{second}"


CASES = (
    Case(
        name="t-max-in-epochs",
        title="A cosine in epochs, stepped for every batch",
        why="`T_max` counts calls of `scheduler.step()`. Past it the cosine climbs again, so the rate swings between "
        "its peak and zero, with a period of two `T_max`. Whether the run ends at the foot or at the peak depends on "
        "whether the number of batches in an epoch is odd or even.",
        mistake=_loop("scheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS)", per_batch="scheduler.step()"),
        right=_loop(_COSINE, per_batch="scheduler.step()"),
        shows="The rate goes down and up eight times and ends at {mistake.last_rate:.2g}, where the right one ends at "
        "{right.last_rate:.1g}.",
    ),
    Case(
        name="steps-for-epochs",
        title="A step size in epochs, stepped for every batch",
        why="`step_size=8` was meant as eight epochs and is eight batches: the rate is divided by ten twice an epoch.",
        mistake=_loop("scheduler = StepLR(optimizer, step_size=8, gamma=0.1)", per_batch="scheduler.step()"),
        right=_loop("scheduler = StepLR(optimizer, step_size=8, gamma=0.1)", per_epoch="scheduler.step()"),
        shows="The rate is spent within three epochs and ends at {mistake.last_rate:.1g}, far below what float32 "
        "weights notice.",
    ),
    Case(
        name="one-cycle-past-its-end",
        title="OneCycleLR past its end",
        why="`OneCycleLR` refuses to be stepped beyond `total_steps`. Made for the number of epochs and stepped for "
        "every batch, it runs through its whole cycle within two epochs and then raises.",
        mistake=_loop(
            "scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS)", per_batch="scheduler.step()"
        ),
        right=_loop(
            "scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS * len(loader))",
            per_batch="scheduler.step()",
        ),
        shows="After {mistake.steps} updates torch raises `{mistake.error}`.",
    ),
    Case(
        name="plateau-per-batch",
        title="ReduceLROnPlateau stepped for every batch",
        why="Patience counts calls. The loss of single batches is noisy, so four calls without a new minimum are soon "
        "found, and the rate is cut long before the training stands still.",
        mistake=_loop(
            "scheduler = ReduceLROnPlateau(optimizer, patience=3)",
            per_batch="scheduler.step(loss(batch).item())",
        ),
        right=_loop("scheduler = ReduceLROnPlateau(optimizer, patience=3)", per_epoch="scheduler.step(evaluate())"),
        shows="The rate ends at {mistake.last_rate:.1g} instead of {right.last_rate:.2g}.",
    ),
    Case(
        name="constant-lr-default",
        title="ConstantLR is not constant",
        why="With its defaults torch's `ConstantLR` holds a third of the rate for five calls, and then jumps to all of "
        "it; `LinearLR` climbs from a third to all of it within five. The first is no baseline without a schedule, the "
        "second no linear decay.",
        mistake=_loop("scheduler = ConstantLR(optimizer)", per_epoch="scheduler.step()"),
        right=_loop("scheduler = ConstantLR(optimizer, factor=1)", per_epoch="scheduler.step()"),
        check="scheduler=own/custom scheduler._target_=torch.optim.lr_scheduler.ConstantLR",
        shows="The first five epochs are trained at a third of the rate.",
    ),
    Case(
        name="step-order",
        title="scheduler.step() before optimizer.step()",
        why="The first rate of the schedule is never used, and every other comes one call early: here one epoch.",
        lr=0.05,
        mistake=_loop("scheduler = ExponentialLR(optimizer, gamma=0.6)").replace(
            "    for batch", "    scheduler.step()\n    for batch"
        ),
        right=_loop("scheduler = ExponentialLR(optimizer, gamma=0.6)", per_epoch="scheduler.step()"),
        shows="Every epoch is trained at six tenths of the rate that was asked for.",
    ),
    Case(
        name="per-process",
        title="One step for every process",
        why="With several processes each sees a part of the batches, and some wrappers step the scheduler once for "
        "each process: accelerate does, unless it is told to split the batches. A length counted on one side and "
        "steps on the other give a schedule that is four times too fast on four processes.",
        mistake=_loop(
            f"NUM_PROCESSES = 4\n{_COSINE}", per_batch="for _ in range(NUM_PROCESSES):\n    scheduler.step()"
        ),
        right=_loop(
            "NUM_PROCESSES = 4\nscheduler = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader) * NUM_PROCESSES)",
            per_batch="for _ in range(NUM_PROCESSES):\n    scheduler.step()",
        ),
        unseen=_LOG_IT,
        shows="The cosine arrives after a quarter of the run, climbs again, and ends at {mistake.last_rate:.2g}.",
    ),
    Case(
        name="momentum-overwritten",
        title="CyclicLR overwrites the momentum",
        why="`CyclicLR` and `OneCycleLR` move the momentum too, unless told not to: between 0.8 and 0.9, or 0.85 and "
        "0.95, whatever the optimizer was given. For one without momentum that multiplies the effective rate by five "
        "to ten.",
        lr=1.0,
        momentum=0.0,
        mistake=_loop(
            "length = 2 * len(loader)\nscheduler = CyclicLR(optimizer, base_lr=0.1, max_lr=1.0, step_size_up=length)",
            per_batch="scheduler.step()",
        ),
        right=_loop(
            "length = 2 * len(loader)\n"
            "scheduler = CyclicLR(optimizer, base_lr=0.1, max_lr=1.0, step_size_up=length, cycle_momentum=False)",
            per_batch="scheduler.step()",
        ),
        check="scheduler=own/custom scheduler._target_=torch.optim.lr_scheduler.CyclicLR +scheduler.base_lr=0.1 "
        "+scheduler.max_lr=1.0 +scheduler.step_size_up=34 optimizer.momentum=0.0",
        shows="Both forms use the same rates; only the momentum differs.",
    ),
    Case(
        name="sequential-length",
        title="SequentialLR: the main part does not know of the warmup",
        why="The parts of a `SequentialLR` count from where they begin. A cosine behind a warmup of four epochs that "
        "is as long as the whole run is cut off four epochs before its end.",
        mistake=_loop(
            f"{_WARMUP}cosine = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader))\n{_SEQUENCE}",
            per_batch="scheduler.step()",
        ),
        right=_loop(
            f"{_WARMUP}cosine = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader) - warmup_steps)\n{_SEQUENCE}",
            per_batch="scheduler.step()",
        ),
        unseen=_LOG_IT,
        shows="The run ends at the rate {mistake.last_rate:.2g} instead of {right.last_rate:.1g}.",
    ),
    Case(
        name="sequential-milestone",
        title="SequentialLR: a milestone in epochs",
        why="The milestone is the number of calls after which the next part begins, not of epochs. Here the warmup is "
        "left after four updates of 64, a sixteenth of its way, and the rate jumps to its peak.",
        mistake=_loop(
            f"{_WARMUP}cosine = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader) - warmup_steps)\n"
            + _SEQUENCE.replace("[warmup_steps]", "[4]"),
            per_batch="scheduler.step()",
        ),
        right=_loop(
            f"{_WARMUP}cosine = CosineAnnealingLR(optimizer, T_max=EPOCHS * len(loader) - warmup_steps)\n{_SEQUENCE}",
            per_batch="scheduler.step()",
        ),
        unseen=_LOG_IT,
        shows="The cosine begins sixty updates early, reaches its foot before the end, and climbs again, to "
        "{mistake.last_rate:.2g}.",
    ),
    Case(
        name="state-not-saved",
        title="A checkpoint without the scheduler",
        why="The optimizer's state holds the rate of the moment, and not how far the schedule had come. A run that was "
        "interrupted half-way goes on from that rate with a schedule that counts from zero.",
        mistake=_interrupted('"optimizer": optimizer.state_dict()'),
        right=_interrupted('"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()').replace(
            _RESUMED, _RESUMED + 'scheduler.load_state_dict(saved["scheduler"])\n'
        ),
        shows="Half-way the two agree. From there the mistake decays half as fast, and ends at "
        "{mistake.last_rate:.2g} instead of {right.last_rate:.1g}.",
    ),
)
