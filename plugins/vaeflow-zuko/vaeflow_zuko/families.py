"""zuko's flows by family: the options of each, and the stack of transforms that they make.

A family is mixed into a posterior (`vaeflow_zuko.posteriors`) and into a prior
(`vaeflow_zuko.priors`), which know the sizes and say in which direction the transforms run. Every
transform starts as the identity, whatever its context is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field as Bounds
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Transform

from vaeflow_zuko.library import (
    BoundedBernsteinTransform,
    GeneralCouplingTransform,
    MaskedAutoregressiveTransform,
    MonotonicAffineTransform,
    MonotonicRQSTransform,
)
from vaeflow_zuko.networks import Field, MonotoneNetwork, PositiveNetwork, start_at_zero

Hidden = tuple[PositiveInt, ...]
Univariate = Callable[..., Transform]


class Family(nn.Module):
    """A stack of transforms of L dimensions under a context of C numbers, 0 for no context."""

    latent: int
    context: int
    transforms: nn.ModuleList

    def orders(self, steps: int) -> list[Tensor]:
        """Return the order of the dimensions in each step: ascending and descending in turn."""
        ascending = torch.arange(self.latent)
        return [ascending.flip(0) if i % 2 else ascending for i in range(steps)]

    def autoregressive(
        self,
        steps: int,
        hidden: Hidden,
        univariate: Callable[[], Univariate],
        *shapes: Sequence[int],
    ) -> nn.ModuleList:
        """Return masked autoregressive transforms y_i = f(x_i; x_<i, context).

        `univariate` makes f, `shapes` are those of its parameters for one dimension.
        """
        transforms = nn.ModuleList(
            MaskedAutoregressiveTransform(
                self.latent,
                self.context,
                order=order,
                univariate=univariate(),
                shapes=shapes,
                hidden_features=hidden,
            )
            for order in self.orders(steps)
        )
        return start_at_identity(transforms)


def start_at_identity(transforms: nn.ModuleList) -> nn.ModuleList:
    """Zero the last layers of the conditioners, and so their output."""
    transform: Any
    for transform in transforms:
        # Of one dimension and no context, zuko keeps the parameters themselves.
        emitted: Any = transform.hyper[-1] if hasattr(transform, "hyper") else transform.phi
        start_at_zero(emitted)
    return transforms


class MAF(Family):
    """Masked affine autoregressive flow (Papamakarios et al. 2017), run as IAF in a posterior.

    y_i = exp(a_i) x_i + b_i, where (a_i, b_i) are functions of x_<i and the context. A posterior
    draws z = y in one pass, as the inverse autoregressive flow of Kingma et al. 2016 does; a prior
    scores z = x in one pass. The other direction takes a pass for each latent dimension.

    Options:
        steps: number of autoregressive transforms.
        hidden: sizes of the hidden layers of each masked network.
    """

    def __init__(
        self, *sizes: Any, steps: NonNegativeInt = 3, hidden: Hidden = (64, 64), **named: Any
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = self.autoregressive(
            steps, hidden, lambda: MonotonicAffineTransform, (), ()
        )


class RealNVP(Family):
    """Affine coupling flow (NICE, Dinh et al. 2015, with the scales of RealNVP, 2017).

    Every other dimension is scaled and shifted by functions of the rest and the context, in turn;
    both directions take one pass. A single latent dimension is scaled and shifted by the context
    alone.

    Options:
        steps: number of coupling transforms.
        hidden: sizes of the hidden layers of each network.
    """

    def __init__(
        self, *sizes: Any, steps: NonNegativeInt = 4, hidden: Hidden = (64, 64), **named: Any
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = start_at_identity(
            nn.ModuleList(
                GeneralCouplingTransform(
                    self.latent, self.context, mask=order % 2 == 0, hidden_features=hidden
                )
                for order in self.orders(steps)
            )
        )


class NSF(Family):
    """Neural spline flow, autoregressive (Durkan et al. 2019).

    Each y_i is a monotonic rational-quadratic spline of x_i whose knots are functions of x_<i and
    the context. The splines map [-5, 5] onto itself and are the identity beyond; they act on
    standardized values.

    Options:
        steps: number of autoregressive transforms.
        hidden: sizes of the hidden layers of each masked network.
        bins: number of pieces of each spline.
    """

    def __init__(
        self,
        *sizes: Any,
        steps: NonNegativeInt = 3,
        hidden: Hidden = (64, 64),
        bins: PositiveInt = 8,
        **named: Any,
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = self.autoregressive(
            steps, hidden, lambda: MonotonicRQSTransform, (bins,), (bins,), (bins - 1,)
        )


class BPF(Family):
    """Bernstein polynomial flow (Sick et al. 2020, Ramasinghe et al. 2021).

    Each y_i is an increasing polynomial of x_i in the Bernstein basis whose coefficients are
    functions of x_<i and the context. The polynomials map [-5, 5] onto itself and are the identity
    beyond; they act on standardized values. The inverse is found by bisection.

    Options:
        steps: number of autoregressive transforms.
        hidden: sizes of the hidden layers of each masked network.
        degree: degree of the polynomials, of whose coefficients five are fixed by the bounds.
    """

    def __init__(
        self,
        *sizes: Any,
        steps: NonNegativeInt = 3,
        hidden: Hidden = (64, 64),
        degree: Annotated[int, Bounds(ge=6)] = 16,
        **named: Any,
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = self.autoregressive(
            steps, hidden, lambda: BoundedBernsteinTransform, (degree - 4,)
        )


class NAF(Family):
    """Neural autoregressive flow (Huang et al. 2018).

    Each y_i is a network of positive weights applied to x_i, conditioned on a signal that is a
    function of x_<i and the context. The inverse is found by bisection.

    Options:
        steps: number of autoregressive transforms.
        hidden: sizes of the hidden layers of each masked network.
        signal: numbers that condition each monotonic network.
        monotone: sizes of the hidden layers of each monotonic network; half of the units bend
            upwards, half downwards.
    """

    def __init__(
        self,
        *sizes: Any,
        steps: NonNegativeInt = 2,
        hidden: Hidden = (64, 64),
        signal: PositiveInt = 8,
        monotone: tuple[Annotated[int, Bounds(ge=2)], ...] = (32, 32),
        **named: Any,
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = self.autoregressive(
            steps, hidden, lambda: MonotoneNetwork(self.latent, signal, monotone), (signal,)
        )


class UNAF(Family):
    """Unconstrained monotonic neural network, autoregressive (Wehenkel & Louppe 2019).

    Each y_i is the integral from 0 to x_i of a positive network, by Gauss-Legendre quadrature, plus
    a shift; both are conditioned on functions of x_<i and the context. log|det| is that of the
    integral itself, from which 24 points differ by rounding alone unless the weights are extreme.
    The inverse is found by bisection.

    Options:
        steps: number of autoregressive transforms.
        hidden: sizes of the hidden layers of each masked network.
        signal: numbers that condition each integrand.
        integrand: sizes of the hidden layers of each integrand.
        points: number of points of the quadrature.
    """

    tolerance = 1e-8  # of the quadrature, at weights of the contract's ordinary size

    def __init__(
        self,
        *sizes: Any,
        steps: NonNegativeInt = 2,
        hidden: Hidden = (64, 64),
        signal: PositiveInt = 8,
        integrand: Hidden = (32, 32),
        points: PositiveInt = 24,
        **named: Any,
    ) -> None:
        super().__init__(*sizes, **named)
        self.transforms = self.autoregressive(
            steps,
            hidden,
            lambda: PositiveNetwork(self.latent, signal, integrand, points),
            (signal,),
            (),
        )


class CNF(Family):
    """Continuous normalizing flow (Chen et al. 2018, Grathwohl et al. 2019).

    y is the solution at t = 1 of dx/dt = f(t, x; context), x its value at t = 0; both directions
    solve the equation. log|det| is the integral of the exact trace of ∂f/∂x, which costs L
    products with the Jacobian at each evaluation: an unbiased estimate of it would not do for
    importance weights, whose logarithm's error does not average out.

    Options:
        steps: number of fields, one after the other.
        hidden: sizes of the hidden layers of each field.
        freqs: number of frequencies that time is told by.
        rtol: relative error that a step of the solver may make; the absolute one is a tenth of it.
    """

    def __init__(
        self,
        *sizes: Any,
        steps: NonNegativeInt = 1,
        hidden: Hidden = (64, 64),
        freqs: PositiveInt = 3,
        rtol: Annotated[float, Bounds(ge=1e-6, le=1e-1)] = 1e-5,
        **named: Any,
    ) -> None:
        super().__init__(*sizes, **named)
        self.tolerance = 100 * rtol  # the errors of the steps add up
        self.transforms = nn.ModuleList(
            Field(self.latent, self.context, rtol=rtol, freqs=freqs, hidden_features=hidden)
            for _ in range(steps)
        )
