"""The ELBO and the importance-sampled NLL of a data set, with standard errors.

Shapes: K importance samples, B batch, N images. All estimates are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from vaeflow.config.way import ProposalKind
from vaeflow.evaluation.estimates import Estimate, PerImage, listed, listed_html
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.pareto import UNRELIABLE
from vaeflow.evaluation.proposals.choice import Choice
from vaeflow.model import VAE


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

    def weighted(self, weights: Tensor) -> ImageBounds:
        """Return these bounds with the weights (N,) of the images in means."""
        weights = weights.cpu().double()
        bounds = {k: replace(v, weights=weights) for k, v in vars(self).items() if _is_bound(v)}
        return replace(self, **bounds)

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
        return (
            f"{self.median:.2f} (median), above {UNRELIABLE} at {self.share_above:.0%} of examples"
        )

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
        told = f"{self.mean:,.0f} an example"
        if self.error is None:
            return told
        return (
            f"{told}, error {self.error:.2g} (median), above the tolerance at {self.above:.0%} of "
            "examples"
        )


_COLLAPSED = 0.1  # nats of KL below which the code of an image is not used


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
        return listed(self, self._told())

    def _repr_html_(self) -> str:
        return listed_html(self, self._told())

    def _told(self) -> dict[str, object]:
        more = {"unsettled": len(self.unsettled), "fell_back": self.fell_back or None}
        return {**vars(self), **more}

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
    def collapsed(self) -> list[Finding]:
        """Return a warning if q is nearly the prior, so that z tells nothing of x."""
        if self.kl.mean >= _COLLAPSED:
            return []
        return [Finding.of("collapsed-posterior", "the model", self.kl, severity="warning")]

    @property
    def findings(self) -> list[Finding]:
        """Return whether z tells of x, and how far the NLL is to be trusted, where K shows it."""
        found = self.collapsed
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


def _over_images(pareto_k: Tensor) -> ParetoK | None:
    known = pareto_k[~pareto_k.isnan()]
    if not len(known):
        return None
    above = (known > UNRELIABLE).sum().item() / len(pareto_k)
    return ParetoK(known.median().item(), above)


def _bits_per_dimension(nll: PerImage, model: VAE, dequantized: int | None) -> PerImage | None:
    r"""Return :math:`\mathrm{nll} / (D \log 2)` of a probability, plus log2(levels) of a density.

    A level's share of [0, 1] has the size 1/levels. The density of data that is no dequantized
    levels has no bits: it changes with the unit of the data. Nor have examples with gaps, whose
    values differ in number.
    """
    discrete = model.likelihood.support.is_discrete
    if model.missing or (not discrete and dequantized is None):
        return None
    unit = math.prod(model.data_shape) * math.log(2)
    shift = 0.0 if discrete or dequantized is None else math.log2(dequantized)
    return PerImage(nll.values / unit + shift, nll.errors / unit, nll.weights)


def _is_bound(value: object) -> bool:
    return isinstance(value, PerImage)
