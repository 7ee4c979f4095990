"""Checks of a posterior's precision and saved state."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaeflow.distributions.draw import draw
from vaeflow.testing.dropout import fixed_dropout
from vaeflow.testing.kinds.posteriors import (
    features,
    in_training,
    log_abs_det,
    posterior,
    tolerance,
    with_jacobian,
    within,
)
from vaeflow.testing.noise import given
from vaeflow.testing.probes import close, normal, reloaded
from vaeflow.testing.registered import MakePart, NotApplicable, Refused, register


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
    for latent, seeds in ((1, 2), (4, 4)):
        errors: list[float] = []
        for seed in range(seeds):
            module = posterior(part, latent, scale=0.5, seed=seed, dtype=torch.float32)
            h, eps = (
                features(3, torch.float32, seed + 100),
                normal(3, latent, seed=seed + 10).float(),
            )
            eps = within(module, h, eps)
            sample, jacobian = with_jacobian(module, h, eps, autocast=True)
            log_det, _ = log_abs_det(jacobian.double())
            errors += (sample.log_prob - (sample.log_noise.double() - log_det)).abs().tolist()
        # The error of autograd's Jacobian of a network in bfloat16 is far below this bound.
        error = statistics.median(errors)
        assert error <= 1e-3 * latent, (
            f"log q is off by {error:.2g} nats at latent size {latent}: if it is right without "
            "autocast, leave autocast where the map and its log-determinant are computed"
        )


class _Values(NamedTuple):
    z: Tensor  # (K, B, L)
    log_q: Tensor  # (K, B)
    gradient: Tensor  # (B, F): of the sum of z and log q in the features


def _values(module: nn.Module, h: Tensor, eps: Tensor) -> _Values:
    h = h.detach().requires_grad_()
    sample = given(module(h), eps)
    total = sample.z.sum() + sample.log_prob.sum()
    (gradient,) = torch.autograd.grad(total, h)
    return _Values(*(x.detach().double() for x in (sample.z, sample.log_prob, gradient)))


_ROUNDING = 2.0**-24


Build = Callable[[], nn.Module]  # makes the same part anew, in float32


def _rounded_otherwise(build: Build, h: Tensor, eps: Tensor, seed: int) -> _Values:
    """Return the values for parameters, features and noise that float32 would hardly tell apart."""
    moved = build().double()
    with torch.no_grad():
        for i, p in enumerate(moved.parameters()):
            p.mul_(1 + 2 * _ROUNDING * normal(*p.shape, seed=seed + i))
    h, eps = (x * (1 + 2 * _ROUNDING * normal(*x.shape, seed=seed)) for x in (h, eps))
    return _values(moved, h, eps)


@register("posterior")
def agrees_in_float32(part: MakePart) -> None:
    """In float32, draws, densities and gradients are float64's, to 10⁻⁴ and what rounding moves."""
    for seed, scale in enumerate((0.5, 2.0)):
        build, h, eps = _in_float32(part, 5, scale, seed)
        # As long sums of large weights, z and gradients lose digits that no formula saves.
        _agrees(build, h, eps, _Values._fields if scale < 1.0 else ("log_q",), most=10.0)


@register("posterior", once=True)
def agrees_in_float32_in_many_dimensions(part: MakePart) -> None:
    """In float32 with 40 dimensions, draws, densities and gradients are float64's, as above."""
    build, h, eps = _in_float32(part, 40, 0.5, 0)
    _agrees(build, h, eps, _Values._fields, most=10.0)


@register("posterior", once=True)
def keeps_its_digits_where_it_contracts(part: MakePart) -> None:
    """In float32, log q is float64's also at the noise where the map contracts most."""
    for seed, scale in enumerate((2.0, 4.0)):
        build, h, eps = _in_float32(part, 5, scale, seed)
        # A z that is scored from outside is rounded first: near a narrow peak, by hundredths.
        _agrees(build, h, _most_contracted(build, h, eps), ("log_q",), most=0.0, least=0.03)


def _in_float32(
    part: MakePart, latent: int, scale: float, seed: int
) -> tuple[Build, Tensor, Tensor]:
    build = partial(posterior, part, latent, scale=scale, seed=seed, dtype=torch.float32)
    h, eps = features(16, torch.float32, seed + 100), normal(6, 16, latent, dtype=torch.float32)
    return build, h, within(build(), h, eps).float()


