"""What an evaluation measures, summed over its batches; the same for one module and for a stack of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lrbench.spec import Task


class EvaluationSums:
    """Sums over the examples of a split, of one or several trials."""

    def __init__(self, task: Task, *, num_trials: int, device: torch.device) -> None:
        """Begin at nothing.

        Args:
            task: decides what is measured.
            num_trials: rows of what is added.
            device: of it.
        """
        self._task = task
        self._count = 0
        self._loss = torch.zeros(num_trials, device=device, dtype=torch.float64)
        # Right ones by class and trial, and targets by class; or sums of targets and of their squares by output.
        self._hits = torch.zeros(0, num_trials, device=device, dtype=torch.float64)
        self._of_targets = torch.zeros(0, device=device, dtype=torch.float64)
        self._num_outputs = 1

    def add(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch.

        Args:
            losses: summed over it, shape (num_trials,).
            outputs: shape (num_trials, batch, ...), as `losses_and_gradients` has them.
            targets: shape (batch, ...).
        """
        self._loss += losses
        self._count += num_targets(self._task, targets)
        if self._task.has_classes:
            num_classes = outputs.shape[2]
            right = (outputs.argmax(dim=2) == targets).flatten(1).T.double()
            classes = targets.flatten()
            if not len(self._hits):
                self._hits = self._hits.new_zeros(num_classes, right.shape[1])
                self._of_targets = self._hits.new_zeros(num_classes)
            self._hits.index_add_(0, classes, right)
            self._of_targets.index_add_(0, classes, self._of_targets.new_ones(()).expand(len(classes)))
        elif self._task is Task.REGRESSION:
            values = targets.double().flatten(1)
            self._num_outputs = values.shape[1]
            moments = torch.stack([values.sum(dim=0), values.square().sum(dim=0)])
            self._of_targets = moments + (self._of_targets if len(self._of_targets) else 0)

    def means(self) -> Tensor:
        """Return `Task.metrics` in their order, shape (num_metrics, num_trials), float64."""
        loss = self._loss / self._count
        if self._task is Task.OWN_LOSS:
            return loss[None]
        if self._task is Task.REGRESSION:
            sums, squares = self._of_targets
            total = (squares - sums.square() / self._count).sum()
            residual = 2 * self._loss
            # As scikit-learn: targets that are all alike are explained wholly or not at all.
            explained = torch.where(total > 0, 1 - residual / total, (residual == 0).double())
            return torch.stack([loss, (residual / (self._count * self._num_outputs)).sqrt(), explained])
        accuracy = self._hits.sum(dim=0) / self._count
        if self._task is Task.TOKENS:
            return torch.stack([loss, accuracy, loss.exp()])
        recalls = self._hits / self._of_targets.clamp(min=1)[:, None]
        return torch.stack([loss, accuracy, recalls.sum(dim=0) / (self._of_targets > 0).sum()])


def as_metrics(task: Task, means: Sequence[float]) -> dict[str, float]:
    """Name one trial's metrics.

    A loss that is not finite makes all NaN: NaN logits have argmax 0, so the accuracy of a diverged trial would
    otherwise be the share of class 0.
    """
    if not math.isfinite(means[0]):
        return dict.fromkeys(task.metrics, math.nan)
    return dict(zip(task.metrics, means, strict=True))


def num_targets(task: Task, targets: Tensor) -> int:
    """What losses and accuracies are means over: examples, or the tokens of all of them where each has a class."""
    return targets.numel() if task.has_classes else len(targets)
