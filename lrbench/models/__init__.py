"""Models: one class a file in `conf/model`; hyperparameters are keyword-only and have their defaults there.

The harness passes `input_shape` (of one example, channels first, without the batch) and `num_outputs`
(classes, or values to regress); a class refuses inputs it cannot take when it is constructed. Initial weights
come from torch's global random stream only, so a seed set before construction fixes them.
"""

from lrbench.models.convnets import CNN, CNN1d, LeNet
from lrbench.models.linear import Diagonal, Linear, Logistic
from lrbench.models.mlp import MLP
from lrbench.models.resnet import CifarResNet
from lrbench.models.sequence import GRU, TCN, TextCNN
from lrbench.models.tabular import TabularMLP
from lrbench.models.tokens import GRULM, CharMLP, DistMult
from lrbench.models.torchvision_zoo import TorchvisionClassifier
from lrbench.models.transformer import GPT, ViT

__all__ = [
    "CNN",
    "GPT",
    "GRU",
    "GRULM",
    "MLP",
    "TCN",
    "CNN1d",
    "CharMLP",
    "CifarResNet",
    "Diagonal",
    "DistMult",
    "LeNet",
    "Linear",
    "Logistic",
    "TabularMLP",
    "TextCNN",
    "TorchvisionClassifier",
    "ViT",
]
