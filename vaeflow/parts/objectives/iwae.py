"""The importance-weighted bound, and its doubly reparametrized gradient."""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from vaeflow.parts.abstract import Objective, TimeUnit
from vaeflow.terms import Terms


class IWAE(Objective):
    r"""The importance-weighted bound of K samples (Burda et al. 2016, eq. 8).

    .. math:: \log\Big(\frac1K \sum_k w_k\Big), \quad
        \log w_k = \log p(x|z_k) - β\,[\log q(z_k|x) - \log p(z_k)]

    It rises with K towards log p(x). The signal-to-noise ratio of the gradient in the posterior's
    parameters falls as 1/√K (Rainforth et al. 2018); the objective `dreg` mends that.

    Options:
        samples: K, draws of z per image.
        warmup: how long β rises linearly from 0 to 1, step by step.
        warmup_unit: whether the warm-up counts epochs or steps.
    """

    selects_by = "objective"

    def __init__(
        self,
        *,
        samples: PositiveInt = 5,
        warmup: NonNegativeFloat = 0.0,
        warmup_unit: TimeUnit = "epochs",
    ) -> None:
        super().__init__(samples=samples, warmup=warmup, warmup_unit=warmup_unit)

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        log_w = terms.log_px - beta * terms.sampled_kl()
        return torch.logsumexp(log_w, 0) - math.log(len(log_w))


class DReG(IWAE):
    r"""The importance-weighted bound with the doubly reparametrized gradient.

    .. math:: ∇_φ = \sum_k \tilde w_k^2\, \frac{∂ \log w_k}{∂z_k} \frac{∂z_k}{∂φ}, \quad
        ∇_θ = \sum_k \tilde w_k\, ∇_θ \log w_k, \quad \tilde w_k = w_k / \sum_j w_j

    for the parameters φ of q and θ of the rest (Tucker et al. 2019, eqs. 8 and 10). With β ≠ 1 the
    factor w̃_k² becomes (1 − β) w̃_k + β w̃_k². The value and the expected gradient are those of
    `iwae`; ∇_φ has less variance. The posterior must know ∂ log q/∂z.

    Options:
        samples: K, draws of z per image.
        warmup: how long β rises linearly from 0 to 1, step by step.
        warmup_unit: whether the warm-up counts epochs or steps.
    """

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        if not terms.z.requires_grad:  # q is frozen: the gradient of the value is ∇_θ
            return super().__call__(terms, beta)
        value = super().__call__(terms, beta).detach()
        log_w = (terms.log_px - beta * terms.sampled_kl()).detach()
        share = torch.softmax(log_w, 0)
        path = terms.log_px + beta * (terms.log_pz - terms.log_q_of_path())
        surrogate = (share * path).sum(0)
        if len(share) > 1:
            # The surrogate carries one factor w̃ for θ and φ. The gradient through z reaches φ alone
            # and takes the second (eq. 10), on the part β that leaves out ∂ log q/∂φ.
            surrogate = terms.weigh_path(surrogate, 1 - beta + beta * share)
        return value + surrogate - surrogate.detach()
