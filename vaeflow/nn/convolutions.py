"""Layers of networks on grids of any size: convolutions that halve and double, gates, residuals.

A grid has one, two or three axes: the times of a signal, the pixels of a picture, the voxels of a
volume. Tensors are (B, channels, *size).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.nn.mlp import Activation, activation

Dimensions = Annotated[int, Field(ge=1, le=3)]  # axes of a grid: a signal, a picture, a volume
Size = tuple[int, ...]  # of a grid: times, or height and width, or depth, height and width
Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d

# Of one, two and three axes.
CONVOLUTIONS: Sequence[Callable[..., Convolution]] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: Sequence[Callable[..., Transposed]] = (
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_POOLS: Sequence[Callable[..., nn.Module]] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


def channels_and_size(shape: tuple[int, ...], dimensions: int) -> tuple[int, Size]:
    """Return the channels and the size of a grid (…, *size): all axes before it are channels.

    Raises:
        ConfigError: if the shape has fewer axes, or the grid none or more than three.
    """
    if not 1 <= dimensions <= min(3, len(shape)):
        raise ConfigError(
            f"convolutions over {dimensions} axes cannot take the shape {shape}: give dimensions "
            "1, 2 or 3, at most its axes, or take --encoder mlp and --decoder mlp"
        )
    return prod(shape[:-dimensions]), shape[-dimensions:]


def halvings(size: Size, times: int) -> list[Size]:
    """Return a size and its successive halves, rounded up: 28×20, 14×10, 7×5, 4×3, 2×2, 1×1."""
    sizes = [size]
    for _ in range(times):
        sizes.append(tuple((n + 1) // 2 for n in sizes[-1]))
    return sizes


def convolution(
    n_in: int, n_out: int, kernel: int, stride: int = 1, *, dimensions: int = 2
) -> Convolution:
    """Return a convolution that keeps the size of a grid, or halves it (rounded up) at stride 2.

    Raises:
        ConfigError: if the kernel's size is even or 1.
    """
    return CONVOLUTIONS[dimensions - 1](n_in, n_out, kernel, stride, _margin(kernel))


def upconvolution(n_in: int, n_out: int, kernel: int, size: Size) -> Transposed:
    """Return a transposed convolution of stride 2 from the half of `size`, rounded up, to `size`.

    Raises:
        ConfigError: if the kernel's size is even or 1.
    """
    # It makes 2·⌈n/2⌉ − 1 pixels, one less than an even n.
    more = tuple(1 - n % 2 for n in size)
    layer = TRANSPOSED[len(size) - 1]
    return layer(n_in, n_out, kernel, 2, _margin(kernel), output_padding=more)


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

    def __init__(self, first: Convolution | Transposed, skip: nn.Module, act: Activation) -> None:
        super().__init__()
        n, kernel = first.out_channels, first.kernel_size
        last = convolution(n, n, kernel[0], dimensions=len(kernel))
        nn.init.zeros_(last.weight)
        self.skip = skip
        self.layers = nn.Sequential(activation(act), first, activation(act), last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.skip(x) + self.layers(x)
        return y


def keep(n: int, kernel: int, act: Activation, *, dimensions: int = 2) -> Residual:
    """Return a residual block that keeps the size and the number of channels."""
    return Residual(convolution(n, n, kernel, dimensions=dimensions), nn.Identity(), act)


def halve(n_in: int, n_out: int, kernel: int, size: Size, act: Activation) -> Residual:
    """Return a residual block that halves `size`, rounded up; its skip averages pixels."""
    dims = len(size)
    pool = _POOLS[dims - 1](tuple(min(2, n) for n in size), ceil_mode=True)
    skip = nn.Sequential(pool, CONVOLUTIONS[dims - 1](n_in, n_out, 1))
    return Residual(convolution(n_in, n_out, kernel, 2, dimensions=dims), skip, act)


def double(n_in: int, n_out: int, kernel: int, size: Size, act: Activation) -> Residual:
    """Return a residual block from the half of `size`, rounded up, to `size`."""
    skip = nn.Sequential(CONVOLUTIONS[len(size) - 1](n_in, n_out, 1), nn.Upsample(size))
    return Residual(upconvolution(n_in, n_out, kernel, size), skip, act)
