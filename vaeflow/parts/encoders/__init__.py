"""Built-in encoders, one file per family."""

from vaeflow.parts.encoders.conv import Conv
from vaeflow.parts.encoders.gated_conv import GatedConv
from vaeflow.parts.encoders.mlp import MLP
from vaeflow.parts.encoders.resnet import ResNet

__all__ = [
    "MLP",
    "Conv",
    "GatedConv",
    "ResNet",
]
