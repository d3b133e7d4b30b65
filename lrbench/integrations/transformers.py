"""Hugging Face's Trainer in `lrbench.compare`.

def train(lr, total_steps, seed):
rates = Rates(lr)
arguments = TrainingArguments("out", max_steps=total_steps, seed=seed, eval_strategy="steps", eval_steps=10,
eval_on_start=True, lr_scheduler_type="constant")
Trainer(model_of(seed), arguments, train_dataset=..., eval_dataset=..., callbacks=[rates]).train()
return rates.evaluations
"""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback


class Rates(TrainerCallback):  # type: ignore[misc]  # transformers has no types here
    """Set the rate of every update, and keep what the evaluations found.

    Args:
        lr: what `train` was called with.

    Attributes:
        evaluations: (updates completed, metrics), what `train` returns; `eval_loss` is `val/loss`.
    """

    def __init__(self, lr: Callable[[int], float]) -> None:
        self._lr = lr
        self.evaluations: list[tuple[int, dict[str, float]]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Set the rate of the update that comes, after the Trainer's own scheduler."""
        for group in known["optimizer"].param_groups:
            group["lr"] = self._lr(state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **known: Any) -> None:
        """Keep the metrics under our names."""
        measured = {
            f"val/{name.removeprefix('eval_')}": float(value)
            for name, value in metrics.items()
            if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second", "_time"))
        }
        if not self.evaluations or self.evaluations[-1][0] < state.global_step:
            self.evaluations.append((state.global_step, measured))
