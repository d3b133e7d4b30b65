"""Drive a training loop of your own: lrbench gives it the rates, records what it yields, and compares the schedules.

    from lrbench.runs.own_loop import run

    def train(rate, steps, seed):
        model, optimizer, batches = build(seed)
        yield 0, {"val/loss": evaluate(model)}
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            update(model, optimizer, next(batches))
            if (step + 1) % 50 == 0:
                yield step + 1, {"val/loss": evaluate(model)}

    words = ["scheduler=constant,linear,cosine", "optimizer.lr=0.05,0.2", "seed=0,1,2", "budget.steps=500"]
    run(train, words, name="mine")

Any framework will do: nothing but a function is asked for. The words are those of the command line, and so are the
records, so that `lrbench report`, `recommend` and `ui` work on them.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from lrbench.config import Plan
from lrbench.config.plan import flat_values
from lrbench.runs.assemble import trial_of
from lrbench.runs.compose import compose_plans
from lrbench.runs.destination import check_destination, report_unsent
from lrbench.runs.progress import progress_bar
from lrbench.schedules.rates import Rates
from lrbench.spec import Evaluation, run_state
from lrbench.tracking.record import Record
from lrbench.tracking.sender import Sender

RATES_PER_EVALUATION = 10  # as lrbench's own loop records
# Everything else in the config is about lrbench's own loop.
_WORDS = (
    "scheduler", "warmup", "optimizer.lr", "seed", "budget.steps", "budget.eval_every", "results_dir", "tracking",
    "trusted_modules",
)  # fmt: skip

Rate = Callable[[int], float]
Train = Callable[[Rate, int, int], Iterable[tuple[int, Mapping[str, float]]]]
Checked = Generator[tuple[int, dict[str, float]], None, None]


def run(train: Train, words: Sequence[str], *, name: str) -> list[Path]:
    """Call `train` once for every combination of the choices in `words`, and record it.

    `train(rate, steps, seed)` is a generator. `rate(step)` is the learning rate of update `step`, zero-based, below
    `steps`. It yields `(updates completed, metrics)` when it has evaluated: before the first update (0), at its own
    cadence, and at the end (`steps`). Metrics are named as everywhere, `val/loss` always, and others such as
    `val/accuracy`, `test/accuracy`, `train/loss`. `seed` must fix initial weights and batch order, so that every
    schedule starts alike. A run whose loss stops being finite has diverged; it is not continued.

    Args:
        train: see above.
        words: overrides of the command line: `scheduler`, `warmup` and their parameters, `optimizer.lr`, `seed`,
            `budget.steps`, `results_dir`, `tracking`. `budget.eval_every` tells schedules that watch the validation
            loss how often you evaluate.
        name: of the workload: all that the function decides. Give another name when you change the function.

    Returns:
        The records, in the order of the combinations.

    Raises:
        ValueError: a word is unknown or has no effect here, a schedule moves the momentum too, `train` yields steps out
            of order or metrics without `val/loss`, or the results cannot be written.
    """
    for word in words:
        path = word.lstrip("+~").partition("=")[0]
        if not any(path == known or path.startswith(f"{known}.") for known in _WORDS):
            raise ValueError(f"own_loop.run takes {', '.join(_WORDS)}; your function decides the rest, got {word!r}")
    plans = compose_plans([*words, "budget=steps"])
    tables = [_rates_of(plan) for plan in plans]  # all of them, before anything is trained
    uri = check_destination(plans[0])
    results_dir = Path(plans[0].values["results_dir"])
    with Sender(results_dir / "sender.log") if uri else nullcontext() as sender:
        records = []
        if sender is not None:
            sender.allow(uri)
        for plan, rates in zip(plans, tables, strict=True):
            with _new_record(plan, results_dir / "runs", uri, name) as record:
                if sender is not None:
                    sender.follow(record.path)
                _train_one(train, plan, rates, record)
                records.append(record.path)
        if sender is not None:
            report_unsent(sender.close())
    return records


def _rates_of(plan: Plan) -> Rates:
    rates = trial_of(plan).rates(budget=plan.budget, eval_every=plan.values["budget"]["eval_every"])
    if rates.momentum is not None:
        raise ValueError(
            f"scheduler={plan.values['scheduler']['name']} moves the momentum, which a function of the rate cannot "
            "follow; write scheduler.cycle_momentum=false"
        )
    return rates


def _train_one(train: Train, plan: Plan, rates: Rates, record: Record) -> None:
    """Record what one call yields, until the budget is spent or the loss is no number."""
    total_steps = plan.budget.total_steps

    def rate(step: int) -> float:
        if not 0 <= step < total_steps:
            raise ValueError(f"rate(step) needs a step from 0 to {total_steps - 1}, got {step}")
        return float(rates.lr[step])

    first_loss = last_loss = math.nan
    last_step = 0
    with (
        closing(_checked(train(rate, total_steps, plan.values["seed"]), total_steps)) as yielded,
        progress_bar(plan.run_name, total_steps) as bar,
    ):
        began = time.perf_counter()
        for step, metrics in yielded:
            seconds = time.perf_counter() - began
            points = rates.points(last_step, step, at_most=RATES_PER_EVALUATION)
            evaluation = Evaluation(step, seconds, metrics, points)
            last_step, last_loss = step, metrics["val/loss"]
            first_loss = last_loss if math.isnan(first_loss) else first_loss
            record.append(evaluation)
            bar.update(step, evaluation)
            if not all(math.isfinite(metrics[loss]) for loss in ("train/loss", "val/loss") if loss in metrics):
                last_loss = math.nan
                break
            rates.observe(step, last_loss)
    if record.last_step < 0:
        raise ValueError("train yielded nothing: yield (updates completed, metrics) after each evaluation")
    state = run_state(first_loss=first_loss, last_loss=last_loss, last_step=last_step, total_steps=total_steps)
    record.end("FINISHED", state)


def _checked(yielded: Iterable[tuple[int, Mapping[str, float]]], total_steps: int) -> Checked:
    """Evaluations as a record can hold them.

    Raises:
        ValueError: see `run`.
    """
    last = -1
    for step, metrics in yielded:
        if not last < step <= total_steps:
            raise ValueError(f"train must yield rising steps up to {total_steps}, got {step} after {max(last, 0)}")
        if "val/loss" not in metrics:
            raise ValueError(f"train must yield val/loss at every evaluation; at step {step} it has {sorted(metrics)}")
        last = step
        yield int(step), {key: float(value) for key, value in metrics.items()}


def _new_record(plan: Plan, root: Path, uri: str, name: str) -> Record:
    values = plan.values
    shaping = {
        "scheduler": values["scheduler"],
        "warmup": values["warmup"],
        "optimizer": {"lr": values["optimizer"]["lr"]},
        "seed": values["seed"],
        "budget": values["budget"],
    }
    workload = f"{name}-{plan.budget.total_steps}steps"
    fingerprint = hashlib.sha256(json.dumps([workload, shaping], sort_keys=True).encode()).hexdigest()
    tags = {
        "scheduler": values["scheduler"]["name"],
        "warmup": values["warmup"]["name"],
        "seed": values["seed"],
        "budget": plan.budget.total_steps,
        "workload": workload,
        "role": "run",
        "fingerprint": fingerprint,
    }
    return Record.create(
        root,
        name=plan.run_name,
        experiment=values["tracking"]["experiment"] or workload,
        tracking_uri=uri,
        fingerprint=fingerprint,
        tags={key: str(value) for key, value in tags.items()},
        params={**flat_values(shaping), "budget.total_steps": plan.budget.total_steps},
        note=f"**{values['scheduler']['name']}** in a loop of your own, {name}, {plan.budget.total_steps} steps, "
        f"base rate {values['optimizer']['lr']:g}.",
    )
