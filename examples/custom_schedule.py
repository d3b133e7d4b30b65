r"""Two schedules of your own: a pure function, and a class in torch's convention.

In the folder of the module:

    lrbench preview scheduler=own/custom scheduler._target_=custom_schedule.saw +scheduler.num_teeth=4 \
        trusted_modules=[custom_schedule]
    lrbench scheduler=own/custom scheduler._target_=custom_schedule.HalfwayLR +scheduler.gamma=0.1 \
        trusted_modules=[custom_schedule] scheduler.name=halfway
"""

from torch.optim.lr_scheduler import LRScheduler


def saw(step, total_steps, *, num_teeth: int = 3):
    """Fall from 1 to 0 in every tooth: a pure function of the step that gives the multiple of the base rate.

    `step` may be a number or a numpy array of all steps.
    """
    return 1 - (step * num_teeth / total_steps) % 1


class HalfwayLR(LRScheduler):
    """Multiply the rate by gamma at half of the budget: torch's convention, `optimizer` first.

    `total_steps` is passed because the signature asks for it, so that the schedule stretches with the budget.
    """

    def __init__(self, optimizer, total_steps: int, gamma: float = 0.1, last_epoch: int = -1):
        self.total_steps, self.gamma = total_steps, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """Return the rate of every parameter group for the update `last_epoch`."""
        late = 2 * self.last_epoch >= self.total_steps
        return [rate * (self.gamma if late else 1) for rate in self.base_lrs]
