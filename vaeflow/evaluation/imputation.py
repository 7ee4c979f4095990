"""Missing values, filled in by what was observed of the same example.

Shapes: K draws, k of a block, B batch, N examples, D values of an example.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.distributions.draw import draw
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation.importance import ImportanceWeights
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen

_BATCH = 100


@dataclass(frozen=True)
class Imputed:
    """N examples whose missing values are filled in, on the CPU.

    Attributes:
        x: E[x|x_o], given what was observed of an example: (N, *data_shape). An observed value is
            itself; a level of a category has its probability.
        spread: the standard deviation of each value given x_o, 0 of an observed one.
        missing: which values were filled in, truths (N, *data_shape).
        draws: K.
        effective_sample_size: of the K weights (N,); NaN of an example without a gap.
        pareto_k: the tail of the weights (N,): beyond 0.7 they are unreliable. NaN of an example
            without a gap, and where K is too small to tell.
    """

    x: Tensor
    spread: Tensor
    missing: Tensor
    draws: int
    effective_sample_size: Tensor
    pareto_k: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return (
            f"Imputed({int(self.missing.sum()):,} values in {int(self.incomplete.sum()):,} of "
            f"{len(self):,} examples, K = {self.draws:,})"
        )

    @property
    def incomplete(self) -> Tensor:
        """Tell which examples had gaps, (N,)."""
        return self.missing.flatten(1).any(1)

    @property
    def unreliable(self) -> Tensor:
        """Tell of which examples the weights are unreliable, (N,)."""
        return self.pareto_k > UNRELIABLE


def impute_examples(
    model: VAE,
    data: Data,
    *,
    samples: int = 1000,
    seed: int = 0,
    progress: Advance = unseen,
) -> Imputed:
    r"""Fill in what is NaN by its mean given what was observed.

    .. math:: E[x_m|x_o] ≈ \sum_k w_k E[x_m|z_k], \quad
        w_k ∝ \frac{p(x_o|z_k)\,p(z_k)}{q(z_k|x_o)}, \quad z_k \sim q(z|x_o)

    (Mattei & Frellsen 2019, section 3.) The weights add up to 1. The variance is that of the
    mixture, :math:`\sum_k w_k (\mathrm{Var}[x_m|z_k] + (E[x_m|z_k] - E[x_m|x_o])^2)`; where p(x|z)
    tells none, one draw of each p(x|z_k) stands for it. Both are accumulated in float64, and the
    memory does not grow with K.

    Arguments:
        model: one with masks, on the device where it computes, in evaluation mode.
        data: (N, *data_shape), NaN where a value is missing.
        samples: K.
        seed: of the draws, which are the same for the same seed and data.
        progress: called with the number of examples that are done.

    Raises:
        ConfigError: if the model was built without masks.
        NonFiniteError: if the weights of an example are no numbers.
    """
    if not model.missing:
        raise ConfigError(
            "the model takes no missing values: train it with --missing mask, on data that has gaps"
        )
    data = as_examples(data)
    x = data.values.cpu().clone()
    missing = x.isnan()
    spread = torch.zeros_like(x)
    size, k_hat = (torch.full((len(x),), torch.nan, dtype=torch.float64) for _ in range(2))
    incomplete = missing.flatten(1).any(1).nonzero()[:, 0]
    progress(len(x) - len(incomplete))
    for number, rows in enumerate(incomplete.split(_BATCH) if len(incomplete) else ()):
        batch = data.index_select(0, rows.to(data.device)).to(model.device)
        with (
            frozen(model),
            torch.no_grad(),
            Noise(seed, model.device, (number,)).private("imputation"),
        ):
            mean, variance, weights = _given_observed(model, batch, samples)
        x[rows] = torch.where(missing[rows], mean.cpu().to(x), x[rows])
        spread[rows] = torch.where(missing[rows], variance.sqrt().cpu().to(x), spread[rows])
        size[rows] = weights.effective_sample_size.cpu().double()
        k_hat[rows] = weights.pareto_k
        if not x[rows].isfinite().all():
            first = rows[~x[rows].flatten(1).isfinite().all(1)][0].item()
            raise NonFiniteError(
                f"the weights of example {first} are no numbers: what was observed of it is too "
                "unlikely under the model; look for values far from the training data"
            )
        progress(len(rows))
    return Imputed(x, spread, missing, samples, size, k_hat)


def _given_observed(
    model: VAE, x: Examples, samples: int
) -> tuple[Tensor, Tensor, ImportanceWeights]:
    """Return mean and variance of each value given what was observed (B, *data_shape)."""
    home = torch.device("cpu") if model.device.type == "mps" else model.device  # for float64
    q, prior = model.infer(x), model.latent_prior()
    weights, moments = ImportanceWeights(samples), _WeightedMoments()
    for z, log_q in _draws(q, samples, rows=1_000 if home.type == "cpu" else 100_000):
        px = model.generate(z, x)
        pieces = torch.stack((model.score(px, x), prior.log_prob(z), -log_q))
        rounding = torch.finfo(pieces.dtype).eps * pieces.abs().sum(0).to(home).double()
        log_weight = pieces.to(home).double().sum(0)
        weights.add(log_weight, rounding)
        # Of values that depend on each other, what is observed tells more than z does.
        law = px.given(x.values) if hasattr(px, "given") else px
        moments.add(log_weight, *(m.to(home).double() for m in _moments(law)))
    return moments.mean, moments.variance, weights


def _draws(q: Distribution, samples: int, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield K draws z (k, B, L) of q and log q(z), so many rows at a time."""
    block = max(1, rows // q.batch_shape[0])
    for done in range(0, samples, block):
        sample = draw(q, (min(block, samples - done),))
        yield sample.z, sample.log_prob


def _moments(px: Distribution) -> tuple[Tensor, Tensor]:
    """Return mean and variance of p(x|z) for each z; of what it does not tell, of one draw."""
    try:
        mean = px.mean
    except NotImplementedError:
        drawn = px.sample()
        return drawn, torch.zeros_like(drawn)
    try:
        variance = px.variance
    except NotImplementedError:
        variance = torch.full_like(mean, torch.nan)
    if variance.isnan().any():  # torch's own word for a variance that it does not tell
        variance = (px.sample() - mean).square()
    return mean, variance


class _WeightedMoments:
    """Mean and variance of values under weights, added block by block around the running mean."""

    def add(self, log_weight: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Count k laws of mean and variance (k, B, *data_shape) and log-weight (k, B)."""
        log_sum = log_weight.logsumexp(0)
        share = _like((log_weight - log_sum).exp(), mean)
        center = (share * mean).sum(0)
        within = torch.where(share > 0, share * variance, 0.0)  # a variance may be infinite
        spread = (within + share * (mean - center).square()).sum(0)
        if not hasattr(self, "mean"):
            self.log_sum, self.mean, self.variance = log_sum, center, spread
            return
        total = torch.logaddexp(self.log_sum, log_sum)
        old, new = (_like((part - total).exp(), center) for part in (self.log_sum, log_sum))
        step = center - self.mean
        self.variance = old * self.variance + new * spread + old * new * step.square()
        self.mean, self.log_sum = self.mean + new * step, total


def _like(share: Tensor, values: Tensor) -> Tensor:
    """Return shares (*,) with an axis for each axis of the values behind theirs."""
    return share.reshape(*share.shape, *[1] * (values.dim() - share.dim()))
