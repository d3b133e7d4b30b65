"""Trainings from their plans to their records: everything of `lrbench run` that needs torch."""

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lrbench.config import Plan
from lrbench.data import Splits
from lrbench.dry_run import check_resumable
from lrbench.lint.schedule import lint_schedule
from lrbench.runs.assemble import trial_of, workload_of
from lrbench.runs.code import imported_code_digest
from lrbench.runs.environment import environment, resolve_device
from lrbench.runs.groups import stack_id
from lrbench.runs.learner_cache import remembered_choice
from lrbench.runs.learner_choice import Choice
from lrbench.runs.learner_choice import choose_learner as measure_learners
from lrbench.runs.lint import fails, subject_of
from lrbench.runs.loading import load_data
from lrbench.runs.record_of_run import (
    Manner,
    describe,
    digest_weights,
    open_record,
    write_curve,
    write_json,
    write_rates,
)
from lrbench.runs.result import Result, curve_of, judge, summarize
from lrbench.schedules.factors import ScheduleError
from lrbench.schedules.rates import Rates
from lrbench.spec import Evaluation, RunState
from lrbench.tracking.record import Record
from lrbench.training import Training, common_steps, train_branches
from lrbench.trials import build_training, call_model, data_on, run_training

_log = logging.getLogger(__name__)
OnProgress = Callable[[int, Mapping[int, Evaluation]], None]


def check(plan: Plan, *, warn: Callable[[str], None] = _log.warning) -> None:
    """Build what can be built before any data is read, lint the schedule, and stop and resume a closed-loop one.

    Args:
        plan: of one run.
        warn: told what may be a mistake.

    Raises:
        ValueError: a rate is unusable, the schedule refuses its parameters or cannot be resumed, the model refuses the
            shape of the data, there is no such device, or the lint found what must stop the run (with `strict`, any
            warning).
    """
    resolve_device(plan.values["device"])
    imported_code_digest(plan.values)  # of the sources as they were imported a moment ago
    subject = subject_of(plan)
    findings = lint_schedule(subject)
    if subject.rates is None:
        raise ValueError(findings[0].message)
    for finding in findings:
        if finding.severity != "note":
            warn(f"{finding.severity}: {finding.message}")
    if fails(findings, strict=plan.values["strict"]):
        raise ValueError(
            f"scheduler={plan.values['scheduler']['name']} is set up wrongly, see above; nothing was trained"
        )
    check_resumable(trial_of(plan), budget=plan.budget, eval_every=plan.values["budget"]["eval_every"])
    call_model(plan.make_model, input_shape=plan.dataset.input_shape, num_outputs=plan.dataset.num_outputs)


