"""The evidence lower bound."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from vaeflow.parts.abstract import Objective, TimeUnit
from vaeflow.terms import Terms


class ELBO(Objective):
    r"""The evidence lower bound, estimated with K samples.

    .. math:: \frac1K \sum_k \log p(x|z_k) - β\,[\log q(z_k|x) - \log p(z_k)]

    A warm-up of β from 0 keeps the latent code in use (Bowman et al. 2016; Sønderby et al. 2016),
    and may be repeated in cycles (Fu et al. 2019). A final β above 1 is the β-VAE (Higgins et al.
    2017, eq. 4). With free bits λ > 0 the KL term is Σ_j max(λ, E_B[KL_j]), where E_B is the mean
    over the batch: the first λ nats of a group j cost nothing (Kingma et al. 2016, eq. 15).

    Options:
        samples: K, draws of z per image.
        beta: the weight of the KL term after the warm-up.
        warmup: how long the weight rises linearly from 0, step by step.
        warmup_unit: whether the warm-up counts epochs or steps.
        cycles: rises in all; each but the last is followed by as long at the full weight.
        kl: "sampled" estimates KL(q‖p) from the draws; "analytic" uses torch's closed form.
        free_bits: λ, nats of KL that are free; 0 is the plain bound.
        free: whether λ is for the latent code in "total" or for each latent "dimension", which
            needs a posterior and a prior of independent dimensions.
    """

    def __init__(
        self,
        *,
        samples: PositiveInt = 1,
        beta: NonNegativeFloat = 1.0,
        warmup: NonNegativeFloat = 0.0,
        warmup_unit: TimeUnit = "epochs",
        cycles: PositiveInt = 1,
        kl: Literal["sampled", "analytic"] = "sampled",
        free_bits: NonNegativeFloat = 0.0,
        free: Literal["total", "dimension"] = "total",
    ) -> None:
        super().__init__(
            samples=samples, beta=beta, warmup=warmup, warmup_unit=warmup_unit, cycles=cycles
        )
        self.analytic = kl == "analytic"
        self.free_bits = free_bits
        self.each = free == "dimension"

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        return (terms.log_px - beta * self._cost(terms)).mean(0)

    def _cost(self, terms: Terms) -> Tensor:
        """Return the KL term of each image (B,), or of each draw (K, B)."""
        if not self.free_bits:
            return terms.analytic_kl() if self.analytic else terms.sampled_kl()
        if self.each:
            kl = terms.kl_per_dimension(analytic=self.analytic)
        else:
            kl = terms.analytic_kl() if self.analytic else terms.sampled_kl().mean(0)
            kl = kl[:, None]
        # Its mean over the images is Σ_j max(λ, E_B[KL_j]), with the gradient of that.
        return torch.where(kl.mean(0) > self.free_bits, kl, self.free_bits).sum(-1)
