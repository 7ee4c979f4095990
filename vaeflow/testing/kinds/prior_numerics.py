"""Checks of a prior's noise and arithmetic: precision, calls. Shapes: N draws, L latent size."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from vaeflow.testing.calls import layouts, same_in_every_call, same_without_gradients
from vaeflow.testing.draws import have_noise_of_their_own
from vaeflow.testing.kinds.posteriors import tolerance
from vaeflow.testing.kinds.priors import density, is_product, prior
from vaeflow.testing.probes import close, finite, learns, normal, reloaded
from vaeflow.testing.registered import MakePart, register
from vaeflow.testing.slopes import gradients_are_slopes

_DRAWS = 500


def _score(module: nn.Module, z: Tensor) -> Tensor:
    score: Tensor = density(module, z.dtype).log_prob(z)
    return score


def _gradient(score: Tensor, z: Tensor) -> Tensor:
    """Return the gradient in z, 0 where the score has none."""
    gradient: Tensor | None = None
    if score.requires_grad:
        (gradient,) = torch.autograd.grad(score.sum(), z, allow_unused=True)
    return torch.zeros_like(z) if gradient is None else gradient


@torch.no_grad()
def _inside(module: nn.Module, z: Tensor) -> Tensor:
    """Return z (*, L), with a draw in the place of each z beyond the support that p tells."""
    p: Any = density(module, z.dtype)
    try:
        inside = constraints.independent(p.support, 1 - p.support.event_dim).check(z)
    except NotImplementedError:
        return z
    return torch.where(inside[..., None], z, p.sample(z.shape[:-1]))


@register("prior")
@torch.no_grad()
def repeats_its_draws_with_the_seed(part: MakePart) -> None:
    """The same seed gives the same draws, and draws do not depend on each other."""
    p = density(prior(part, 12))
    torch.manual_seed(5)
    z = p.sample((_DRAWS, 2))
    again = p.sample((_DRAWS, 2))
    torch.manual_seed(5)
    assert torch.equal(z, p.sample((_DRAWS, 2))), "the same seed gives another draw"
    numbers = torch.stack([z, again], 1)  # (N, calls, 2, L)
    numbers = torch.cat([numbers[:-1:2], numbers[1::2]], 1)  # neighbours, too
    group = torch.arange(numbers[0].numel()).view(numbers.shape[1:])
    if not is_product(p):
        group = group[..., :1].expand_as(group)
    have_noise_of_their_own(numbers.flatten(1), group.flatten(), "the draws")


@register("prior", core=True)
def gradients_match_slopes(part: MakePart) -> None:
    """The gradients of log p(z) in z and in the parameters are its slopes, at 0 as far out."""
    for latent, scale in ((1, 0.5), (3, 0.5), (3, None), (20, 0.5)):
        module = prior(part, latent, scale=scale)
        parameters = [p for p in module.parameters() if p.requires_grad]
        with torch.no_grad():
            drawn = density(module).sample((4,))
        for size in (None, 0.0, 1.0, 5.0, 30.0):
            z = drawn if size is None else size * normal(4, latent, seed=latent)
            at = "at draws" if size is None else f"at z of size {size:g}"
            z = _inside(module, z.clone()).requires_grad_()
            score = partial(_score, module, z)
            for seed in range(3):
                gradients_are_slopes(
                    score, [z], f"in z {at}",
                    seed=seed, each=1, alone=size == 0.0, tolerance=tolerance(module),
                )  # fmt: skip
            if parameters and size != 30.0:
                gradients_are_slopes(
                    score, parameters, f"in the parameters {at}", tolerance=tolerance(module)
                )


@register("prior")
def passes_gradients_to_every_parameter(part: MakePart) -> None:
    """log p(z) has a gradient in z, unless it is constant, and in every parameter."""
    module = prior(part, 3)
    z = _inside(module, normal(8, 3))
    score = _score(module, z.requires_grad_())
    finite_ones = score[score.isfinite()]
    constant = bool((finite_ones == finite_ones[:1]).all())
    assert constant or _gradient(score, z).any(), "log p(z) has no gradient in z"
    learns(module, lambda i: _score(module, _inside(module, normal(8, 3, seed=i))))


@register("prior")
def stays_finite_far_out(part: MakePart) -> None:
    """In float32, log p(z) and its gradient are finite at ‖z‖ = 50, or as far as p reaches."""
    module = prior(part, 3, dtype=torch.float32)
    z = normal(8, 3, dtype=torch.float32)
    z = _inside(module, 50 * z / z.norm(dim=-1, keepdim=True)).requires_grad_()
    score = _score(module, z)
    finite(score, "log p(z)")
    finite(_gradient(score, z), "its gradient in z")


@register("prior")
def agrees_in_float32(part: MakePart) -> None:
    """In float32, log p(z) and its gradient are those of float64, to 10⁻³ of them."""
    for latent in (3, 20):
        single = prior(part, latent, dtype=torch.float32)
        double = copy.deepcopy(single).double()
        error = max(1e-3, tolerance(single))
        for size in (0.0, 1.0, 10.0):
            told, x = [], _inside(single, size * normal(8, latent).float())
            for module, dtype in ((single, torch.float32), (double, torch.float64)):
                z = x.to(dtype).requires_grad_()
                score = _score(module, z)
                assert score.dtype == dtype, f"the score of z of {dtype} is of {score.dtype}"
                told.append((score, _gradient(score, z)))
            for what, seen, wanted in zip(("log p(z)", "its gradient"), *told, strict=True):
                if wanted.isfinite().all():
                    close(seen.double(), wanted, f"in float32 at size {size:g}, {what}", error)


@register("prior")
def is_the_same_in_training(part: MakePart) -> None:
    """In training as in evaluation, z has one score and gradient, and a seed gives one draw."""
    for scale in (None, 0.5):
        module = prior(part, 3, scale=scale)
        z = _inside(module, normal(4, 3)).requires_grad_()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        seen = []
        for mode in (False, True, False):
            module.train(mode)
            score = _score(module, z)
            torch.manual_seed(3)
            seen.append((score, _gradient(score, z), density(module).sample((4,))))
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), f"a score in training changes {name}"
        for what, i in (("in training", 1), ("after training", 2)):
            for name, told, wanted in zip(
                ("log p(z)", "its gradient", "a draw"), seen[i], seen[0], strict=True
            ):
                close(told, wanted, f"{what}, {name}", tolerance(module))


@register("prior")
def is_the_same_however_it_is_called(part: MakePart) -> None:
    """Scores depend neither on K and B, nor on gradients, memory layout or earlier calls."""
    module = prior(part, 3)
    error = tolerance(module)
    z = _inside(module, normal(4, 5, 3))
    score = partial(_score, module, z.clone().requires_grad_())
    same_without_gradients(score, "log p(z)")
    for where, moved in layouts(z).items():
        close(_score(module, moved), score(), f"with z {where}, log p(z)", error)
    one = z[:1].expand_as(z)
    close(_score(module, one), _score(module, one.clone()), "of equal z, log p(z)", error)
    with torch.no_grad():
        for lead in ((1, 257), (50, 128), (1, 128), (3, 3)):
            z = _inside(module, normal(*lead, 3))
            parts = torch.cat([_score(module, some) for some in z.flatten(0, 1).split(59)])
            close(_score(module, z), parts.view(lead), f"log p(z) of {lead} at once", error)
    few = prior(part, 2)
    z = _inside(few, normal(1, 2))
    same_in_every_call(partial(_score, few, z), "log p(z)")


@register("prior")
@torch.no_grad()
def survives_saving_and_loading(part: MakePart) -> None:
    """A new part with the state from a safetensors file has the same density."""
    module = prior(part, 3)
    torch.manual_seed(1)
    again = reloaded(module, prior(part, 3, scale=None))
    z = _inside(module, normal(4, 3))
    close(_score(again, z), _score(module, z), "log p(z) after loading", 1e-14)
