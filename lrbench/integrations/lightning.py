"""Lightning's Trainer in `lrbench.compare`.

def train(lr, total_steps, seed):
lightning.seed_everything(seed)
rates = Rates(lr, metrics={"val_loss": "val/loss"})
trainer = lightning.Trainer(max_steps=total_steps, val_check_interval=10, callbacks=[rates])
trainer.fit(Classifier(), train_batches, validation_batches)
return rates.evaluations
"""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback


class Rates(Callback):  # type: ignore[misc]  # Lightning has no types here
    """Set the rate of every update, and keep what validation logged.

    The module's `configure_optimizers` returns an optimizer without a scheduler.

    Args:
        lr: what `train` was called with.
        metrics: the names that the module logs -> ours, `val/loss` among them.

    Attributes:
        evaluations: (updates completed, metrics), what `train` returns.
    """

    def __init__(self, lr: Callable[[int], float], *, metrics: Mapping[str, str]) -> None:
        self._lr = lr
        self._metrics = metrics
        self.evaluations: list[tuple[int, dict[str, float]]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Set the rate of the update that comes."""
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._lr(trainer.global_step)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Keep the metrics, those of the check before the training as step 0."""
        logged = trainer.callback_metrics
        found = {ours: float(logged[theirs]) for theirs, ours in self._metrics.items() if theirs in logged}
        if found and (not self.evaluations or self.evaluations[-1][0] < trainer.global_step):
            self.evaluations.append((trainer.global_step, found))
