"""Models: one class a file in `conf/model`; hyperparameters are keyword-only and have their defaults there.

The harness passes `input_shape` (of one example, channels first, without the batch) and `num_outputs`
(classes, or values to regress); a class refuses inputs it cannot take when it is constructed. Initial weights
come from torch's global random stream only, so a seed set before construction fixes them.
"""

from lrbench.models.convnets import CNN, CNN1d, LeNet
from lrbench.models.linear import Diagonal, Linear, Logistic
from lrbench.models.mlp import MLP
from lrbench.models.resnet import ResNet20
from lrbench.models.sequence import GRU
from lrbench.models.torchvision_zoo import TorchvisionClassifier

__all__ = [
    "CNN",
    "GRU",
    "MLP",
    "CNN1d",
    "Diagonal",
    "LeNet",
    "Linear",
    "Logistic",
    "ResNet20",
    "TorchvisionClassifier",
]
