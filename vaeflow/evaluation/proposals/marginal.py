r"""log p(x) of single images by importance sampling, with as many draws as each image needs.

.. math:: \log p(x) ≥ E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k)}, \quad z_k \sim r

holds for every proposal r (Burda et al. 2016, eq. 8, for r = q), and is the closer the nearer r
comes to the posterior.

Shapes: K draws, B batch, L latent size, S starts. Densities are in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from vaeflow.distributions.draw import draw
from vaeflow.evaluation.estimates import PerImage
from vaeflow.evaluation.importance import ImportanceWeights
from vaeflow.evaluation.proposals.gaussians import Gaussians
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.laplace import Fit, fit
from vaeflow.runtime.progress import Advance

_STARTS = 16  # draws of q from which the fit begins
_PILOT, _LARGER_PILOT = 128, 512  # draws that decide on K, and are not counted
_MARGIN = 1.3  # times the K that the pilot asks for
_FINENESS = 4  # values of K in a doubling: images of one K are drawn together
_HARD = 8.0  # effective draws of the pilot below which an image is fitted again,
_MISSED, _UNSEEN = 0.02, 10.0  # or a share of p(x) where w is above 10 times its mean
_SECOND_STARTS, _FREEDOM = 4, 10.0  # of that fit: several modes, and heavier tails
_START_SPREAD, _TINY = 0.5, 1e-4  # of the first Gaussian: q's standard deviations, and above 0


class Proposal(Protocol):
    """The proposals of B images, as importance sampling uses them."""

    def of(self, images: Tensor) -> Proposal:
        """Return the proposals of some images, by their indices."""

    def draw(self, count: int) -> Tensor:
        """Draw z (K, B, L)."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log r(z) (K, B)."""


@dataclass(frozen=True)
class Precision:
    """How many draws an image gets: enough for the tolerance, up to a largest number."""

    tolerance: float = 0.05  # nats, the standard error of log p(x) that the draws leave
    largest: int = 10_000


@dataclass(frozen=True)
class Marginal:
    """−log p(x) of each of N images, from above, and measures of the weights it is made of."""

    nll: PerImage
    effective_sample_size: Tensor  # (N,), float64 on the CPU
    pareto_k: Tensor  # (N,), float64 on the CPU
    draws: Tensor  # (N,): K of each image

    @classmethod
    def of(cls, weights: ImportanceWeights) -> Marginal:
        """Return the figures of images that share one K."""
        pareto_k = weights.pareto_k
        return cls(
            -weights.log_mean,
            weights.effective_sample_size.cpu(),
            pareto_k,
            torch.full_like(pareto_k, weights.samples, dtype=torch.int64),
        )

    def put(self, images: Tensor, part: Marginal) -> None:
        """Take the figures of some images, by their indices."""
        for whole, one in zip(self._tensors(), part._tensors(), strict=True):
            whole[images.cpu()] = one

    def _tensors(self) -> tuple[Tensor, ...]:
        nll = self.nll
        return nll.values, nll.errors, self.effective_sample_size, self.pareto_k, self.draws


def marginal(
    joint: Joint, kind: Literal["laplace", "mixture"], precision: Precision, progress: Advance
) -> Marginal:
    """Estimate log p(x) of the B images of a joint.

    K is decided by a pilot, draws of the same proposal that are not counted: a rule that looked at
    the draws it counts would be biased. An image is fitted again from several draws of q, with the
    tails of Student's t, if its pilot has few effective draws, or if draws of q tell of other
    modes.

    Arguments:
        kind: "laplace", or its "mixture" with q in equal shares.
        precision: the tolerance, and the largest K.
        progress: called with a number of images as their draws are done.

    Raises:
        RuntimeError: if a part cannot be differentiated.
        NotImplementedError, KeyError: if q is asked to score z and cannot.
    """
    starts = _Starts.of(joint)
    fitted = starts.first_fit(joint)
    first = _proposal(joint, _mixture([fitted], math.inf), kind)
    wanted, effective, log_px = _pilot(joint, first, precision)
    images = torch.arange(len(joint), device=effective.device)
    missed = starts.missed(first, log_px)
    hard = (effective < _HARD) | (missed.sum(0) > _MISSED)
    groups = [(images[~hard], first.of(images[~hard]))]
    if bool(hard.any()):
        some = joint.of(images[hard])
        several = _mixture([fitted.of(hard), *starts.more_fits(some, hard, missed)], _FREEDOM)
        second = _proposal(some, several, kind)
        wanted[hard] = _pilot(some, second, precision)[0]
        groups.append((images[hard], second))
    found = _empty(len(joint))
    for members, proposal in groups:
        for count in wanted[members].unique().tolist():
            which = (wanted[members] == count).nonzero()[:, 0]
            some = joint.of(members[which])
            found.put(members[which], Marginal.of(weigh(some, proposal.of(which), count)))
            progress(len(which))
    return found


