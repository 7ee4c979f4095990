"""Checks of a prior. Shapes: K samples, B batch, L latent size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.abstract import Infer
from vaeflow.testing.probes import (
    averages_to_one,
    close,
    far_from_start,
    finite,
    learns,
    normal,
    reloaded,
)
from vaeflow.testing.registered import MakePart, register

_DATA_SHAPE = (1, 4, 4)


def _prior(
    part: MakePart, latent: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> nn.Module:
    made: nn.Module = part(latent, _DATA_SHAPE).to(dtype)
    return far_from_start(made, 0.5, seed).eval()


def _infer(latent: int, dtype: torch.dtype = torch.float64) -> Infer:
    """Return a stand-in for q(z|x): a Gaussian whose mean and scale follow the data x."""

    def infer(x: Tensor) -> Distribution:
        assert x.shape[1:] == _DATA_SHAPE, (
            f"infer is called with {tuple(x.shape)}, not (N, {', '.join(map(str, _DATA_SHAPE))})"
        )
        flat = x.flatten(1).to(dtype)
        return DiagonalNormal(flat[:, :latent], -flat[:, latent : 2 * latent].abs())

    return infer


@register("prior", core=True)
def is_a_density_over_the_latent_space(part: MakePart) -> None:
    """p has batch (), event (L,), and its density integrates to 1 in the plane."""
    for seed in range(2):
        p = _prior(part, 2, seed=seed)(_infer(2))
        assert p.batch_shape == (), f"the batch shape is {tuple(p.batch_shape)}, not ()"
        assert p.event_shape == (2,), f"the event shape is {tuple(p.event_shape)}, not (2,)"
        for shape in ((), (5, 3), (3, 3)):
            z = p.sample(shape)
            assert z.shape == (*shape, 2), f"a draw is {tuple(z.shape)}, not {(*shape, 2)}"
            score = p.log_prob(z)
            assert score.shape == shape, f"a score is {tuple(score.shape)}, not {shape}"
            finite(score, "the score of a draw")
            if shape:
                close(p.log_prob(z[1]), score[1], "the scores of one sample among others")
        total = _integral(p, 201, peaked=False)
        for peaked in (False, True):  # finer grids only where the coarse one does not do
            if not abs(total - 1) < 1e-3:
                total = _integral(p, 601, peaked=peaked)
        assert abs(total - 1) < 1e-3, f"the density integrates to {total:.4f}, not 1"


@torch.no_grad()
def _integral(p: Distribution, side: int, *, peaked: bool) -> float:
    """Integrate p over the plane: within ±15, or over ±10⁴ scales of its draws, dense at them."""
    t = torch.linspace(-1, 1, side, dtype=torch.float64)
    if peaked:  # x = m + s·sinh 10t, of volume 10·s·cosh 10t
        z = p.sample((1001,))
        middle = z.median(0).values
        scale = (z - middle).abs().median(0).values
        axes = (middle + scale * (10 * t[:, None]).sinh()).unbind(1)
        volumes = (10 * scale * (10 * t[:, None]).cosh()).unbind(1)
    else:
        axes, volumes = (15 * t,) * 2, (torch.full_like(t, 15.0),) * 2
    density = p.log_prob(torch.cartesian_prod(*axes)).exp()
    volume = torch.cartesian_prod(*volumes).prod(-1)
    return (density * volume).sum().item() * (t[1] - t[0]).item() ** 2


@register("prior")
@torch.no_grad()
def draws_follow_the_density(part: MakePart) -> None:
    """E_p[r(z)/p(z)] = 1 for a density r narrower than p, by Monte Carlo."""
    for seed in range(2):
        p = _prior(part, 3, seed=seed)(_infer(3))
        torch.manual_seed(seed)
        z = p.sample((20_000,))
        log_weights = [
            DiagonalNormal(centre, (width * z.var(0)).log()).log_prob(z) - p.log_prob(z)
            for centre in z[:4]
            for width in (0.25, 0.05)
        ]
        averages_to_one(torch.stack(log_weights), "E[r/p]")


@register("prior")
def repeats_its_draws_with_the_seed(part: MakePart) -> None:
    """The same seed gives the same draw, and each draw is another."""
    p = _prior(part, 3)(_infer(3))
    torch.manual_seed(5)
    z = p.sample((2,))
    assert not torch.equal(z[0], z[1]), "two draws are equal"
    torch.manual_seed(5)
    assert torch.equal(z, p.sample((2,))), "the same seed gives another draw"


@register("prior")
def passes_gradients_to_every_parameter(part: MakePart) -> None:
    """log p(z) has a gradient in z and in every parameter."""
    module = _prior(part, 3)
    z = normal(4, 3).requires_grad_()
    score = module(_infer(3)).log_prob(z).sum()
    assert score.requires_grad, "log p(z) has no gradient in z"
    (gradient,) = torch.autograd.grad(score, z, allow_unused=True)
    assert gradient is not None, "log p(z) does not depend on z"
    assert gradient.any(), "log p(z) has no gradient in z"
    learns(module, lambda i: module(_infer(3)).log_prob(normal(4, 3, seed=i)))


@register("prior")
def stays_finite_far_out(part: MakePart) -> None:
    """In float32, log p(z) and its gradient are finite at ‖z‖ = 50."""
    p = _prior(part, 3, dtype=torch.float32)(_infer(3, torch.float32))
    z = normal(8, 3, dtype=torch.float32)
    z = (50 * z / z.norm(dim=-1, keepdim=True)).requires_grad_()
    score = p.log_prob(z)
    finite(score, "log p(z)")
    (gradient,) = torch.autograd.grad(score.sum(), z)
    finite(gradient, "its gradient in z")


@register("prior")
def survives_saving_and_loading(part: MakePart) -> None:
    """A new part with the state from a safetensors file has the same density."""
    module = _prior(part, 3)
    torch.manual_seed(1)
    again = reloaded(module, part(3, _DATA_SHAPE).double())
    z = normal(4, 3)
    seen, wanted = (m(_infer(3)).log_prob(z) for m in (again, module))
    close(seen, wanted, "log p(z) after loading", 1e-14)
