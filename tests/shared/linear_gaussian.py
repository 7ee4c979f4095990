"""A linear-Gaussian model, of which everything is known.

p(z) = N(0, I), p(x|z) = N(Wz + c, σ²I): log p(x) = log N(x; c, WWᵀ + σ²I), and the posterior is
normal with precision Λ = I + WᵀW/σ². The diagonal Gaussian nearest to it has its mean and the
variances 1/Λ_ii, at a distance of ½[Σ log Λ_ii − log|Λ|].
"""

import math

import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Encoder, Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.priors.normal import Normal as Prior

D, L = 6, 3
SHAPE = (1, 2, 3)
SIGMA = 0.7


class Flatten(Encoder):
    def __init__(self):
        super().__init__(SHAPE)
        self.features = D

    def forward(self, x):
        return x.flatten(1)


class Affine(Decoder):
    def __init__(self):
        super().__init__(L, SHAPE)
        generator = torch.Generator().manual_seed(0)
        w = torch.randn(D, L, dtype=torch.float64, generator=generator)
        self.w = torch.nn.Parameter(0.7 * w)
        self.c = torch.nn.Parameter(torch.linspace(-1, 1, D, dtype=torch.float64))

    def forward(self, z):
        return (z @ self.w.T + self.c).unflatten(-1, SHAPE)


class Known(Posterior):
    """The exact posterior or the diagonal Gaussian nearest to it, then detuned."""

    def __init__(self, truth, *, diagonal=False, shift=0.0, spread=1.0):
        super().__init__(L, D)
        self.truth, self.diagonal, self.shift, self.spread = truth, diagonal, shift, spread

    def forward(self, h):
        exact = self.truth.posterior(h)
        mean = exact.mean + self.shift
        if not self.diagonal:
            return MultivariateNormal(mean, self.spread**2 * exact.covariance_matrix)
        scale = self.truth.precision.diagonal().rsqrt().expand_as(mean)
        return Independent(Normal(mean, self.spread * scale), 1)


class LinearGaussian:
    """The model's laws in closed form, and models with one posterior or another."""

    latent, shape = L, SHAPE

    def __init__(self):
        self.decoder = Affine()
        self.w, self.c = self.decoder.w.detach(), self.decoder.c.detach()
        self.precision = torch.eye(L, dtype=torch.float64) + self.w.T @ self.w / SIGMA**2
        logs = self.precision.diagonal().log().sum() - self.precision.logdet()
        self.diagonal_gap = 0.5 * logs.item()

    def model(self, **options):
        vae = VAE(
            Flatten(), Known(self, **options), Prior(L, SHAPE), self.decoder,
            Gaussian(SHAPE, sigma=SIGMA),
        )  # fmt: skip
        return vae.double()

    def data(self, n):
        """Draw z (n, L) from the prior and x (n, *SHAPE) given it."""
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(n, L, dtype=torch.float64, generator=generator)
        noise = torch.randn(n, *SHAPE, dtype=torch.float64, generator=generator)
        return z, (self.decoder(z) + SIGMA * noise).detach()

    def posterior(self, h, beta=1.0):
        """Return the law proportional to p(z) p(x|z)^β."""
        precision = torch.eye(L, dtype=torch.float64) + beta * self.w.T @ self.w / SIGMA**2
        covariance = torch.linalg.inv(precision)
        mean = beta * (h.flatten(1) - self.c) @ self.w @ covariance / SIGMA**2
        return MultivariateNormal(mean, covariance)

    def log_px(self, x):
        covariance = self.w @ self.w.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
        return MultivariateNormal(self.c, covariance).log_prob(x.flatten(1))

    def log_likelihood(self, x, beta):
        """Return mean and variance of log p(x|z), a quadratic form, (N,) under p(z) p(x|z)^β."""
        law = self.posterior(x, beta)
        residual = x.flatten(1) - self.c - law.mean @ self.w.T
        a = self.w.T @ self.w @ law.covariance_matrix[0] / SIGMA**2
        constant = -D * math.log(SIGMA * math.sqrt(2 * math.pi))
        mean = constant - 0.5 * residual.square().sum(-1) / SIGMA**2 - 0.5 * a.trace()
        slope = residual @ self.w / SIGMA**2  # ∂ log p(x|z)/∂z at the mean
        linear = torch.einsum("ni,ij,nj->n", slope, law.covariance_matrix[0], slope)
        return mean, linear + 0.5 * (a @ a).trace()

    def divergence(self, model, x):
        """Return KL(q(z|x) ‖ p(z|x)) (N,)."""
        q = model.infer(x)
        if isinstance(q, Independent):
            q = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        return kl_divergence(q, self.posterior(x))
