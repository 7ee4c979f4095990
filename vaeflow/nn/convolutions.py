"""Layers of image networks of any size: convolutions that halve and double, gates, residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.nn.mlp import Activation, activation

Size = tuple[int, int]  # height, width
Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


def halvings(size: Size, times: int) -> list[Size]:
    """Return a size and its successive halves, rounded up: 28×20, 14×10, 7×5, 4×3, 2×2, 1×1."""
    sizes = [size]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of an image, or halves it (rounded up) at stride 2.

    Raises:
        ConfigError: if the kernel's size is even or 1.
    """
    return nn.Conv2d(n_in, n_out, kernel, stride, _margin(kernel))


def upconvolution(n_in: int, n_out: int, kernel: int, size: Size) -> nn.ConvTranspose2d:
    """Return a transposed convolution of stride 2 from the half of `size`, rounded up, to `size`.

    Raises:
        ConfigError: if the kernel's size is even or 1.
    """
    # It makes 2·⌈n/2⌉ − 1 pixels, one less than an even n.
    more = (1 - size[0] % 2, 1 - size[1] % 2)
    return nn.ConvTranspose2d(n_in, n_out, kernel, 2, _margin(kernel), output_padding=more)


def _margin(kernel: int) -> int:
    # An even kernel has no middle; one of a single pixel would pass over pixels at stride 2.
    if kernel < 3 or kernel % 2 == 0:
        raise ConfigError(
            f"the option kernel is {kernel}, but must be odd and at least 3: take "
            f"{max(3, kernel + 1)}"
        )
    return kernel // 2


class Gated(nn.Module):
    r"""A layer h with a gate made by another like it.

    .. math:: y = h(x) ⊙ \mathrm{sigmoid}(g(x))

    (Dauphin et al. 2017, eq. 1.)

    Arguments:
        layer: makes a layer, called once for h and once for g.
    """

    def __init__(self, layer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.h = layer()
        self.g = layer()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.h(x) * torch.sigmoid(self.g(x))
        return y


class Residual(nn.Module):
    """A residual block with its activations first: x ↦ skip(x) + last(act(first(act(x)))).

    The last convolution starts at 0, so that a deep network starts as its skips and needs no
    normalization over the batch (He et al. 2016b, figure 4e; Zhang et al. 2019).

    Arguments:
        first: the convolution, which may change the size and the number of channels.
        skip: the layer beside it, which changes both in the same way.
        act: the activation's name.
    """

    def __init__(
        self, first: nn.Conv2d | nn.ConvTranspose2d, skip: nn.Module, act: Activation
    ) -> None:
        super().__init__()
        last = convolution(first.out_channels, first.out_channels, first.kernel_size[0])
        nn.init.zeros_(last.weight)
        self.skip = skip
        self.layers = nn.Sequential(activation(act), first, activation(act), last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.skip(x) + self.layers(x)
        return y


def keep(n: int, kernel: int, act: Activation) -> Residual:
    """Return a residual block that keeps the size and the number of channels."""
    return Residual(convolution(n, n, kernel), nn.Identity(), act)


def halve(n_in: int, n_out: int, kernel: int, act: Activation) -> Residual:
    """Return a residual block that halves the size, rounded up; its skip averages pixels."""
    skip = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(n_in, n_out, 1))
    return Residual(convolution(n_in, n_out, kernel, stride=2), skip, act)


def double(n_in: int, n_out: int, kernel: int, size: Size, act: Activation) -> Residual:
    """Return a residual block from the half of `size`, rounded up, to `size`."""
    skip = nn.Sequential(nn.Conv2d(n_in, n_out, 1), nn.Upsample(size))
    return Residual(upconvolution(n_in, n_out, kernel, size), skip, act)
