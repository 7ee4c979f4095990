"""Drawing from any distribution and scoring the draw in one pass.

Shapes: K importance samples, B batch, L latent size. Densities are in nats.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, TransformedDistribution
from torch.distributions.utils import _sum_rightmost


class Draw(NamedTuple):
    """A sample and its own density, log q(z) = log q0(z0) − log|det ∂z/∂z0|."""

    z: Tensor  # (K, B, L)
    log_base: Tensor  # (K, B): log q0(z0)
    log_det: Tensor  # (K, B): log|det ∂z/∂z0|, zero where there is no flow
    z0: Tensor | None = None  # (K, B, L): what a flow's maps were given

    @property
    def log_prob(self) -> Tensor:
        """Return log q(z), shape (K, B)."""
        return self.log_base - self.log_det


def grad_log_prob(q: Distribution, sample: Draw) -> Tensor:
    """Return ∂ log q(z)/∂z at a draw of q, (K, B, L), a number for each: no gradient flows on.

    A distribution's own `grad_log_prob(sample)` is used where it has one, else its `log_prob`.

    Raises:
        NotImplementedError, KeyError: where q scores nothing but its own draws.
    """
    if hasattr(q, "grad_log_prob"):
        own: Tensor = q.grad_log_prob(sample)
        return own.detach()
    with torch.enable_grad():
        z = sample.z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    return gradient


def draw(q: Distribution, sample_shape: Size | tuple[int, ...] = ()) -> Draw:
    """Draw from any distribution and score the draw in one forward pass.

    A distribution's own one-pass method is used where it has one: `draw` (`Flow`) or
    `rsample_and_log_prob` (zuko's flows, which do not tell the log-determinant apart). torch's and
    Pyro's `TransformedDistribution` is walked forward. Anything else draws, then scores.
    """
    shape = Size(sample_shape)
    if hasattr(q, "draw"):
        return Draw(*q.draw(shape))
    if hasattr(q, "rsample_and_log_prob"):
        z, log_prob = q.rsample_and_log_prob(shape)
        return Draw(z, log_prob, torch.zeros_like(log_prob))
    if isinstance(q, TransformedDistribution):
        return _walk(q, shape)
    z = q.rsample(shape)
    log_prob = q.log_prob(z)
    return Draw(z, log_prob, torch.zeros_like(log_prob))


def rsample_and_log_prob(
    q: Distribution, sample_shape: Size | tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Return z (K, B, L) and log q(z) (K, B): `draw` without the split."""
    sample = draw(q, sample_shape)
    return sample.z, sample.log_prob


def _walk(q: TransformedDistribution, shape: Size) -> Draw:
    """Push a base sample through q's transforms, each transform and log-determinant once.

    Calling `q.log_prob(q.rsample())` would invert each transform; planar-like transforms have no
    inverse, and a cache of the last sample answers for that sample only.
    """
    # Event dimensions may grow or shrink along the chain; count them as torch's log_prob does.
    event_dim = len(q.event_shape)
    for t in reversed(q.transforms):
        event_dim += t.domain.event_dim - t.codomain.event_dim
    z = q.base_dist.rsample(shape)
    log_base = _sum_rightmost(q.base_dist.log_prob(z), event_dim - len(q.base_dist.event_shape))
    log_det = torch.zeros_like(log_base)
    for t in q.transforms:
        y = t(z)
        term = t.log_abs_det_jacobian(z, y)
        log_det = log_det + _sum_rightmost(term, event_dim - t.domain.event_dim)
        event_dim += t.codomain.event_dim - t.domain.event_dim
        z = y
    return Draw(z, log_base, log_det)


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 if it came in a half precision, as it is otherwise."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
