"""Right likelihoods of many sorts, beside the built-in ones."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Distribution,
    Gamma,
    Independent,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Normal,
    Poisson,
    VonMises,
    constraints,
)

from vaeflow.parts.abstract import Likelihood


def likelihood(values, support, channels=0):
    """A likelihood of independent values of the law `values(output, or its channels)`."""

    class Made(Likelihood):
        def __init__(self, data_shape):
            super().__init__(data_shape)
            self.support = support
            if channels:
                self.output_shape = (channels, *self.data_shape)

        def forward(self, output):
            pieces = output.unbind(-len(self.output_shape)) if channels else (output,)
            return Independent(values(*pieces), len(self.data_shape), validate_args=False)

    return Made


def positive(x):
    return F.softplus(x) + 1e-2


class Inside(type(constraints.interval(0.0, 1.0))):
    """The numbers between two bounds, without the bounds."""

    def check(self, value):
        return (value > self.lower_bound) & (value < self.upper_bound)


Pixels = likelihood(lambda o: Bernoulli(logits=o, validate_args=False), constraints.boolean)
Counts = likelihood(
    lambda o: Poisson(F.softplus(o) + 1e-6, validate_args=False), constraints.nonnegative_integer
)
Wide = likelihood(lambda m, s: Normal(m, positive(s), validate_args=False), constraints.real, 2)
UShaped = likelihood(
    lambda a, b: Beta(0.25 + positive(a), 0.25 + positive(b), validate_args=False),
    Inside(0.0, 1.0), 2,
)  # fmt: skip
Waiting = likelihood(
    lambda a, b: Gamma(positive(a), positive(b), validate_args=False), constraints.positive, 2
)
Skewed = likelihood(
    lambda m, s: LogNormal(m, positive(s), validate_args=False), constraints.positive, 2
)
Angles = likelihood(
    lambda c: VonMises(torch.zeros_like(c), positive(c), validate_args=False),
    constraints.interval(-math.pi, math.pi),
)


class Scaled(Likelihood):
    """A Gaussian of one learned scale."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, output):
        values = Normal(output, self.log_scale.exp(), validate_args=False)
        return Independent(values, len(self.data_shape), validate_args=False)


class Unit(Likelihood):
    """A Gaussian of scale 1, which knows its peak."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.log_peak = -0.5 * math.prod(self.data_shape) * math.log(2 * math.pi)

    def forward(self, output):
        values = Normal(output, torch.ones_like(output), validate_args=False)
        return Independent(values, len(self.data_shape), validate_args=False)


class Densities(Likelihood):
    """A mixture of three Gaussians for each value."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.output_shape = (9, *self.data_shape)

    def forward(self, output):
        logits, mean, scale = output.movedim(-len(self.output_shape), -1).chunk(3, -1)
        values = MixtureSameFamily(
            Categorical(logits=logits), Normal(mean, positive(scale)), validate_args=False
        )
        return Independent(values, len(self.data_shape), validate_args=False)


class ZeroInflated(Distribution):
    """0 with some probability, else a draw of another law: discrete, or none at 0."""

    def __init__(self, logits, other):
        self.logits, self.other = logits, other
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self):
        return torch.sigmoid(-self.logits) * self.other.mean

    def log_prob(self, x):
        zero, other = F.logsigmoid(self.logits), F.logsigmoid(-self.logits)
        if self.other.support.is_discrete:
            score = other + self.other.log_prob(x)
            return torch.where(x == 0, torch.logaddexp(zero, score), score)
        score = other + self.other.log_prob(torch.where(x == 0, 1.0, x))
        return torch.where(x == 0, zero, score)

    def sample(self, shape=()):
        x = self.other.sample(shape)
        return torch.where(torch.rand_like(x) < torch.sigmoid(self.logits), 0.0, x)


Sparse = likelihood(
    lambda g, o: ZeroInflated(g, Poisson(positive(o), validate_args=False)),
    constraints.nonnegative_integer, 2,
)  # fmt: skip
Rain = likelihood(
    lambda g, m, s: ZeroInflated(g, LogNormal(m, positive(s), validate_args=False)),
    constraints.nonnegative, 3,
)  # fmt: skip


