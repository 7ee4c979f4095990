"""Checks of the arithmetic of encoder and decoder: gradients, precision, calls. B batch."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaeflow.errors import ConfigError
from vaeflow.testing.calls import layouts, same_in_every_call, same_without_gradients
from vaeflow.testing.kinds.networks import inputs, networks
from vaeflow.testing.probes import close, normal
from vaeflow.testing.registered import MakePart, NotApplicable, register
from vaeflow.testing.slopes import gradients_are_slopes

_BATCHES = (128, 257)
_CALLS = 150
_SMALL = ((5,), (1, 8, 8))  # shapes for checks of many calls


def _small(part: MakePart, dtype: torch.dtype = torch.float64) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the networks of small data, or of the smallest that the part takes."""
    try:
        return list(networks(part, dtype, _SMALL))
    except NotApplicable:
        return list(networks(part, dtype))[:1]


@register("encoder", "decoder", core=True)
def gradients_match_slopes(part: MakePart) -> None:
    """The gradients of the output in input and parameters are its slopes, in training too."""
    for size, module in _small(part):
        parameters = [p for p in module.parameters() if p.requires_grad]
        for reach in (0.1, 1.0, 10.0):
            x = (reach * inputs(size)).requires_grad_()
            weights = normal(*module(x).shape, seed=8)
            value = partial(_weighted, module, x, weights)
            for seed in range(2):
                gradients_are_slopes(value, [x], f"in inputs up to {reach:g}", seed=seed, each=1)
            if parameters:
                gradients_are_slopes(value, parameters, f"in the parameters at inputs {reach:g}")
        module.train()  # where a row may depend on others, and noise is repeated by its seed
        x = inputs(size).requires_grad_()
        value = partial(_seeded, module, x)
        gradients_are_slopes(value, [x, *parameters], "in training")
        module.eval()
        with torch.no_grad():
            zero = 0 * inputs(size)
            beside = zero + 1e-12 * inputs(size, seed=4)
            close(module(zero), module(beside), "where the input is 0, the output", 1e-6)


def _seeded(module: Any, x: Tensor) -> Tensor:
    """Return a number of the output, for the noise of one seed."""
    torch.manual_seed(4)
    output: Tensor = module(x)
    return (output * normal(*output.shape, seed=8)).sum()


def _weighted(module: Any, x: Tensor, weights: Tensor) -> Tensor:
    """Return a number for each row, whose gradient is that of all outputs in random proportions."""
    output: Tensor = module(x)
    return (output * weights).flatten(1).sum(1)


@register("encoder", "decoder")
@torch.no_grad()
def agrees_in_float32(part: MakePart) -> None:
    """In float32, the output is that of float64, to 10⁻⁴."""
    for size, single in _small(part, torch.float32):
        double = copy.deepcopy(single).double()
        for reach in (0.0, 1.0, 10.0):
            x = (reach * inputs(size)).float()
            close(single(x).double(), double(x.double()), "in float32, the output", 1e-4)


@register("encoder", "decoder")
def is_the_same_however_it_is_called(part: MakePart) -> None:
    """In evaluation, outputs depend neither on the batch, nor on memory, modes or earlier calls."""
    for size, module in _small(part):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        x = inputs(size)
        output = partial(module, x)
        same_without_gradients(output, "the output")
        for where, moved in layouts(x).items():
            close(module(moved), output(), f"with inputs {where}, the output")
        with torch.no_grad():
            rows = len(size) - 1  # the dimension of the batch: z is (K, B, L)
            one = x.narrow(rows, 0, 1).expand_as(x)
            close(module(one), module(one.clone()), "of equal inputs, the output")
            for batch in _BATCHES:
                x = inputs(size, batch)
                parts = [module(some) for some in x.split(60, rows)]
                close(module(x), torch.cat(parts, rows), f"the output for {batch} at once")
            if rows:
                z = normal(50, 2, size[0])
                close(
                    module(z),
                    torch.cat([module(some) for some in z.split(7)]),
                    "for K = 50, the output",
                )
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), f"an output in evaluation changes {name}"
    size, module = _small(part)[0]
    same_in_every_call(partial(module, inputs(size, 1)), "the output", _CALLS)


@register("decoder")
@torch.no_grad()
def starts_where_it_is_told(part: MakePart) -> None:
    """After `start_at(output)`, the mean output of many z is near it; or it raises ConfigError."""
    for shape in _SMALL:
        try:
            ((size, module),) = networks(part, shapes=(shape,), scale=None)
        except NotApplicable:
            continue
        told = 3 * normal(*size[1], seed=6)
        try:
            module.start_at(told)
        except ConfigError as error:
            raise NotApplicable(str(error)) from error
        away = (module(inputs(size, 200)).mean((0, 1)) - told).square().mean().sqrt()
        assert away <= 0.5 * told.square().mean().sqrt(), (
            f"after start_at(output), the mean output is {away.item():.2g} from it"
        )
