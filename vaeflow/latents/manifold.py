"""The plane of a latent space of two dimensions, as a grid of quantiles of the prior.

Shapes: n quantiles of each dimension, L = 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

_DRAWS = 100_000  # of a prior whose quantiles have no formula


def prior_quantiles(prior: Distribution, shares: Tensor, seed: int = 0) -> Tensor:
    """Return quantiles (n, L) of each dimension of p(z), at the shares (n,).

    They are exact where the law of each dimension has them, and otherwise those of draws.
    """
    (latent,) = prior.event_shape
    each = prior.base_dist if isinstance(prior, Independent) else prior
    try:
        found: Tensor = each.icdf(shares[:, None].expand(-1, latent).to(_device(prior)))
    except NotImplementedError:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            z = prior.sample(torch.Size((_DRAWS,)))
        found = z.quantile(shares.to(z), 0)
    return found.cpu()


def _device(prior: Distribution) -> torch.device:
    return prior.sample(torch.Size((1,))).device


def grid(quantiles: Tensor) -> Tensor:
    """Return the points (n, n, 2) of a plane: z0 rises to the right, z1 from the last row up."""
    z1, z0 = torch.meshgrid(quantiles[:, 1].flip(0), quantiles[:, 0], indexing="ij")
    return torch.stack((z0, z1), -1)
