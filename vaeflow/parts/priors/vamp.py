"""The VampPrior: a mixture of posteriors at learned pseudo-inputs."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from vaeflow.errors import ConfigError
from vaeflow.parts.abstract import Infer, Prior, Shape


class Vamp(Prior):
    r"""The mean of the posterior over M learned inputs u.

    .. math:: p(z) = \frac1M \sum_m q(z|u_m)

    The prior that maximizes the ELBO is the mean of q(z|x) over the data; M pseudo-inputs stand in
    for the data (Tomczak & Welling 2018, eq. 9). The posterior must score any z, not only its own
    draws. Each step infers M more posteriors and scores all K·B draws under each. Gaussians are
    cheap and flows dear, most of all where a score takes a pass per dimension (`iaf`,
    autoregressive `spline`) or a root per map (`planar`).

    Options:
        components: M, the number of pseudo-inputs.
        inputs: "unit" keeps them in [0, 1], as images are; "real" is for all other data.
            Both are on the scale of the encoder.
    """

    def __init__(
        self,
        latent: int,
        data_shape: Shape,
        *,
        components: PositiveInt = 100,
        inputs: Literal["unit", "real"] = "unit",
    ) -> None:
        super().__init__(latent, data_shape)
        self.inputs = inputs
        # Noise makes the inputs differ; under the sigmoid they lie around ½, a grey image.
        self.raw = nn.Parameter(torch.randn(components, *data_shape))

    def forward(self, infer: Infer) -> Distribution:
        return MeanPosterior(infer, torch.sigmoid(self.raw) if self.inputs == "unit" else self.raw)


class MeanPosterior(Distribution):
    """The mixture, in equal parts, of the posteriors at some inputs.

    Arguments:
        infer: data (N, *data_shape) to q(z|x), batch (N,), event (L,).
        inputs: (M, *data_shape).
    """

    support = constraints.real_vector

    def __init__(self, infer: Infer, inputs: Tensor) -> None:
        self.infer = infer
        self.inputs = inputs
        self.parts = infer(inputs)
        super().__init__(Size(), self.parts.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z (*, L).

        Raises:
            ConfigError: if the posterior scores its own draws alone.
        """
        components = len(self.inputs)
        every = value[..., None, :].expand(*value.shape[:-1], components, -1)
        try:
            each = self.parts.log_prob(every)  # (*, M)
        except (NotImplementedError, KeyError) as error:  # Pyro's planar-like flows raise the last
            raise ConfigError(
                f"--prior vamp scores every z under the posterior of each pseudo-input, but "
                f"{type(self.parts).__name__} scores its own draws alone: choose another "
                "--posterior or --prior"
            ) from error
        return torch.logsumexp(each, -1) - math.log(components)

    def sample(self, sample_shape: Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw from the posteriors of inputs chosen at random."""
        shape = Size(sample_shape)
        with torch.no_grad():
            chosen = torch.randint(len(self.inputs), (math.prod(shape),), device=self.inputs.device)
            z: Tensor = self.infer(self.inputs[chosen]).sample()
        return z.reshape(*shape, z.shape[-1])  # also without a draw