class Censored(Distribution):
    """A Gaussian of scale ½, of which what lies beyond 0 or 1 is put there."""

    def __init__(self, loc):
        self.base = Normal(loc, torch.full_like(loc, 0.5), validate_args=False)
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self):
        a, b = ((edge - self.base.loc) / 0.5 for edge in (0.0, 1.0))
        unit = Normal(0.0, 1.0)
        inside = self.base.loc * (unit.cdf(b) - unit.cdf(a))
        inside = inside - 0.5 * (unit.log_prob(b).exp() - unit.log_prob(a).exp())
        return inside + unit.cdf(-b)

    def log_prob(self, x):
        a, b = ((edge - self.base.loc) / 0.5 for edge in (0.0, 1.0))
        inside = self.base.log_prob(x)
        low, high = torch.special.log_ndtr(a), torch.special.log_ndtr(-b)
        return torch.where(x <= 0, low, torch.where(x >= 1, high, inside))

    def sample(self, shape=()):
        return self.base.sample(shape).clamp(0, 1)


Clipped = likelihood(lambda o: Censored(3 * o.tanh()), constraints.unit_interval)


class Shaped(Distribution):
    """A law of vectors as a law of examples of another shape."""

    def __init__(self, base, shape):
        self.base = base
        super().__init__(base.batch_shape, torch.Size(shape), validate_args=False)

    @property
    def mean(self):
        return self.base.mean.unflatten(-1, self.event_shape)

    def log_prob(self, x):
        return self.base.log_prob(x.flatten(-len(self.event_shape)))

    def sample(self, shape=()):
        return self.base.sample(shape).unflatten(-1, self.event_shape)


class Correlated(Likelihood):
    """A Gaussian of covariance u uᵀ + I, with u from the decoder."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.output_shape = (2, *self.data_shape)

    def forward(self, output):
        mean, factor = (o.flatten(2) for o in output.unbind(-len(self.output_shape)))
        law = LowRankMultivariateNormal(
            mean, factor[..., None], torch.ones_like(mean), validate_args=False
        )
        return Shaped(law, self.data_shape)


class Chain(Distribution):
    """Binary values, each of which depends on the one before it."""

    def __init__(self, logits, pull):
        self.logits, self.pull = logits, pull
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def given(self, x):
        return self.logits + self.pull * F.pad(x[..., :-1], (1, 0))

    @property
    def mean(self):
        p = [torch.sigmoid(self.logits[..., 0])]
        for logit in self.logits.unbind(-1)[1:]:
            p.append((1 - p[-1]) * torch.sigmoid(logit) + p[-1] * torch.sigmoid(logit + self.pull))
        return torch.stack(p, -1)

    def log_prob(self, x):
        return -F.binary_cross_entropy_with_logits(
            *torch.broadcast_tensors(self.given(x), x), reduction="none"
        ).sum(-1)

    def sample(self, shape=()):
        x = self.logits.new_zeros((*shape, *self.logits.shape))
        for i in range(x.shape[-1]):
            x[..., i] = torch.bernoulli(torch.sigmoid(self.given(x)[..., i]))
        return x


class Autoregressive(Likelihood):
    """Binary pixels in their order, each of which depends on the one before it."""

    support = constraints.boolean

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.pull = nn.Parameter(torch.tensor(1.0))

    def forward(self, output):
        return Shaped(Chain(output.flatten(2), 2 + self.pull), self.data_shape)


class Either(Likelihood):
    """One of two images, with noise: a mixture of whole examples."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.output_shape = (2, *self.data_shape)
        self.logits = nn.Parameter(torch.zeros(2))

    def forward(self, output):
        means = output.movedim(-len(self.output_shape), 2)
        law = Independent(Normal(2 * means, torch.ones_like(means)), len(self.data_shape))
        logits = self.logits.expand(*means.shape[:3])
        return MixtureSameFamily(Categorical(logits=logits), law, validate_args=False)


RIGHT = {
    name: part
    for name, part in dict(globals()).items()
    if isinstance(part, type) and issubclass(part, Likelihood) and part is not Likelihood
}
