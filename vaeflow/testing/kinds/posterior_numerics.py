"""Checks of a posterior's gradients, precision and saved state."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from vaeflow.distributions.draw import draw
from vaeflow.testing.kinds.posteriors import (
    FEATURES,
    features,
    posterior,
    tolerance,
    with_jacobian,
)
from vaeflow.testing.probes import (
    close,
    finite,
    given,
    keeps_to_itself,
    learns,
    log_normal,
    normal,
    reloaded,
)
from vaeflow.testing.registered import MakePart, NotApplicable, register


@register("posterior")
def passes_gradients_to_everything(part: MakePart) -> None:
    """Both z and log q have a gradient in the features and, between them, in every parameter."""
    module = posterior(part, 4)
    h = features(3).requires_grad_()
    sample = draw(module(h), (2,))
    for what, value in (("z", sample.z), ("log q", sample.log_prob)):
        gradient = None
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value.sum(), h, retain_graph=True, allow_unused=True)
        assert gradient is not None, f"{what} does not depend on the features"
        assert gradient.any(), f"{what} has no gradient in the features"

    def outputs(i: int) -> Tensor:
        sample = draw(module(features(3, seed=i)), (2,))
        return torch.cat([sample.z.flatten(), sample.log_prob.flatten()])

    learns(module, outputs)


@register("posterior")
def passes_no_gradient_between_images(part: MakePart) -> None:
    """Neither z nor log q of an image has a gradient in the features of another."""
    h = features(3).requires_grad_()
    sample = draw(posterior(part, 4)(h), (2,))
    keeps_to_itself(sample.z.sum((0, -1)), h, "z", 0)
    keeps_to_itself(sample.log_prob.sum(0), h, "log q", 0)


@register("posterior")
def gradients_match_finite_differences(part: MakePart) -> None:
    """With the noise given, autograd's derivatives of z and log q are their finite differences."""
    for seed in range(2):
        module = posterior(part, 4, scale=1.0, seed=seed)
        h, eps = features(2, seed=seed).requires_grad_(), normal(3, 2, 4, seed=seed + 5)
        weights = normal(3, 2, 4, seed=seed + 6), normal(3, 2, seed=seed + 7)
        # The step divides the error of the part's own arithmetic: its cube root balances both.
        error = tolerance(module)
        step = 1e-6 if error <= 1e-9 else error ** (1 / 3)
        allowed = 1e-5 + (0.0 if error <= 1e-9 else 20 * error ** (2 / 3))

        def values(
            module: nn.Module = module,
            h: Tensor = h,
            eps: Tensor = eps,
            weights: tuple[Tensor, Tensor] = weights,
        ) -> tuple[Tensor, Tensor]:
            sample = given(module(h), eps)
            return (weights[0] * sample.z).sum(), (weights[1] * sample.log_prob).sum()

        for to, inputs in (("the features", [h]), ("the parameters", [*module.parameters()])):
            along = [
                normal(*x.shape, seed=i) / (x.numel() or 1) ** 0.5 for i, x in enumerate(inputs)
            ]
            slopes = [_along(value, inputs, along) for value in values()]
            with torch.no_grad():
                _move(inputs, along, step)
                above = values()
                _move(inputs, along, -2 * step)
                below = values()
                _move(inputs, along, step)
            for what, slope, up, down in zip(("z", "log q"), slopes, above, below, strict=True):
                wanted = (up - down) / (2 * step)
                close(slope, wanted, f"the derivative of {what} in {to}", allowed)


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


@register("posterior")
def stays_finite_when_saturated(part: MakePart) -> None:
    """In float32 with large parameters, draws, their densities and all gradients are finite."""
    for seed, scale in ((0, 5.0), (1, 5.0), (0, 20.0), (1, 20.0)):
        module = posterior(part, 5, scale=scale, seed=seed, dtype=torch.float32)
        h = features(8, torch.float32, seed).requires_grad_()
        sample = given(module(h), normal(3, 8, 5, seed=seed, dtype=torch.float32))
        named = {"h": h, **dict(module.named_parameters())}
        for what, value in (("z", sample.z), ("log q", sample.log_prob)):
            finite(value, what)
            if scale > 5.0:  # weights of 20 in a chain of networks may overflow, backwards
                continue
            gradients = torch.autograd.grad(
                value.sum(), list(named.values()), retain_graph=True, allow_unused=True
            )
            for name, gradient in zip(named, gradients, strict=True):
                finite(gradient, f"the gradient of {what} in {name}")


