"""Checks of a posterior's gradients. Shapes: K samples, B batch, L latent size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vaeflow.distributions.draw import draw
from vaeflow.testing.dropout import fixed_dropout
from vaeflow.testing.kinds.posteriors import (
    features,
    in_training,
    posterior,
    tolerance,
    within,
)
from vaeflow.testing.noise import given
from vaeflow.testing.probes import close, finite, learns, normal
from vaeflow.testing.registered import MakePart, register


@register("posterior")
def passes_gradients_to_everything(part: MakePart) -> None:
    """z has a gradient in the features; every parameter has one in z or in log q."""
    module = posterior(part, 4)
    h = features(3).requires_grad_()
    z = draw(module(h), (2,)).z
    gradient = None
    if z.requires_grad:
        (gradient,) = torch.autograd.grad(z.sum(), h, allow_unused=True)
    assert gradient is not None, "z does not depend on the features"
    assert gradient.any(), "z has no gradient in the features"

    def outputs(i: int) -> Tensor:
        sample = draw(module(features(3, seed=i)), (2,))
        return torch.cat([sample.z.flatten(), sample.log_prob.flatten()])

    learns(module, outputs)


# The noise and the features at which gradients are compared: exactly 0, ordinary, and far out.
_FAR = ((1.0, 1.0), (0.0, 1.0), (3.0, 1.0), (8.0, 1.0), (1.0, 16.0))
Values = Callable[[], tuple[Tensor, Tensor]]


@register("posterior")
def gradients_match_finite_differences(part: MakePart) -> None:
    """At ordinary, zero and far noise, autograd's derivatives of z and log q are their slopes."""
    for seed, (far, size) in enumerate(_FAR):
        module = posterior(part, 4, scale=1.0 if far == 1.0 == size else 0.5, seed=seed)
        if far == 1.0:
            in_training(module)
        h, eps = size * features(2, seed=seed + 100), far * normal(3, 2, 4, seed=seed + 5)
        eps = within(module, h, eps)
        if far == 0.0:
            h[1] = 0.0
        where = " in training" if module.training else f" at noise of size {far:g}"
        where += "" if size == 1.0 else f" and features of size {size:g}"
        _compare(module, h, eps, where)


@register("posterior", once=True)
def gradients_match_for_many(part: MakePart) -> None:
    """For 10 samples of 50 images, 40 dimensions and 400 features, the derivatives are slopes."""
    module = posterior(part, 40, 400, scale=0.5)
    h = features(50, size=400)
    _compare(module, h, within(module, h, normal(10, 50, 40)), " for many images and dimensions")


def _compare(module: nn.Module, h: Tensor, eps: Tensor, where: str) -> None:
    h.requires_grad_()
    weights = normal(*eps.shape, seed=6), normal(*eps.shape[:-1], seed=7)
    # As large as to show a gradient that is clipped on its way.
    weights = tuple(100 * w / w[0].numel() ** 0.5 for w in weights)

    def values() -> tuple[Tensor, Tensor]:
        with fixed_dropout(module):
            sample = given(module(h), eps)
        return (weights[0] * sample.z).sum(), (weights[1] * sample.log_prob).sum()

    error = tolerance(module)
    # The step divides the error of the part's own arithmetic: about its cube root balances both. A
    # shorter one may miss the kink of a ReLU that the first one crosses.
    step = 1e-6 if error <= 1e-9 else 0.1 * error ** (1 / 3)
    allowed = 1e-5 + (0.0 if error <= 1e-9 else 20 * error ** (2 / 3))
    for to, inputs in (("the features", [h]), ("the parameters", [*module.parameters()])):
        found = [_slopes(values, inputs, step), _slopes(values, inputs, 0.1 * step)]
        for what, first, shorter in zip(("z", "log q"), *found, strict=True):
            told = f"the derivative of {what} in {to}{where}"
            if _known(first[1], shorter[1], allowed):
                try:
                    close(first[0], first[1], told, allowed)
                except AssertionError:
                    close(shorter[0], shorter[1], told, 10 * allowed)


def _known(step: Tensor, shorter: Tensor, allowed: float) -> bool:
    """Tell whether two steps agree: across a steep bend, or beyond the numbers, none is a slope."""
    agree = (step - shorter).abs() <= 1e3 * allowed * (1 + shorter.abs())
    return bool(agree and shorter.abs() < 1e100)


def _slopes(values: Values, inputs: Sequence[Tensor], step: float) -> list[tuple[Tensor, Tensor]]:
    """Return, of each value, the derivative along a direction by autograd and by a step."""
    along = [normal(*x.shape, seed=i) / (x.numel() or 1) ** 0.5 for i, x in enumerate(inputs)]
    slopes = [_along(value, inputs, along) for value in values()]
    with torch.no_grad():
        _move(inputs, along, step)
        above = values()
        _move(inputs, along, -2 * step)
        below = values()
        _move(inputs, along, step)
    return [(s, (u - d) / (2 * step)) for s, u, d in zip(slopes, above, below, strict=True)]


def _along(value: Tensor, inputs: Sequence[Tensor], directions: list[Tensor]) -> Tensor:
    """Return the derivative of `value` along a direction, by autograd."""
    total = torch.zeros((), dtype=torch.float64)
    if not inputs or not value.requires_grad:
        return total
    gradients = torch.autograd.grad(value, inputs, allow_unused=True, retain_graph=True)
    for gradient, direction in zip(gradients, directions, strict=True):
        if gradient is not None:
            total = total + (gradient * direction).sum()
    return total


def _move(inputs: Sequence[Tensor], directions: list[Tensor], step: float) -> None:
    for x, direction in zip(inputs, directions, strict=True):
        x += step * direction


_LARGEST = 1e37  # beyond which a value is not expected to be finite in float32


@register("posterior")
def stays_finite_when_saturated(part: MakePart) -> None:
    """In float32 with large parameters, draws, their densities and all gradients are finite."""
    for seed, scale in ((0, 5.0), (1, 5.0), (0, 20.0), (1, 20.0)):
        module = posterior(part, 5, scale=scale, seed=seed, dtype=torch.float32)
        h = features(8, torch.float32, seed + 100).requires_grad_()
        eps = within(module, h.detach(), normal(3, 8, 5, seed=seed, dtype=torch.float32))
        eps = within(module, h.detach(), torch.cat([eps[:2], 0 * eps[2:]]))
        sample = given(module(h), eps)
        wider = posterior(part, 5, scale=scale, seed=seed, dtype=torch.float32).double()
        wide = given(wider(h.detach().double()), eps.double())
        named = {"h": h, **dict(module.named_parameters())}
        for what, value, exact in (
            ("z", sample.z, wide.z), ("log q", sample.log_prob, wide.log_prob)
        ):  # fmt: skip
            finite(value.where(exact.abs() < _LARGEST, value.nan_to_num(torch.nan, 0.0, 0.0)), what)
            # Weights of 20 in a chain of networks may overflow, backwards.
            if scale > 5.0 or not value.requires_grad or exact.abs().max() >= _LARGEST:
                continue
            gradients = torch.autograd.grad(
                value.sum(), list(named.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                finite(gradient, f"the gradient of {what} in {name}")
