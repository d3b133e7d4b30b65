"""Optimizers: a factory for each file in `conf/optimizer`, what they update, and the weights to evaluate.

Importing this package does not import torch, so that a config can be checked against the factories'
signatures without paying for the import.
"""

from lrbench.optimizers.evaluation import evaluation_weights
from lrbench.optimizers.groups import parameter_groups
from lrbench.optimizers.schedule_free import schedule_free_adamw, schedule_free_sgd
from lrbench.optimizers.self_tuning import prodigy
from lrbench.optimizers.torch_optimizers import adam, adamw, rmsprop, sgd

__all__ = [
    "adam",
    "adamw",
    "evaluation_weights",
    "parameter_groups",
    "prodigy",
    "rmsprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
]
