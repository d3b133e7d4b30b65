"""What can be known of a user's parts before the first step: a few examples through all of a training, and back.

A model that gives ten outputs for three classes, labels that begin at 1, a state that no checkpoint can keep: each is a
traceback of torch a while later, or a number that nobody should believe. Here each is one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrbench.checkpoints import pack, unpack
from lrbench.data import Split, Splits
from lrbench.schedules.factors import ScheduleError
from lrbench.spec import PART_ERRORS, Budget, Task, derived_seed, evaluation_steps
from lrbench.training.random_states import generator_states, load_generator_states
from lrbench.trials import Trial, Workload, build_learner, build_model

_EXAMPLES = 8  # as good as many, and soon done
_REHEARSED = 12  # evaluations shown to a closed-loop schedule
_CPU = torch.device("cpu")


def check_data(data: Splits, *, task: Task, input_shape: tuple[int, ...], num_outputs: int, num_train: int) -> None:
    """Compare what a dataset has loaded with what it says of itself.

    Args:
        data: as loaded; of streamed splits only the numbers of examples are looked at.
        task: of the dataset, like all that follows.
        input_shape: of one example.
        num_outputs: classes, or values to regress.
        num_train: training examples, from which the budget was made.

    Raises:
        ValueError: they differ.
    """
    if len(data.train) != num_train:
        raise ValueError(f"dataset.num_train says {num_train} training examples, load() gives {len(data.train)}")
    for name, split in [("train", data.train), ("validation", data.validation), ("test", data.test)]:
        if not len(split):
            raise ValueError(f"the {name} split of the dataset is empty")
        if isinstance(split, Split):
            _check_split(name, split, task, input_shape, num_outputs)


def _check_split(name: str, split: Split, task: Task, input_shape: tuple[int, ...], num_outputs: int) -> None:
    inputs, targets = split.inputs, split.targets
    shape = tuple(inputs.shape[1:])
    if len(inputs) != len(targets):
        raise ValueError(f"the {name} split has {len(inputs)} inputs and {len(targets)} targets")
    if shape != tuple(input_shape):
        raise ValueError(f"dataset.input_shape says {tuple(input_shape)}, the {name} split has inputs of shape {shape}")
    if inputs.is_floating_point() and inputs.dtype != torch.float32:
        raise ValueError(f"inputs must be float32, or int64 for tokens; the {name} split has {inputs.dtype}")
    if task is Task.OWN_LOSS:
        return
    if task is Task.REGRESSION:
        if targets.dtype != torch.float32:
            raise ValueError(f"targets of a regression must be float32, the {name} split has {targets.dtype}")
        return
    if targets.dtype != torch.int64:
        raise ValueError(f"targets that are classes must be int64, the {name} split has {targets.dtype}")
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_outputs:
        raise ValueError(
            f"classes must be numbered from 0 to {num_outputs - 1} (dataset.num_outputs={num_outputs}), the {name} "
            f"split has {low} to {high}; number them in load(), e.g. by torch.unique(targets, return_inverse=True)"
        )


def try_parts(workload: Workload, trial: Trial, *, seed: int) -> list[str]:
    """Take a model and its optimizer through one evaluation, one step and one checkpoint, on a few examples.

    Args:
        workload: with its data.
        trial: whose optimizer is used.
        seed: of the weights.

    Returns:
        What may be a mistake.

    Raises:
        ValueError: something does not fit; shapes are named.
    """
    inputs, targets = _examples(workload)
    with _explained("the model cannot be built"):
        model = build_model(workload, seed=seed)
    reseeds = torch.initial_seed() != derived_seed("weights", seed)
    _check_model(model)
    names = [name for name, _ in model.named_parameters()]
    for training in (True, False):
        with _explained(f"the model fails on a batch of shape {tuple(inputs.shape)}, {inputs.dtype}"), torch.no_grad():
            outputs = model.train(training)(inputs)
        _check_outputs(outputs, targets, workload)
    added = [name for name, _ in model.named_parameters() if name not in names]
    if added:
        raise ValueError(
            f"the model makes its parameter {added[0]} when it is first called, after the optimizer was given all "
            "there were: make it in __init__, from input_shape, or use torch's lazy layers"
        )
    warnings = []
    if reseeds or torch.initial_seed() != derived_seed("weights", seed):
        warnings.append(
            "the model seeds torch itself, so seeds of lrbench have no effect on what it draws and repeats are alike: "
            "take torch.manual_seed out of it"
        )
    if workload.task.has_classes and outputs.shape[1] > workload.num_outputs:
        warnings.append(
            f"the model gives {outputs.shape[1]} outputs for the {workload.num_outputs} classes of the dataset; "
            "num_outputs is passed to models that ask for it"
        )
    _take_a_step(workload, trial, (inputs, targets), seed)
    return warnings


def check_resumable(trial: Trial, *, budget: Budget, eval_every: float) -> None:
    """Stop and resume a closed-loop schedule in the middle of some evaluations that are made up.

    A schedule that fails on these losses may do well on real ones; that is left to the training.

    Raises:
        ValueError: its state cannot be kept in a checkpoint, or the resumed schedule goes another way.
    """
    rates = trial.rates(budget=budget, eval_every=eval_every)
    if not rates.closed_loop:
        return
    marks = [step for step in evaluation_steps(budget.total_steps, eval_every) if rates.warmup_steps < step]
    marks = [step for step in marks if step < budget.total_steps][:_REHEARSED]
    losses = np.exp(-np.arange(len(marks)) / 2) + 0.1 * (np.arange(len(marks)) % 3 == 2)
    shown = list(zip(marks, losses.tolist(), strict=True))
    where = f"scheduler={trial.name}: state"
    try:
        for step, loss in shown[: len(shown) // 2]:
            rates.observe(step, loss)
        random = generator_states(_CPU)
        with _explained(f"{where} cannot be copied"):
            state = rates.state_dict()
        packed = {**state, "scheduler": pack(state["scheduler"], where)}
        resumed = trial.rates(budget=budget, eval_every=eval_every)
        with _explained(f"{where} cannot be restored"):
            resumed.load_state_dict(unpack(packed))
        for table in (rates, resumed):
            load_generator_states(random, _CPU)
            for step, loss in shown[len(shown) // 2 :]:
                table.observe(step, loss)
    except ScheduleError:
        return
    other = np.flatnonzero(rates.lr != resumed.lr)
    if other.size:
        raise ValueError(
            f"scheduler={trial.name}: not all of its state is in state_dict(): interrupted and resumed, it gives the "
            f"rate {resumed.lr[other[0]]:g} at step {other[0]} where an unbroken run has {rates.lr[other[0]]:g}"
        )


def _examples(workload: Workload) -> tuple[Tensor, Tensor]:
    split = workload.data.train
    if not isinstance(split, Split):
        split = replace(split, num_workers=0)
    index = torch.arange(min(_EXAMPLES, workload.batch_size))
    if isinstance(split, Split) and not split.inputs.is_floating_point():
        # The largest number at each of the first positions, which may be beyond the end of a model's embedding.
        index = torch.cat([index, split.inputs.flatten(1)[:, :_EXAMPLES].argmax(dim=0).cpu()])
    ((inputs, targets),) = split.to(workload.device).batches([index])
    return inputs, targets


def _check_model(model: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"the model ({type(model).__name__}) has no parameters to train")
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    for dtype in dtypes - {torch.float32}:
        raise ValueError(
            f"the model has weights of {dtype}; they must be float32 (training.autocast=true computes in bfloat16)"
        )


def _check_outputs(outputs: object, targets: Tensor, workload: Workload) -> None:
    if not isinstance(outputs, Tensor):
        what = "nothing" if outputs is None else f"a {type(outputs).__name__}"
        raise ValueError(f"the model must give one tensor, the logits, and gives {what}")
    shape, wanted = tuple(outputs.shape), tuple(targets.shape)
    if workload.task is Task.OWN_LOSS:
        if shape != wanted[:1]:
            raise ValueError(f"the model gives outputs of shape {shape}; the loss of each example has {wanted[:1]}")
        return
    if workload.task is Task.REGRESSION:
        if shape != wanted:
            raise ValueError(f"the model gives outputs of shape {shape} for targets of shape {wanted}")
        return
    if len(shape) != len(wanted) + 1 or (shape[0], *shape[2:]) != wanted:
        expected = f"({', '.join(map(str, [wanted[0], 'classes', *wanted[1:]]))})"
        raise ValueError(
            f"the model gives outputs of shape {shape} for targets of shape {wanted}; they must have shape {expected}"
        )
    if shape[1] < workload.num_outputs:
        raise ValueError(
            f"the dataset has {workload.num_outputs} classes, the model gives {shape[1]} outputs; num_outputs is "
            "passed to models that ask for it"
        )


def _take_a_step(workload: Workload, trial: Trial, batch: tuple[Tensor, Tensor], seed: int) -> None:
    plain = replace(workload, options=replace(workload.options, compile=False))  # to compile takes a minute
    learner = build_learner(plain, [trial], workload.data, seed=seed, learner="sequential")
    lr = float(trial.make_optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"])
    with _explained("a step with this model and optimizer fails"):
        learner.advance([batch], [0], np.full((1, 1), lr), [None])
    state: dict[str, Any] = learner.state_dict()
    for part, name in [("models", "the model's state"), ("optimizers", "the optimizer's state")]:
        state[part] = [unpack(pack(state[part][0], name))]
    with _explained("the state of model and optimizer cannot be restored"):
        learner.load_state_dict(state)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what code of others raises into a sentence."""
    try:
        yield
    except PART_ERRORS as error:
        if isinstance(error, ValueError) and str(error).startswith(("model", "dataset", "optimizer", "scheduler")):
            raise
        raise ValueError(f"{what}: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
