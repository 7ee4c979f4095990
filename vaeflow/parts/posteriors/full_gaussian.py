"""The full-covariance Gaussian posterior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, MultivariateNormal, register_kl

from vaeflow.distributions.contexts import full_precision
from vaeflow.distributions.draw import Draw, OnePass
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.nn.heads import FlowParameters, GaussianHead
from vaeflow.nn.mlp import Init
from vaeflow.parts.abstract import Posterior


class FullGaussian(Posterior):
    r"""q(z|x) = N(μ(h), TTᵀ), the Cholesky factor T linear in the features but for its diagonal.

    .. math:: z = μ + σ ⊙ (ε + N ε), \quad T = \mathrm{diag}(σ)(I + N), \quad
        \log q(z) = \log N(ε; 0, I) - \sum_i \log σ_i

    N (L, L) is strictly lower triangular and starts at 0, where q(z|x) is the diagonal Gaussian.
    Its KL to a diagonal Gaussian has a closed form (Kingma & Welling 2019, section 2.5.1).

    Options:
        init: how the weights of the linear head of mean and log-variance are drawn.
    """

    def __init__(self, latent: int, features: int, *, init: Init = "torch") -> None:
        super().__init__(latent, features)
        self.head = GaussianHead(latent, features, init)
        if latent > 1:
            self.lower = FlowParameters(features, latent * (latent - 1) // 2)

    def forward(self, h: Tensor) -> Distribution:
        base = self.head(h)
        lower = base.loc.new_zeros(*base.loc.shape, self.latent)
        if self.latent > 1:
            row, column = torch.tril_indices(self.latent, self.latent, -1, device=h.device)
            lower[..., row, column] = self.lower(h)
        return CholeskyNormal(base.loc, base.log_scale, lower)


class CholeskyNormal(OnePass, MultivariateNormal):
    r"""N(loc, TTᵀ) with T = diag(exp(log_scale))(I + lower), drawn and scored at once.

    It is torch's `MultivariateNormal`, but draws are scored by their noise, and the log-determinant
    stays right where T underflows.

    Arguments:
        loc: (*, L).
        log_scale: (*, L), the logarithm of the diagonal of T.
        lower: (*, L, L), strictly lower triangular.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lower: Tensor) -> None:
        scale = log_scale.exp()
        factor = scale[..., None] * lower + torch.diag_embed(scale)
        super().__init__(loc, scale_tril=factor, validate_args=False)
        self.log_scale = log_scale
        self.lower = lower
        self.factor = factor

    def draw(self, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
        """Draw z and score it by its noise."""
        loc = self.loc
        shape = Size((*sample_shape, *loc.shape))
        noise = torch.randn(shape, dtype=loc.dtype, device=loc.device)
        # Autocast would round the product that makes z, but not its density.
        with full_precision(loc):
            z = loc + torch.einsum("...ij,...j->...i", self.factor, noise)
        log_prob = self._score(noise)
        return Draw(z, log_prob, torch.zeros_like(log_prob))

    def rsample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw z, differentiable in every parameter."""
        return self.draw(tuple(sample_shape)).z

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L)."""
        centred = (value - self.loc)[..., None]
        noise = torch.linalg.solve_triangular(self.factor, centred, upper=False)
        return self._score(noise.squeeze(-1))

    def expand(
        self, batch_shape: Size | Sequence[int], _instance: Distribution | None = None
    ) -> CholeskyNormal:
        """Return the same law for a larger batch, as Pyro's plates ask for."""
        size = self.event_shape[0]
        return CholeskyNormal(
            self.loc.expand(*batch_shape, size),
            self.log_scale.expand(*batch_shape, size),
            self.lower.expand(*batch_shape, size, size),
        )

    def _score(self, noise: Tensor) -> Tensor:
        zero = torch.zeros_like(self.loc)
        return DiagonalNormal(zero, zero).log_prob(noise) - self.log_scale.sum(-1)


def _kl(q: CholeskyNormal, p: DiagonalNormal) -> Tensor:
    r"""Return KL(q‖p) = Σ_i ½(‖T_i‖² + (μ_i − m_i)²)/s_i² − ½ + log s_i − log σ_i, T_i row i."""
    second = q.factor.square().sum(-1) + (q.loc - p.loc).square()
    relative = second * torch.exp(-2 * p.log_scale)
    return (0.5 * (relative - 1) + p.log_scale - q.log_scale).sum(-1)


register_kl(CholeskyNormal, DiagonalNormal)(_kl)
