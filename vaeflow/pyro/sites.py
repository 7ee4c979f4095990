"""The laws of a VAE as Pyro's distributions: of any batch that plates ask for.

Shapes: B batch, L latent size; * is what plates put before it, such as particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from vaeflow.data.examples import Data
from vaeflow.distributions.draw import OwnDraw, draw
from vaeflow.model import VAE

_Shape = Size | Sequence[int]


def latent_site(law: Distribution) -> Any:
    """Return q(z|x) or p(z) as Pyro takes it: as it is if Pyro knows it, else within a `Latent`."""
    return law if isinstance(law, TorchDistributionMixin) else Latent(law)


class Latent(TorchDistribution):  # type: ignore[misc]
    """Any distribution of z, drawn and scored in one pass.

    Arguments:
        law: torch's, zuko's or a plugin's, event (L,).
        batch_shape: (*, B) of law's (B,), or of () any.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)

    def __init__(self, law: Distribution, batch_shape: _Shape | None = None) -> None:
        shape = Size(law.batch_shape if batch_shape is None else batch_shape)
        super().__init__(shape, law.event_shape, validate_args=False)
        self.law = law
        self._more = shape[: len(shape) - len(law.batch_shape)]
        self._last: OwnDraw | None = None

    @property
    def has_rsample(self) -> bool:
        """Return whether draws have gradients."""
        return self.law.has_rsample

    @constraints.dependent_property
    def support(self) -> Any:
        """Return the support of the law."""
        return self.law.support

    def expand(self, batch_shape: _Shape, _instance: Any = None) -> Any:
        """Return the same law for a batch of more dimensions in front, or of more examples."""
        shape, own = Size(batch_shape), self.law.batch_shape
        if shape[len(shape) - len(own) :] == own:
            return Latent(self.law, shape)
        return TorchDistributionMixin.expand(self, shape)

    def sample(self, sample_shape: _Shape = ()) -> Tensor:
        return self.law.sample(Size((*sample_shape, *self._more)))

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        sample = draw(self.law, Size((*sample_shape, *self._more)))
        self._last = OwnDraw(sample)
        return sample.z

    def log_prob(self, value: Tensor) -> Tensor:
        """Score any z: the last draw by what came with it, as a flow needs no inverse for it."""
        known = None if self._last is None else self._last.log_prob_of(value)
        return self.law.log_prob(value) if known is None else known


class Observation(TorchDistribution):  # type: ignore[misc]
    """p(x|z), which scores what was observed of x: NaN stands for a missing value.

    Arguments:
        model: of p(x|z).
        z: (*, B, L).
        x: B examples, whose covariates condition the model if it has any.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  (torch's own spelling)
    has_rsample = False

    def __init__(self, model: VAE, z: Tensor, x: Data | None) -> None:
        super().__init__(z.shape[:-1], Size(model.data_shape), validate_args=False)
        self.model = model
        self.law = model.generate(z.reshape(-1, *z.shape[-2:]), x)  # batch (K, B)

    @constraints.dependent_property
    def support(self) -> Any:
        """Return which x can be scored."""
        return constraints.independent(self.model.likelihood.support, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """Return E[x|z]."""
        return self._in_batch(self.law.mean)

    @property
    def variance(self) -> Tensor:
        """Return Var[x|z]."""
        return self._in_batch(self.law.variance)

    def sample(self, sample_shape: _Shape = ()) -> Tensor:
        return self._in_batch(self.law.sample(Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x|z) (*, B) of x (*, B, *data_shape) or (B, *data_shape)."""
        event = len(self.event_shape)
        if value.dim() > event + 1:
            value = value.expand(self.shape()).reshape(-1, *value.shape[-event - 1 :])
        return self.model.score(self.law, value).reshape(self.batch_shape)

    def _in_batch(self, x: Tensor) -> Tensor:
        """Return values of batch (K, B) in the batch of the plates."""
        lead = x.shape[: x.dim() - len(self.event_shape) - 2]
        return x.reshape(*lead, *self.batch_shape, *self.event_shape)
