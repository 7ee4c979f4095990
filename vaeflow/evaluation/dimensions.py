"""Figures of each latent dimension by itself.

Shapes: B batch, L latent size.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from vaeflow.distributions.draw import draw

_DRAWS = 100


def kl_per_dimension(q: Distribution, p: Distribution, draws: int = _DRAWS) -> Tensor | None:
    r"""Return the mean KL of each latent dimension i, (L,), in nats.

    .. math:: \frac1B \sum_b KL(q(z_i|x_b) ‖ p(z_i))

    The KL of a law is the sum of these only where q and p are both products over the dimensions;
    otherwise the result is None. Where it has no formula it is averaged over draws of q.

    Arguments:
        q: batch (B,), event (L,).
        p: batch (), event (L,).
        draws: of each q, where they are needed.
    """
    each_q, each_p = _factors(q), _factors(p)
    if each_q is None or each_p is None:
        return None
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
