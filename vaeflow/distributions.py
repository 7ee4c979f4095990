"""Sampling and scoring in one forward pass: the only way that vaeflow draws from q(z|x).

Shapes: K samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TransformedDistribution,
    constraints,
)
from torch.distributions.utils import _sum_rightmost

from vaeflow.errors import PluginError

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Draw(NamedTuple):
    """A sample and its own density, log q(z) = log q0(z0) − log|det ∂z/∂z0|."""

    z: Tensor  # (K, B, L)
    log_base: Tensor  # (K, B): log q0(z0)
    log_det: Tensor  # (K, B): log|det ∂z/∂z0|, zero where there is no flow
    z0: Tensor | None = None  # (K, B, L): what a flow's maps were given

    @property
    def log_prob(self) -> Tensor:
        """Return log q(z), shape (K, B)."""
        return self.log_base - self.log_det


class Map(Protocol):
    """An invertible map of the latent space: z0 -> (z, log|det ∂z/∂z0|).

    Shapes (*, L) -> (*, L), (*). A map that knows its inverse may offer
    ``inverse(z) -> (z0, log|det ∂z/∂z0|)``, the log-determinant still that of the forward map.
    """

    def __call__(self, z: Tensor, /) -> tuple[Tensor, Tensor]:  # noqa: D102
        ...


class Flow(Distribution):
    r"""The law of :math:`z = f_T ∘ … ∘ f_1(z_0)` with :math:`z_0 \sim q_0`.

    .. math:: \log q(z) = \log q_0(z_0) - \sum_t \log|\det ∂f_t/∂z_{t-1}|

    Each map is applied once, forward; its log-determinant comes with it, so that no inverse and no
    cache is needed to score a draw (Rezende & Mohamed 2015, eq. 7).

    Arguments:
        base: q0, batch (B,), event (L,).
        maps: callables z -> (z, log|det|), applied in order.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: Distribution, maps: Sequence[Map]) -> None:
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base = base
        self.maps = tuple(maps)

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it in the same pass."""
        z0, log_base, log_det, _ = draw(self.base, sample_shape)
        z = z0
        for f in self.maps:
            z, term = f(z)
            if term.shape != log_base.shape:
                _check_term(f, term, log_base)
            log_det = log_det + term
        return Draw(z, log_base, log_det, z0)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw z, differentiable in the parameters of the base and of the maps."""
        return self.draw(tuple(sample_shape)).z

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z by the maps' inverses.

        Raises:
            NotImplementedError: where a map has no inverse; score draws with `draw` instead.
        """
        log_det = value.new_zeros(value.shape[:-1])
        for f in reversed(self.maps):
            inverse = getattr(f, "inverse", None)
            if inverse is None:
                raise NotImplementedError(
                    f"{type(f).__name__} has no inverse, so log q(z) is known only for a draw of "
                    "its own: use vaeflow.distributions.draw(q, shape), which scores as it draws"
                )
            value, term = inverse(value)
            log_det = log_det + term
        return self.base.log_prob(value) - log_det

    def score(self, sample: Draw) -> Tensor:
        r"""Return ∂ log q(z)/∂z at a draw, from the forward maps alone.

        .. math:: J^{-⊤} \frac{∂}{∂z_0} \big[\log q_0(z_0) - \log|\det J(z_0)|\big], \quad
            J = ∂z/∂z_0

        (Vaitl et al. 2022.) One pass over L + 1 copies of z0 yields the rows of J and the
        derivative of its log-determinant; no map needs an inverse.
        """
        z0 = sample.z0
        if z0 is None:
            raise NotImplementedError("a flow is scored by its maps from the z0 of its own draw")
        at_base = score(self.base, Draw(z0, sample.log_base, torch.zeros_like(sample.log_base)))
        with torch.enable_grad():
            copies = z0.detach().expand(z0.shape[-1] + 1, *z0.shape).clone().requires_grad_()
            z, log_det = copies, copies.new_zeros(copies.shape[:-1])
            for f in self.maps:
                z, term = f(z)
                log_det = log_det + term
            outputs = z[:-1].diagonal(dim1=0, dim2=-1).sum() - log_det[-1].sum()
            (rows,) = torch.autograd.grad(outputs, copies)
        jacobian = rows[:-1].movedim(0, -2)
        # solve_ex leaves out a check that waits for the device.
        solved = torch.linalg.solve_ex(jacobian.mT, (at_base + rows[-1])[..., None]).result
        return solved.squeeze(-1)


def score(q: Distribution, sample: Draw) -> Tensor:
    """Return ∂ log q(z)/∂z at a draw of q, (K, B, L), a number for each: no gradient flows on.

    A distribution's own `score(sample)` is used where it has one, else its `log_prob`.

    Raises:
        NotImplementedError, KeyError: where q scores nothing but its own draws.
    """
    if hasattr(q, "score"):
        own: Tensor = q.score(sample)
        return own.detach()
    with torch.enable_grad():
        z = sample.z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    return gradient


def draw(q: Distribution, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
    """Draw from any distribution and score the draw in one forward pass.

    A distribution's own one-pass method is used where it has one: `draw` (`Flow`) or
    `rsample_and_log_prob` (zuko's flows, which do not tell the log-determinant apart). torch's and
    Pyro's `TransformedDistribution` is walked forward. Anything else draws, then scores.
    """
    shape = Size(sample_shape)
    if hasattr(q, "draw"):
        return Draw(*q.draw(shape))
    if hasattr(q, "rsample_and_log_prob"):
        z, log_prob = q.rsample_and_log_prob(shape)
        return Draw(z, log_prob, torch.zeros_like(log_prob))
    if isinstance(q, TransformedDistribution):
        return _walk(q, shape)
    z = q.rsample(shape)
    log_prob = q.log_prob(z)
    return Draw(z, log_prob, torch.zeros_like(log_prob))


def rsample_and_log_prob(
    q: Distribution, sample_shape: Size | tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Return z (K, B, L) and log q(z) (K, B): `draw` without the split."""
    sample = draw(q, sample_shape)
    return sample.z, sample.log_prob


def _walk(q: TransformedDistribution, shape: Size) -> Draw:
    """Push a base sample through q's transforms, each transform and log-determinant once.

    Calling `q.log_prob(q.rsample())` would invert each transform; planar-like transforms have no
    inverse, and a cache of the last sample answers for that sample only.
    """
    # Event dimensions may grow or shrink along the chain; count them as torch's log_prob does.
    event_dim = len(q.event_shape)
    for t in reversed(q.transforms):
        event_dim += t.domain.event_dim - t.codomain.event_dim
    z = q.base_dist.rsample(shape)
    log_base = _sum_rightmost(q.base_dist.log_prob(z), event_dim - len(q.base_dist.event_shape))
    log_det = torch.zeros_like(log_base)
    for t in q.transforms:
        y = t(z)
        term = t.log_abs_det_jacobian(z, y)
        log_det = log_det + _sum_rightmost(term, event_dim - t.domain.event_dim)
        event_dim += t.codomain.event_dim - t.domain.event_dim
        z = y
    return Draw(z, log_base, log_det)


class DiagonalNormal(Independent):
    r"""N(loc, diag(exp(log_variance))): torch's `Independent(Normal)`, drawn and scored at once.

    With z = loc + σ·ε, :math:`\log q(z) = -\sum_i ½ε_i^2 + \log σ_i + ½\log 2π`: the noise is at
    hand, so that z need not be standardized again.

    Arguments:
        loc: (*, L).
        log_variance: (*, L), or broadcastable to it.
    """

    def __init__(self, loc: Tensor, log_variance: Tensor) -> None:
        # A density in bfloat16 is off by tenths of a nat, so autocast ends here.
        loc, log_variance = at_least_float32(loc), at_least_float32(log_variance)
        self.loc = loc
        self.log_scale = 0.5 * log_variance
        normal = Normal(loc, self.log_scale.exp(), validate_args=False)
        super().__init__(normal, 1, validate_args=False)

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it by its noise."""
        normal = self.base_dist
        shape = Size((*sample_shape, *normal.batch_shape))
        noise = torch.randn(shape, dtype=normal.scale.dtype, device=normal.scale.device)
        log_prob = self._score(noise)
        z = torch.addcmul(self.loc, normal.scale, noise)
        return Draw(z, log_prob, torch.zeros_like(log_prob))

    def expand(
        self, batch_shape: Size | Sequence[int], _instance: Distribution | None = None
    ) -> DiagonalNormal:
        """Return the same law for a larger batch, as Pyro's plates ask for."""
        shape = Size((*batch_shape, self.event_shape[0]))
        return DiagonalNormal(self.loc.expand(shape), 2 * self.log_scale.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        return self._score((value - self.loc) / self.base_dist.scale)

    def _score(self, noise: Tensor) -> Tensor:
        log_volume = self.log_scale.expand(self.loc.shape).sum(-1)
        return -0.5 * (noise * noise).sum(-1) - log_volume - noise.shape[-1] * _HALF_LOG_TWO_PI


class StandardNormal(DiagonalNormal):
    r"""N(0, I), scored without its zeros: :math:`\log p(z) = -\sum_i ½z_i^2 + ½\log 2π`.

    Arguments:
        zero: 0 (L).
    """

    def __init__(self, zero: Tensor) -> None:
        super().__init__(zero, zero)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        return -0.5 * (value * value).sum(-1) - value.shape[-1] * _HALF_LOG_TWO_PI


def _check_term(f: Map, term: Tensor, log_base: Tensor) -> None:
    """Refuse a log-determinant that does not broadcast to (K, B): it would score (B, B, L)."""
    wanted = log_base.shape
    lead = wanted[len(wanted) - term.dim() :] if term.dim() <= len(wanted) else Size()
    fits = term.dim() <= len(wanted) and all(
        a in (1, b) for a, b in zip(term.shape, lead, strict=True)
    )
    if not fits:
        raise PluginError(
            f"{type(f).__name__} returned log|det| of shape {tuple(term.shape)}, but "
            f"{tuple(wanted)} is expected, one number per draw: sum it over the last axis"
        )


class StandardizedFlow(Flow):
    r"""The law of :math:`z = μ + σ u`, :math:`u = f_T ∘ … ∘ f_1(ε)`, :math:`ε \sim N(0, I)`.

    .. math:: \log q(z) = \log N(μ + σε; μ, σ^2) - \sum_t \log|\det ∂f_t|

    The maps bend the noise before it is scaled, not z: what is made for numbers near 1, such as the
    box of a spline or a power, fits N(0, I) whatever μ and σ are. Without maps it is the base.

    Arguments:
        base: N(μ, diag σ²), batch (B,), event (L,).
        maps: callables z -> (z, log|det|), applied in order.
    """

    def __init__(self, base: DiagonalNormal, maps: Sequence[Map]) -> None:
        super().__init__(base, maps)
        zero = torch.zeros_like(base.loc)
        self.noise = Flow(DiagonalNormal(zero, zero), maps)
        self.loc, self.scale = base.loc, base.log_scale.exp()
        self.log_volume = base.log_scale.sum(-1)

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it in the same pass."""
        u, log_noise, log_det, noise = self.noise.draw(sample_shape)
        return Draw(self.loc + self.scale * u, log_noise - self.log_volume, log_det, noise)

    def score(self, sample: Draw) -> Tensor:
        """Return ∂ log q(z)/∂z = (∂ log q(u)/∂u)/σ at a draw."""
        return self.noise.score(sample) / self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z by the maps' inverses; raises as `Flow.log_prob` does."""
        return self.noise.log_prob((value - self.loc) / self.scale) - self.log_volume


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it came in a half precision, as it is otherwise."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
