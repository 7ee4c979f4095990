"""The ELBO and the importance-sampled NLL of a data set, with standard errors.

Shapes: K importance samples, B batch. All figures are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from vaeflow.model import VAE


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its standard error, s/√N."""

    mean: float
    standard_error: float | None  # of a single image there is none

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        """Return the estimate of per-image values (N,)."""
        values = values.double()
        error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(values.mean().item(), error)

    def __format__(self, spec: str) -> str:
        if self.standard_error is None:
            return f"{self.mean:{spec}}"
        return f"{self.mean:{spec}} ± {self.standard_error:{spec}}"

    def __str__(self) -> str:
        return f"{self:.2f}"

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, self.standard_error)


@dataclass(frozen=True)
class Bounds:
    """Bounds on log p(x) of N images, each the mean over K draws of q(z|x)."""

    images: int
    samples: int
    elbo: Estimate  # E_q[log w]
    log_px: Estimate  # E_q[log p(x|z)]
    kl: Estimate  # E_q[log q(z|x) − log p(z)], from the same draws: elbo = log_px − kl
    nll: Estimate  # −log (1/K) Σ_k w_k, the IWAE bound with its sign changed
    bits_per_dimension: Estimate | None  # of data with levels; a density of other data has none

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        return asdict(self)


@torch.no_grad()  # not inference mode: a part may differentiate inside its forward
def evaluate(
    model: VAE,
    x: Tensor,
    *,
    samples: int = 100,
    batch: int = 100,
    chunk: int | None = None,
    dequantized: int | None = None,
    progress: Callable[[int], None] = lambda images: None,
) -> Bounds:
    r"""Estimate the bounds on the images x (N, *data_shape).

    .. math:: \log p(x) ≥ E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)} ≥ \mathrm{ELBO}

    (Burda et al. 2016, eq. 8.) The encoder runs once per image; at most `chunk` draws are in memory
    at a time, whatever K is.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score, binarized before if it is binary.
        samples: K.
        batch: images at a time.
        chunk: draws at a time, of all images of a batch together, but one of each at least; by
            default 1,000, as larger tensors leave the caches of a CPU, and 100,000 elsewhere.
        dequantized: levels of the data before they were spread over [0, 1], if they were.
        progress: called with the number of images done.
    """
    if chunk is None:
        chunk = 1_000 if model.device.type == "cpu" else 100_000
    was_training = model.training
    model.eval()
    sums: list[Tensor] = []  # each (3, B): of log w, log p(x|z) and log q − log p(z) over K
    bound: list[Tensor] = []
    for images in x.split(batch):
        images = images.to(model.device)
        q = model.infer(images)
        total = torch.zeros(3, len(images), dtype=torch.float64)
        log_sum = torch.full((len(images),), -torch.inf, dtype=torch.float64)
        each = max(1, chunk // len(images))
        for done in range(0, samples, each):
            terms = model.terms(images, q, min(each, samples - done))
            pieces = (terms.log_weight, terms.log_px, terms.log_qz - terms.log_pz)
            pieces64 = torch.stack(pieces).cpu().double()  # (3, K, B); MPS has no float64
            total += pieces64.sum(1)
            log_sum = torch.logaddexp(log_sum, pieces64[0].logsumexp(0))
        sums.append(total)
        bound.append(log_sum - math.log(samples))
        progress(len(images))
    model.train(was_training)
    elbo, log_px, kl = torch.cat(sums, 1) / samples
    nll = -torch.cat(bound)
    bits = _bits_per_dimension(nll, model, dequantized)
    return Bounds(
        images=len(x),
        samples=samples,
        elbo=Estimate.of(elbo),
        log_px=Estimate.of(log_px),
        kl=Estimate.of(kl),
        nll=Estimate.of(nll),
        bits_per_dimension=None if bits is None else Estimate.of(bits),
    )


def _bits_per_dimension(nll: Tensor, model: VAE, dequantized: int | None) -> Tensor | None:
    r"""Return :math:`\mathrm{nll} / (D \log 2)` of a probability, plus log2(levels) of a density.

    A level's share of [0, 1] has the size 1/levels. The density of data that is no dequantized
    levels has no bits: it changes with the unit of the data.
    """
    bits = nll / (math.prod(model.data_shape) * math.log(2))
    if model.likelihood.support.is_discrete:
        return bits
    return None if dequantized is None else bits + math.log2(dequantized)
