"""Datasets: tensors in three splits. Importing this package imports neither torch nor any decoder."""

from lrbench.data.arrays import Arrays
from lrbench.data.digits import Digits
from lrbench.data.image_folder import ImageFolder
from lrbench.data.lines import Lines
from lrbench.data.mnist1d import Mnist1d
from lrbench.data.own_loop import OwnLoop
from lrbench.data.splits import Augmentation, Dataset, Split, Splits, StreamedSplit
from lrbench.data.synthetic import LinearRegression, NoisyQuadratic
from lrbench.data.table import Table
from lrbench.data.text import Text
from lrbench.data.torchvision_images import Cifar10, Cifar100, FashionMnist, Kmnist, Mnist, Svhn
from lrbench.data.triples import Triples

__all__ = [
    "Arrays",
    "Augmentation",
    "Cifar10",
    "Cifar100",
    "Dataset",
    "Digits",
    "FashionMnist",
    "ImageFolder",
    "Kmnist",
    "LinearRegression",
    "Lines",
    "Mnist",
    "Mnist1d",
    "NoisyQuadratic",
    "OwnLoop",
    "Split",
    "Splits",
    "StreamedSplit",
    "Svhn",
    "Table",
    "Text",
    "Triples",
]
