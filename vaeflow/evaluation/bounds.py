"""The ELBO and the importance-sampled NLL of a data set, with standard errors.

Shapes: K importance samples, B batch, N images. All estimates are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vaeflow.config.way import ProposalKind
from vaeflow.distributions.draw import draw
from vaeflow.evaluation.estimates import Estimate, PerImage, listed
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.importance import ImportanceWeights, Moments
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.evaluation.proposals.choice import Choice, choose
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.marginal import Precision, marginal
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen

_BATCH = 100
_SHARE_OF_Q = 0.3  # of an evaluation's time, about
_RECONSTRUCTIONS = 10  # draws; squared errors differ more between images than between draws


@dataclass(frozen=True)
class ImageBounds:
    """Bounds on log p(x) of each of N images, and measures of their importance weights."""

    elbo: PerImage  # E_q[log w]
    log_px: PerImage  # E_q[log p(x|z)]
    kl: PerImage  # E_q[log q(z|x) − log p(z)], from the same draws: elbo = log_px − kl
    nll: PerImage  # −log p(x), from above, by importance sampling with the proposal
    under_q: PerImage  # −log (1/K) Σ_k w_k with q as the proposal: the IWAE bound, sign changed
    squared_error: PerImage | None  # of the mean of p(x|z), where a likelihood has a mean
    draws: Tensor  # (N,): of the proposal, for each image's NLL
    # Of the weights of the NLL:
    effective_sample_size: Tensor  # (N,), float64 on the CPU
    pareto_k: Tensor  # (N,), float64 on the CPU; NaN where K is small, −∞ of equal weights

    def __len__(self) -> int:
        return len(self.pareto_k)

    def __repr__(self) -> str:
        means = {
            name: getattr(self, name).over_images
            for name in ("elbo", "log_px", "kl", "nll", "under_q")
        }
        return listed(self, {"images": len(self), **means})

    @classmethod
    def cat(cls, parts: Sequence[ImageBounds]) -> ImageBounds:
        """Return several batches as one."""
        errors = [p.squared_error for p in parts if p.squared_error is not None]
        return cls(
            elbo=PerImage.cat([p.elbo for p in parts]),
            log_px=PerImage.cat([p.log_px for p in parts]),
            kl=PerImage.cat([p.kl for p in parts]),
            nll=PerImage.cat([p.nll for p in parts]),
            under_q=PerImage.cat([p.under_q for p in parts]),
            squared_error=PerImage.cat(errors) if errors else None,
            draws=torch.cat([p.draws for p in parts]),
            effective_sample_size=torch.cat([p.effective_sample_size for p in parts]),
            pareto_k=torch.cat([p.pareto_k for p in parts]),
        )

    @property
    def finite(self) -> bool:
        """Return whether every bound is a number."""
        bounds = torch.stack((self.elbo.values, self.nll.values, self.under_q.values))
        return bool(bounds.isfinite().all())


class ParetoK(NamedTuple):
    """k̂ over images: above 0.7 an image's NLL is not to be trusted, whatever its error."""

    median: float  # −∞ if most images have weights that are equal but for rounding
    share_above: float  # of the images, 0 to 1

    def __str__(self) -> str:
        return f"{self.median:.2f} (median), above {UNRELIABLE} at {self.share_above:.0%} of images"

    def as_dict(self) -> dict[str, float | None]:
        """Return plain numbers, for JSON, which has no infinity: None stands for it."""
        median = self.median if math.isfinite(self.median) else None
        return {"median": median, "share_above": self.share_above}


class Draws(NamedTuple):
    """How far the draws of the proposal settle the NLL of single images."""

    mean: float  # of each image
    error: float | None  # of an image's NLL, the median, in nats; None where each has one draw
    above: float  # share of the images whose error is above the tolerance, 0 to 1

    def __str__(self) -> str:
        told = f"{self.mean:,.0f} an image"
        if self.error is None:
            return told
        return (
            f"{told}, error {self.error:.2g} (median), above the tolerance at {self.above:.0%} of "
            "images"
        )


