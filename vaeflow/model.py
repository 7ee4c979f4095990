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
from vaeflow.data.columns import Columns
from vaeflow.data.covariates import given_covariates
from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.data.stored import Values, mean
from vaeflow.data.weights import checked_weights
from vaeflow.distributions.draw import draw
from vaeflow.distributions.numerics import at_least_float32
from vaeflow.distributions.observed import log_prob_of_observed
from vaeflow.errors import ConfigError, DataError
from vaeflow.nn.embedding import Embedding
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
        missing: whether NaN in x stands for a missing value. log p(x|z) is then summed over what
            was observed (Mattei & Frellsen 2019, eq. 3), and the encoder sees 0 in place of NaN
            and, along axis 1, a mask that is 1 where a value was observed.
        covariates: values beside x on which the model is conditioned. They are embedded, and
            appended to the encoder's features and to z before the decoder.

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
        *,
        missing: bool = False,
        covariates: Columns | None = None,
    ) -> None:
        super().__init__()
        scale = _scaling(scaling, likelihood)
        covariates = covariates or Columns()
        embedding = Embedding([len(c.levels) for c in covariates]) if covariates else None
        more = embedding.width if embedding else 0
        seen = seen_shape(likelihood.data_shape, missing=missing)
        for what, made, by, wanted, of in (
            ("features", encoder.features + more, "encoder", posterior.features, "posterior"),
            ("latent size", posterior.latent, "posterior", prior.latent, "prior"),
            ("latent size", posterior.latent + more, "posterior", decoder.latent, "decoder"),
            (
                "output shape",
                decoder.output_shape,
                "decoder",
                likelihood.output_shape,
                "likelihood",
            ),
            ("data shape", seen, "likelihood", encoder.data_shape, "encoder"),
            ("data shape", scale.data_shape, "scaling", likelihood.data_shape, "likelihood"),
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
        self.missing = missing
        self.covariates = covariates
        self.embedding = embedding
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
        return torch.cat((h, c.to(h).expand(len(h), -1)), -1)

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

    def generate(self, z: Tensor, x: Data | None = None) -> Distribution:
        """Return p(x|z), batch (K, B), event data_shape, for z (K, B, L).

        Arguments:
            x: B examples, or one for all, whose covariates condition the model if it has any.
        """
        output = self.scaling.emit(at_least_float32(self.decoder(self.code(z, x))))
        with _float32(z):  # the law, even when the decoder ran in half precision
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
        with _float32(values):  # a product of matrices within a density loses tenths of a nat
            if not self.missing:
                log_px: Tensor = px.log_prob(values)
                return log_px
            part = f"the likelihood {type(self.likelihood).__name__}"
            return log_prob_of_observed(px, values, ~values.isnan(), part)

    def examples(
        self,
        x: object,
        condition: Mapping[str, object] | None = None,
        weight: object = None,
    ) -> Examples:
        """Return data as examples of this model, with their covariates and weights.

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor; NaN where a value is missing.
            condition: name -> values (N,), or one value for all, of each covariate.
            weight: of each example (N,), at least 0.

        Raises:
            DataError: if x, a covariate or a weight is not as the model takes it.
        """
        dtype = next((p.dtype for p in self.parameters()), torch.float32)
        if isinstance(x, Examples):
            return x
        values = as_tensor("x", x, dtype, self.data_shape)
        covariates = given_covariates(self.covariates, condition or {})
        if not self.covariates:
            return Examples(values, None, checked_weights("weight", weight, len(values)))
        if len(covariates) not in (1, len(values)):
            raise DataError(
                f"the covariates have {len(covariates)} values, but x {len(values)} examples: give "
                "one value for each example, or one for all"
            )
        covariates = covariates.expand(len(values), -1).to(values)
        return Examples(values, covariates, checked_weights("weight", weight, len(values)))

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        mean: bool = True,
        condition: Mapping[str, object] | Examples | None = None,
    ) -> Tensor:
        """Draw z from p(z) and return E[x|z], or draws of p(x|z) without `mean`: (N, *data_shape).

        The draws are of torch's generator: `torch.manual_seed` repeats them.

        Arguments:
            count: N.
            mean: whether the mean of p(x|z) is returned.
            condition: name -> N values, or one value for all, of each covariate of the model; or N
                examples whose covariates they are.

        Raises:
            DataError: if a covariate is missing, unknown, or has another number of values.
        """
        count = _positive("count", count)
        beside = self._beside(condition, count)
        with evaluating(self):
            z = self.latent_prior().sample(torch.Size((count, 1)))
            if beside is None or len(beside) == 1:
                p = self.generate(z, beside)
                return (p.mean if mean else p.sample())[:, 0]
            p = self.generate(z.transpose(0, 1), beside)
            return (p.mean if mean else p.sample())[0]

    def _beside(
        self, condition: Mapping[str, object] | Examples | None, count: int
    ) -> Examples | None:
        """Return examples with the covariates of so many samples, one for each or one for all."""
        if isinstance(condition, Examples):
            return condition.to(self.device) if self.covariates else None
        covariates = given_covariates(self.covariates, condition or {}).to(self.device)
        if not self.covariates:
            return None
        if len(covariates) not in (1, count):
            raise DataError(
                f"the covariates have {len(covariates)} values for {count} samples: give one for "
                "each sample, or one for all"
            )
        return Examples(covariates, covariates)

    @torch.no_grad()
    def reconstruct(self, x: object, *, condition: Mapping[str, object] | None = None) -> Tensor:
        """Draw z from q(z|x), through all its maps, and return E[x|z]: (N, *data_shape).

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor, or `model.examples(…)`.
            condition: name -> N values, or one value for all, of each covariate of the model.

        Raises:
            DataError: if x is no such array, or a covariate is missing.
        """
        with evaluating(self):
            parts = [
                self.generate(self.infer(rows).rsample(torch.Size((1,))), rows).mean[0]
                for rows in self._rows(x, condition)
            ]
        return torch.cat(parts)

    @torch.no_grad()
    def encode(
        self, x: object, *, draws: int = 100, condition: Mapping[str, object] | None = None
    ) -> Tensor:
        """Return the mean of q(z|x), the latent code of each example: (N, L).

        The mean of a flow has no formula: it is the average of so many draws.

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor, or `model.examples(…)`.
            draws: of each example, where the mean is estimated.
            condition: name -> N values, or one value for all, of each covariate of the model.

        Raises:
            DataError: if x is no such array, or a covariate is missing.
        """
        draws = _positive("draws", draws)
        with evaluating(self):
            return torch.cat([_mean(self.infer(rows), draws) for rows in self._rows(x, condition)])

    def _rows(self, x: object, condition: Mapping[str, object] | None) -> Iterable[Examples]:
        """Yield data on the model's device, so many rows at a time that memory stays bounded."""
        return (rows.to(self.device) for rows in self.examples(x, condition).split(_ROWS))

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
        with _float32(path.z):
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


def seen_shape(data_shape: tuple[int, ...], *, missing: bool) -> tuple[int, ...]:
    """Return the shape of what the encoder sees of an example: with gaps, their mask beside it."""
    return (2 * data_shape[0], *data_shape[1:]) if missing else data_shape
