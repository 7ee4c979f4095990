"""Flows, which draw z and score it in one forward pass of their maps.

Shapes: K samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Size, Tensor
from torch.distributions import (
    Distribution,
    constraints,
)

from vaeflow.distributions.draw import (
    Draw,
    OnePass,
    OwnDraw,
    brief,
    draw,
    grad_log_prob,
    no_formula,
)
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import PluginError


class Map(Protocol):
    """An invertible map of the latent space: z0 -> (z, log|det ∂z/∂z0|).

    Shapes (*, L) -> (*, L), (*). A map that knows its inverse may offer
    ``inverse(z) -> (z0, log|det ∂z/∂z0|)``, the log-determinant still that of the forward map.
    """

    def __call__(self, z: Tensor, /) -> tuple[Tensor, Tensor]: ...


class Flow(OnePass):
    r"""The law of :math:`z = f_T ∘ … ∘ f_1(z_0)` with :math:`z_0 \sim q_0`.

    .. math:: \log q(z) = \log q_0(z_0) - \sum_t \log|\det ∂f_t/∂z_{t-1}|

    A draw applies each map once, forward, and adds up the log-determinants: it needs neither an
    inverse nor a cache to be scored (Rezende & Mohamed 2015, eq. 7). `log_prob` scores the last
    draw of `rsample` or `sample` by what came with it, any other z by the inverses of the maps.

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
        self._last: OwnDraw | None = None

    def __repr__(self) -> str:
        names = ", ".join(dict.fromkeys(type(f).__name__ for f in self.maps))
        maps = f"{len(self.maps)} map{'s' * (len(self.maps) > 1)}: {names}" if names else "no maps"
        return f"{type(self).__name__}({brief(self.base)}, {maps})"

    def expand(
        self, batch_shape: Size | Sequence[int], _instance: Distribution | None = None
    ) -> Flow:
        """Return the same law for a batch of more dimensions in front, as Pyro's plates ask for.

        Raises:
            ValueError: for any other batch, as the maps hold parameters of each image.
        """
        shape, own = Size(batch_shape), self.batch_shape
        if shape[len(shape) - len(own) :] != own:
            raise ValueError(
                f"a {type(self).__name__} of batch {tuple(own)} cannot be expanded to "
                f"{tuple(shape)}: its maps belong to its images, so keep {tuple(own)} at the end"
            )
        return type(self)(self.base.expand(shape), self.maps)

    @property
    def mean(self) -> Tensor:
        """Raise a NotImplementedError that tells how to estimate E[z]."""
        raise no_formula(self, "mean")

    @property
    def variance(self) -> Tensor:
        """Raise a NotImplementedError that tells how to estimate Var[z]."""
        raise no_formula(self, "variance")

    def entropy(self) -> Tensor:
        """Raise a NotImplementedError that tells how to estimate E[−log q(z)]."""
        raise no_formula(self, "entropy")

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
        sample = self.draw(tuple(sample_shape))
        self._last = OwnDraw(sample)
        return sample.z

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z: the last draw exactly, by what came with it, others by the maps' inverses.

        The density of the last draw is a function of the parameters, as z is; its slope in z is
        `grad_log_prob`'s.

        Raises:
            NotImplementedError: where a map has no inverse; score draws with `draw` instead.
        """
        known = None if self._last is None else self._last.log_prob_of(value)
        return self._score(value) if known is None else known

    def _score(self, value: Tensor) -> Tensor:
        """Score any z by the maps' inverses."""
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

    def grad_log_prob(self, sample: Draw) -> Tensor:
        r"""Return ∂ log q(z)/∂z at a draw, from the forward maps alone.

        .. math:: J^{-⊤} \frac{∂}{∂z_0} \big[\log q_0(z_0) - \log|\det J(z_0)|\big], \quad
            J = ∂z/∂z_0

        (Vaitl et al. 2022.) One pass over L + 1 copies of z0 yields the rows of J and the
        derivative of its log-determinant; no map needs an inverse.
        """
        z0 = sample.z0
        if z0 is None:
            raise NotImplementedError("a flow is scored by its maps from the z0 of its own draw")
        at_base = grad_log_prob(
            self.base, Draw(z0, sample.log_base, torch.zeros_like(sample.log_base))
        )
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
        solved: Tensor = torch.linalg.solve_ex(jacobian.mT, (at_base + rows[-1])[..., None]).result
        return solved.squeeze(-1)


def _check_term(f: Map, term: Tensor, log_base: Tensor) -> None:
    """Refuse a log-determinant that does not broadcast to (K, B): it would score (B, B, L).

    One of shape (K, 1) does broadcast, and is no density either: the images share their sum.
    """
    wanted = log_base.shape
    lead = wanted[len(wanted) - term.dim() :] if term.dim() <= len(wanted) else Size()
    shared = term.dim() == len(wanted) and term.shape[-1:] != wanted[-1:]
    fits = (
        term.dim() <= len(wanted)
        and not shared
        and all(a in (1, b) for a, b in zip(term.shape, lead, strict=True))
    )
    if not fits:
        raise PluginError(
            f"{type(f).__name__} returned log|det| of shape {tuple(term.shape)}, but "
            f"{tuple(wanted)} is expected, one number per draw: sum it over the last axis"
        )


class StandardizedFlow(Flow):
    r"""The law of :math:`z = μ + σ u`, :math:`u = f_T ∘ … ∘ f_1(ε)`, :math:`ε \sim N(0, I)`.

    .. math:: \log q(z) = \log N(μ + σε; μ, σ^2) - \sum_t \log|\det ∂f_t|

    The maps bend the noise, which is scaled afterwards. A map made for numbers near 1, such as a
    spline in a box, fits N(0, I) for any μ and σ. Without maps the law is the base.

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

    def grad_log_prob(self, sample: Draw) -> Tensor:
        """Return ∂ log q(z)/∂z = (∂ log q(u)/∂u)/σ at a draw."""
        return self.noise.grad_log_prob(sample) / self.scale

    def _score(self, value: Tensor) -> Tensor:
        """Score any z by the maps' inverses."""
        return self.noise.log_prob((value - self.loc) / self.scale) - self.log_volume
