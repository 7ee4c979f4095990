"""The abstract parts: a VAE's five modules, and the objective of their training.

Shapes: K importance samples, B batch, F features, L latent size, data_shape such as (1, 28, 28).
A part's options are the keyword-only parameters of its constructor: their types, defaults and the
docstring section "Options:" are all that the command line and the configuration file need.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vaeflow.data.splits import Splits
from vaeflow.errors import ConfigError

if TYPE_CHECKING:
    from vaeflow.terms import Terms

TimeUnit = Literal["epochs", "steps"]
Shape = tuple[int, ...]
Infer = Callable[[Tensor], Distribution]


class Component:
    """Declarations that a part of any kind may make about itself.

    `api` is the version of the interface that the part is written for; a part of another version is
    refused when it is loaded. `exemptions` maps a check of `vaeflow.testing` that does not apply to
    the part to the reason why; the verdicts repeat it. `example` is what the example of `vaeflow
    info` must add where the part does not go with the default data or parts, such as "--likelihood
    gaussian"; it is None where no command can use the part.
    """

    api: ClassVar[int] = 1
    exemptions: ClassVar[Mapping[str, str]] = {}
    example: ClassVar[str | None] = ""


class Encoder(nn.Module, Component, ABC):
    """A network from data to features, `Encoder(data_shape, **options)`.

    A subclass sets `features`, the size F of its output.
    """

    features: int

    def __init__(self, data_shape: Shape) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, *data_shape) to features (B, F)."""


class Posterior(nn.Module, Component, ABC):
    """The approximate posterior q(z|x), `Posterior(latent, features, **options)`.

    `tolerance` is the relative error of the part's arithmetic in z and log q. The checks of
    `vaeflow.testing` allow for it; a part that solves an equation may need more than the default.
    """

    tolerance: ClassVar[float] = 1e-9

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.latent = latent
        self.features = features

    @abstractmethod
    def forward(self, h: Tensor) -> Distribution:
        """Return q(z|x) with batch (B,) and event (L,) for features h (B, F)."""


class Prior(nn.Module, Component, ABC):
    """The prior p(z), `Prior(latent, data_shape, **options)`."""

    def __init__(self, latent: int, data_shape: Shape) -> None:
        super().__init__()
        self.latent = latent
        self.data_shape = tuple(data_shape)

    @abstractmethod
    def forward(self, infer: Infer) -> Distribution:
        """Return p(z) with batch () and event (L,).

        `infer` maps what the encoder sees (N, *data_shape), data unless `--scaling` changes it, to
        q(z|x). Most priors ignore it; a prior made of posteriors, such as the VampPrior (Tomczak &
        Welling 2018), calls it on its pseudo-inputs.
        """


class Decoder(nn.Module, Component, ABC):
    """A network from z to the likelihood's parameters.

    `Decoder(latent, output_shape, **options)`.
    """

    def __init__(self, latent: int, output_shape: Shape) -> None:
        super().__init__()
        self.latent = latent
        self.output_shape = tuple(output_shape)

    @abstractmethod
    def forward(self, z: Tensor) -> Tensor:
        """Map z (K, B, L) to (K, B, *output_shape)."""

    def start_at(self, output: Tensor) -> None:
        """Set the last bias so that training starts around `output` (*output_shape).

        Raises:
            ConfigError: if the decoder has no such bias.
        """
        raise ConfigError(
            f"--start-at-mean: the decoder {type(self).__name__} cannot start at an output of "
            "one's choice; leave it out, or take another decoder"
        )


