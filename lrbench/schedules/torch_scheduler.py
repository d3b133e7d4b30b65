"""A schedule as a torch scheduler for somebody's own loop: the same table of rates that lrbench trains with."""

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrbench.schedules.rates import Schedule, make_rates
from lrbench.schedules.warmup import Warmup


class TableLR(LRScheduler):
    """Rates from a table; after its end the last one stays.

    Args:
        optimizer: the `lr` of each parameter group is the rate that `factors` multiply.
        factors: shape (total_steps,); entry t is for update t, zero-based.
        momentum: shape (total_steps,), or None to leave it alone.
        last_epoch: updates completed - 1; -1 for a fresh start.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factors: NDArray[np.float64],
        momentum: NDArray[np.float64] | None = None,
        last_epoch: int = -1,
    ) -> None:
        self._factors = factors.tolist()
        self._momentum = None if momentum is None else momentum.tolist()
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Rates of the next update, one a parameter group; sets its momentum too."""
        step = min(self.last_epoch, len(self._factors) - 1)
        if self._momentum is not None:
            for group in self.optimizer.param_groups:
                if "momentum" in group:
                    group["momentum"] = self._momentum[step]
                else:
                    group["betas"] = (self._momentum[step], *group["betas"][1:])
        return [base_lr * self._factors[step] for base_lr in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the table, which is made anew from the same arguments."""
        return {name: value for name, value in super().state_dict().items() if name not in ("_factors", "_momentum")}


def torch_scheduler(
    schedule: Schedule,
    optimizer: Optimizer,
    *,
    total_steps: int,
    num_evaluations: int,
    warmup: Warmup | None = None,
    name: str = "schedule",
) -> Any:
    """Make a torch scheduler of a schedule; see `make_rates` for the arguments.

    Returns:
        A `TableLR`; for a closed-loop schedule torch's own kind, whose `step` takes the validation loss.

    Raises:
        ValueError: see `make_rates`, or a closed-loop schedule has a warmup.
    """
    defaults = {**optimizer.defaults, "lr": optimizer.param_groups[0]["lr"]}

    def stand_in(params: Iterable[Any]) -> Optimizer:
        return type(optimizer)(params, **defaults)

    rates = make_rates(
        schedule, stand_in, total_steps=total_steps, num_evaluations=num_evaluations, warmup=warmup, name=name
    )
    if not rates.closed_loop:
        return TableLR(optimizer, rates.lr / defaults["lr"], rates.momentum)
    if warmup is not None:
        raise ValueError(f"scheduler={name} follows the validation loss and takes no warmup here; warm up by yourself")
    known = {"total_steps": total_steps, "num_evaluations": num_evaluations}
    wanted = inspect.signature(schedule).parameters
    return schedule(optimizer, **{key: value for key, value in known.items() if key in wanted})
