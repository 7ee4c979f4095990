"""The VAE, composed of five parts, and the terms of its bound.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from vaeflow.components import Decoder, Encoder, Likelihood, Posterior, Prior
from vaeflow.distributions import at_least_float32, draw
from vaeflow.errors import ConfigError


@dataclass(frozen=True)
class Terms:
    """What every bound is made of, for K draws of q(z|x) at each of B images."""

    log_px: Tensor  # (K, B): log p(x|z)
    log_pz: Tensor  # (K, B): log p(z)
    log_base: Tensor  # (K, B): log q0(z0)
    log_det: Tensor  # (K, B): log|det ∂z/∂z0|, summed over the flow's maps
    z: Tensor  # (K, B, L)
    posterior: Distribution
    prior: Distribution

    @property
    def log_qz(self) -> Tensor:
        """Return log q(z|x) = log q0(z0) − log|det ∂z/∂z0|, shape (K, B)."""
        return self.log_base - self.log_det

    @property
    def log_weight(self) -> Tensor:
        """Return log w = log p(x|z) + log p(z) − log q(z|x), shape (K, B).

        Its mean over K is the ELBO, its log-mean-exp the IWAE bound.
        """
        return self.log_px + self.log_pz - self.log_qz

    def analytic_kl(self) -> Tensor:
        """Return KL(q(z|x) ‖ p(z)) in closed form, shape (B,).

        Raises:
            ConfigError: where torch registers no closed form for this pair.
        """
        try:
            return kl_divergence(self.posterior, self.prior)
        except NotImplementedError:
            q, p = type(self.posterior).__name__, type(self.prior).__name__
            raise ConfigError(
                f"--objective.kl analytic: torch knows no closed form of the KL between {q} and "
                f"{p}; use --objective.kl sampled"
            ) from None


class VAE(nn.Module):
    """A variational autoencoder: encoder, posterior, prior, decoder and likelihood.

    Raises:
        ConfigError: if two parts disagree on a size.
    """

    def __init__(
        self,
        encoder: Encoder,
        posterior: Posterior,
        prior: Prior,
        decoder: Decoder,
        likelihood: Likelihood,
    ) -> None:
        super().__init__()
        for what, made, by, wanted, of in (
            ("features", encoder.features, "encoder", posterior.features, "posterior"),
            ("latent size", posterior.latent, "posterior", prior.latent, "prior"),
            ("latent size", posterior.latent, "posterior", decoder.latent, "decoder"),
            (
                "output shape",
                decoder.output_shape,
                "decoder",
                likelihood.output_shape,
                "likelihood",
            ),
            ("data shape", likelihood.data_shape, "likelihood", encoder.data_shape, "encoder"),
        ):
            if made != wanted:
                raise ConfigError(
                    f"the {by}'s {what} is {made}, but the {of}'s is {wanted}: "
                    "build both with the same value"
                )
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one image."""
        return self.likelihood.data_shape

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        tensors = chain(self.parameters(), self.buffers())
        return next((t.device for t in tensors), torch.device("cpu"))

    def infer(self, x: Tensor) -> Distribution:
        """Return q(z|x), batch (B,), event (L,), for x (B, *data_shape)."""
        q: Distribution = self.posterior(self.encoder(x))
        return q

    def latent_prior(self) -> Distribution:
        """Return p(z), batch (), event (L,)."""
        p: Distribution = self.prior(self.infer)
        return p

    def generate(self, z: Tensor) -> Distribution:
        """Return p(x|z), batch (K, B), event data_shape, for z (K, B, L)."""
        # The likelihood is scored in float32 even when the decoder ran in half precision.
        p: Distribution = self.likelihood(at_least_float32(self.decoder(z)))
        return p

    def terms(self, x: Tensor, q: Distribution, samples: int) -> Terms:
        """Draw K samples of q(z|x), computed before by `infer`, and score them."""
        sample = draw(q, (samples,))
        prior = self.latent_prior()
        return Terms(
            log_px=self.generate(sample.z).log_prob(x),
            log_pz=prior.log_prob(sample.z),
            log_base=sample.log_base,
            log_det=sample.log_det,
            z=sample.z,
            posterior=q,
            prior=prior,
        )

    def forward(self, x: Tensor, samples: int = 1) -> Terms:
        """Return the terms of the bound at x (B, *data_shape) for K = `samples` draws."""
        return self.terms(x, self.infer(x), samples)