@dataclass(frozen=True)
class Bounds:
    """Bounds on log p(x) of N images: the model's NLL, and the bounds under q from K draws."""

    images: int
    samples: int  # K of the bounds under q
    proposal: ProposalKind  # of the NLL
    tolerance: float | None  # of an image's NLL, in nats; None where the proposal is q
    elbo: Estimate  # E_q[log w]
    log_px: Estimate  # E_q[log p(x|z)]
    kl: Estimate  # E_q[log q(z|x) − log p(z)], from the same draws: elbo = log_px − kl
    nll: Estimate  # −log p(x), from above
    under_q: Estimate  # −log (1/K) Σ_k w_k, the IWAE bound with its sign changed
    bits_per_dimension: Estimate | None  # of data with levels; a density of other data has none
    squared_error: Estimate | None  # of the mean of p(x|z), summed over the values of an image
    # Of the draws from the proposal:
    draws: Draws
    effective_sample_size: Estimate
    pareto_k: ParetoK | None  # None where K is too small for a tail
    unsettled: tuple[int, ...]  # images with k̂ > 0.7, or an error above twice the tolerance
    fell_back: str = ""  # why the proposal is q, where another was asked for

    def __repr__(self) -> str:
        more = {"unsettled": len(self.unsettled), "fell_back": self.fell_back or None}
        return listed(self, {**vars(self), **more})

    @classmethod
    def of(
        cls,
        per_image: ImageBounds,
        model: VAE,
        *,
        samples: int,
        choice: Choice,
        tolerance: float,
        dequantized: int | None,
    ) -> Bounds:
        """Return the means over images."""
        bits, error = (
            _bits_per_dimension(per_image.nll, model, dequantized),
            per_image.squared_error,
        )
        fixed = choice.kind == "q"  # K does not follow the tolerance
        errors = per_image.nll.errors
        loose = torch.zeros(len(errors), dtype=torch.bool) if fixed else errors > 2 * tolerance
        unsettled = (per_image.pareto_k > UNRELIABLE) | loose
        median = errors.median().item()
        return cls(
            images=len(per_image),
            samples=samples,
            proposal=choice.kind,
            tolerance=None if fixed else tolerance,
            elbo=per_image.elbo.over_images,
            log_px=per_image.log_px.over_images,
            kl=per_image.kl.over_images,
            nll=per_image.nll.over_images,
            under_q=per_image.under_q.over_images,
            bits_per_dimension=None if bits is None else bits.over_images,
            squared_error=None if error is None else error.over_images,
            draws=Draws(
                per_image.draws.double().mean().item(),
                None if math.isnan(median) else median,
                (errors > tolerance).double().mean().item(),
            ),
            effective_sample_size=Estimate.of(per_image.effective_sample_size),
            pareto_k=_over_images(per_image.pareto_k),
            unsettled=tuple(unsettled.nonzero()[:, 0].tolist()),
            fell_back=choice.reason,
        )

    @property
    def findings(self) -> list[Finding]:
        """Return how far the NLL is to be trusted, where K shows it."""
        found = []
        if self.fell_back:
            why = {"reason": self.fell_back}
            found.append(Finding("proposal-fell-back", "q", severity="warning", details=why))
        if (k := self.pareto_k) is not None:
            known = k.as_dict()
            details = {"median": known["median"], "share": k.share_above, "limit": UNRELIABLE}
            found.append(Finding("pareto-k", "NLL", details=details))
        if self.tolerance is not None:
            taken = {
                **self.draws._asdict(),
                "tolerance": self.tolerance,
                "unsettled": len(self.unsettled),
                "images": self.images,
            }
            found.append(Finding("nll-draws", "NLL", details=taken))
        return found

    def as_dict(self) -> dict[str, object]:
        """Return plain numbers, for JSON."""
        k = self.pareto_k
        return {
            **asdict(self),
            "draws": self.draws._asdict(),
            "unsettled": list(self.unsettled),
            "pareto_k": None if k is None else k.as_dict(),
        }


def evaluate(
    model: VAE,
    x: Tensor,
    *,
    samples: int = 100,
    proposal: ProposalKind = "laplace",
    precision: Precision | None = None,
    batch: int = _BATCH,
    chunk: int | None = None,
    seed: int = 0,
    dequantized: int | None = None,
    progress: Advance = unseen,
) -> Bounds:
    """Estimate the bounds on the images x (N, *data_shape), as `evaluate_images` does.

    Where a part cannot be differentiated, q is the proposal, and a finding says so.

    Arguments:
        dequantized: levels of the data before they were spread over [0, 1], if they were.

    The other arguments are those of `evaluate_images`.

    Raises:
        ConfigError: if the mixture with q is asked for, and q scores its own draws alone.
    """
    choice, precision = choose(model, x, proposal), precision or Precision()
    parts = evaluate_images(
        model,
        x,
        samples=samples,
        proposal=choice.kind,
        precision=precision,
        batch=batch,
        chunk=chunk,
        seed=seed,
        progress=progress,
    )
    return Bounds.of(
        ImageBounds.cat(list(parts)),
        model,
        samples=samples,
        choice=choice,
        tolerance=precision.tolerance,
        dequantized=dequantized,
    )


