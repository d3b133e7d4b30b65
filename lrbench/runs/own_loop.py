"""A training loop of the user's own in the place of ours: it is told the rates, and what it yields is recorded.

    def train(lr, total_steps, seed):
        model, optimizer, batches = build(seed)
        yield 0, {"val/loss": evaluate(model)}
        for step in range(total_steps):
            for group in optimizer.param_groups:
                group["lr"] = lr(step)
            update(model, optimizer, next(batches))
            if (step + 1) % 50 == 0:
                yield step + 1, {"val/loss": evaluate(model)}

`lr(step)` is the learning rate of update `step`, zero-based, below `total_steps`; `lr.momentum(step)` the momentum
where the schedule moves it. It yields (updates completed, metrics) when it has evaluated: before the first update (0),
at its own cadence, and at the end. Metrics are named as everywhere, `val/loss` always, and others such as
`val/accuracy`, `test/accuracy`, `train/loss`. `seed` must fix initial weights and batch order, so that every schedule
starts alike. A run whose loss stops being finite has diverged; it is not continued.
"""

import hashlib
import inspect
import json
import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path

import cloudpickle
import torch

from lrbench.config import Plan
from lrbench.runs.assemble import trial_of
from lrbench.runs.environment import environment
from lrbench.runs.jobs import literal
from lrbench.runs.own_sources import source_digests
from lrbench.runs.record_of_run import Manner, describe, open_record, write_curve, write_json, write_rates
from lrbench.runs.result import Result, curve_of, judge, summarize
from lrbench.schedules.rates import Rates
from lrbench.spec import Evaluation, Task
from lrbench.tracking.record import Record

RATES_PER_EVALUATION = 10  # as lrbench's own loop records

TrainLoop = Callable[["Rate", int, int], Iterable[tuple[int, Mapping[str, float]]]]
Checked = Generator[tuple[int, dict[str, float]], None, None]


