"""Means over images, and values of single images, with their errors.

Shapes: K importance samples, B batch, N images. All values are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaeflow.data.examples import Data
from vaeflow.model import VAE
from vaeflow.text import html_table


def listed(of: object, values: Mapping[str, object]) -> str:
    """Return the repr of an object, a line for each value that is known."""
    lines = (f"  {name}={value}" for name, value in values.items() if value is not None)
    return "\n".join([f"{type(of).__name__}(", *(f"{line}," for line in lines), ")"])


def listed_html(of: object, values: Mapping[str, object]) -> str:
    """Return the same as a table for a notebook."""
    rows = [(name, value) for name, value in values.items() if value is not None]
    return html_table(type(of).__name__, rows)


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error, s/√N, which includes the noise of the draws."""

    mean: float
    standard_error: float | None  # of a single image there is none
    monte_carlo_error: float | None = None  # of the random draws alone, where it is known

    @classmethod
    def of(cls, values: Tensor, weights: Tensor | None = None) -> Estimate:
        r"""Return the estimate of per-image values (N,).

        With weights (N,) it is the weighted mean, with the error of a ratio of means,

        .. math:: \sqrt{\frac{N}{N - 1}}\; \frac{\sqrt{\sum_i w_i^2 (v_i - μ)^2}}{\sum_i w_i}
        """
        values, n = values.double(), len(values)
        if weights is None:
            error = values.std().item() / math.sqrt(n) if n > 1 else None
            return cls(values.mean().item(), error)
        shares = weights.double() / weights.double().sum()
        mean = (shares * values).sum()
        square = (shares * (values - mean)).square().sum()
        error = (square * n / (n - 1)).sqrt().item() if n > 1 else None
        return cls(mean.item(), error)

    @property
    def error(self) -> float | None:
        """Return the standard error; of a single image, the error that its draws leave."""
        return self.monte_carlo_error if self.standard_error is None else self.standard_error

    def __format__(self, spec: str) -> str:
        """Format mean ± standard error; without a spec, with the digits that the error leaves."""
        spec = spec or f".{self._digits()}f"
        if self.standard_error is None:
            return f"{self.mean:{spec}}"
        # A sign is of use for the mean alone.
        return f"{self.mean:{spec}} ± {self.standard_error:{spec.lstrip('+')}}"

    def _digits(self) -> int:
        """Return how many decimals are worth showing, two where no error is known."""
        error = self.error
        if not error or not math.isfinite(error):
            return 2
        return min(max(1, math.ceil(-math.log10(error))), 3)

    def __str__(self) -> str:
        return f"{self}"

    def __repr__(self) -> str:
        return f"Estimate({self})"

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, self.standard_error, self.monte_carlo_error)


@dataclass(frozen=True)
class PerImage:
    """A value for each of N images, with the standard error of its own random draws.

    A difference of two is paired, image by image: differences between images drop out of its error.
    """

    values: Tensor  # (N,), float64 on the CPU
    errors: Tensor  # (N,), NaN where a single draw tells none
    weights: Tensor | None = None  # (N,), of the images in a mean, where they differ

    def __repr__(self) -> str:
        return f"PerImage({len(self.values):,} images, mean {self.over_images})"

    def _repr_html_(self) -> str:
        told = {"images": f"{len(self.values):,}", "mean": self.over_images}
        low, high = self.values.min().item(), self.values.max().item()
        return listed_html(self, {**told, "smallest": f"{low:.2f}", "largest": f"{high:.2f}"})

    @classmethod
    def mean(cls, draws: Tensor) -> PerImage:
        """Return the means of draws (K, N) over K, and s/√K."""
        draws = draws.cpu().double()
        return cls(draws.mean(0), _error_of_mean(draws))

    @classmethod
    def log_mean_exp(cls, draws: Tensor) -> PerImage:
        r"""Return :math:`\log \frac1K \sum_k e^{d_k}` of draws (K, N).

        Its error is the error of the mean weight, relative to the mean (the delta method). It is
        too small where a few of the K weights hold most of their sum.
        """
        draws = draws.cpu().double()
        values = draws.logsumexp(0) - math.log(len(draws))
        return cls(values, _error_of_mean((draws - values).exp()))

    @classmethod
    def cat(cls, parts: Sequence[PerImage]) -> PerImage:
        """Return several batches as one."""
        weights = [p.weights for p in parts if p.weights is not None]
        return cls(
            torch.cat([p.values for p in parts]),
            torch.cat([p.errors for p in parts]),
            torch.cat(weights) if weights else None,
        )

    def __sub__(self, other: PerImage) -> PerImage:
        """Return the paired differences; the random draws of the two are taken as independent."""
        errors = torch.hypot(self.errors, other.errors)
        return PerImage(self.values - other.values, errors, self.weights)

    def __neg__(self) -> PerImage:
        return replace(self, values=-self.values)

    @property
    def weighed(self) -> Tensor:
        r"""Return values (N,) whose plain mean and error are those of the weighted mean μ.

        .. math:: μ + \frac{N w_i}{\sum_j w_j} (v_i - μ)
        """
        if self.weights is None:
            return self.values
        shares = self.weights / self.weights.mean()
        mean = (shares * self.values).mean()
        return mean + shares * (self.values - mean)

    @property
    def over_images(self) -> Estimate:
        """Return the mean over images with its standard error and its Monte Carlo error."""
        error = self.monte_carlo_error
        return replace(
            Estimate.of(self.values, self.weights),
            monte_carlo_error=None if math.isnan(error) else error,
        )

    @property
    def monte_carlo_error(self) -> float:
        """Return the error of the mean over these images that the random draws alone cause."""
        if self.weights is None:
            return self.errors.square().sum().sqrt().item() / len(self.errors)
        shares = self.weights.double() / self.weights.double().sum()
        return (shares * self.errors).square().sum().sqrt().item()

    def as_dict(self) -> dict[str, float | None]:
        """Return plain numbers, for JSON."""
        return asdict(self.over_images)


def _error_of_mean(draws: Tensor) -> Tensor:
    """Return s/√K of draws (K, N)."""
    if len(draws) < 2:
        return torch.full_like(draws[0], torch.nan)
    return draws.std(0) / math.sqrt(len(draws))


@torch.no_grad()  # not inference mode: a part may differentiate inside its forward
def log_weights(
    model: VAE, x: Data, q: Distribution, *, samples: int, chunk: int | None = None
) -> Tensor:
    """Return log p(x, z) − log q(z|x) for K draws of any q, (K, B), float64 on the CPU.

    Their mean over K is the ELBO (`PerImage.mean`), their log-mean-exp the IWAE bound (Burda et al.
    2016, eq. 8; `PerImage.log_mean_exp`).

    Arguments:
        model: in the mode in which it is to be evaluated.
        x: (B, *data_shape), on the model's device.
        q: q(z|x), batch (B,), event (L,): the model's own, or another.
        samples: K.
        chunk: draws at a time, of all images together, but one of each at least; by default as many
            as `evaluate` takes.
    """
    if chunk is None:
        chunk = 1_000 if x.device.type == "cpu" else 100_000
    each = max(1, chunk // len(x))
    parts = [
        model.terms(x, q, min(each, samples - done)).log_weight.cpu().double()
        for done in range(0, samples, each)
    ]
    return torch.cat(parts)
