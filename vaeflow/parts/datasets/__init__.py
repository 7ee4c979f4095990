"""Built-in data sets, one file per family."""

from vaeflow.parts.datasets.binarized_mnist import BinarizedMNIST
from vaeflow.parts.datasets.caltech101_silhouettes import Caltech101Silhouettes
from vaeflow.parts.datasets.digits import Digits
from vaeflow.parts.datasets.energies import Energies
from vaeflow.parts.datasets.file import File
from vaeflow.parts.datasets.freyfaces import FreyFaces
from vaeflow.parts.datasets.given import Given
from vaeflow.parts.datasets.images import Images
from vaeflow.parts.datasets.mnist import KMNIST, MNIST, FashionMNIST
from vaeflow.parts.datasets.omniglot import Omniglot
from vaeflow.parts.datasets.table import Table

__all__ = [
    "KMNIST",
    "MNIST",
    "BinarizedMNIST",
    "Caltech101Silhouettes",
    "Digits",
    "Energies",
    "FashionMNIST",
    "File",
    "FreyFaces",
    "Given",
    "Images",
    "Omniglot",
    "Table",
]