class Rate:
    """The learning rate of a step, and the momentum; what a loop is called with."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def __call__(self, step: int) -> float:
        """Rate of update `step`, zero-based.

        Raises:
            ValueError: there is no such update.
        """
        return float(self._rates.lr[self._checked(step)])

    def momentum(self, step: int) -> float | None:
        """Momentum of update `step`; None where the schedule leaves it alone.

        Raises:
            ValueError: there is no such update.
        """
        moved = self._rates.momentum
        return None if moved is None else float(moved[self._checked(step)])

    def _checked(self, step: int) -> int:
        total_steps = len(self._rates.lr)
        if not 0 <= step < total_steps:
            raise ValueError(f"lr(step) needs a step from 0 to {total_steps - 1}, got {step}")
        return step


def pickled(train: TrainLoop) -> bytes:
    """Pickle a loop for worker processes; functions of a notebook and lambdas too.

    Raises:
        ValueError: it holds something that cannot travel to another process.
    """
    try:
        return bytes(cloudpickle.dumps(train))
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"train must be a function that can be sent to a worker process; something in it cannot: {error}"
        ) from error


def words_of(train: TrainLoop, *, name: str, metric: str, total_steps: int) -> list[str]:
    """Overrides that put a loop in the place of dataset, model and optimizer."""
    return [
        "dataset=own/loop",
        f"dataset.name={literal(name)}",
        f"task={_task_of(metric)}",
        f"endpoint={metric}",
        f"dataset.code={literal(_source_digest(train))}",
        "model=own/custom",
        "model._target_=torch.nn.Identity",
        "model.name=own",
        "optimizer=sgd",
        "optimizer.name=own",
        "optimizer.momentum=0.9",  # what a schedule may move; the loop's own optimizer is its own business
        "budget=steps",
        f"budget.steps={total_steps}",
        "training.batch_size=1",  # samples are steps: nobody knows how many examples the loop takes
        "training.learner=sequential",
    ]


def _task_of(metric: str) -> Task:
    """The task that measures a metric."""
    tasks = {f"val/{name}": task for task in Task for name in task.metrics}
    if metric not in tasks:
        raise ValueError(f"metric must be one of {', '.join(tasks)}, got {metric!r}")
    return tasks[metric]


def train_loop(
    loop: bytes,
    plan: Plan,
    *,
    tracking_uri: str,
    on_record: Callable[[Path], None],
    say: Callable[[str], None],
) -> Result:
    """Call a loop with the rates, budget and seed of a plan, and leave a record.

    Args:
        loop: see `pickled`.
        plan: of one run.
        tracking_uri: where the record is to be sent; "" for nowhere.
        on_record: told the record's directory as soon as it exists.
        say: told what a person may want to know.

    Returns:
        The end of the run; what the loop raised is in it.
    """
    rates = trial_of(plan).rates(budget=plan.budget, eval_every=plan.values["budget"]["eval_every"])
    if rates.momentum is not None:
        say(f"scheduler={rates.name} moves the momentum too: lr.momentum(step) has it")
    try:
        train = cloudpickle.loads(loop)
        return _recorded(train, plan, rates, tracking_uri=tracking_uri, on_record=on_record, say=say)
    except Exception as error:  # noqa: BLE001  # the user's function may raise anything
        message = f"train raised {type(error).__name__} with seed={plan.values['seed']}: {error}"
        return Result(plan.run_name, error=ValueError(message))


def _recorded(
    train: TrainLoop,
    plan: Plan,
    rates: Rates,
    *,
    tracking_uri: str,
    on_record: Callable[[Path], None],
    say: Callable[[str], None],
) -> Result:
    endpoint, total_steps = plan.endpoint, plan.budget.total_steps
    facts = environment(torch.device("cpu"))
    # An interrupted run begins anew, since nobody here can save the state of the loop.
    manner = Manner("own", 1, f"{time.time_ns():x}")
    with open_record(plan, plan.dataset.load(), tracking_uri, facts, manner, say) as record:
        describe(record, plan, facts, rates)
        on_record(record.path)
        _drive(train, plan, rates, record)
        evaluations = record.evaluations()
        state = judge(evaluations, endpoint, total_steps=total_steps)
        found = summarize(evaluations, endpoint, batch_size=1)
        if rates.closed_loop:
            write_rates(record.artifacts / "rates.csv", rates)
        write_curve(record.artifacts / "curve.csv", evaluations)
        write_json(record.artifacts / "outcome.json", {"state": state, **found})
        record.end("FINISHED", state)
        return Result(
            plan.run_name,
            tracking_uri=tracking_uri,
            record=record.path,
            state=state,
            found=found,
            curve=curve_of(evaluations, endpoint),
        )


def _drive(train: TrainLoop, plan: Plan, rates: Rates, record: Record) -> None:
    """Record what one call yields, until the budget is spent or the loss is no number."""
    total_steps, needed = plan.budget.total_steps, {"val/loss", plan.endpoint}
    last_step = -1
    with closing(_checked(train(Rate(rates), total_steps, plan.values["seed"]), total_steps, needed)) as yielded:
        began = time.perf_counter()
        for step, metrics in yielded:
            seconds = time.perf_counter() - began
            points = rates.points(max(last_step, 0), step, at_most=RATES_PER_EVALUATION)
            record.append(Evaluation(step, seconds, metrics, points))
            last_step = step
            if not all(math.isfinite(metrics[loss]) for loss in ("train/loss", "val/loss") if loss in metrics):
                return
            rates.observe(step, metrics["val/loss"])
    if last_step < 0:
        raise ValueError("train yielded nothing: yield (updates completed, metrics) after each evaluation")


def _checked(yielded: Iterable[tuple[int, Mapping[str, float]]], total_steps: int, needed: Collection[str]) -> Checked:
    """Evaluations as a record can hold them.

    Raises:
        ValueError: steps do not rise, or a metric is missing.
    """
    last = -1
    for step, metrics in yielded:
        if not last < step <= total_steps:
            raise ValueError(f"train must yield rising steps up to {total_steps}, got {step} after {max(last, 0)}")
        if missing := sorted(set(needed) - set(metrics)):
            raise ValueError(
                f"train must yield {missing[0]} at every evaluation; at step {step} it has {sorted(metrics)}"
            )
        last = step
        yield int(step), {key: float(value) for key, value in metrics.items()}


def _source_digest(train: TrainLoop) -> str:
    """Digest the source that a loop comes from: its file, and what that imports from its own folder."""
    function = inspect.unwrap(getattr(train, "func", train))  # partial
    try:
        file = inspect.getsourcefile(function) or ""
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        text = cloudpickle.dumps(train).hex()  # typed at a prompt
    sources = source_digests([f"{function.__module__}.{getattr(function, '__qualname__', '')}"])
    return hashlib.sha256(json.dumps([text, sources], sort_keys=True).encode()).hexdigest()[:16]
