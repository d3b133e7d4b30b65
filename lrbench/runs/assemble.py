"""From a plan to trials and workloads: where the config edge meets the core."""

import torch

from lrbench.config import Plan
from lrbench.data import Splits
from lrbench.spec import steps_of
from lrbench.training import Averaging, StepOptions
from lrbench.trials import Trial, Workload


def trial_of(plan: Plan) -> Trial:
    """Build the hyperparameter point of a plan."""
    return Trial(
        name=plan.values["scheduler"]["name"],
        schedule=plan.schedule,
        make_optimizer=plan.make_optimizer,
        warmup=plan.warmup,
    )


def workload_of(plan: Plan, data: Splits, device: torch.device) -> Workload:
    """Build what every trial of a plan's comparison shares."""
    training = plan.values["training"]
    options = ("label_smoothing", "grad_clip", "autocast", "compile", "channels_last", "accumulation")
    return Workload(
        data=data,
        task=plan.task,
        make_model=plan.make_model,
        input_shape=plan.dataset.input_shape,
        num_outputs=plan.dataset.num_outputs,
        budget=plan.budget,
        batch_size=training["batch_size"],
        eval_every=plan.values["budget"]["eval_every"],
        eval_batch_size=training["eval_batch_size"],
        device=device,
        decay_norm_and_bias=plan.values["optimizer"]["decay_norm_and_bias"],
        options=StepOptions(**{name: training[name] for name in options}, averaging=_averaging(plan)),
        stop_diverged=training["stop_diverged"],
        stack_bytes=round(training["stack_gib"] * 2**30),
    )


def _averaging(plan: Plan) -> Averaging | None:
    training, total_steps = plan.values["training"], plan.budget.total_steps
    if training["average"] == "none":
        return None
    num_steps = steps_of(training["average_fraction"], total_steps, at_least=1)
    return Averaging(training["average"], num_steps, total_steps)
