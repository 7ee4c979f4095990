"""The parts of a VAE, composed: q(z|x), p(z), p(x|z) and the terms of the bound.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaeflow.data.columns import Columns
from vaeflow.data.examples import Data, as_examples
from vaeflow.data.splits import Form
from vaeflow.data.stored import Values, mean
from vaeflow.distributions.contexts import full_precision
from vaeflow.distributions.draw import draw
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.distributions.observed import log_prob_of_observed
from vaeflow.errors import DataError
from vaeflow.model.sizes import check_sizes, scaling_of
from vaeflow.nn.embedding import Embedding
from vaeflow.nn.scaling import Scaling, ScalingKind
from vaeflow.parts.abstract import Decoder, Encoder, Likelihood, Posterior, Prior
from vaeflow.terms import DrawPath, Terms


class Composed(nn.Module):
    """Encoder, posterior, prior, decoder and likelihood; see `VAE`, which has the same arguments.

    What comes beside x joins the parts around them, so that no part knows of it: the mask of gaps
    before the encoder, covariates behind its features and behind z.
    """

    def __init__(
        self,
        encoder: Encoder,
        posterior: Posterior,
        prior: Prior,
        decoder: Decoder,
        likelihood: Likelihood,
        scaling: Literal["auto"] | ScalingKind | Scaling = "auto",
        *,
        missing: bool = False,
        covariates: Columns | None = None,
    ) -> None:
        super().__init__()
        scale = scaling_of(scaling, likelihood)
        covariates = covariates or Columns()
        embedding = Embedding([len(c.levels) for c in covariates]) if covariates else None
        more = embedding.width if embedding else 0
        check_sizes(
            encoder, posterior, prior, decoder, likelihood, scale, missing=missing, more=more
        )
        self.encoder = encoder
        self.posterior = posterior
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.scaling = scale
        self.missing = missing
        self.covariates = covariates
        self.embedding = embedding
        # kind -> the registered name and the options, where the parts were chosen by name: with
        # them the model can be saved as a run directory.
        self.chosen: Mapping[str, Any] = {}
        self.columns = Columns()  # of the table whose examples are x, where that is known

    @property
    def form(self) -> Form:
        """Return what the model knows of its data."""
        return Form(self.data_shape, self.columns, self.covariates)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Return the shape of one image."""
        return self.likelihood.data_shape

    @property
    def device(self) -> torch.device:
        """Return the device of the parameters."""
        tensors = chain(self.parameters(), self.buffers())
        return next((t.device for t in tensors), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        return next((p.dtype for p in self.parameters()), torch.float32)

    def infer(self, x: Data) -> Distribution:
        """Return q(z|x), batch (B,), event (L,), for x (B, *data_shape)."""
        q: Distribution = self.posterior(self.features(self.encoder(self.seen(x)), x))
        return q

    def infer_scaled(self, u: Tensor) -> Distribution:
        """Return q(z|x) for data u (B, *data_shape) that is on the encoder's scale already.

        The covariates of such data are the mean of each.
        """
        q: Distribution = self.posterior(self.features(self.encoder(u), None))
        return q

    def seen(self, x: Data) -> Tensor:
        """Return what the encoder sees of data: on its scale, and with a mask beside gaps."""
        u: Tensor = self.scaling(as_examples(x).values)
        if not self.missing:
            return u
        observed = ~u.isnan()
        return torch.cat((torch.where(observed, u, 0.0), observed.to(u.dtype)), 1)

    def features(self, h: Tensor, x: Data | None) -> Tensor:
        """Return the encoder's features h (B, F) with the covariates of x behind them."""
        if self.embedding is None:
            return h
        c = self.embedding.middle() if x is None else self._embedded(x)
        return torch.cat((h, c.to(h).expand(h.shape[0], -1)), -1)

    def code(self, z: Tensor, x: Data | None) -> Tensor:
        """Return what the decoder sees of z (K, B, L): the covariates of x behind it."""
        if self.embedding is None:
            return z
        c = self._embedded(x)
        return torch.cat((z, c.to(z).expand(*z.shape[:-1], -1)), -1)

    def _embedded(self, x: Data | None) -> Tensor:
        """Return the covariates of x as features (B, width), or (1, width)."""
        assert self.embedding is not None
        condition = None if x is None else as_examples(x).condition
        if condition is None:
            names = ", ".join(self.covariates.names)
            raise DataError(
                f"the model is conditioned on {names}, but the data has no covariates: give "
                "model.examples(x, condition={…})"
            )
        features: Tensor = self.embedding(condition)
        return features

    def latent_prior(self) -> Distribution:
        """Return p(z), batch (), event (L,)."""
        p: Distribution = self.prior(self.infer_scaled)
        return p

    def emit(self, z: Tensor, x: Data | None = None) -> Tensor:
        """Return what the likelihood takes (K, B, *output_shape) at z (K, B, L)."""
        output: Tensor = self.scaling.emit(at_least_float32(self.decoder(self.code(z, x))))
        return output

    def generate(self, z: Tensor, x: Data | None = None) -> Distribution:
        """Return p(x|z), batch (K, B), event data_shape, for z (K, B, L).

        Arguments:
            x: B examples, or one for all, whose covariates condition the model if it has any.
        """
        output = self.emit(z, x)
        with full_precision(z):  # the law, even when the decoder ran in half precision
            p: Distribution = self.likelihood(output)
        return p

    def log_px(self, z: Tensor, x: Data) -> Tensor:
        """Return log p(x|z) (K, B) of x (B, *data_shape) at z (K, B, L)."""
        return self.score(self.generate(z, x), x)

    def score(self, px: Distribution, x: Data) -> Tensor:
        """Return log p(x|z) (K, B): of gaps, the sum over what was observed.

        Raises:
            ConfigError: of gaps, where p(x|z) is no product over the values.
        """
        values = as_examples(x).values
        with full_precision(values):  # a product of matrices within a density loses tenths of a nat
            if not self.missing:
                log_px: Tensor = px.log_prob(values)
                return log_px
            part = f"the likelihood {type(self.likelihood).__name__}"
            return log_prob_of_observed(px, values, ~values.isnan(), part)

    def start_at_mean(self, x: Values) -> None:
        """Start the decoder's last bias at the mean of the data x (N, *data_shape).

        Burda et al. (2016) begin so; training need not learn the part that all images share.

        Raises:
            ConfigError: if the likelihood or the decoder cannot.
        """
        with torch.no_grad():
            output = self.likelihood.output_at(mean(x).to(self.device))
            self.decoder.start_at(self.scaling.emitted_at(output))

    def measure(self, x: Values) -> None:
        """Take the scale of the data x (N, *data_shape), unless a training took one before."""
        if not self.scaling.measured:
            location = None
            if self.scaling.emits:
                output = self.likelihood.output_at(mean(x).to(self.device))
                location = output if output.shape == self.data_shape else output[0]
            self.scaling.measure(x, location)

    def terms(self, x: Data, q: Distribution, samples: int) -> Terms:
        """Draw K samples of q(z|x), computed before by `infer`, and score them."""
        return self._terms(x, q, samples)[0]

    def forward(self, x: Data, samples: int = 1) -> Terms:
        """Return the terms of the bound at x (B, *data_shape) for K = `samples` draws.

        In training mode the likelihood observes the batch, as a batch normalization would.
        """
        terms, px = self._terms(x, self.infer(x), samples)
        if self.training:
            self.likelihood.observe(px, as_examples(x).values)
        return terms

    def _terms(self, x: Data, q: Distribution, samples: int) -> tuple[Terms, Distribution]:
        """Return the terms and p(x|z)."""
        sample = draw(q, (samples,))
        path = DrawPath.of(sample.z)
        prior = self.latent_prior()
        px = self.generate(path.z, x)
        log_px = self.score(px, x)
        with full_precision(path.z):
            log_pz = prior.log_prob(path.z)
        terms = Terms(
            log_px=log_px,
            log_pz=log_pz,
            sample=sample,
            posterior=q,
            prior=prior,
            path=path,
        )
        return terms, px
