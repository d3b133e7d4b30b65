"""The one training loop: from step to step, from evaluation to evaluation.

It is an iterator of `Progress`; trackers, progress bars, checkpoints and pruners consume it, and it knows none of
them. Between two evaluations it advances in chunks of about half a second, so that a consumer can react to a signal
or save a checkpoint in time. Nothing recorded depends on how the steps were cut into chunks.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrbench.data import Split, Splits, StreamedSplit
from lrbench.schedules.factors import ScheduleError
from lrbench.schedules.rates import Rates
from lrbench.spec import Evaluation, Task
from lrbench.training.learner import Batch, Learner, Metrics
from lrbench.training.order import augmentation_generator, batch_order

CHUNK_SECONDS = 0.5
RATES_PER_EVALUATION = 10  # points of the rate curve for the tracker, at most; the whole table is an artifact


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: updates completed.
        seconds: training time so far of each trial, evaluations excluded: trials that train together share the clock.
        evaluations: trial -> its evaluation, for the trials evaluated at this step; empty between evaluations.
        failures: trial -> the error that ended it at this step (a closed-loop schedule that gave an unusable rate).
    """

    step: int
    seconds: float
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    failures: dict[int, ScheduleError] = field(default_factory=dict)


class Training:
    """K trials of one workload and seed on their way through the budget; iterate it to train.

    `learner`, `rates`, `evaluate_at` and `stop_diverged` are those it was given. `state_dict()` between two items,
    given to `load_state_dict()` of a new Training with the same arguments, continues bit for bit on the same kind of
    CPU and number of threads.
    """

    def __init__(
        self,
        learner: Learner,
        rates: Sequence[Rates],
        data: Splits,
        *,
        task: Task,
        seed: int,
        batch_size: int,
        evaluate_at: Sequence[int],
        eval_batch_size: int,
        stop_diverged: bool = True,
        read_test: bool = True,
        averages: bool = False,
    ) -> None:
        """Prepare a training.

        Args:
            learner: holds the K trials.
            rates: one table a trial.
            data: on the learner's device.
            task: of the data.
            seed: fixes batch order and augmentation.
            batch_size: examples a step.
            evaluate_at: steps after which to evaluate, ascending, from 0 to the budget.
            eval_batch_size: examples a forward pass in evaluations.
            stop_diverged: end a trial at its first training or validation loss that is not finite.
            read_test: evaluate the test split, once, after the last step.
            averages: the learner evaluates averages of the weights; `last/...` are the last weights' on validation.
        """
        self.learner = learner
        self.rates = list(rates)
        self._data = data
        self._task = task
        self._seed = seed
        self._batch_size = batch_size
        self.evaluate_at = list(evaluate_at)
        self._eval_batch_size = eval_batch_size
        self.stop_diverged = stop_diverged
        self._read_test = read_test
        self._averages = averages
        self.total_steps = self.evaluate_at[-1]
        self.step = 0
        self.seconds = 0.0
        self.live = list(range(learner.num_trials))
        self._last_evaluated = -1
        self._losses = torch.empty(learner.num_trials, 0)  # since the last evaluation

    def __iter__(self) -> Iterator[Progress]:
        """Train; yields after every chunk and every evaluation, and ends when no trial is left or the budget is."""
        if self._last_evaluated < 0:
            yield self._evaluated()
        batches = self.train_batches()
        chunk = 1
        while self.live and self._last_evaluated < self.total_steps:
            stop_at = next(step for step in self.evaluate_at if step > self._last_evaluated)
            if self.step == stop_at:
                yield self._evaluated()
                continue
            num_steps = min(chunk, stop_at - self.step)
            seconds = self._advance(batches, num_steps)
            if seconds < CHUNK_SECONDS / 2 and num_steps == chunk:
                chunk *= 2
            elif seconds > CHUNK_SECONDS:
                chunk = max(1, chunk // 2)
            yield Progress(self.step, self.seconds, self.stop_nonfinite(num_steps))

    def end(self, k: int) -> None:
        """Take no further step with trial k; the consumer may call it between two items."""
        self.live.remove(k)

    def advance_to(self, step: int) -> Tensor:
        """Take the steps up to `step` without evaluating; return their losses, shape (num_trials, steps taken)."""
        self._losses = torch.empty(self.learner.num_trials, 0)
        self._advance(self.train_batches(), step - self.step)
        return self._losses

    def evaluate_as(self, trunk: "Training", losses: Tensor) -> Progress:
        """Be evaluated where `trunk` stands, which has taken the same steps; see lrbench.training.branches.

        Args:
            trunk: has the weights.
            losses: of the steps since this training's last evaluation, shape (num_trials, steps).
        """
        own, self.learner = self.learner, trunk.learner
        self.step, self.seconds, self._losses = trunk.step, trunk.seconds, losses
        try:
            stopped = self.stop_nonfinite(losses.shape[1])
            return Progress(self.step, self.seconds, stopped) if stopped else self._evaluated()
        finally:
            self.learner = own

    def branch_off(self, step: int, seconds: float, losses: Tensor, learner_state: dict[str, Any]) -> None:
        """Take over what another training had at `step`; the next item of an iterator follows from there.

        Args:
            step: updates completed.
            seconds: training time so far.
            losses: of the steps since this training's last evaluation.
            learner_state: of the other's learner at that step.
        """
        self.step, self.seconds, self._losses = step, seconds, losses
        self.learner.load_state_dict(learner_state)

    def _advance(self, batches: Iterator[Batch], num_steps: int) -> float:
        began = time.perf_counter()
        window = slice(self.step, self.step + num_steps)
        rates = [self.rates[k] for k in self.live]
        losses = self.learner.advance(
            islice(batches, num_steps),
            self.live,
            # One row a live trial, read after the last `observe`, so closed-loop rates are current.
            np.stack([r.lr[window] for r in rates]),
            [None if r.momentum is None else r.momentum[window] for r in rates],
        ).cpu()  # waits for the device: what follows the clock must be done
        seconds = time.perf_counter() - began
        chunk = torch.full((self.learner.num_trials, num_steps), math.nan)
        chunk[self.live] = losses
        self._losses = torch.cat([self._losses, chunk], dim=1)
        self.step += num_steps
        self.seconds += seconds / len(self.live)
        return seconds

    def stop_nonfinite(self, num_steps: int) -> dict[int, Evaluation]:
        """End the live trials with a non-finite loss in the last `num_steps`, at the step where it occurred."""
        if not self.stop_diverged or not num_steps:
            return {}
        stopped = {}
        for k in list(self.live):
            bad = torch.nonzero(~torch.isfinite(self._losses[k, -num_steps:]))
            if len(bad):
                step = self.step - num_steps + int(bad[0]) + 1
                stopped[k] = self._diverged(k, step)
                self.live.remove(k)
        return stopped

    def _diverged(self, k: int, step: int) -> Evaluation:
        splits = ["val", *(["test"] if self._read_test else []), *(["last"] if self._averages else [])]
        names = ["train/loss", *(f"{split}/{name}" for split in splits for name in self._task.metrics)]
        return Evaluation(step, self.seconds, dict.fromkeys(names, math.nan), self._rate_points(k, step))

    def _evaluated(self) -> Progress:
        """Evaluate every live trial, show closed-loop schedules what came out, and end those that diverged."""
        is_last = self.step == self.total_steps
        train = self._train_losses()
        validation = self.learner.evaluate(self._eval_batches(self._data.validation), self.live)
        test = (
            self.learner.evaluate(self._eval_batches(self._data.test), self.live) if is_last and self._read_test else {}
        )
        last = (
            self.learner.evaluate(self._eval_batches(self._data.validation), self.live, last=True)
            if self._averages
            else {}
        )
        evaluations: dict[int, Evaluation] = {}
        failures: dict[int, ScheduleError] = {}
        for k in list(self.live):
            metrics = {"train/loss": train[k], **self._named("val", validation[k])}
            if k in test:
                metrics |= self._named("test", test[k])
            if k in last:
                metrics |= self._named("last", last[k])
            evaluations[k] = Evaluation(self.step, self.seconds, metrics, self._rate_points(k, self.step))
            if self.stop_diverged and not math.isfinite(metrics["val/loss"]):
                evaluations[k] = self._diverged(k, self.step)
                self.live.remove(k)
                continue
            try:
                if not is_last:
                    self.rates[k].observe(self.step, metrics["val/loss"])
            except ScheduleError as error:
                failures[k] = error
                self.live.remove(k)
        self._last_evaluated = self.step
        self._losses = torch.empty(self.learner.num_trials, 0)
        return Progress(self.step, self.seconds, evaluations, failures)

    def _named(self, split: str, metrics: Metrics) -> dict[str, float]:
        scales = {"rmse": self._data.target_scale}
        return {f"{split}/{name}": value * scales.get(name, 1.0) for name, value in metrics.items()}

    def _train_losses(self) -> dict[int, float]:
        """Mean batch loss since the last evaluation; at step 0, the loss of the initial weights on the first batch."""
        if self._losses.shape[1]:
            return {k: self._losses[k].double().mean().item() for k in self.live}
        order = list(self._order(self.step, self.step + 1))
        first_batch = self.learner.evaluate(lambda: self._data.train.batches(order), self.live)
        return {k: metrics["loss"] for k, metrics in first_batch.items()}

    def _rate_points(self, k: int, step: int) -> list[tuple[int, float, float | None]]:
        return self.rates[k].points(max(self._last_evaluated, 0), step, at_most=RATES_PER_EVALUATION)

    def _order(self, begin: int, end: int) -> Iterator[Tensor]:
        return batch_order(
            seed=self._seed,
            num_train=len(self._data.train),
            batch_size=self._batch_size,
            begin=begin,
            end=end,
        )

    def train_batches(self) -> Iterator[Batch]:
        """The augmented batches of the steps from here to the end of the budget, on the learner's device."""
        batches = self._data.train.batches(self._order(self.step, self.total_steps))
        augment = self._data.augment
        if augment is None:
            return batches
        return (
            (augment(inputs, augmentation_generator(seed=self._seed, step=step)), targets)
            for step, (inputs, targets) in enumerate(batches, start=self.step)
        )

    def _eval_batches(self, split: Split | StreamedSplit) -> Callable[[], Iterable[Batch]]:
        def batches() -> Iterable[Batch]:
            return split.batches(torch.split(torch.arange(len(split)), self._eval_batch_size))

        return batches

    def state_dict(self) -> dict[str, Any]:
        """Return all that iterating changes, as plain values and tensors."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "live": list(self.live),
            "last_evaluated": self._last_evaluated,
            "losses": self._losses,
            "learner": self.learner.state_dict(),
            "rates": [rates.state_dict() for rates in self.rates],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned; the next item of a new iterator is the one that would have followed."""
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.live = list(state["live"])
        self._last_evaluated = state["last_evaluated"]
        self._losses = state["losses"]
        self.learner.load_state_dict(state["learner"])
        for rates, saved in zip(self.rates, state["rates"], strict=True):
            rates.load_state_dict(saved)