def evaluate_images(
    model: VAE,
    x: Tensor,
    *,
    samples: int,
    proposal: ProposalKind = "laplace",
    precision: Precision | None = None,
    batch: int = _BATCH,
    chunk: int | None = None,
    seed: int = 0,
    start: int = 0,
    progress: Advance = unseen,
) -> Iterator[ImageBounds]:
    r"""Yield the bounds on the images x (N, *data_shape), batch by batch.

    .. math:: \log p(x) ≥ E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)} ≥ \mathrm{ELBO}

    (Burda et al. 2016, eq. 8.) These are the bounds under q. The NLL is the first of them with
    another proposal in the place of q, see `marginal`. The encoder and the networks that give a
    flow its parameters run once per image for K draws; the memory does not grow with K. The noise
    of a batch is a function of the seed and of the batch's number, so that an evaluation can go on
    where another stopped.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score, binarized before if it is binary.
        samples: K of the bounds under q.
        proposal: of the NLL: "laplace", "mixture" or "q".
        precision: the draws that other proposals than q get.
        batch: images at a time; their noise depends on it.
        chunk: rows, draws times images, that pass through the decoder at a time, but one draw of
            each image of a batch at least. It changes nothing but rounding. Draws come in blocks
            of 1,000 rows on a CPU, as larger tensors leave its caches, and of 100,000 elsewhere;
            a chunk is a block at most, and by default.
        seed: of the draws.
        start: images that are left out at the beginning, whole batches.
        progress: called as the work is done, with its share in images.
    """
    assert start % batch == 0 or start == len(x), "an evaluation goes on between batches"
    precision = precision or Precision()
    share = 1.0 if proposal == "q" else _SHARE_OF_Q
    for index, images in enumerate(x.split(batch)):
        if index * batch < start:
            continue
        noise = Noise(seed, model.device, (index,))
        block = 1_000 if model.device.type == "cpu" else 100_000
        rows = block if chunk is None else min(chunk, block)
        images = images.to(model.device)
        with frozen(model), torch.no_grad():  # a part may differentiate inside its forward
            with noise.private("evaluation"):
                found = _under_q(model, images, samples, block, rows, lambda n: progress(share * n))
            if proposal != "q":
                with noise.private("proposal"):
                    joint = Joint(model, images, block, rows)
                    nll = marginal(joint, proposal, precision, lambda n: progress((1 - share) * n))
                found = replace(found, **vars(nll))
        yield found


def _under_q(
    model: VAE, x: Tensor, samples: int, block: int, rows: int, progress: Advance
) -> ImageBounds:
    device, b = model.device, len(x)
    block, rows = max(1, block // b), max(1, rows // b)  # draws of each image
    home = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    q, prior = model.infer(x), model.latent_prior()
    moments, weights, squared_error = Moments(), ImportanceWeights(samples), None
    for done in range(0, samples, block):
        sample = draw(q, (min(block, samples - done),))
        log_px = torch.cat([model.generate(z).log_prob(x) for z in sample.z.split(rows)])
        pieces = torch.stack((log_px, prior.log_prob(sample.z), sample.log_prob), 1)
        rounding = torch.finfo(pieces.dtype).eps
        pieces = pieces.to(home).double()
        log_px, log_pz, log_qz = pieces.unbind(1)
        kl = log_qz - log_pz
        moments.add(torch.stack((log_px - kl, log_px, kl), 1))
        weights.add(log_px - kl, rounding * pieces.abs().sum(1))
        if not done:
            squared_error = _squared_error(model, x, sample.z[:_RECONSTRUCTIONS], rows)
        progress(len(sample.z) / samples * b)
    bounds = [PerImage(*two) for two in zip(moments.mean.cpu(), moments.error.cpu(), strict=True)]
    pareto_k, nll = weights.pareto_k, -weights.log_mean
    return ImageBounds(
        elbo=bounds[0],
        log_px=bounds[1],
        kl=bounds[2],
        nll=nll,
        under_q=nll,
        squared_error=squared_error,
        draws=torch.full_like(pareto_k, samples, dtype=torch.int64),
        effective_sample_size=weights.effective_sample_size.cpu(),
        pareto_k=pareto_k,
    )


def _squared_error(model: VAE, x: Tensor, z: Tensor, rows: int) -> PerImage | None:
    """Return ‖x − E[x|z]‖² at draws z (K, B, L), or None where p(x|z) has no mean."""
    try:
        means = [model.generate(part).mean for part in z.split(rows)]
    except NotImplementedError:  # raised by torch's Distribution itself
        return None
    errors = torch.cat([(mean - x).square().flatten(2).sum(-1) for mean in means])
    return PerImage.mean(errors) if bool(errors.isfinite().all()) else None


def _over_images(pareto_k: Tensor) -> ParetoK | None:
    known = pareto_k[~pareto_k.isnan()]
    if not len(known):
        return None
    above = (known > UNRELIABLE).sum().item() / len(pareto_k)
    return ParetoK(known.median().item(), above)


def _bits_per_dimension(nll: PerImage, model: VAE, dequantized: int | None) -> PerImage | None:
    r"""Return :math:`\mathrm{nll} / (D \log 2)` of a probability, plus log2(levels) of a density.

    A level's share of [0, 1] has the size 1/levels. The density of data that is no dequantized
    levels has no bits: it changes with the unit of the data.
    """
    discrete = model.likelihood.support.is_discrete
    if not discrete and dequantized is None:
        return None
    unit = math.prod(model.data_shape) * math.log(2)
    shift = 0.0 if discrete or dequantized is None else math.log2(dequantized)
    return PerImage(nll.values / unit + shift, nll.errors / unit)
