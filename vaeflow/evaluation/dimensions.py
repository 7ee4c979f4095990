"""Figures of each latent dimension by itself.

Shapes: K draws, B batch, L latent size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from vaeflow.distributions.draw import draw

_DRAWS = 100


def kl_per_dimension(q: Distribution, p: Distribution, draws: int = _DRAWS) -> Tensor | None:
    r"""Return the mean KL of each latent dimension i, (L,), in nats.

    .. math:: \frac1B \sum_b KL(q(z_i|x_b) ‖ p(z_i))

    Where q and p are both products over the dimensions, these add up to the KL. Of another q, such
    as a flow, it is the KL of a Gaussian with the mean and the variance of q in that dimension.
    With a Gaussian p the marginal of q has no smaller KL, and q none below the sum.

    Arguments:
        q: batch (B,), event (L,).
        p: batch (), event (L,).
        draws: K of each q, where there is no formula.

    Returns:
        None where p is no product, or neither p is Gaussian nor q a product.
    """
    each_q, each_p = _factors(q), _factors(p)
    if each_p is None:
        return None
    if each_q is None:
        return _of_moments(q, each_p, draws) if isinstance(each_p, Normal) else None
    try:
        each = kl_divergence(each_q, each_p)  # (B, L)
    except NotImplementedError:
        z = draw(q, (draws,)).z
        each = (each_q.log_prob(z) - each_p.log_prob(z)).mean(0)
    return each.double().mean(0)


def _factors(law: Distribution) -> Distribution | None:
    """Return the laws of the single dimensions, batch (*, L), of which a law is the product."""
    if not isinstance(law, Independent) or law.reinterpreted_batch_ndims != 1:
        return None
    base: Distribution = law.base_dist
    return None if base.event_shape else base


def _of_moments(q: Distribution, p: Normal, draws: int) -> Tensor:
    r"""Return :math:`½(μ^2 + σ^2 - 1 - \log σ^2)` of z on the scale of p.

    The noise of the moments of K draws is taken off as for Gaussian draws, of which (K − 1)s²/σ²
    follows χ² with K − 1 degrees of freedom.
    """
    u = ((draw(q, (draws,)).z - p.loc) / p.scale).double()
    variance = u.var(0)
    half = torch.tensor((draws - 1) / 2, dtype=torch.float64)
    log_variance = variance.log() - torch.digamma(half) + math.log(half)
    mean_squared = u.mean(0).square() - variance / draws
    return (0.5 * (mean_squared + variance - 1 - log_variance)).mean(0)
