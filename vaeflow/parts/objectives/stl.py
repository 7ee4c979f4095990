"""The evidence lower bound with the path gradient."""

from __future__ import annotations

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from vaeflow.parts.abstract import Objective, TimeUnit
from vaeflow.terms import Terms


class STL(Objective):
    r"""The evidence lower bound with the gradient that sticks the landing.

    .. math:: ∇_φ = \frac1K \sum_k \frac{∂}{∂z_k}
        \big(\log p(x|z_k) - β\,[\log q(z_k|x) - \log p(z_k)]\big) \frac{∂z_k}{∂φ}

    The direct derivative of log q in its parameters φ has mean 0 and is left out: the gradient of
    an exact posterior is exactly 0 (Roeder et al. 2017). ∂ log q/∂z of a flow comes from its
    forward maps, without an inverse (Vaitl et al. 2022). A posterior that knows neither its maps
    nor the density of any z but its own draws is refused before training.

    Options:
        samples: K, draws of z per image.
        beta: the weight of the KL term after the warm-up.
        warmup: how long the weight rises linearly from 0, step by step.
        warmup_unit: whether the warm-up counts epochs or steps.
        cycles: rises in all; each but the last is followed by as long at the full weight.
    """

    def __init__(
        self,
        *,
        samples: PositiveInt = 1,
        beta: NonNegativeFloat = 1.0,
        warmup: NonNegativeFloat = 0.0,
        warmup_unit: TimeUnit = "epochs",
        cycles: PositiveInt = 1,
    ) -> None:
        super().__init__(
            samples=samples, beta=beta, warmup=warmup, warmup_unit=warmup_unit, cycles=cycles
        )

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        log_qz = terms.log_q_of_path() if terms.z.requires_grad else terms.log_qz
        return (terms.log_px - beta * (log_qz - terms.log_pz)).mean(0)
