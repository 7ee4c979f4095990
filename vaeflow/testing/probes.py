"""The instruments that the checks share: numbers, parameters far from the start, tolerances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from vaeflow.errors import ConfigError
from vaeflow.testing.registered import MakePart, NotApplicable


def normal(*shape: int, seed: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw standard normals from a generator of their own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def far_from_start(module: nn.Module, scale: float = 2.0, seed: int = 0) -> nn.Module:
    """Redraw every parameter: a log-determinant can be right near the start alone.

    A weight matrix is drawn from N(0, scale²/n_in), so that its output is `scale` times as large as
    its input; any other parameter is drawn from N(0, scale²/4).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            if not p.requires_grad:  # fixed by the part, such as a rotation
                continue
            # The kernel of a convolution sums over all axes but the first.
            n_in = p.shape[1:].numel() if p.dim() > 3 else p.shape[-1] if p.dim() > 1 else 4
            size = scale / math.sqrt(max(n_in, 1))
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module


def options_of(part: MakePart) -> Any:
    """Return the class whose constructor holds the options of a part, given it or its partial."""
    return part.func if isinstance(part, partial) else part


def accepted(part: MakePart, sizes: Sequence[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], Any]]:
    """Build the part for each of the sizes that it takes; it may refuse others by ConfigError.

    Raises:
        NotApplicable: if it refuses them all.
    """
    made, refused = [], ConfigError("")
    for size in sizes:
        try:
            made.append((size, part(*size)))
        except ConfigError as error:
            refused = error
    if not made:
        raise NotApplicable(f"none of the sizes tried is taken: {refused}")
    return made


def close(seen: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-9) -> None:
    """Raise AssertionError unless both have one shape and differ by `tolerance`, relatively."""
    assert seen.shape == wanted.shape, (
        f"{what}: shape {tuple(seen.shape)}, not {tuple(wanted.shape)}"
    )
    gap = (seen - wanted).abs().where(seen != wanted, 0.0)  # equal infinities do not differ
    error = gap.max().item() if seen.numel() else 0.0
    finite = wanted[wanted.isfinite()]
    size = 1.0 + (finite.abs().max().item() if finite.numel() else 0.0)
    assert error <= tolerance * size, f"{what}: off by {error:.3g}"


def finite(x: Tensor | None, what: str) -> None:
    """Raise AssertionError if a value is infinite or NaN."""
    assert x is None or torch.isfinite(x).all(), f"{what} is not finite"


def learns(module: nn.Module, outputs: Callable[[int], Tensor]) -> None:
    """Raise AssertionError unless every parameter has a finite gradient in some of the outputs.

    `outputs(i)` is the module's output for the i-th draw of its inputs.
    """
    named = dict(module.named_parameters())
    moved = dict.fromkeys(named, 0.0)
    for i in range(3 if named else 0):
        total = outputs(i).square().sum()
        assert total.requires_grad, "no parameter has a gradient"
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            finite(gradient, f"the gradient of {name}")
            moved[name] += 0.0 if gradient is None else gradient.abs().sum().item()
    still = [name for name, size in moved.items() if not size]
    assert not still, f"no gradient reaches {', '.join(still)}"


def keeps_to_itself(output: Tensor, x: Tensor, what: str, dim: int) -> None:
    """Raise AssertionError if row 0 of `output` has a gradient in other rows of x along `dim`."""
    gradient: Tensor | None = None
    first = output.select(dim, 0)
    if first.requires_grad:
        (gradient,) = torch.autograd.grad(first.sum(), x, retain_graph=True, allow_unused=True)
    others = None if gradient is None else gradient.narrow(dim, 1, x.shape[dim] - 1)
    assert others is None or not others.any(), f"{what} of one row depends on another row"


def reloaded(module: nn.Module, again: nn.Module) -> nn.Module:
    """Give `again`, made anew, the state of `module`, by way of a safetensors file in memory."""
    state = {name: x.contiguous() for name, x in module.state_dict().items()}
    again.load_state_dict(load(save(state)))
    return again.train(module.training)


def averages_to_one(log_weight: Tensor, what: str, *, at_most: bool = False) -> None:
    """Raise AssertionError unless the mean weight is 1, for the best covered of several weights.

    With `at_most`, a mean below 1 passes.

    `log_weight` is (C, N) for C densities r and N draws: log r − log q. The first half of the draws
    chooses the r whose weights vary least; the mean is taken over the second half.

    Raises:
        NotApplicable: if the weights of every r vary so much that their mean says nothing.
    """
    assert not log_weight.isnan().any(), f"{what} is not a number"
    first, second = log_weight.exp().chunk(2, dim=-1)
    effective = first.sum(-1).square() / first.square().sum(-1)
    best = int(effective.nan_to_num(nan=0.0).argmax())
    if effective[best] < 500:  # fewer may leave out a region, unseen
        raise NotApplicable(f"{what} varies too much for an average")
    mean = second[best].mean().item()
    error = second[best].std().item() / math.sqrt(second.shape[-1])
    low = at_most and mean < 1
    assert low or abs(mean - 1) <= 5 * error + 0.01, f"{what} is {mean:.3f} ± {error:.3f}, not 1"
