"""The VAE, and what is done with a trained one.

Shapes: K importance samples, B batch, L latent size.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.covariates import given_covariates
from vaeflow.data.examples import Examples
from vaeflow.data.splits import Splits
from vaeflow.data.weights import checked_weights
from vaeflow.errors import ConfigError, DataError
from vaeflow.model.composed import Composed
from vaeflow.model.frames import is_frame, of_frame, of_split, values_of
from vaeflow.nn.modes import evaluating

_ROWS = 1000  # that pass through the networks at a time


class VAE(Composed):
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

    def examples(
        self,
        x: object,
        condition: Mapping[str, object] | None = None,
        weight: object = None,
        *,
        split: str | None = None,
    ) -> Examples:
        """Return data as examples of this model, with their covariates and weights.

        A model of a table takes a data frame: its rows in their order, by the columns of the
        model's names. They are standardized by the training data, and have its levels.

        Arguments:
            x: data (N, *data_shape), a NumPy array or a tensor; NaN where a value is missing. Or a
                data frame of pandas, polars or pyarrow, or the splits of a data set.
            condition: name -> values (N,), or one value for all, of each covariate; of a data
                frame, of those that are to be others than its columns.
            weight: of each example (N,), at least 0.
            split: of splits, the one that is taken.

        Raises:
            DataError: if x, a covariate or a weight is not as the model takes it.
        """
        if isinstance(x, Examples):
            return x
        if isinstance(x, Splits):
            return of_split(x, self.form, split)
        if self.columns and is_frame(x):
            rows, _ = of_frame(x, self.form, condition)
            weight = checked_weights("weight", weight, len(rows))
            return Examples(rows.values.to(self.dtype), rows.condition, weight)
        values = values_of("x", x, self.dtype, self.form)
        covariates = given_covariates(self.covariates, condition or {})
        if not self.covariates:
            return Examples(values, None, checked_weights("weight", weight, len(values)))
        if len(covariates) not in (1, len(values)):
            raise DataError(
                f"the covariates have {len(covariates)} values, but x {len(values)} examples: give "
                "one value for each example, or one for all"
            )
        covariates = covariates.expand(len(values), -1).to(values.device, values.dtype)
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
        covariates = given_covariates(self.covariates, condition or {}).to(self.device, self.dtype)
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
            x: data (N, *data_shape), a NumPy array or a tensor; of a model of a table also a data
                frame; or `model.examples(…)`.
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
            x: data (N, *data_shape), a NumPy array or a tensor; of a model of a table also a data
                frame; or `model.examples(…)`.
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
