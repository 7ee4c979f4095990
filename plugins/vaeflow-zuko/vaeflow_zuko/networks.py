"""zuko's monotonic networks and its ODE, made bijections of the whole line that start as identity.

Shapes: L latent size, S size of the signal that conditions a network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Transform

from vaeflow_zuko.library import (
    MNN,
    UMNN,
    AdditiveTransform,
    ComposedTransform,
    FFJTransform,
    FreeFormJacobianTransform,
    MonotonicTransform,
    UnconstrainedMonotonicTransform,
    broadcast,
)

# Bisection looks for an inverse in this range. zuko's ±10 cuts off numbers that occur.
BOUND = 1e4
# Numbers that a network's hidden layer may hold for one call; more are computed in pieces.
BUDGET = 2**22


class MonotoneNetwork(MNN):
    """A network f of positive weights, one for each of L dimensions, and x -> s·x + f(x; signal).

    The learned s > 0 maps onto the whole line even where every unit of f is saturated. It starts
    at 1 and f close to 0, which alone would stretch each dimension manifold.
    """

    def __init__(self, latent: int, signal: int, hidden: Sequence[int]) -> None:
        super().__init__(signal, stack=latent, hidden_features=hidden)
        self.skip = nn.Parameter(torch.full((latent,), math.log(math.e - 1)))
        with torch.no_grad():
            self.network[-1].weight.mul_(0.01)  # not 0, where |weight| has no gradient
            self.network[-1].bias.zero_()

    def f(self, signal: Tensor, x: Tensor) -> Tensor:
        """Map x (*, L) to (*, L) for the signal (*, L, S)."""
        y: Tensor = F.softplus(self.skip) * x + super().f(signal, x)
        return y

    def forward(self, signal: Tensor) -> Transform:
        """Return the transform for the signal (*, L, S)."""
        phi = (signal, *self.parameters())
        return MonotonicTransform(f=partial(self.f, signal), phi=phi, bound=BOUND)


class PositiveNetwork(UMNN):
    """A network g(x; signal) > 0, one for each of L dimensions, and x -> ∫₀ˣ g + constant.

    The integral is a Gauss-Legendre quadrature, of which log g is taken to be the log-derivative.
    """

    def __init__(self, latent: int, signal: int, hidden: Sequence[int], points: int) -> None:
        # The quadrature converges slowly where a derivative of g jumps, as zuko's ELU lets it.
        super().__init__(signal, stack=latent, hidden_features=hidden, activation=nn.Tanh)
        self.points = points
        self.widest = max((1 + signal, *hidden))
        start_at_zero(self.integrand[-1])

    def g(self, signal: Tensor, x: Tensor) -> Tensor:
        """Return the slope, in (1/1000, 1000), at x (*, L) for the signal (*, L, S)."""
        x, signal = broadcast(x[..., None], signal, ignore=1)
        # The quadrature asks for all its points at once, in a leading dimension.
        some = max(1, BUDGET // max(1, x[:1].numel() * self.widest))
        parts = zip(x.split(some), signal.split(some), strict=True)
        d = torch.cat([self.integrand(torch.cat(part, dim=-1)) for part in parts])
        return torch.exp(7 * torch.tanh(d.squeeze(-1) / 7))

    def forward(self, signal: Tensor, constant: Tensor) -> Transform:
        """Return the transform for the signal (*, L, S) and the constant (*, L)."""
        phi = (signal, *self.parameters())
        g = partial(self.g, signal)
        integral = UnconstrainedMonotonicTransform(g=g, phi=phi, n=self.points, bound=BOUND)
        return ComposedTransform(integral, AdditiveTransform(shift=constant))


class ODE(FreeFormJacobianTransform):
    """The solution at t = 1 of dx/dt = f(t, x), with the exact trace of ∂f/∂x."""

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (*, L) to (*, L) and log|det| (*,)."""
        # zuko's solver shortens its step until the error is small, which a NaN never gets.
        if not torch.isfinite(self.f(self.t0, x)).all():
            return x * torch.nan, x.sum(-1) * torch.nan
        result: tuple[Tensor, Tensor] = super().call_and_ladj(x)
        return result

    @property
    def inv(self) -> Transform:
        """Return the transform that runs time backwards."""
        return ODE(
            self.f, self.t1, self.t0, phi=self.phi, atol=self.atol, rtol=self.rtol, exact=self.exact
        )


class Field(FFJTransform):
    """The network of the ODE, dx/dt = f(t, x; context).

    Its hidden units are bounded, and so is the speed: nothing leaves for infinity before t = 1.
    """

    def __init__(self, latent: int, context: int, *, rtol: float, **network: Any) -> None:
        super().__init__(latent, context, atol=0.1 * rtol, rtol=rtol, activation=nn.Tanh, **network)
        start_at_zero(self.ode[-1])

    def forward(self, c: Tensor | None = None) -> Transform:
        """Return the transform for a context (B, C), or for none."""
        phi = (*(() if c is None else (c,)), *self.parameters())
        f = partial(self.f, c=c)
        return ODE(f, *self.times, phi=phi, atol=self.atol, rtol=self.rtol)


@torch.no_grad()
def start_at_zero(module: nn.Module) -> None:
    """Set every parameter to 0."""
    for parameter in module.parameters():
        parameter.zero_()
