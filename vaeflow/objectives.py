"""Training objectives: callables from the terms of the bound to one number per image, in nats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from vaeflow.components import Component
from vaeflow.model import Terms


class Objective(Component, ABC):
    """What training maximizes, `Objective(**options)`.

    `samples` is K, the number of draws of q(z|x) it wants; `warmup` the number of epochs before
    its weight β is at its final value (early stopping waits for it).
    """

    def __init__(self, *, samples: int = 1, warmup: float = 0.0) -> None:
        self.samples = samples
        self.warmup = warmup

    def weight(self, epoch: float) -> float:
        """Return β at a point of training, counted in epochs with their fraction."""
        return 1.0

    @abstractmethod
    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        """Return the objective (B,) at weight β, a 0-dimensional tensor."""


class ELBO(Objective):
    r"""The evidence lower bound, estimated with K samples.

    .. math:: \frac1K \sum_k \log p(x|z_k) - β\,[\log q(z_k|x) - \log p(z_k)]

    β below 1 during the warm-up keeps the latent code alive (Bowman et al. 2016; Sønderby et al.
    2016), a final β above 1 is the β-VAE (Higgins et al. 2017, eq. 4).

    Options:
        samples: K, draws of z per image.
        beta: the weight of the KL term after the warm-up.
        warmup: epochs over which the weight rises linearly from 0, step by step.
        kl: "sampled" estimates KL(q‖p) from the draws; "analytic" uses torch's closed form.
    """

    def __init__(
        self,
        *,
        samples: PositiveInt = 1,
        beta: NonNegativeFloat = 1.0,
        warmup: NonNegativeFloat = 0.0,
        kl: Literal["sampled", "analytic"] = "sampled",
    ) -> None:
        super().__init__(samples=samples, warmup=warmup)
        self.beta = beta
        self.analytic = kl == "analytic"

    def weight(self, epoch: float) -> float:
        """Return β · min(1, epoch / warmup)."""
        return self.beta * min(1.0, epoch / self.warmup) if self.warmup else self.beta

    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:  # noqa: D102
        kl = terms.analytic_kl() if self.analytic else (terms.log_qz - terms.log_pz).mean(0)
        return terms.log_px.mean(0) - beta * kl
