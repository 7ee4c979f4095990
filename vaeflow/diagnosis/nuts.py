r"""NUTS as the referee: the posterior itself, against q and against the estimates of log p(x).

The draws of p(z|x) give its moments, and log p(x) by bridge sampling: with a Gaussian g fitted to
half of them,

.. math:: p(x) = E_g[α(z)\, p(x, z)] \,/\, E_{p(z|x)}[α(z)\, g(z)]

for any α, at best 1/(s_1 p(x, z)/p(x) + s_2 g(z)) (Meng & Wong 1996, section 3). It is no bound,
and shares no draw and no path with annealing or the Laplace proposal.

Shapes: C chains, S draws, N images, L latent size. log p(x) is in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaeflow.data.examples import Data, as_examples
from vaeflow.diagnosis.kept import Figures, Form
from vaeflow.distributions.draw import draw
from vaeflow.evaluation import Estimate, PerImage
from vaeflow.evaluation.findings import Finding
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen

SETTLED, FEWEST = 1.05, 100.0  # R̂ below which chains agree, and the fewest effective draws
_SURE, _NEAR = 2.0, 0.05  # standard errors, and nats, within which two estimates agree
_MOMENTS = 2000  # draws of q for its moments
_ROWS = 1000  # points that pass through the decoder at a time
_ROUNDS = 100


@dataclass(frozen=True, kw_only=True)
class Chains:
    """How NUTS is run.

    Attributes:
        chains: C of each image, which begin at draws of q.
        warmup: iterations before the draws.
        draws: S.
        batch: images whose chains move together.
        seed: the result is a function of it.
    """

    chains: int = 4
    warmup: int = 200
    draws: int = 250
    batch: int = 10
    seed: int = 0


@dataclass(frozen=True)
class NutsReferee:
    """What NUTS tells of N images."""

    r_hat: Tensor  # (N,): the largest over the dimensions of z and log p(x, z)
    effective: Tensor  # (N,): the fewest effective draws of any of them
    spread: Tensor  # (N,): the mean over dimensions of log(sd of q / sd of the posterior)
    shift: Tensor  # (N,): the root mean square of (mean of q − mean) / sd of the posterior
    log_px: PerImage  # by bridge sampling

    def __repr__(self) -> str:
        told = f"{len(self.r_hat):,} images, {int(self.settled.sum()):,} settled"
        return f"NutsReferee({told}, log_px={self.log_px.over_images})"

    @property
    def settled(self) -> Tensor:
        """Return on which images the chains agree, with enough effective draws."""
        return (self.r_hat < SETTLED) & (self.effective >= FEWEST)

    def difference(self, bound: PerImage) -> PerImage:
        """Return another estimate of log p(x) of the first images less this one, where settled."""
        which = self.settled.nonzero()[:, 0]
        return _some(bound, which) - _some(self.log_px, which)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, for JSON."""
        lists = {name: getattr(self, name).tolist() for name in _TENSORS}
        lists |= {"log_px": self.log_px.values.tolist(), "errors": self.log_px.errors.tolist()}
        return {"images": len(self.r_hat), "settled": self.settled.tolist(), **lists}


_TENSORS = ("r_hat", "effective", "spread", "shift")


def _pack(found: NutsReferee) -> Figures:
    tensors = {name: getattr(found, name) for name in _TENSORS}
    return Figures({**tensors, "values": found.log_px.values, "errors": found.log_px.errors})


def _unpack(found: Figures) -> NutsReferee:
    rest = {name: found.tensors[name] for name in _TENSORS}
    return NutsReferee(**rest, log_px=PerImage(found.tensors["values"], found.tensors["errors"]))


NUTS = Form(_pack, _unpack)


def referee(
    model: VAE, x: Data, options: Chains | None = None, *, progress: Advance = unseen
) -> NutsReferee:
    """Draw from the posterior of each image by NUTS, and measure q and log p(x) by the draws.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: N images.
        options: C, S and the rest.
        progress: called with the number of images done.
    """
    options, x = options or Chains(), as_examples(x)
    parts = []
    with Noise(options.seed, model.device).private("NUTS"), frozen(model):
        for start in range(0, len(x), options.batch):
            images = x[start : start + options.batch].to(model.device)
            parts.append(_batch(model, images, options, progress))
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in _TENSORS}
    return NutsReferee(**tensors, log_px=PerImage.cat([part.log_px for part in parts]))