@register("posterior")
def keeps_densities_in_float32_under_autocast(part: MakePart) -> None:
    """Under bfloat16 autocast, log q0, log|det| and log q are float32."""
    module = posterior(part, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        sample = draw(module(features(2, torch.float32)), (2,))
    for what, value in (
        ("log q0", sample.log_base), ("log|det|", sample.log_det), ("log q", sample.log_prob)
    ):  # fmt: skip
        assert value.dtype == torch.float32, f"{what} is {value.dtype}, not torch.float32"


@register("posterior")
def log_q_matches_the_jacobian_under_autocast(part: MakePart) -> None:
    """Under bfloat16 autocast, log q is the density of the draw: it is not computed in bfloat16."""
    for latent in (1, 4):
        errors = []
        for seed in range(8):
            module = posterior(part, latent, scale=0.5, seed=seed, dtype=torch.float32)
            h, eps = features(1, torch.float32, seed), normal(1, latent, seed=seed + 10)
            sample, jacobian = with_jacobian(module, h, eps.float(), autocast=True)
            log_det = torch.linalg.slogdet(jacobian.double()).logabsdet
            wanted = log_normal(eps.float().double()) - log_det
            errors.append((sample.log_prob[0] - wanted).abs().max().item())
        # The error of autograd's Jacobian of a network in bfloat16 is far below this bound.
        error = statistics.median(errors)
        assert error <= 1e-3 * latent, (
            f"log q is off by {error:.2g} nats at latent size {latent}: if it is right without "
            "autocast, leave autocast where the map and its log-determinant are computed"
        )


@register("posterior")
def agrees_in_float32(part: MakePart) -> None:
    """In float32, the same noise gives the draws and densities of float64, to 10⁻³."""
    h, eps = features(3), normal(2, 3, 5)
    wide = posterior(part, 5, scale=0.5)
    narrow = deepcopy(wide).float()
    with torch.no_grad():
        wanted, seen = given(wide(h), eps), given(narrow(h.float()), eps.float())
    close(seen.z.double(), wanted.z, "z in float32", 1e-3)
    close(seen.log_prob.double(), wanted.log_prob, "log q in float32", 1e-3)


@register("posterior")
def is_the_same_in_training(part: MakePart) -> None:
    """In training as in evaluation, the same noise gives the same draws and densities."""
    module, h, eps = posterior(part, 4), features(3), normal(2, 3, 4)
    differing = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    if any(isinstance(layer, differing) for layer in module.modules()):
        raise NotApplicable("it has layers that differ in training by design")
    wanted = given(module(h), eps)
    seen = given(module.train()(h), eps)
    close(seen.z, wanted.z, "z in training", tolerance(module))
    close(seen.log_prob, wanted.log_prob, "log q in training", tolerance(module))


@register("posterior")
def survives_saving_and_loading(part: MakePart) -> None:
    """A new part with the state from a safetensors file gives the same draws and densities."""
    module = posterior(part, 4)
    torch.manual_seed(1)
    again = reloaded(module, part(4, FEATURES).double())
    h, eps = features(2), normal(3, 2, 4)
    seen, wanted = given(again(h), eps), given(module(h), eps)
    close(seen.z, wanted.z, "z after loading", 1e-14)
    close(seen.log_prob, wanted.log_prob, "log q after loading", 1e-14)


@register("posterior")
def agrees_on_cuda(part: MakePart) -> None:
    """On a CUDA device, the same noise gives the same draws and densities as on the CPU."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device")
    module = posterior(part, 5)
    h, eps = features(3), normal(4, 3, 5)
    wanted = given(module(h), eps)
    seen = given(module.cuda()(h.cuda()), eps.cuda())
    close(seen.z.cpu(), wanted.z, "z on CUDA", 1e-8)
    close(seen.log_prob.cpu(), wanted.log_prob, "log q on CUDA", 1e-8)
