"""Layers that several families of parts share: perceptrons, masked layers, flows' parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

from torch import nn

Activation = Literal[
    "relu", "tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "leaky-relu", "identity"
]
Init = Literal["torch", "glorot", "truncated-normal"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "leaky-relu": nn.LeakyReLU,
    "identity": nn.Identity,
}
assert set(_ACTIVATIONS) == set(get_args(Activation))


def activation(name: Activation) -> nn.Module:
    """Return a new activation module by name."""
    return _ACTIVATIONS[name]()


def mlp(sizes: Sequence[int], act: Activation, *, last: bool) -> nn.Sequential:
    """Return Linear layers of the given sizes with `act` between them, and at the end if `last`."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(n_in, n_out))
        if last or i < len(sizes) - 2:
            layers.append(activation(act))
    return nn.Sequential(*layers)


_CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip


def initialize(module: nn.Module, init: Init) -> None:
    """Re-draw the weights of every linear and convolutional layer below `module`.

    torch: leave torch's default, U(±1/√n_in). glorot: U(±√(6/(n_in + n_out))), biases 0 (Glorot &
    Bengio 2010, eq. 16). truncated-normal: N(0, 0.1²) cut at two standard deviations, biases 0.1.
    """
    if init == "torch":
        return
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
            continue
        if init == "glorot":
            nn.init.xavier_uniform_(layer.weight)
        else:
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 0.0 if init == "glorot" else 0.1)
