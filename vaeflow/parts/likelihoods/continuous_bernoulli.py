"""The continuous Bernoulli likelihood of grey values."""

from __future__ import annotations

from math import factorial

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, constraints

from vaeflow.distributions.numerics import polynomial
from vaeflow.parts.abstract import Likelihood

# Below it the closed forms lose digits to cancellation, and eight terms of the series leave 1e-17.
_SMALL = 1.0
_TERMS = range(8)
_SINHC = [1 / factorial(2 * k + 1) for k in _TERMS]  # sinh(h)/h in powers of h²
_SLOPE = [(2 * k + 2) / factorial(2 * k + 3) for k in _TERMS]  # its derivative over h


class ContinuousBernoulli(Likelihood):
    r"""Independent grey values in [0, 1] of the density that is Bernoulli's, normalized.

    .. math::
        \log p(x|z) = \sum_i x_i η_i - \log\frac{e^{η_i} - 1}{η_i}

    The decoder emits η, the logits of λ = sigmoid(η). The mean is not λ but 1/(1 − e^−η) − 1/η
    (Loaiza-Ganem & Cunningham 2019, section 3). This is a density of grey images; the cross-entropy
    of `bernoulli` is none. Densities may exceed 1: log p has no bound.
    """

    support = constraints.unit_interval

    def forward(self, output: Tensor) -> Distribution:
        return Independent(TiltedUniform(output), len(self.data_shape), validate_args=False)


class TiltedUniform(Distribution):
    r"""The densities :math:`e^{ηx}` on [0, 1], normalized, for all real η; at 0 the uniform.

    The formulas in η hold to the last digits for every η. torch's ContinuousBernoulli is written in
    λ = sigmoid(η): it takes a short series within 0.001 of λ = ½, and float32 has no λ between
    sigmoid(16) and 1.
    """

    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, eta: Tensor) -> None:
        super().__init__(eta.shape, validate_args=False)
        self.eta = eta

    def log_prob(self, x: Tensor) -> Tensor:
        """Return ηx − log((e^η − 1)/η)."""
        eta, size = self.eta, self.eta.abs()
        # Both branches are finite everywhere, so that neither spoils the other's gradient.
        half = eta.clamp(-_SMALL, _SMALL) / 2
        squared = half.square()
        near = eta * (x - 0.5) - torch.log1p(squared * polynomial(_SINHC[1:], squared))
        large = size.clamp(min=_SMALL)
        # Counted from the edge where the density is largest, no large terms cancel.
        far = large.log() - torch.log(-torch.expm1(-large)) - size * self._from_edge(x)
        return torch.where(size < _SMALL, near, far)

    @property
    def mean(self) -> Tensor:
        """Return 1/(1 − e^−η) − 1/η = ½ + ½(coth η/2 − 2/η)."""
        half = self.eta / 2
        squared = half.clamp(-_SMALL / 2, _SMALL / 2).square()
        near = half * polynomial(_SLOPE, squared) / polynomial(_SINHC, squared)
        large = torch.where(half < 0, half.clamp(max=-_SMALL / 2), half.clamp(min=_SMALL / 2))
        far = 1 / large.tanh() - 1 / large
        return 0.5 + 0.5 * torch.where(half.abs() < _SMALL / 2, near, far)

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Invert the distribution function, counted from the edge of the largest density."""
        shape = self._extended_shape(Size(sample_shape))
        u = torch.rand(shape, dtype=self.eta.dtype, device=self.eta.device)
        size = self.eta.abs().clamp(min=torch.finfo(u.dtype).eps)
        return self._from_edge((-torch.log1p(u * torch.expm1(-size)) / size).clamp(0, 1))

    def _from_edge(self, x: Tensor) -> Tensor:
        """Return the distance of x from the edge of the largest density; it is its own inverse."""
        return torch.where(self.eta > 0, 1 - x, x)
