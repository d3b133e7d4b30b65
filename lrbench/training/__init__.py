"""Training: one loop over a learner; it knows tensors and rates, and none of its consumers."""

from lrbench.training.averaging import Averaging
from lrbench.training.branches import common_steps, train_branches
from lrbench.training.fused import FusedLearner
from lrbench.training.learner import Learner, SequentialLearner, StepOptions
from lrbench.training.loop import Progress, Training
from lrbench.training.memory import bytes_per_trial
from lrbench.training.order import batch_order
from lrbench.training.stacking import NotStackableError

__all__ = [
    "Averaging",
    "FusedLearner",
    "Learner",
    "NotStackableError",
    "Progress",
    "SequentialLearner",
    "StepOptions",
    "Training",
    "batch_order",
    "bytes_per_trial",
    "common_steps",
    "train_branches",
]