class Likelihood(nn.Module, Component, ABC):
    """The observation model p(x|z), `Likelihood(data_shape, **options)`.

    A subclass sets `output_shape`, the shape of the decoder's output, and `support`, the values it
    can score. `log_peak` is the largest value of log p(x|z) in nats, where it is known and finite.
    The trainer reports the loss `log_peak − objective`: for a Gaussian of fixed scale this is the
    scaled squared error plus KL, as papers print it.

    `location_in_units` tells that the location, which is all of the output or its first part, is on
    the scale of the data: it grows with the mean, in equal measure where both are large. Where the
    networks see the data on another scale (`--scaling`), the location is brought back to it.

    `counts` tells which values are counts without a bound, truths (*data_shape), whose logarithms
    networks see by default; None leaves that to the support.

    A likelihood that sets `takes_columns` is built as `Likelihood(data_shape, columns, **options)`,
    with the `vaeflow.data.columns.Columns` of a table, or empty ones where the data is none.
    """

    output_shape: Shape
    support: constraints.Constraint
    log_peak: float = 0.0
    location_in_units: bool = False
    counts: Tensor | None = None
    takes_columns: ClassVar[bool] = False

    def __init__(self, data_shape: Shape) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)
        self.output_shape = self.data_shape

    @abstractmethod
    def forward(self, output: Tensor) -> Distribution:
        """Return p(x|z) with batch (K, B) and event data_shape for decoder output (K, B, …)."""

    def observe(self, px: Distribution, x: Tensor) -> None:
        """Update running statistics by p(x|z) and the data x (B, *data_shape) of a training step.

        Each step calls it once, after it has scored x. Scoring itself changes no state.
        """

    def output_at(self, mean: Tensor) -> Tensor:
        """Return a decoder output (*output_shape) for which the mean of p(x|z) is `mean`.

        It is found by bisection: the mean rises with the location, which is all of the output or
        its first part. Where no finite output would do, as for pixels that are always 0, the
        location stops at −7 or 7.

        Arguments:
            mean: (*data_shape).

        Raises:
            ConfigError: if no output has that mean.
        """
        output = mean.new_zeros(self.output_shape)
        location = output if output.shape == mean.shape else output[0]
        if location.shape == mean.shape:
            low, high = -7 - mean.abs(), 7 + mean.abs()
            for _ in range(40):
                location.copy_((low + high) / 2)
                below = self(output[None, None]).mean[0, 0] < mean
                low, high = torch.where(below, location, low), torch.where(below, high, location)
            if torch.allclose(self(output[None, None]).mean[0, 0], mean, 1e-3, 2e-3):
                return output
        raise ConfigError(
            f"--start-at-mean: no output of the likelihood {type(self).__name__} has the mean of "
            "the data; leave it out, or take another likelihood"
        )


class Objective(Component, ABC):
    """The number that training maximizes, `Objective(**options)`.

    `samples` is K, the number of draws of q(z|x). The weight β of the KL term rises linearly from 0
    to `beta` over `warmup` epochs or steps, `cycles` times; after each rise but the last it stays
    at `beta` for as long.

    The weights of a run are those of the epoch with the best validation ELBO. Where `selects_by` is
    "objective", as of a bound of several samples, which q may serve the better the worse it serves
    the ELBO, they are those with the best value of the objective itself, at β = 1.

    After construction, `warmup` is the time at which the weight is final: early stopping and the
    choice of the best weights wait for it.
    """

    selects_by: ClassVar[Literal["ELBO", "objective"]] = "ELBO"

    def __init__(
        self,
        *,
        samples: int = 1,
        beta: float = 1.0,
        warmup: float = 0.0,
        warmup_unit: TimeUnit = "epochs",
        cycles: int = 1,
    ) -> None:
        if cycles > 1 and not warmup:
            raise ConfigError(
                f"--objective.cycles {cycles} repeats a warm-up, but there is none: give "
                "--objective.warmup, or leave it out"
            )
        self.samples = samples
        self.beta = beta
        self.rise = warmup
        self.warmup = (2 * cycles - 1) * warmup
        self.warmup_unit = warmup_unit

    def weight(self, time: float) -> float:
        """Return β at a point of training, counted in epochs with their fraction, or in steps."""
        if time >= self.warmup:
            return self.beta
        # The last step of a cycle ends on its border and belongs to this cycle.
        cycles_before = max(0, math.ceil(time / (2 * self.rise)) - 1)
        return self.beta * min(1.0, time / self.rise - 2 * cycles_before)

    @abstractmethod
    def __call__(self, terms: Terms, beta: Tensor) -> Tensor:
        """Return the objective (B,) at weight β, a 0-dimensional tensor."""


class Dataset(Component, ABC):
    """A source of data, `Dataset(root, **options)`; `root` is the directory of its files."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root

    def __repr__(self) -> str:
        known = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if v is not None)
        return f"{type(self).__name__}({known})"

    @abstractmethod
    def load(self) -> Splits:
        """Return the splits.

        Raises:
            DataError: if a file is missing, corrupt or of an unexpected format.
        """
