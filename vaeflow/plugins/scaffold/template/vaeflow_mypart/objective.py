"""The Rényi bound, from the ELBO to the importance-weighted bound and beyond.

Shapes: K samples, B batch. Densities are in nats.
"""

from __future__ import annotations

from math import log

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from vaeflow.parts import Objective, Terms


class MyPart(Objective):
    r"""The variational Rényi bound of order α, estimated with K draws (Li & Turner 2016).

    .. math::
        \frac{1}{1 - α} \log\Big(\frac1K \sum_k w_k^{1-α}\Big), \quad
        \log w = \log p(x|z) - β\,[\log q(z|x) - \log p(z)]

    α = 1 is its limit, the ELBO; α = 0 is the importance-weighted bound (Burda et al. 2016). The
    bound falls as α rises; below 0 it may exceed log p(x), and bounds nothing. β below 1, during
    the warm-up, weighs the KL part of every w, as it does in the ELBO.

    Options:
        samples: K, draws of z per image.
        alpha: α, the order, from 0 on.
        warmup: epochs over which β rises linearly from 0 to 1.
    """

    def __init__(
        self,
        *,
        samples: PositiveInt = 8,
        alpha: NonNegativeFloat = 0.5,
        warmup: NonNegativeFloat = 0.0,
    ) -> None:
        super().__init__(samples=samples, warmup=warmup)
        self.alpha = alpha

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        """Return the bound (B,) from terms (K, B)."""
        log_weight = terms.log_px - beta * (terms.log_qz - terms.log_pz)
        power = 1 - self.alpha
        if power == 0:
            return log_weight.mean(0)
        return (torch.logsumexp(power * log_weight, 0) - log(len(log_weight))) / power
