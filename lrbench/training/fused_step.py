"""One step of stacked trials: losses, gradients and every trial's own update, eagerly or as one compiled graph."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrbench.spec import Task
from lrbench.training.evaluation import num_targets
from lrbench.training.learner import StepOptions
from lrbench.training.stacked_updates import Update
from lrbench.training.stacking import Forward

Named = dict[str, Tensor]
# (parameters, buffers, optimizer state, inputs, targets, coefficients of shape (num_coefficients, num_trials)) ->
# (losses of shape (num_trials,), buffers after the step); parameters and state are changed in place.
Step = Callable[[Named, Named, dict[str, Named], Tensor, Tensor, Tensor], tuple[Tensor, Named]]


def make_step(
    forward: Forward,
    updates: tuple[Update, ...],
    *,
    task: Task,
    options: StepOptions,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Step:
    """Build the step of a stack.

    If it runs out of memory before the updates (that is, anywhere but in them, when it is not compiled), nothing has
    changed but the random state.

    Args:
        forward: through all trials.
        updates: one a parameter group.
        task: decides the loss.
        options: see StepOptions.
        autocast: entered for the forward pass and the loss.
    """

    def step(
        parameters: Named,
        buffers: Named,
        state: dict[str, Named],
        inputs: Tensor,
        targets: Tensor,
        coefficients: Tensor,
    ) -> tuple[Tensor, Named]:
        with autocast():
            outputs, new_buffers = forward(parameters, buffers, inputs, True)
        losses, output_gradients = losses_and_gradients(task, outputs.detach(), targets, options.label_smoothing)
        trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        found = torch.autograd.grad(outputs, list(trained.values()), output_gradients, allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(trained, found, strict=True) if gradient is not None}
        with torch.no_grad():
            if options.grad_clip is not None:
                gradients = _clipped(gradients, options.grad_clip)
            first = 0
            for update in updates:
                last = first + update.num_coefficients
                update(parameters, gradients, state, coefficients[first:last])
                first = last
        return losses, new_buffers

    if not options.compile:
        return step
    # Compiling the model alone is slower than not compiling: what is to be saved are the many small operations of
    # the update. The random numbers must be those of the uncompiled step.
    compiled: Step = torch.compile(  # type: ignore[call-overload]  # torch's stubs lack isolate_recompiles
        step, fullgraph=True, isolate_recompiles=True, options={"fallback_random": True}
    )

    def compiled_step(*arguments: Any) -> tuple[Tensor, Named]:
        with torch._dynamo.config.patch(trace_autograd_ops=True):
            return compiled(*arguments)

    return compiled_step


def losses_and_gradients(task: Task, outputs: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Mean loss of each trial, and its derivative with respect to the outputs.

    Written out, because autograd takes a third of the whole step of a small model for it: the derivative of the cross
    entropy is softmax minus target distribution, and a trial's loss depends on no other trial's outputs.

    Args:
        task: decides the loss.
        outputs: detached, shape (num_trials, batch, num_outputs), (num_trials, batch, num_classes, *tokens), or losses
            of the model's own, (num_trials, batch).
        targets: shape (batch,), (batch, *tokens) or (batch, num_outputs).
        label_smoothing: in [0, 1); for classification.

    Returns:
        Shapes (num_trials,) and that of outputs.
    """
    values = outputs.float()
    count = num_targets(task, targets)
    if task is Task.OWN_LOSS:
        return values.mean(dim=1), torch.full_like(outputs, 1 / count)
    if task is Task.REGRESSION:
        residuals = values - targets
        losses = residuals.square().flatten(1).sum(dim=1) / (2 * count)
        return losses, (residuals / count).to(outputs.dtype)
    num_classes = values.shape[2]
    log_softmax = torch.log_softmax(values, dim=2)
    losses = -_of_targets(log_softmax, targets).flatten(1).mean(dim=1)
    distribution = F.one_hot(targets, num_classes).movedim(-1, 1).to(values.dtype)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_softmax.flatten(1).mean(dim=1)
        distribution = (1 - label_smoothing) * distribution + label_smoothing / num_classes
    gradients = log_softmax.exp_().sub_(distribution).mul_(1 / count)
    return losses, gradients.to(outputs.dtype)


def summed_losses(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over examples and their tokens, so that batches of unequal size average right; shape (num_trials,)."""
    if task is Task.OWN_LOSS:
        return outputs.sum(dim=1)
    if task is Task.REGRESSION:
        return 0.5 * (outputs - targets).square().flatten(1).sum(dim=1)
    return -_of_targets(torch.log_softmax(outputs, dim=2), targets).flatten(1).sum(dim=1)


def _of_targets(values: Tensor, targets: Tensor) -> Tensor:
    """Pick the target's value in shape (num_trials, batch, num_classes, *tokens); that shape without the classes."""
    index = targets.unsqueeze(1)
    return values.gather(2, index.expand(len(values), *index.shape)).squeeze(2)


def _clipped(gradients: Named, largest_norm: float) -> Named:
    """Scale each trial's gradient as nn.utils.clip_grad_norm_ would."""
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()])
    factor = (largest_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    return {name: g * factor.view(-1, *[1] * (g.ndim - 1)) for name, g in gradients.items()}