def weigh(joint: Joint, proposal: Proposal, count: int) -> ImportanceWeights:
    """Return the weights of K draws of a proposal."""
    weights = ImportanceWeights(count)
    block = max(1, joint.block // len(joint))
    for done in range(0, count, block):
        z = proposal.draw(min(block, count - done))
        pieces = torch.stack((*joint.terms(z), proposal.log_prob(z).to(z.dtype)), 1)
        precise = pieces.double()
        log_px, log_pz, log_r = precise.unbind(1)
        weights.add(log_px + log_pz - log_r, torch.finfo(z.dtype).eps * precise.abs().sum(1))
    return weights


@dataclass(frozen=True)
class _Starts:
    """Draws of q, where the fits begin."""

    z: Tensor  # (S, B, L)
    log_joint: Tensor  # (S, B): log p(x, z)
    log_q: Tensor  # (S, B)

    @classmethod
    def of(cls, joint: Joint) -> _Starts:
        sample = draw(joint.posterior, (_STARTS,))
        log_px, log_pz = joint.terms(sample.z)
        return cls(sample.z, (log_px + log_pz).nan_to_num(-torch.inf), sample.log_prob)

    @property
    def spread(self) -> Tensor:
        """Return the standard deviations (B, L) with which a fit begins."""
        return _START_SPREAD * self.z.std(0) + _TINY

    def first_fit(self, joint: Joint) -> Fit:
        """Fit from the best of the draws and of their mean."""
        mean = self.z.mean(0, keepdim=True)
        log_px, log_pz = joint.terms(mean)
        at_mean = (log_px + log_pz).nan_to_num(-torch.inf)
        points, values = torch.cat((self.z, mean)), torch.cat((self.log_joint, at_mean))
        best = values.argmax(0)
        return fit(joint, points[best, torch.arange(len(joint), device=best.device)], self.spread)

    def missed(self, proposal: Proposal, log_px: Tensor) -> Tensor:
        """Return the share of p(x) that each draw stands for where a proposal hardly comes (S, B).

        The proposal's own draws cannot tell: those of one mode know nothing of another.
        """
        unseen = self.log_joint - proposal.log_prob(self.z) - log_px > math.log(_UNSEEN)
        share = (self.log_joint - self.log_q - log_px).exp() / len(self.z)
        return torch.where(unseen, share, 0.0).nan_to_num(0.0)

    def more_fits(self, joint: Joint, images: Tensor, missed: Tensor) -> list[Fit]:
        """Fit some images from the draws that stand for the most of what was missed."""
        order = missed[:, images].topk(_SECOND_STARTS, dim=0).indices
        z = self.z[:, images]
        some = z.gather(0, order[..., None].expand(-1, -1, z.shape[-1]))
        each = torch.arange(len(joint), device=z.device).repeat(len(some))
        found = fit(joint.of(each), some.flatten(0, 1), self.spread[images].repeat(len(some), 1))
        return [
            found.of(part) for part in torch.arange(len(each), device=z.device).chunk(len(some))
        ]


def _mixture(fits: list[Fit], freedom: float) -> Gaussians:
    """Weight the fits by their bounds."""
    share = torch.stack([f.bound for f in fits]).softmax(0)
    share = (share + 1 / len(fits)) / 2  # a bound may be wrong: no component vanishes
    center, factor = torch.stack([f.center for f in fits]), torch.stack([f.factor for f in fits])
    return Gaussians(center, factor, share.log(), freedom)


@dataclass(frozen=True)
class _WithPosterior:
    """Equal shares of a proposal and of q, weighted by both (Veach & Guibas 1995)."""

    joint: Joint
    other: Gaussians

    def of(self, images: Tensor) -> _WithPosterior:
        return _WithPosterior(self.joint.of(images), self.other.of(images))

    def draw(self, count: int) -> Tensor:
        ours, theirs = self.other.draw(count), draw(self.joint.posterior, (count,)).z
        return torch.where(torch.rand_like(ours[..., :1]) < 0.5, ours, theirs)

    def log_prob(self, z: Tensor) -> Tensor:
        theirs = self.joint.posterior.log_prob(z)
        return torch.logaddexp(self.other.log_prob(z), theirs) - math.log(2)


def _proposal(joint: Joint, found: Gaussians, kind: str) -> Proposal:
    return found if kind == "laplace" else _WithPosterior(joint, found)


def _pilot(joint: Joint, proposal: Proposal, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return K, and the effective draws and log p(x) of the first pilot, of each image (B,).

    The error of log p(x) is :math:`\sqrt{C/K}`, C the squared coefficient of variation of w.
    """
    weights = weigh(joint, proposal, min(_PILOT, precision.largest))
    effective = weights.effective_sample_size
    wanted = _wanted(weights, precision)
    if len(more := (wanted > 2 * _LARGER_PILOT).nonzero()[:, 0]):  # the tail needs a better look
        larger = weigh(joint.of(more), proposal.of(more), min(_LARGER_PILOT, precision.largest))
        wanted[more] = _wanted(larger, precision)
    return wanted, effective, weights.log_mean.values.to(effective.device)


def _wanted(weights: ImportanceWeights, precision: Precision) -> Tensor:
    """Return K (B,), of a few values to a doubling."""
    variation = weights.samples / weights.effective_sample_size - 1
    needed = _MARGIN * variation / precision.tolerance**2
    # NaN, of weights that are no numbers, asks for the fewest: the caller sees it in the bound.
    doublings = (needed / _PILOT).nan_to_num(1.0, posinf=1e9).clamp_min(1).log2()
    step = (doublings * _FINENESS).ceil() / _FINENESS
    return (_PILOT * 2**step).ceil().clamp_max(precision.largest).long()


def _empty(images: int) -> Marginal:
    unknown = torch.full((images,), torch.nan, dtype=torch.float64)
    nll = PerImage(unknown.clone(), unknown.clone())
    return Marginal(nll, unknown.clone(), unknown.clone(), torch.zeros(images, dtype=torch.int64))