def train(
    plans: Sequence[Plan],
    *,
    tracking_uri: str,
    finished: Collection[int] = (),
    stop: Callable[[], bool] = lambda: False,
    on_record: Callable[[Path], None] = lambda _: None,
    on_progress: OnProgress = lambda step, evaluations: None,
    say: Callable[[str], None] = _log.warning,
) -> list[Result]:
    """Train plans that share workload and seed, several as one stacked model, and leave a record of each.

    An interrupted run of the same fingerprint, code, data and manner is resumed. One run that diverges or fails changes
    no other.

    Args:
        plans: checked, their rates too; one, or several that differ in schedule and the optimizer's numbers only.
        tracking_uri: where the records are to be sent; "" for nowhere.
        finished: positions of plans that have their record, and are trained along since the stack of the others was
            begun with them.
        stop: whether to save a checkpoint and return early.
        on_record: told each record's directory as soon as it exists.
        on_progress: told the step and the evaluations made there, by plan.
        say: told that an interrupted run is begun anew, and why.

    Returns:
        One result a plan that was not finished, in their order.

    Raises:
        ValueError: the data are missing or damaged.
        OSError: the disk is full.
    """
    first = plans[0]
    device, data, facts = _prepare(first)
    learner = _learner_of(plans, device)
    manner = Manner(learner, len(plans), stack_id(plans))
    training = build_training(
        workload_of(first, data, device),
        [trial_of(plan) for plan in plans],
        seed=first.values["seed"],
        read_test=first.values["training"]["read_test"],
        learner=learner,
    )
    with ExitStack() as stack:
        records: dict[int, Record] = {}
        for k, (plan, rates) in enumerate(zip(plans, training.rates, strict=True)):
            if k not in finished:
                records[k] = stack.enter_context(_begun(plan, data, tracking_uri, facts, rates, manner, say))
                on_record(records[k].path)
        checkpoints = _checkpoints(plans, records)
        failures: dict[int, ScheduleError] = {}
        pruned: dict[int, int] = {}
        on_progress(max(0, min(record.last_step for record in records.values())), {})
        for progress in run_training(
            training,
            checkpoints=checkpoints,
            every_seconds=first.values["training"]["checkpoint_seconds"],
            stop_requested=stop,
            before_checkpoint=lambda: _sync(records.values()),
        ):
            for k, evaluation in progress.evaluations.items():
                if k in records:
                    records[k].append(evaluation)
                if k in training.live and _is_hopeless(plans[k], evaluation):
                    training.end(k)
                    pruned[k] = evaluation.step
            failures |= progress.failures
            on_progress(progress.step, progress.evaluations)
        weights = training.learner.state_dict()["models"]
        results = [
            _finish(
                plans[k],
                record,
                training,
                k,
                weights=weights[k],
                stopped=stop() and k in training.live,
                failure=failures.get(k),
                pruned=pruned.get(k),
            )
            for k, record in records.items()
        ]
        if not any(result.stopped for result in results):
            shutil.rmtree(checkpoints, ignore_errors=True)  # there is nothing left to resume
    return results


def _learner_of(plans: Sequence[Plan], device: torch.device) -> Literal["sequential", "fused"]:
    """Several plans come to be stacked; a single one is where its steps can be recorded, if that is faster."""
    if len(plans) > 1:
        return "fused"
    return choose_learner(plans).learner if device.type == "cuda" else "sequential"


def choose_learner(plans: Sequence[Plan]) -> Choice:
    """Say whether plans of one workload and seed shall train one by one or as one stacked model.

    What was measured is remembered in the cache folder, for equal work on this machine.

    Raises:
        ValueError: the data are missing or damaged.
    """
    asked = plans[0].values["training"]["learner"]
    if asked != "auto":
        return Choice(asked, "asked for")
    device, data, facts = _prepare(plans[0])

    def measure() -> Choice:
        workload, trials = workload_of(plans[0], data, device), [trial_of(plan) for plan in plans]
        return measure_learners(workload, trials, data_on(workload), seed=plans[0].values["seed"])

    return remembered_choice(Path(plans[0].values["cache_dir"]), plans, facts, measure)


def train_budgets(
    plans: Sequence[Plan],
    *,
    tracking_uri: str,
    stop: Callable[[], bool] = lambda: False,
    on_record: Callable[[Path], None] = lambda _: None,
    on_progress: OnProgress = lambda step, evaluations: None,
    say: Callable[[str], None] = _log.warning,
) -> list[Result]:
    """Train one point at several budgets, the steps that they have in common once; see `train`.

    Nothing is saved on the way: interrupted, those that are not finished begin again.

    Args:
        plans: alike but for their budgets.
        tracking_uri: see `train`.
        stop: see `train`.
        on_record: see `train`.
        on_progress: see `train`; the step is the sum over all of them.
        say: see `train`.
    """
    device, data, facts = _prepare(plans[0])
    trainings = [
        build_training(
            workload_of(plan, data, device),
            [trial_of(plan)],
            seed=plan.values["seed"],
            read_test=plan.values["training"]["read_test"],
        )
        for plan in plans
    ]
    alone = Manner("sequential", 1, "")
    with ExitStack() as stack:
        records = []
        for plan, training in zip(plans, trainings, strict=True):
            records.append(stack.enter_context(_begun(plan, data, tracking_uri, facts, training.rates[0], alone, say)))
            on_record(records[-1].path)
        for j, progress in train_branches(trainings):
            for evaluation in progress.evaluations.values():
                records[j].append(evaluation)
            on_progress(sum(training.step for training in trainings), progress.evaluations)
            if stop() and progress.step > 0:  # by then each has its first evaluation
                break
        longest = max(trainings, key=lambda training: training.total_steps)
        shared = [0 if t is longest else common_steps([longest.rates[0], t.rates[0]]) for t in trainings]
        return [
            _finish(
                plan,
                record,
                training,
                0,
                weights=training.learner.state_dict()["models"][0],
                stopped=stop() and bool(training.live) and training.step < training.total_steps,
                failure=None,
                pruned=None,
                num_shared=num_shared,
            )
            for plan, record, training, num_shared in zip(plans, records, trainings, shared, strict=True)
        ]