def _agrees(
    build: Build,
    h: Tensor,
    eps: Tensor,
    fields: tuple[str, ...],
    *,
    most: float,
    least: float = 1e-4,
) -> None:
    """Compare float32 with float64; allow for `most` of what rounding moves any draw by."""
    narrow, wide = build(), build().double()  # with the same, rounded parameters
    wanted, seen = _values(wide, h.double(), eps.double()), _values(narrow, h, eps)
    others = [_rounded_otherwise(build, h.double(), eps.double(), 10 * i) for i in range(2)]
    own = 10 * max(0.0, float(getattr(narrow, "tolerance", 0.0)))
    for field in fields:
        right, value = getattr(wanted, field), getattr(seen, field)
        moved = torch.stack([(getattr(o, field) - right).abs() for o in others]).amax(0)
        # Where two knots or bends are close, rounding moves one draw in hundreds by far more.
        allowed = least + (1e-4 + own) * (1 + right.abs()) + 30 * moved + most * moved.max()
        off = ((value - right).abs() - allowed).nan_to_num(torch.inf)
        assert off.max() <= 0, (
            f"{field.replace('_', ' ')} in float32 is off by "
            f"{(value - right).abs().flatten()[off.argmax()]:.3g}, "
            f"where rounding its inputs moves it by {moved.flatten()[off.argmax()]:.3g}"
        )


@torch.no_grad()
def _most_contracted(build: Build, h: Tensor, eps: Tensor) -> Tensor:
    """Search, for each image, the noise (1, B, L) at which the map contracts most.

    There 1 + ψ and the like are near 0, so that a formula that cancels loses its digits.
    """
    wide, h, eps = build().double(), h.double(), eps.double()
    q = wide(h)
    for i in range(10):
        sample = given(q, within(wide, h, eps))
        log_det = (sample.log_noise - sample.log_prob).nan_to_num(torch.inf)
        best = eps.gather(0, log_det.argmin(0)[None, :, None].expand(1, *eps.shape[1:]))
        eps = torch.cat([best, best + 0.4**i * normal(20, *eps.shape[1:], seed=i)])
    return within(wide, h, best).float()


@register("posterior")
def is_the_same_in_training(part: MakePart) -> None:
    """In training as in evaluation, the same noise gives the same draws and densities."""
    module, h = posterior(part, 4), features(3)
    eps = within(module, h, normal(2, 3, 4))
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
    for latent in (4, 40):
        with suppress(Refused):
            module, h = posterior(part, latent), features(2)
            eps = within(module, h, normal(3, 2, latent))
            other = posterior(part, latent, scale=None, seed=1)
            given(other(h), eps)  # which it may not remember
            again = reloaded(module, other)
            seen, wanted = given(again(h), eps), given(module(h), eps)
            close(seen.z, wanted.z, "z after loading", 1e-14)
            close(seen.log_prob, wanted.log_prob, "log q after loading", 1e-14)


@register("posterior", once=True)
def survives_a_resume(part: MakePart) -> None:
    """After a hundred steps of training, what was saved gives the same training as what ran on."""
    module, h = in_training(posterior(part, 4)), features(2)
    eps = within(module, h, normal(3, 2, 4))
    for _ in range(100):
        given(module(h), eps)
    again = in_training(reloaded(module, posterior(part, 4, scale=None, seed=1)))
    with fixed_dropout(module):
        wanted = given(module(h), eps)
    with fixed_dropout(module):
        seen = given(again(h), eps)
    close(seen.z, wanted.z, "z after a resume", 1e-14)
    close(seen.log_prob, wanted.log_prob, "log q after a resume", 1e-14)


@register("posterior")
def agrees_on_cuda(part: MakePart) -> None:
    """On a CUDA device, the same noise gives the same draws and densities as on the CPU."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device")
    module = posterior(part, 5)
    h = features(3)
    eps = within(module, h, normal(4, 3, 5))
    wanted = given(module(h), eps)
    seen = given(module.cuda()(h.cuda()), eps.cuda())
    close(seen.z.cpu(), wanted.z, "z on CUDA", 1e-8)
    close(seen.log_prob.cpu(), wanted.log_prob, "log q on CUDA", 1e-8)
