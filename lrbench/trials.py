"""Trials of one workload and seed, from their parts to their evaluations, surviving interruptions."""

import inspect
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lrbench.checkpoints import load_checkpoint, save_checkpoint
from lrbench.data import Splits
from lrbench.optimizers import parameter_groups
from lrbench.schedules import Warmup
from lrbench.schedules.rates import Rates, Schedule, make_rates
from lrbench.spec import PART_ERRORS, Budget, Task, derived_seed, evaluation_steps
from lrbench.training import (
    FusedLearner,
    Learner,
    Progress,
    SequentialLearner,
    StepOptions,
    Training,
    batch_order,
    bytes_per_trial,
)
from lrbench.training.random_states import seed_generators

_CALIBRATION_BATCHES = 50  # the number that schedule-free's authors use for BatchNorm statistics


@dataclass(frozen=True)
class Workload:
    """What all trials of a comparison share.

    Attributes:
        data: splits, anywhere; moved to `device`.
        task: of the data.
        make_model: builds a module; `input_shape` and `num_outputs` are passed where its signature has them.
        input_shape: of one example, channels first.
        num_outputs: classes, or values to regress.
        budget: length of the training.
        batch_size: examples a step.
        eval_every: fraction of the budget between evaluations, in (0, 1].
        eval_batch_size: examples a forward pass in evaluations.
        device: where the training runs.
        decay_norm_and_bias: whether weight decay also acts on norm layers and biases.
        options: how one update is made.
        stop_diverged: end a trial whose loss stops being finite.
        stack_bytes: memory of trials that train as one model, estimated; more of them make several. None for no limit.
    """

    data: Splits
    task: Task
    make_model: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    num_outputs: int
    budget: Budget
    batch_size: int
    eval_every: float
    eval_batch_size: int
    device: torch.device
    decay_norm_and_bias: bool = True
    options: StepOptions = field(default_factory=StepOptions)
    stop_diverged: bool = True
    stack_bytes: int | None = None

    @property
    def evaluate_at(self) -> list[int]:
        """Steps after which trials are evaluated."""
        return evaluation_steps(self.budget.total_steps, self.eval_every)


@dataclass(frozen=True)
class Trial:
    """One hyperparameter point.

    Attributes:
        name: of the schedule, for messages.
        schedule: hyperparameters bound.
        make_optimizer: base rate and other hyperparameters bound; takes parameters or parameter groups.
        warmup: in front of the schedule.
    """

    name: str
    schedule: Schedule
    make_optimizer: Callable[[Iterable[Any]], Optimizer]
    warmup: Warmup | None = None

    def rates(self, *, budget: Budget, eval_every: float) -> Rates:
        """Build this trial's table of rates; no data and no model needed."""
        return make_rates(
            self.schedule,
            self.make_optimizer,
            total_steps=budget.total_steps,
            num_evaluations=len(evaluation_steps(budget.total_steps, eval_every)) - 1,
            warmup=self.warmup,
            name=self.name,
        )


def build_training(
    workload: Workload,
    trials: Sequence[Trial],
    *,
    seed: int,
    read_test: bool = True,
    learner: Literal["sequential", "fused"] = "sequential",
) -> Training:
    """Assemble K trials that start from the same weights and see the same batches.

    Args:
        workload: what they share.
        trials: K points.
        seed: fixes initial weights, batch order, augmentation and dropout.
        read_test: evaluate the test split after the last step; tuning must not.
        learner: how the trials are stepped, see `lrbench.training`.

    Raises:
        NotStackableError: the fused learner cannot train these trials; a ValueError.
    """
    data = data_on(workload)
    built = build_learner(workload, trials, data, seed=seed, learner=learner)
    rates = [trial.rates(budget=workload.budget, eval_every=workload.eval_every) for trial in trials]
    seed_generators(derived_seed("training", seed))  # dropout and whatever else a model draws
    return Training(
        built,
        rates,
        data,
        task=workload.task,
        seed=seed,
        batch_size=workload.batch_size,
        evaluate_at=workload.evaluate_at,
        eval_batch_size=workload.eval_batch_size,
        stop_diverged=workload.stop_diverged,
        read_test=read_test,
        averages=workload.options.averaging is not None,
    )


def build_learner(
    workload: Workload, trials: Sequence[Trial], data: Splits, *, seed: int, learner: Literal["sequential", "fused"]
) -> Learner:
    """Build the models of K trials and what steps them.

    Args:
        workload: what they share.
        trials: K points.
        data: on the workload's device.
        seed: of the initial weights.
        learner: how the trials are stepped.

    Raises:
        NotStackableError: the fused learner cannot train these trials; a ValueError.
    """
    build = {"sequential": _sequential_learner, "fused": _fused_learner}[learner]
    return build(workload, trials, data, seed)


