"""Checks of a posterior's draws and their densities.

They need no inverse and no knowledge of the flow. They replace the noise that the flow draws, so
that z is a function of given noise, and autograd computes its Jacobian. Shapes: K samples, B batch,
F features, L latent size.
"""

from __future__ import annotations

import inspect
import math
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from vaeflow.config.options import validate
from vaeflow.distributions.draw import Draw, draw
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.testing.probes import (
    averages_to_one,
    close,
    far_from_start,
    given,
    integrals,
    log_normal,
    normal,
    options_of,
)
from vaeflow.testing.registered import MakePart, NotApplicable, register

FEATURES = 7


def posterior(
    part: MakePart,
    latent: int,
    *,
    scale: float = 2.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Build the part for L = `latent` and F = `FEATURES`, far from its start, for evaluation."""
    made: nn.Module = part(latent, FEATURES).to(dtype)
    return far_from_start(made, scale, seed).eval()


def features(batch: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    """Draw features h (B, F)."""
    return normal(batch, FEATURES, seed=seed, dtype=dtype)


def tolerance(module: nn.Module) -> float:
    """Return the relative error to allow for: the part's own, or 1e-9."""
    return max(1e-9, float(getattr(module, "tolerance", 0.0)))


def with_jacobian(
    module: nn.Module, h: Tensor, eps: Tensor, *, autocast: bool = False
) -> tuple[Draw, Tensor]:
    """Return the draw for h (1, F) at the noise ε (1, L), and its Jacobian ∂z/∂ε (L, L)."""
    latent = eps.shape[-1]
    # As many samples as rows, all equal: one pass backwards yields every row.
    copies = eps.detach().expand(latent, 1, latent).clone().requires_grad_()
    with torch.autocast(h.device.type, torch.bfloat16, enabled=autocast):
        sample = given(module(h), copies)
    outputs = sample.z.diagonal(dim1=0, dim2=2).sum()
    (jacobian,) = torch.autograd.grad(outputs, copies, allow_unused=True)
    assert jacobian is not None, "z does not depend on its noise"
    return sample, jacobian.squeeze(1)


@register("posterior")
def returns_draws_of_the_right_shape(part: MakePart) -> None:
    """q has batch (B,), event (L,); z is (*, B, L), log q is (*, B), for batches of 0 to 3."""
    for latent in (1, 5):
        module = posterior(part, latent)
        for batch in (0, 1, 3):
            q = module(features(batch))
            assert q.batch_shape == (batch,), (
                f"the batch shape is {tuple(q.batch_shape)}, not {(batch,)}"
            )
            assert q.event_shape == (latent,), (
                f"the event shape is {tuple(q.event_shape)}, not {(latent,)}"
            )
            for shape in ((), (1,), (4,)):
                try:
                    sample = draw(q, shape)
                except (RuntimeError, ZeroDivisionError):
                    if batch:
                        raise
                    continue  # torch's own distributions cannot sum over nothing
                for what, seen, wanted in (
                    ("z", sample.z, (*shape, batch, latent)),
                    ("log q0", sample.log_base, (*shape, batch)),
                    ("log|det|", sample.log_det, (*shape, batch)),
                ):
                    assert seen.shape == wanted, f"{what} is {tuple(seen.shape)}, not {wanted}"


@register("posterior", core=True)
def log_q_matches_the_jacobian(part: MakePart) -> None:
    """log q(z) = log N(ε) − log|det ∂z/∂ε| by autograd, in float64, far from the start."""
    off: dict[int, float] = {}
    for latent in (1, 2, 5, 16, 33):
        compared = 0
        # Weights and noise, from small to far out.
        sizes = ((0.5, 1.0), (1.0, 1.0), (1.0, 3.0), (2.0, 1.0), (2.0, 1.0))
        for seed, (scale, far) in enumerate(sizes if latent <= 16 else sizes[:2]):
            module = posterior(part, latent, scale=scale, seed=seed)
            eps = far * normal(1, latent, seed=seed + 10)
            sample, jacobian = with_jacobian(module, features(1, seed=seed), eps)
            assert torch.isfinite(jacobian).all(), f"∂z/∂ε is not finite at latent size {latent}"
            if torch.linalg.cond(jacobian) > 1e6:
                continue  # here the reference itself loses the digits that are compared
            compared += 1
            wanted = log_normal(eps) - torch.linalg.slogdet(jacobian).logabsdet
            error = (sample.log_prob - wanted).abs().max() / (1 + wanted.abs().max())
            if not error <= tolerance(module):
                nats = (sample.log_prob - wanted).abs().max().item()
                off[latent] = max(off.get(latent, 0.0), nats)
        assert compared, f"every Jacobian is close to singular at latent size {latent}"
    told = ", ".join(f"{error:.3g} nats at latent size {latent}" for latent, error in off.items())
    assert not off, f"log q is off by {told}"


@register("posterior")
def keeps_its_orientation(part: MakePart) -> None:
    """det ∂z/∂ε has one sign for all noise of an image: where it changes, the map folds."""
    for seed, latent in enumerate((2, 2, 1, 5)):
        module, images = posterior(part, latent, seed=seed), 8
        # As many samples as rows of the Jacobian, all equal, at each of 64 points.
        eps = normal(64, images, latent, seed=seed).expand(latent, -1, -1, -1).clone()
        z = given(module(features(images, seed=seed)), eps.requires_grad_()).z
        outputs = z.diagonal(dim1=0, dim2=3).sum()
        (rows,) = torch.autograd.grad(outputs, eps)
        jacobian = rows.permute(1, 2, 0, 3)
        sign = torch.linalg.det(jacobian).sign() * (torch.linalg.cond(jacobian) < 1e9)
        folds = (sign.amax(0) > 0) & (sign.amin(0) < 0)
        assert not folds.any(), "det ∂z/∂ε is positive at some noise, negative at other"


@register("posterior")
@torch.no_grad()
def covers_the_plane_once(part: MakePart) -> None:
    """∫ r(z(ε)) |det ∂z/∂ε| dε = 1 for a density r: the map from noise to z is a bijection."""
    for seed in range(3):
        q = posterior(part, 2, scale=1.0, seed=seed)(features(1, seed=seed))
        near = given(q, normal(2000, 1, 2)).z.flatten(0, 1)
        r = DiagonalNormal(near.mean(0), (0.25 * near.var(0)).log())
        totals, allowed = integrals(q, r, 81, 1, reach=8), _GRID_ERROR
        if not (totals - 1).abs() < allowed:
            # A map may bend more sharply than the grid resolves, or pull far noise near: wider and
            # finer grids then disagree, and their spread is allowed for.
            totals = integrals(q, r, 201, 6, reach=200)
            allowed += 4 * totals.std().item() / math.sqrt(len(totals))
        total = totals.mean().item()
        assert abs(total - 1) < allowed, f"the integral is {total:.3f}, not 1"


# A fold or a gap moves the integral by tenths, the grid and its edge by far less.
_GRID_ERROR = 0.03


@register("posterior")
def weights_average_to_one(part: MakePart) -> None:
    """E_q[r(z)/q(z)] = 1 for a density r narrower than q, in three dimensions, by Monte Carlo."""
    latent, n, unjudged = 3, 10_000, []
    for seed, scale in enumerate((1.0, 0.5)):
        module, h = posterior(part, latent, scale=scale, seed=seed), features(1, seed=seed)
        with torch.no_grad():
            z, log_q = (x[:, 0] for x in _scored(given(module(h), normal(n, 1, latent))))
        log_weights = []
        for eps in 0.7 * normal(6, 1, latent, seed=seed + 20):
            # r is the shape of q around one draw, where the map is nearly linear, but narrower.
            sample, jacobian = with_jacobian(module, h, eps)
            away = torch.linalg.solve_ex(0.5 * jacobian, (z - sample.z[0, 0].detach()).mT)[0].mT
            log_det = torch.linalg.slogdet(0.5 * jacobian).logabsdet
            log_weights.append(log_normal(away) - log_det - log_q)
        try:
            averages_to_one(torch.stack(log_weights), "E[r/q]")
        except NotApplicable as reason:
            unjudged.append(reason)
    if len(unjudged) == 2:
        raise unjudged[0]


def _scored(sample: Draw) -> tuple[Tensor, Tensor]:
    return sample.z, sample.log_prob


@register("posterior")
def treats_images_independently(part: MakePart) -> None:
    """Permuting, splitting or joining batches does the same to the draws and their densities."""
    module = posterior(part, 5)
    h, eps = features(40), normal(3, 40, 5)
    whole = given(module(h), eps)
    for what, rows in (
        ("a permuted batch", [7 * i % 40 for i in range(40)]),
        ("a batch of one", [0]),
        ("half of the batch", [2, 3]),
        ("the batch joined to itself", [*range(40), *range(40)]),
    ):
        seen = given(module(h[rows]), eps[:, rows])
        close(seen.z, whole.z[:, rows], f"z of {what}", tolerance(module))
        close(seen.log_prob, whole.log_prob[:, rows], f"log q of {what}", tolerance(module))


@register("posterior")
def draws_noise_for_every_sample_and_image(part: MakePart) -> None:
    """Draws differ between samples and between equal images; a seed repeats them."""
    q = posterior(part, 3)(features(1).expand(2, -1))
    torch.manual_seed(5)
    z = draw(q, (2,)).z
    assert not torch.allclose(z[0], z[1]), "two samples share their noise"
    assert not torch.allclose(z[:, 0], z[:, 1]), "two images share their noise"
    assert not torch.equal(z, draw(q, (2,)).z), "two successive draws are equal"
    many = draw(q, (100,)).z.flatten(0, 1)
    assert len(torch.unique(many, dim=0)) == len(many), "the noise of 100 samples repeats"
    torch.manual_seed(5)
    assert torch.equal(z, draw(q, (2,)).z), "the same seed gives another draw"


@register("posterior")
def scores_each_draw_by_itself(part: MakePart) -> None:
    """Successive draws of one q, and samples drawn at once, are each scored as if drawn alone."""
    h, eps = features(3), normal(3, 3, 4)  # K = B: neither may be taken for the other
    module = posterior(part, 4)
    fresh = [deepcopy(module) for _ in eps]  # before anything could be remembered
    q = module(h)
    one_by_one = [given(q, e) for e in eps]
    at_once = given(q, eps)
    for i, seen in enumerate(one_by_one):
        alone = given(fresh[i](h), eps[i])
        for what, z, log_q in (
            (f"draw {i + 1} of one q", *_scored(seen)),
            (f"sample {i + 1} of three", at_once.z[i], at_once.log_prob[i]),
        ):
            close(z, alone.z, f"z of {what}", tolerance(module))
            close(log_q, alone.log_prob, f"log q of {what}", tolerance(module))


@register("posterior")
def zero_steps_leave_the_base(part: MakePart) -> None:
    """With `steps` = 0, z is an affine function of the noise."""
    whole = options_of(part)
    if "steps" not in inspect.signature(whole).parameters:
        raise NotApplicable("there is no option 'steps'")
    try:
        if isinstance(whole, type):
            validate(whole, {**getattr(part, "keywords", {}), "steps": 0}, "posterior")
        module = posterior(partial(part, steps=0), 4)
    except ConfigError as refusal:
        raise NotApplicable(f"steps = 0 is refused: {refusal}") from None
    h, a, b = features(3), normal(1, 3, 4), normal(1, 3, 4, seed=3)
    q = module(h)
    zero, left, right, both = (given(q, e) for e in (0 * a, a, b, a + b))
    close(both.z - right.z, left.z - zero.z, "z by another step of noise", tolerance(module))
    seen, wanted = left.log_prob - log_normal(a), zero.log_prob - log_normal(0 * a)
    close(seen, wanted, "log|det| at another draw", tolerance(module))
