"""Built-in decoders, one file per family."""

from vaeflow.parts.decoders.conv import Conv
from vaeflow.parts.decoders.gated_conv import GatedConv
from vaeflow.parts.decoders.mlp import MLP
from vaeflow.parts.decoders.resnet import ResNet

__all__ = [
    "MLP",
    "Conv",
    "GatedConv",
    "ResNet",
]
