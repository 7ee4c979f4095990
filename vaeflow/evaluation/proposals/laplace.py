r"""Laplace approximations of the posteriors of a batch, averaged over the approximation itself.

The classical one stands at the mode, and its covariance is the inverse Hessian there. A posterior
of a decoder with kinks, such as ReLU's, is not smooth, and its mode not in its middle: the
curvature at a single point tells little of its spread. The best Gaussian instead satisfies

.. math:: E_r[\nabla \log p(x, z)] = 0, \qquad Σ^{-1} = -E_r[\nabla^2 \log p(x, z)]

(Opper & Archambeau 2009, eq. 9–10), which is the classical one if r is narrow. Both means are
taken over the 2L points :math:`c ± \sqrt L F e_i`, the cubature rule of degree 3 (Arasaratnam &
Haykin 2009) in turned axes, so that a Hessian needs 2L gradients and no second derivative.

Shapes: B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaeflow.evaluation.proposals.joint import Joint

_ROUNDS = 3  # of all images
_MORE_ROUNDS = 8  # of those that have not settled
_AVERAGED = 2  # rounds that gain, after which precisions are averaged: single ones are noisy
_SETTLED = 0.5  # length of a step, in standard deviations of the proposal
_LONGEST = 2.0  # step, likewise, at first: each gain in a row doubles it, for starts from afar
_LEAST, _MOST = 0.05, 1e8  # of the precisions, in units of those of the round before


@dataclass
class Fit:
    """The best Gaussian of each image that was seen, N(center, factor factorᵀ)."""

    center: Tensor  # (B, L)
    factor: Tensor  # (B, L, L)
    bound: Tensor  # (B,): E_r[log p(x, z)] + log|det F|, the ELBO of r but for a constant

    def of(self, images: Tensor) -> Fit:
        """Return the fits of some images, by their indices or a mask."""
        return Fit(self.center[images], self.factor[images], self.bound[images])


def fit(joint: Joint, center: Tensor, spread: Tensor) -> Fit:
    """Fit a Gaussian to the posterior of each image.

    Arguments:
        joint: of B images.
        center, spread: where to begin (B, L): a point, and standard deviations.

    Raises:
        RuntimeError: if a part cannot be differentiated.
    """
    rounds = _Rounds(joint, center, torch.diag_embed(spread))
    everyone = torch.arange(len(joint), device=center.device)
    for _ in range(_ROUNDS):
        rounds.one(everyone)
    for _ in range(_MORE_ROUNDS):
        if not len(left := rounds.unsettled()):
            break
        rounds.one(left)
    return rounds.best()


class _Rounds:
    """Newton's method on the ELBO of r, a step of each image at a time.

    A step that loses is taken back, and tried at half its length. The precision of an image is the
    average over its rounds, but for the first ones: each round measures it along axes of its own.
    """

    def __init__(self, joint: Joint, center: Tensor, factor: Tensor) -> None:
        b = len(joint)
        self.joint = joint
        self.center, self.factor = center, factor  # where the next round looks
        self.found = Fit(center.clone(), factor.clone(), center.new_full((b,), -math.inf))
        self.axes = factor.clone()  # of the best: the turned axes in which it was measured,
        self.curvature = torch.diag_embed(torch.ones_like(center))  # −E[∇²] in them,
        self.slope = torch.zeros_like(center)  # and E[∇]
        self.rate = center.new_ones(b)
        self.longest = center.new_full((b,), _LONGEST / 2)
        self.step = center.new_full((b,), math.inf)
        self.gains = center.new_zeros(b)  # rounds that were the best so far

    def one(self, images: Tensor) -> None:
        """Measure where these images stand, keep what is better, and move on."""
        center, factor = self.center[images], self.factor[images]
        axes = factor @ _turns(factor)
        slope, curvature, mean = _cubature(self.joint.of(images), center, axes)
        bound = mean + torch.linalg.slogdet(factor)[1]
        usable = bound.isfinite() & curvature.isfinite().all(-1).all(-1) & slope.isfinite().all(-1)
        better = usable & (bound > self.found.bound[images])
        for old, new in (
            (self.found.center, center),
            (self.found.factor, factor),
            (self.found.bound, bound),
            (self.axes, axes),
            (self.curvature, curvature),
            (self.slope, slope),
        ):
            where = better.view(-1, *[1] * (new.dim() - 1))
            old[images] = torch.where(where, new, old[images])
        self.gains[images] += better.to(self.gains.dtype)
        self.rate[images] = torch.where(better, 1.0, self.rate[images] / 2)
        self.longest[images] = torch.where(better, 2 * self.longest[images], _LONGEST)
        self._move(images)

    def unsettled(self) -> Tensor:
        """Return the images whose last step was long, or lost."""
        return ((self.step > _SETTLED) | (self.rate < 1)).nonzero()[:, 0]

    def best(self) -> Fit:
        """Return the best that was seen; a last short step from it needs no second look."""
        short = (self.step <= _SETTLED) & (self.rate == 1)
        center = torch.where(short[:, None], self.center, self.found.center)
        factor = torch.where(short[:, None, None], self.factor, self.found.factor)
        return Fit(center, factor, self.found.bound)

    def _move(self, images: Tensor) -> None:
        """Take a step from the best."""
        axes, rate = self.axes[images], self.rate[images, None]
        precision, turn = torch.linalg.eigh(self.curvature[images].double())
        precision = precision.abs().clamp(_LEAST, _MOST).to(axes.dtype)
        part = rate / (self.gains[images, None] - _AVERAGED).clamp_min(1)
        precision = 1 - part + part * precision
        turned = axes @ turn.to(axes.dtype)
        slope = torch.einsum("bij,bi->bj", turn.to(axes.dtype), self.slope[images])
        length = (slope / precision.sqrt()).norm(dim=-1)
        shorter = rate * (self.longest[images] / length).clamp_max(1)[:, None]
        step = torch.einsum("bij,bj->bi", turned, slope / precision)
        self.center[images] = self.found.center[images] + shorter * step
        lost = self.found.bound[images] == -math.inf  # nothing there was a number: look closer
        closer = self.factor[images] / 4
        moved = turned * precision.rsqrt()[:, None, :]
        self.factor[images] = torch.where(lost[:, None, None], closer, moved)
        self.step[images] = length


def _turns(factor: Tensor) -> Tensor:
    """Return a random rotation (B, L, L) of each image: each round looks along other axes."""
    turn: Tensor = torch.linalg.qr(torch.randn_like(factor))[0]
    return turn


def _cubature(joint: Joint, center: Tensor, axes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return E[∇] (B, L), −E[∇²] (B, L, L), both along the axes, and E[log p(x, z)] (B,)."""
    latent = center.shape[-1]
    radius = math.sqrt(latent)
    around = radius * axes.permute(2, 0, 1)
    values, slopes = joint.slope(torch.cat((center + around, center - around)))
    along = torch.einsum("kbl,blj->kbj", slopes, axes)
    curvature = (along[latent:] - along[:latent]).permute(1, 0, 2) / (2 * radius)
    return along.mean(0), (curvature + curvature.mT) / 2, values.mean(0)
