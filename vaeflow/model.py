"""The VAE, composed of five parts, and the terms of its bound.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vaeflow.data.arrays import as_tensor
from vaeflow.data.stored import Values, mean
from vaeflow.distributions.draw import draw
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.errors import ConfigError
from vaeflow.nn.modes import evaluating
from vaeflow.nn.scaling import Scaling, ScalingKind
from vaeflow.parts.abstract import Decoder, Encoder, Likelihood, Posterior, Prior
from vaeflow.terms import DrawPath, Terms

_ROWS = 1000  # that pass through the networks at a time


class VAE(nn.Module):
    """A variational autoencoder: encoder, posterior, prior, decoder and likelihood.

    Arguments:
        scaling: the scale on which encoder and decoder see data, while the likelihood scores data
            as it is: "raw", "log1p", "standardize", or the `scaling` of another model. "auto" is
            "log1p" under a likelihood of unbounded counts, and "raw" under all others.

    Raises:
        ConfigError: if two parts disagree on a size, or there is no such scaling.
    """

    def __init__(
        self,
        encoder: Encoder,
        posterior: Posterior,
        prior: Prior,
        decoder: Decoder,
        likelihood: Likelihood,
        scaling: Literal["auto"] | ScalingKind | Scaling = "auto",
    ) -> None:
        super().__init__()
        scale = _scaling(scaling, likelihood)
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
            ("data shape", scale.data_shape, "scaling", encoder.data_shape, "encoder"),
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
        self.scaling = scale
        # kind -> the registered name and the options, where the parts were chosen by name: with
        # them the model can be saved as a run directory.
        self.chosen: Mapping[str, Any] = {}

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
        return self.infer_scaled(self.scaling(x))

    def infer_scaled(self, u: Tensor) -> Distribution:
        """Return q(z|x) for data u (B, *data_shape) that is on the encoder's scale already."""
        q: Distribution = self.posterior(self.encoder(u))
        return q

    def latent_prior(self) -> Distribution:
        """Return p(z), batch (), event (L,)."""
        p: Distribution = self.prior(self.infer_scaled)
        return p

    def generate(self, z: Tensor) -> Distribution:
        """Return p(x|z), batch (K, B), event data_shape, for z (K, B, L)."""
        output = self.scaling.emit(at_least_float32(self.decoder(z)))
        with _float32(z):  # the law, even when the decoder ran in half precision
            p: Distribution = self.likelihood(output)
        return p

    @torch.no_grad()
    def sample(self, count: int, *, mean: bool = True) -> Tensor:
        """Draw z from p(z) and return E[x|z], or draws of p(x|z) without `mean`: (N, *data_shape).

        The draws are of torch's generator: `torch.manual_seed` repeats them.
        """
        count = _positive("count", count)
        with evaluating(self):
            p = self.generate(self.latent_prior().sample(torch.Size((count, 1))))
            return (p.mean if mean else p.sample())[:, 0]

    @torch.no_grad()
    def reconstruct(self, x: object) -> Tensor:
        """Draw z from q(z|x), through all its maps, and return E[x|z]: (N, *data_shape).

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor.

        Raises:
            DataError: if x is no such array.
        """
        with evaluating(self):
            parts = [
                self.generate(self.infer(rows).rsample(torch.Size((1,)))).mean[0]
                for rows in self._rows(x)
            ]
        return torch.cat(parts)

    @torch.no_grad()
    def encode(self, x: object, *, draws: int = 100) -> Tensor:
        """Return the mean of q(z|x), the latent code of each example: (N, L).

        The mean of a flow has no formula: it is the average of so many draws.

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor.
            draws: of each example, where the mean is estimated.

        Raises:
            DataError: if x is no such array.
        """
        draws = _positive("draws", draws)
        with evaluating(self):
            return torch.cat([_mean(self.infer(rows), draws) for rows in self._rows(x)])

    def _rows(self, x: object) -> Iterable[Tensor]:
        """Yield data on the model's device, so many rows at a time that memory stays bounded."""
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        whole = as_tensor("x", x, dtype, self.data_shape)
        return (rows.to(self.device) for rows in whole.split(_ROWS))

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

    def terms(self, x: Tensor, q: Distribution, samples: int) -> Terms:
        """Draw K samples of q(z|x), computed before by `infer`, and score them."""
        return self._terms(x, q, samples)[0]

    def forward(self, x: Tensor, samples: int = 1) -> Terms:
        """Return the terms of the bound at x (B, *data_shape) for K = `samples` draws.

        In training mode the likelihood observes the batch, as a batch normalization would.
        """
        terms, px = self._terms(x, self.infer(x), samples)
        if self.training:
            self.likelihood.observe(px, x)
        return terms

    def _terms(self, x: Tensor, q: Distribution, samples: int) -> tuple[Terms, Distribution]:
        """Return the terms and p(x|z)."""
        sample = draw(q, (samples,))
        path = DrawPath.of(sample.z)
        prior = self.latent_prior()
        px = self.generate(path.z)
        with _float32(x):  # a product of matrices within a density would lose tenths of a nat
            log_px, log_pz = px.log_prob(x), prior.log_prob(path.z)
        terms = Terms(
            log_px=log_px,
            log_pz=log_pz,
            sample=sample,
            posterior=q,
            prior=prior,
            path=path,
        )
        return terms, px


def _float32(x: Tensor) -> AbstractContextManager[object]:
    """Leave autocast where it is on."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def _scaling(kind: str | Scaling, likelihood: Likelihood) -> Scaling:
    if isinstance(kind, Scaling):
        return kind
    if kind == "auto":
        counts = likelihood.counts
        if counts is None:
            counts = torch.tensor(likelihood.support is constraints.nonnegative_integer)
        kind = "log1p" if counts.any() else "raw"
    for known in get_args(ScalingKind):
        if kind == known:
            return Scaling(
                known,
                likelihood.data_shape,
                emits=likelihood.location_in_units,
                counts=likelihood.counts,
            )
    raise ConfigError(
        f"scaling is {kind!r}, but auto, {', '.join(get_args(ScalingKind))} are the scalings"
    )


def _positive(name: str, count: int) -> int:
    try:
        number = operator.index(count)
    except TypeError:
        number = 0
    if number < 1:
        raise ConfigError(f"{name} is {count!r}, but a whole number of at least 1 is expected")
    return number


def _mean(q: Distribution, draws: int) -> Tensor:
    """Return the mean of q, (B, L), by its formula if it has one, else by so many draws."""
    try:
        return q.mean
    except NotImplementedError:
        return q.sample(torch.Size((draws,))).mean(0)
