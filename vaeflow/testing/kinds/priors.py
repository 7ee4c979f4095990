"""Checks of a prior's density, draws and gradients. Shapes: N draws, L latent size."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution, constraints

from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.parts.abstract import Infer
from vaeflow.testing.bridge import bridge
from vaeflow.testing.conditionals import marginals
from vaeflow.testing.draws import follow, follow_given_the_rest
from vaeflow.testing.kinds.posteriors import tolerance
from vaeflow.testing.lines import Line, line_of
from vaeflow.testing.masses import factorizes, log_mass
from vaeflow.testing.probes import close, far_from_start, finite, normal
from vaeflow.testing.registered import MakePart, register
from vaeflow.testing.stein import satisfy_stein

_DATA_SHAPE = (1, 4, 4)
_SIZES = (34, 64)  # tried with each set of options
_EVERY_SIZE = (*range(1, 41), 64)  # with the default options
_LOOK = 200  # draws that tell where a density has its mass
_TELLING = 1.0  # nats: of a mass less well known nothing is told


def prior(
    part: MakePart,
    latent: int,
    *,
    scale: float | None = 0.5,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Return the part, its parameters far from the start by `scale`, if it is not None."""
    made: nn.Module = part(latent, _DATA_SHAPE).to(dtype).eval()
    return made if scale is None else far_from_start(made, scale, seed)


def infer_for(latent: int, dtype: torch.dtype = torch.float64) -> Infer:
    """Return a stand-in for q(z|x): a Gaussian whose mean and scale follow the data x."""
    weights = normal(math.prod(_DATA_SHAPE), 2 * latent, seed=9, dtype=dtype)

    def infer(x: torch.Tensor) -> Distribution:
        assert x.shape[1:] == _DATA_SHAPE, (
            f"infer is called with {tuple(x.shape)}, not (N, {', '.join(map(str, _DATA_SHAPE))})"
        )
        mean, log_variance = (x.flatten(1).to(dtype) @ weights).chunk(2, -1)
        return DiagonalNormal(mean, -0.3 * log_variance.abs())

    return infer


def density(module: Any, dtype: torch.dtype = torch.float64) -> Distribution:
    """Return p(z)."""
    p: Distribution = module(infer_for(module.latent, dtype))
    return p


def _line(p: Distribution) -> Line:
    """Return the numbers that each dimension may take: all, where p does not tell."""
    try:
        return line_of(p.support, p.event_shape)
    except (NotImplementedError, AttributeError):
        return line_of(constraints.real, p.event_shape)


@register("prior", core=True)
@torch.no_grad()
def is_a_density_over_the_latent_space(part: MakePart) -> None:
    """p has batch (), event (L,), and integrates to 1 for L = 1, 2 and, if a product, any L."""
    for latent, scale, seed in ((1, 0.5, 0), (2, 0.5, 0), (2, None, 0), (5, 0.5, 1)):
        module = prior(part, latent, scale=scale, seed=seed)
        p, error = density(module), tolerance(module)
        assert p.batch_shape == (), f"the batch shape is {tuple(p.batch_shape)}, not ()"
        assert p.event_shape == (latent,), f"the event is {tuple(p.event_shape)}, not {(latent,)}"
        for shape in ((), (5, 3), (3, 3), (4, 1, 2)):
            z = p.sample(shape)
            assert z.shape == (*shape, latent), (
                f"a draw is {tuple(z.shape)}, not {(*shape, latent)}"
            )
            score = p.log_prob(z)
            assert score.shape == shape, f"a score is {tuple(score.shape)}, not {shape}"
            finite(score, "the score of a draw")
            if shape:
                close(p.log_prob(z[1]), score[1], "the scores of one sample among others", error)
        if latent <= 2:
            _has_mass_one(p)
    if is_product(p):
        for latent in _EVERY_SIZE:
            _has_mass_one(density(prior(part, latent)))


def _has_mass_one(p: Distribution) -> None:
    """Raise AssertionError unless p integrates to 1: to 10⁻⁶ on a line, to 10⁻³ in the plane."""
    (latent,) = p.event_shape
    z, line = p.sample((5 * _LOOK,)), _line(p)
    tolerance = 1e-6 * (1 + 0.1 * latent)
    if not factorizes(p.log_prob, z, line):
        tolerance = 1e-3
    mass = log_mass(p.log_prob, z, line)
    assert abs(mass.log) <= tolerance + mass.slack, (
        f"in {latent} dimensions the density integrates to {math.exp(mass.log):.7g}, not 1"
    )


@register("prior", core=True)
def draws_follow_the_density(part: MakePart) -> None:
    """In 1 to 64 dimensions, the draws, the density and its gradient fit each other."""
    changed = isinstance(part, partial) and part.keywords
    sizes = dict.fromkeys(_SIZES if changed else _EVERY_SIZE, 300)
    sizes |= {1: 1000, 2: 1000, 3: 1000, 5: 1000, 10: 1000, 20: 500}
    for latent, count in sizes.items():
        p = density(prior(part, latent))
        with torch.no_grad():
            z = p.sample((count,))
        _fit(p, z)
    with torch.no_grad():
        p = density(prior(part, 1, scale=2.0))  # such as components of other weights
        _fit(p, p.sample((4000,)), fine=True)
        _fit(p, torch.stack([p.sample() for _ in range(60)]), fine=True)
        module = prior(part, 5, scale=None)
        z = density(module.train()).sample((1000,))
    _fit(density(module.eval()), z)
    if is_product(density(prior(part, 5))):  # at its start, more may be
        p = density(prior(part, 5, scale=20.0))
        if _line(p).unbounded:
            _fit(p, p.sample((1000,)), fine=True)


@torch.no_grad()
def is_product(p: Distribution) -> bool:
    """Tell whether the dimensions are independent."""
    return factorizes(p.log_prob, p.sample((_LOOK,)), _line(p))


def _fit(p: Distribution, z: torch.Tensor, *, fine: bool = False) -> None:
    """Raise AssertionError unless draws (N, L) are of p, which has narrow peaks if it is `fine`."""
    latent, line = z.shape[1], _line(p)
    what = f"in {latent} dimensions, the draws"
    with torch.no_grad():
        if factorizes(p.log_prob, z, line):
            look, new = z[: len(z) // 3], z[len(z) // 3 :]  # bins fit the draws they come from
            follow(new, marginals(p.log_prob, look, line, fine=fine), line, what)
            return
        if not line.unbounded:
            follow_given_the_rest(z, p.log_prob, line, what)
            return
        log, error = bridge(p.log_prob, z)
    if error < _TELLING:
        assert abs(log) <= 1e-3 + 6 * error, (
            f"{what} and the density do not fit: judged by its draws, it integrates to "
            f"{math.exp(log):.3g} ± {math.exp(log) * error:.1g}, not to 1"
        )
    satisfy_stein(z, p.log_prob, what)
