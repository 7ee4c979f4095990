"""Checks of the networks: encoder and decoder.

A network may refuse a data shape by ConfigError, as a convolution refuses a vector; it is checked
on the shapes that it takes. In training it may mix the rows of a batch, such as by normalization;
in evaluation it treats each row by itself. Shapes: K samples, B batch, F features, L latent size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vaeflow.parts.abstract import Decoder
from vaeflow.testing.probes import (
    accepted,
    close,
    far_from_start,
    finite,
    keeps_to_itself,
    learns,
    normal,
    options_of,
    reloaded,
)
from vaeflow.testing.registered import MakePart, register

_SHAPES: list[tuple[int, ...]] = [(5,), (4, 4), (1, 8, 8), (3, 8, 8), (1, 28, 28)]
_LATENT = 4


def _decodes(part: MakePart) -> bool:
    whole = options_of(part)
    return isinstance(whole, type) and issubclass(whole, Decoder)


def networks(
    part: MakePart,
    dtype: torch.dtype = torch.float64,
    shapes: Sequence[tuple[int, ...]] = (),
    scale: float | None = 0.5,
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the network of each size that it takes, with its constructor's arguments.

    Its parameters are far from the start by `scale`, if it is not None.
    """
    sizes: list[tuple[Any, ...]] = [(shape,) for shape in shapes or _SHAPES]
    if _decodes(part):
        sizes = [(_LATENT, shape) for shape in shapes or [*_SHAPES, (2, 1, 8, 8)]]
    for size, module in accepted(part, sizes):
        made = module.to(dtype).eval()
        yield size, made if scale is None else far_from_start(made, scale)


def inputs(size: tuple[Any, ...], batch: int = 3, seed: int = 0) -> Tensor:
    """Return z (2, B, L) for a decoder, x (B, *data_shape) in [0, 1] for an encoder."""
    if len(size) == 2:
        return normal(2, batch, size[0], seed=seed)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, *size[0], generator=generator, dtype=torch.float64)


@register("encoder", core=True)
def encodes_to_its_features(part: MakePart) -> None:
    """(B, *data_shape) becomes (B, F) for F = `features`, for batches of 0, 1 and 3."""
    for size, module in networks(part):
        for batch in (0, 1, 3):
            seen, wanted = tuple(module(inputs(size, batch)).shape), (batch, module.features)
            assert seen == wanted, f"the features of {(batch, *size[0])} are {seen}, not {wanted}"


@register("decoder", core=True)
def decodes_to_its_output_shape(part: MakePart) -> None:
    """(K, B, L) becomes (K, B, *output_shape), for batches of 0, 1 and 3."""
    for size, module in networks(part):
        for batch in (0, 1, 3):
            seen, wanted = tuple(module(inputs(size, batch)).shape), (2, batch, *size[1])
            assert seen == wanted, f"the output is {seen}, not {wanted}"


@register("encoder")
def encodes_each_image_by_itself(part: MakePart) -> None:
    """In evaluation, the features of an image depend on that image alone."""
    for size, module in networks(part):
        x = inputs(size).requires_grad_()
        h = module(x)
        keeps_to_itself(h, x, f"the encoding of {size[0]}", 0)
        for what, rows in (("an image alone", [1]), ("a permuted batch", [2, 0, 1])):
            close(module(x[rows]), h[rows], f"the features of {what}")


@register("decoder")
def decodes_each_sample_by_itself(part: MakePart) -> None:
    """In evaluation, the output for a z depends on that z alone."""
    for size, module in networks(part):
        z = inputs(size).requires_grad_()
        output = module(z)
        keeps_to_itself(output, z, f"the output {size[1]} for a sample", 0)
        keeps_to_itself(output, z, f"the output {size[1]} for an image", 1)
        close(module(z[1:, 2:]), output[1:, 2:], "the output for a z alone")
        close(module(z[[1, 0]][:, [2, 0, 1]]), output[[1, 0]][:, [2, 0, 1]], "a permuted output")


@register("encoder", "decoder")
def stays_finite_for_large_inputs(part: MakePart) -> None:
    """In float32, the output is finite for inputs of any size up to 10⁴."""
    for size, module in networks(part, torch.float32):
        for scale in (0.0, 1.0, 255.0, 1e4):
            finite(module((scale * inputs(size)).float()), f"the output for inputs up to {scale:g}")


@register("encoder", "decoder")
def passes_gradients_to_every_parameter(part: MakePart) -> None:
    """In training, every parameter has a finite gradient."""
    for size, module in networks(part):
        module.train()
        learns(module, partial(_output, module, size))


def _output(module: nn.Module, size: tuple[Any, ...], seed: int) -> Tensor:
    output: Tensor = module(inputs(size, seed=seed))
    return output


@register("encoder", "decoder")
def survives_saving_and_loading(part: MakePart) -> None:
    """A new network with the state from a safetensors file has the same output."""
    for size, module in networks(part):
        torch.manual_seed(1)
        again = reloaded(module, part(*size).double())
        x = inputs(size)
        close(again(x), module(x), "the output after loading", 1e-14)
