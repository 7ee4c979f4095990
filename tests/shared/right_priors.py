"""Right priors of many sorts, beside the built-in ones."""

import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Chi2,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
    TransformedDistribution,
    Uniform,
    constraints,
)
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from vaeflow.parts.abstract import Prior


def prior(law, **parameters):
    """A prior of the law `law(*parameters)`, each parameter started by a function of L."""

    class Made(Prior):
        def __init__(self, latent, data_shape):
            super().__init__(latent, data_shape)
            for name, start in parameters.items():
                setattr(self, name, nn.Parameter(start(latent)))

        def forward(self, infer):
            return law(*(getattr(self, name) for name in parameters))

    return Made


def zeros(latent):
    return torch.zeros(latent)


def independent(values):
    return Independent(values, 1, validate_args=False)


Learned = prior(
    lambda loc, s: independent(Normal(loc, s.exp(), validate_args=False)), loc=zeros, s=zeros
)
Peaked = prior(
    lambda loc, s: independent(Laplace(loc, s.exp(), validate_args=False)), loc=zeros, s=zeros
)
Heavy = prior(
    lambda loc, s: independent(StudentT(3.0, loc, s.exp(), validate_args=False)),
    loc=zeros, s=zeros,
)  # fmt: skip
Box = prior(lambda s: independent(Uniform(-s.exp(), 1 + s.exp(), validate_args=False)), s=zeros)
Logistic = prior(
    lambda loc: independent(
        TransformedDistribution(
            Uniform(torch.zeros_like(loc), torch.ones_like(loc), validate_args=False),
            [SigmoidTransform().inv, AffineTransform(loc, 2.0)],
            validate_args=False,
        )
    ),
    loc=zeros,
)


class Full(Prior):
    """A Gaussian of a learned covariance."""

    def __init__(self, latent, data_shape):
        super().__init__(latent, data_shape)
        self.loc = nn.Parameter(torch.zeros(latent))
        self.lower = nn.Parameter(torch.zeros(latent, latent))
        self.log_diagonal = nn.Parameter(torch.zeros(latent))

    def forward(self, infer):
        scale = self.lower.tril(-1) + self.log_diagonal.exp().diag_embed()
        return MultivariateNormal(self.loc, scale_tril=scale, validate_args=False)


class Mixture(Prior):
    """A mixture of Gaussians with learned means and weights."""

    apart = 1.0

    def __init__(self, latent, data_shape):
        super().__init__(latent, data_shape)
        self.means = nn.Parameter(torch.randn(3, latent))
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, infer):
        means = self.apart * self.means
        normals = Independent(Normal(means, torch.ones_like(means)), 1)
        return MixtureSameFamily(Categorical(logits=self.logits), normals)


class Apart(Mixture):
    """Its components are far apart."""

    apart = 60.0


class Vamp(Prior):
    """The aggregate of the posteriors at learned pseudo-inputs."""

    def __init__(self, latent, data_shape):
        super().__init__(latent, data_shape)
        self.inputs = nn.Parameter(torch.rand(3, *data_shape))

    def forward(self, infer):
        q = infer(self.inputs)
        weights = Categorical(logits=torch.zeros(3, dtype=self.inputs.dtype))
        return MixtureSameFamily(weights, Independent(q.base_dist, 1, validate_args=False))


class MultivariateT(Distribution):
    """Student's t of 3 degrees in many dimensions: one scale is drawn for all of them."""

    support = constraints.real_vector
    df = 3.0

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def log_prob(self, z):
        size, half = self.loc.shape[-1], torch.tensor(self.df / 2, dtype=self.loc.dtype)
        constant = torch.lgamma(half + size / 2) - torch.lgamma(half)
        constant = constant - size / 2 * torch.log(torch.pi * 2 * half)
        squared = (z - self.loc).square().sum(-1)
        return constant - (half + size / 2) * torch.log1p(squared / self.df)

    def sample(self, shape=()):
        with torch.no_grad():
            z = torch.randn(*shape, *self.loc.shape, dtype=self.loc.dtype)
            scale = Chi2(self.loc.new_tensor(self.df)).sample(shape) / self.df
            return self.loc + z / scale.sqrt()[..., None]


Elliptic = prior(MultivariateT, loc=zeros)


RIGHT = {
    name: part
    for name, part in dict(globals()).items()
    if isinstance(part, type) and issubclass(part, Prior) and part is not Prior
}