def _prepare(plan: Plan) -> tuple[torch.device, Splits, dict[str, str]]:
    device = resolve_device(plan.values["device"])
    torch.set_num_threads(plan.values["threads"])
    return device, load_data(plan), environment(device)


def _begun(
    plan: Plan,
    data: Splits,
    tracking_uri: str,
    facts: Mapping[str, str],
    rates: Rates,
    manner: Manner,
    say: Callable[[str], None],
) -> Record:
    record = open_record(plan, data, tracking_uri, facts, manner, say)
    describe(record, plan, facts, rates)
    return record


def _is_hopeless(plan: Plan, evaluation: Evaluation) -> bool:
    """Whether the sweep's line of pruning, if it drew one at this step, is missed."""
    study = plan.values["study"]
    line = dict(zip(study["prune_steps"], study["prune_values"], strict=True)).get(evaluation.step)
    if line is None:
        return False
    value = evaluation.metrics[plan.endpoint]
    return bool(value < line if plan.direction == "maximize" else value > line)


def _finish(
    plan: Plan,
    record: Record,
    training: Training,
    k: int,
    *,
    weights: Mapping[str, Tensor],
    stopped: bool,
    failure: ScheduleError | None,
    pruned: int | None,
    num_shared: int = 0,
) -> Result:
    """Write the end of one run; `num_shared` of its steps were taken by another one."""
    evaluations = record.evaluations()
    state = judge(evaluations, plan.endpoint, total_steps=training.total_steps)
    result = partial(
        Result, name=plan.run_name, tracking_uri=record.facts.tracking_uri, record=record.path, state=state
    )
    if stopped and state is RunState.INCOMPLETE:
        record.end("KILLED", state, f"stopped at step {training.step} of {training.total_steps}")
        return result(stopped=True)
    if failure is not None:
        record.end("FAILED", state, str(failure))
        return result(error=failure)
    found = summarize(evaluations, plan.endpoint, batch_size=plan.values["training"]["batch_size"])
    if num_shared:
        found["steps_shared"] = num_shared
    if training.rates[k].closed_loop:
        write_rates(record.artifacts / "rates.csv", training.rates[k])
    write_curve(record.artifacts / "curve.csv", evaluations)
    write_json(record.artifacts / "outcome.json", {"state": state, **found, "weights_sha256": digest_weights(weights)})
    record.end("FINISHED", state, "" if pruned is None else f"pruned at step {pruned} of {training.total_steps}")
    return result(found=found, curve=curve_of(evaluations, plan.endpoint), pruned=pruned)


def _sync(records: Iterable[Record]) -> None:
    for record in records:
        record.sync()


def _checkpoints(plans: Sequence[Plan], records: Mapping[int, Record]) -> Path:
    """A run's own checkpoints lie in its record; those of runs that train as one belong to all of them."""
    if len(plans) == 1:
        return records[0].path / "checkpoints"
    return Path(plans[0].values["results_dir"]) / "groups" / stack_id(plans)