def _batch(model: VAE, x: Data, options: Chains, progress: Advance) -> NutsReferee:
    from vaeflow.pyro.nuts import convergence, posterior_draws

    with torch.no_grad():
        q = model.infer(x)
        ours, start = draw(q, (_MOMENTS,)).z.double(), draw(q, (options.chains,)).z
    z = posterior_draws(
        model, x, start, draws=options.draws, warmup=options.warmup, progress=progress
    )
    joint = Joint(model, x, block=_ROWS, rows=_ROWS)
    with torch.no_grad():
        log_joint = _log_joint(joint, z.flatten(0, 1)).unflatten(0, z.shape[:2])  # (C, S, B)
        r_hat, effective = convergence(torch.cat((z, log_joint[..., None]), -1))
        theirs = z.flatten(0, 1).double()
        sd, mean = theirs.std(0), theirs.mean(0)
        log_px = _bridge(joint, z, log_joint)
    return NutsReferee(
        r_hat.amax(-1).cpu(),
        effective.amin(-1).cpu(),
        (ours.std(0) / sd).log().mean(-1).cpu(),
        ((ours.mean(0) - mean) / sd).square().mean(-1).sqrt().cpu(),
        log_px,
    )


def _log_joint(joint: Joint, z: Tensor) -> Tensor:
    """Return log p(x, z) (K, B) at z (K, B, L)."""
    log_px, log_pz = joint.terms(z)
    return (log_px + log_pz).double()


def _bridge(joint: Joint, z: Tensor, log_joint: Tensor) -> PerImage:
    """Return log p(x) of each image from posterior draws z (C, S, B, L)."""
    from vaeflow.pyro.nuts import convergence

    half = z.shape[1] // 2
    seen, new = z[:, :half].flatten(0, 1).double(), z[:, half:].double()
    g = _gaussian(seen)
    fitted = g.sample((new.shape[0] * new.shape[1],))
    at_g = _log_joint(joint, fitted.to(z.dtype)) - g.log_prob(fitted)
    at_p = log_joint[:, half:] - g.log_prob(new)  # (C, S/2, B)
    log_r = at_p.flatten(0, 1).median(0).values
    for _ in range(_ROUNDS):
        over = -torch.logaddexp(log_r - at_g, torch.zeros_like(at_g))  # log p/(p + r g)
        under = -torch.logaddexp(at_p - log_r, torch.zeros_like(at_p))  # log r g/(p + r g)
        gap = over.logsumexp(0) - under.flatten(0, 1).logsumexp(0)
        log_r = log_r + gap
        if gap.abs().max() < 1e-6:
            break
    effective = convergence(under.exp())[1].clamp_min(1)
    both = under.exp().flatten(0, 1)
    errors = [
        over.exp().std(0) / over.exp().mean(0) / math.sqrt(len(over)),
        both.std(0) / both.mean(0) / effective.sqrt(),
    ]
    return PerImage(log_r.cpu(), torch.hypot(*errors).cpu())


def _gaussian(z: Tensor) -> torch.distributions.MultivariateNormal:
    """Return the Gaussian of mean and covariance of draws (K, B, L), a little shrunk."""
    away = z - z.mean(0)
    covariance = torch.einsum("kbi,kbj->bij", away, away) / (len(z) - 1)
    diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-30))
    shrink = min(0.5, z.shape[-1] / len(z))
    mixed = (1 - shrink) * covariance + shrink * diagonal
    return torch.distributions.MultivariateNormal(z.mean(0), mixed, validate_args=False)


def findings(found: NutsReferee, log_px: Mapping[str, PerImage]) -> Iterator[Finding]:
    """Yield what NUTS says of q, and of the other estimates of log p(x), by name."""
    settled, images = found.settled, len(found.settled)
    if left := int((~settled).sum()):
        details = {
            "left": left,
            "images": images,
            "r_hat": found.r_hat.max().item(),
            "effective": found.effective.min().item(),
        }
        yield Finding("nuts-not-settled", "NUTS", severity="warning", details=details)
    if left == images:
        return
    ratio, shift = Estimate.of(found.spread[settled]), Estimate.of(found.shift[settled])
    scale = math.exp(ratio.mean)
    error = None if ratio.standard_error is None else scale * ratio.standard_error
    yield Finding.of(
        "nuts-posterior", "q", Estimate(scale, error), images=images - left, shift=shift
    )
    for name, bound in log_px.items():
        apart = found.difference(bound).over_images
        errors = [e for e in (apart.standard_error, apart.monte_carlo_error) if e is not None]
        agrees = abs(apart.mean) <= max(_NEAR, _SURE * max(errors, default=0.0))
        if agrees:
            yield Finding.of("nuts-agrees", name, apart, images=images - left)
        else:
            yield Finding.of("nuts-differs", name, apart, "warning", images=images - left)


def _some(bound: PerImage, which: Tensor) -> PerImage:
    return PerImage(bound.values[which], bound.errors[which])