def _sequential_learner(workload: Workload, trials: Sequence[Trial], data: Splits, seed: int) -> Learner:
    models = [build_model(workload, seed=seed) for _ in trials]
    optimizers = [_optimizer(workload, trial, model) for trial, model in zip(trials, models, strict=True)]
    return SequentialLearner(
        models,
        optimizers,
        task=workload.task,
        device=workload.device,
        options=workload.options,
        calibration=lambda: _first_inputs(workload, data, seed, _CALIBRATION_BATCHES),
    )


def _fused_learner(workload: Workload, trials: Sequence[Trial], data: Splits, seed: int) -> Learner:
    model = build_model(workload, seed=seed)
    optimizers = [_optimizer(workload, trial, model) for trial in trials]
    example = next(_first_inputs(workload, data, seed, 1))
    limit = workload.stack_bytes
    return FusedLearner(
        model,
        optimizers,
        task=workload.task,
        device=workload.device,
        options=workload.options,
        example=example,
        max_stack=None if limit is None else max(1, limit // bytes_per_trial(model, optimizers[0], example)),
    )


def _optimizer(workload: Workload, trial: Trial, model: nn.Module) -> Optimizer:
    return trial.make_optimizer(parameter_groups(model, decay_norm_and_bias=workload.decay_norm_and_bias))


def _first_inputs(workload: Workload, data: Splits, seed: int, num_batches: int) -> Iterator[Tensor]:
    order = batch_order(seed=seed, num_train=len(data.train), batch_size=workload.batch_size, begin=0, end=num_batches)
    return (inputs for inputs, _ in islice(data.train.batches(order), num_batches))


def data_on(workload: Workload) -> Splits:
    """Return the data on the workload's device."""
    data, device = workload.data, workload.device
    return replace(data, train=data.train.to(device), validation=data.validation.to(device), test=data.test.to(device))


def build_model(workload: Workload, *, seed: int) -> nn.Module:
    """Build the module with the initial weights of this seed, on the workload's device.

    The weights are drawn on the CPU, so that they are the same on every device; those of lazy layers too, which take
    their shapes from the first batch.

    Raises:
        ValueError: the model is no module.
    """
    seed_generators(derived_seed("weights", seed))
    model = call_model(workload.make_model, input_shape=workload.input_shape, num_outputs=workload.num_outputs)
    if any(map(is_lazy, chain(model.parameters(), model.buffers()))):
        inputs = next(_first_inputs(workload, workload.data, seed, 1)).cpu()
        with torch.no_grad():
            model.eval()(inputs)
        model.train()
    return model.to(workload.device)


def call_model(make_model: Callable[..., nn.Module], *, input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    """Build a module, telling it the shape of the data only where it asks for it.

    Raises:
        ValueError: what was built is no module.
    """
    given = {"input_shape": input_shape, "num_outputs": num_outputs}
    wanted = inspect.signature(make_model).parameters
    model = make_model(**{name: value for name, value in given.items() if name in wanted})
    if not isinstance(model, nn.Module):
        raise ValueError(f"model._target_ must give a torch.nn.Module, got {type(model).__name__}")
    return model


def run_training(
    training: Training,
    *,
    checkpoints: Path | None = None,
    every_seconds: float = 30.0,
    stop_requested: Callable[[], bool] = lambda: False,
    before_checkpoint: Callable[[], None] = lambda: None,
) -> Iterator[Progress]:
    """Train, continuing from the newest checkpoint and saving one now and then.

    A checkpoint is saved only when the consumer asks for the next item, so it never claims an evaluation that the
    consumer has not dealt with.

    Args:
        training: freshly built.
        checkpoints: directory, or None to keep none.
        every_seconds: least time between two checkpoints, >= 0.
        stop_requested: asked after every item; True saves a checkpoint and ends the iteration.
        before_checkpoint: called before one is saved; what it refers to must be on the disk first.
    """
    environment = _environment()
    if checkpoints is not None:
        _resume(training, checkpoints, environment)
    saved_at = time.monotonic()
    for progress in training:
        yield progress
        stop = stop_requested()
        if checkpoints is not None and (stop or time.monotonic() - saved_at >= every_seconds):
            state = {"training": training.state_dict(), "environment": environment}
            before_checkpoint()
            save_checkpoint(checkpoints, training.step, state)
            saved_at = time.monotonic()
        if stop:
            return


def _resume(training: Training, checkpoints: Path, environment: dict[str, str]) -> None:
    beginning: dict[str, Any] = {}

    def load(saved: dict[str, Any]) -> None:
        beginning.update(beginning or deepcopy(training.state_dict()))
        try:
            made_with = saved["environment"]
            training.load_state_dict(saved["training"])
        except PART_ERRORS:
            training.load_state_dict(beginning)  # some of it may have been taken over
            raise
        if made_with != environment:
            warnings.warn(
                f"resuming with {environment}, the checkpoint was made with {made_with}; "
                "the result is not bit for bit that of an unbroken run",
                stacklevel=2,
            )

    load_checkpoint(checkpoints, device=torch.device("cpu"), load=load)


def _environment() -> dict[str, str]:
    """What bit-exactness depends on besides the config."""
    return {
        "torch": str(torch.__version__),  # its own class is not loadable with weights_only
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
