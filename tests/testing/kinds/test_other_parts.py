"""Every check of the other parts can fail: right parts, and parts with one mistake each."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    Poisson,
    constraints,
)

from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.parts.abstract import Decoder, Encoder, Likelihood, Prior
from vaeflow.testing import check, checks


class Network(Encoder):
    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.features = 6
        self.layer = nn.Linear(math.prod(data_shape), 6)

    def forward(self, x):
        return self.layer(x.flatten(1)).tanh()


class Convolution(Encoder):
    """Refuses all but pictures, and normalizes over the batch in training."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        if len(data_shape) != 3:
            raise ConfigError(f"data of shape {data_shape} is no picture")
        self.features = 4
        self.layers = nn.Sequential(
            nn.Conv2d(data_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, x):
        return self.layers(x).flatten(1)


class Generator(Decoder):
    def __init__(self, latent, output_shape):
        super().__init__(latent, output_shape)
        self.layer = nn.Linear(latent, math.prod(output_shape))

    def forward(self, z):
        return self.layer(z).tanh().unflatten(-1, self.output_shape)


class Mixture(Prior):
    """A mixture of Gaussians with learned means and weights."""

    def __init__(self, latent, data_shape):
        super().__init__(latent, data_shape)
        self.means = nn.Parameter(torch.randn(3, latent))
        self.logits = nn.Parameter(torch.zeros(3))

    def forward(self, infer):
        normals = Independent(Normal(self.means, torch.ones_like(self.means)), 1)
        return MixtureSameFamily(Categorical(logits=self.logits), normals)


class Vamp(Prior):
    """The aggregate of the posteriors at learned pseudo-inputs."""

    def __init__(self, latent, data_shape):
        super().__init__(latent, data_shape)
        self.inputs = nn.Parameter(torch.rand(3, *data_shape))

    def forward(self, infer):
        q = infer(self.inputs)
        weights = Categorical(logits=torch.zeros(3, dtype=self.inputs.dtype))
        return MixtureSameFamily(weights, Independent(q.base_dist, 1, validate_args=False))


class Counts(Likelihood):
    support = constraints.nonnegative_integer

    def forward(self, output):
        rate = nn.functional.softplus(output) + 1e-6
        return Independent(Poisson(rate, validate_args=False), len(self.data_shape))


class Pixels(Likelihood):
    support = constraints.boolean

    def forward(self, output):
        return Independent(Bernoulli(logits=output, validate_args=False), len(self.data_shape))


class Cheering(Independent):
    """A density that is e times too large."""

    def __init__(self, p):
        super().__init__(p.base_dist, p.reinterpreted_batch_ndims, validate_args=False)

    def log_prob(self, value):
        return super().log_prob(value) + 1


class Logistic(Likelihood):
    """log p(x|z) of a Gaussian of one learned scale."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, output):
        return Independent(
            Normal(output, self.log_scale.exp(), validate_args=False), len(self.data_shape)
        )


def changed(part, **methods):
    """A part with methods of its own, each `method(right one, self, *arguments)`."""

    def bound(name, method):
        old = getattr(part, name)
        return lambda self, *arguments: method(lambda *a: old(self, *a), self, *arguments)

    return type(part.__name__, (part,), {name: bound(name, m) for name, m in methods.items()})


def forward(part, method):
    return changed(part, forward=method)


class Altered(Distribution):
    """A distribution with some of its methods replaced."""

    def __init__(self, inner, **methods):
        self.inner = inner
        self.__dict__.update(methods)
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def __getattribute__(self, name):
        own = object.__getattribute__(self, "__dict__")
        if name in own or name.startswith("_") or name in ("batch_shape", "event_shape"):
            return object.__getattribute__(self, name)
        return getattr(own["inner"], name)


def distribution(part, **methods):
    """The part with a distribution some of whose methods are `method(right one, *arguments)`."""

    def altered(call, self, *arguments):
        p = call(*arguments)
        return Altered(p, **{name: partial(method, p) for name, method in methods.items()})

    return forward(part, altered)


def attribute(part, **values):
    """The part with attributes set as it is built."""

    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.__dict__.update(values)

    return type(part.__name__, (part,), {"__init__": __init__})


def with_parameter(part):
    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.spare = nn.Parameter(torch.zeros(2))

    return type(part.__name__, (part,), {"__init__": __init__})


def with_unsaved_buffer(part):
    def __init__(self, *arguments):
        part.__init__(self, *arguments)
        self.register_buffer("gain", torch.rand(()), persistent=False)

    return __init__


def unsaved(part):
    method = {"__init__": with_unsaved_buffer(part)}
    return forward(type(part.__name__, (part,), method), lambda f, self, x: f(x) * self.gain)


class WrongMean(Independent):
    @property
    def mean(self):
        return 0.5 * self.base_dist.mean + 0.25


class LooseSupport(constraints.Constraint):
    is_discrete = False

    def check(self, value):
        return torch.ones_like(value, dtype=torch.bool)


BUGS = [
    ("encoder", "a leak between rows", "encodes_each_image_by_itself",
     forward(Network, lambda f, self, x: f(x) - f(x).mean(0))),
    ("encoder", "a gradient between rows", "encodes_each_image_by_itself",
     forward(Network, lambda f, self, x: f(x) + (f(x).mean(0) - f(x).mean(0).detach()))),
    ("encoder", "features of another size", "encodes_to_its_features",
     attribute(Network, features=7)),
    ("encoder", "an exponential", "stays_finite_for_large_inputs",
     forward(Network, lambda f, self, x: f(x) + x.flatten(1).sum(-1, keepdim=True).exp())),
    ("encoder", "a parameter never used", "passes_gradients_to_every_parameter",
     with_parameter(Network)),
    ("encoder", "a random buffer not saved", "survives_saving_and_loading", unsaved(Network)),
    ("decoder", "samples mixed", "decodes_each_sample_by_itself",
     forward(Generator, lambda f, self, z: f(z - z.mean(0)))),
    ("decoder", "images mixed", "decodes_each_sample_by_itself",
     forward(Generator, lambda f, self, z: f(z.cumsum(1)))),
    ("decoder", "a flat output", "decodes_to_its_output_shape",
     forward(Generator, lambda f, self, z: f(z).flatten(2))),
    ("decoder", "an exponential", "stays_finite_for_large_inputs",
     forward(Generator, lambda f, self, z: self.layer(z).exp().unflatten(-1, self.output_shape))),
    ("decoder", "detached", "passes_gradients_to_every_parameter",
     forward(Generator, lambda f, self, z: f(z).detach() + 0 * z.sum())),
    ("decoder", "a random buffer not saved", "survives_saving_and_loading", unsaved(Generator)),
    ("prior", "weights that do not add up", "is_a_density_over_the_latent_space",
     distribution(Mixture, log_prob=lambda p, z: p.log_prob(z) + math.log(3))),
    ("prior", "draws of another density", "draws_follow_the_density",
     distribution(Mixture, sample=lambda p, shape=(): 1.2 * p.sample(shape))),
    ("prior", "one draw for all", "repeats_its_draws_with_the_seed",
     distribution(Mixture, sample=lambda p, shape=(): p.sample().expand(*shape, -1))),
    ("prior", "a parameter never used", "passes_gradients_to_every_parameter",
     with_parameter(Mixture)),
    ("prior", "densities out of the logarithm", "stays_finite_far_out",
     distribution(Mixture, log_prob=lambda p, z: p.log_prob(z).exp().log())),
    ("prior", "random means not saved", "survives_saving_and_loading",
     type("Prior", (Mixture,), {
         "__init__": with_unsaved_buffer(Mixture),
         "forward": lambda self, infer: DiagonalNormal(self.means[0] * self.gain, self.means[0]),
     })),
    ("likelihood", "grey values scored as binary ones", "is_normalized",
     attribute(Pixels, support=constraints.unit_interval)),
    ("likelihood", "the mean over the values", "is_normalized_over_pairs",
     distribution(Counts, log_prob=lambda p, x: p.base_dist.log_prob(x).flatten(2).mean(-1))),
    ("likelihood", "the mean over the pixels of an image", "is_normalized_over_pairs",
     distribution(Counts, log_prob=lambda p, x: p.base_dist.log_prob(x).flatten(2).mean(-1)
                  if len(p.event_shape) == 3 else p.log_prob(x))),
    ("likelihood", "another density in evaluation", "is_normalized",
     forward(Logistic, lambda f, self, x: f(x) if self.training else Cheering(f(x)))),
    ("likelihood", "no constant", "is_normalized",
     distribution(Logistic, log_prob=lambda p, x: p.log_prob(x) + 0.9 * math.prod(x.shape[-1:]))),
    ("likelihood", "another mean", "draws_match_the_mean",
     forward(Pixels, lambda f, self, x: WrongMean(f(x).base_dist, len(self.data_shape)))),
    ("likelihood", "probabilities out of the logarithm", "stays_finite_at_the_extremes",
     distribution(Pixels, log_prob=lambda p, x: p.log_prob(x).exp().log())),
    ("likelihood", "a support that admits all", "refuses_what_it_cannot_score",
     attribute(Logistic, support=LooseSupport())),
    ("likelihood", "one shape for all", "emits_the_shape_it_promises",
     forward(Pixels, lambda f, self, x: Independent(Bernoulli(logits=x), 1))),
    ("likelihood", "samples mixed", "scores_each_sample_and_image_by_itself",
     forward(Logistic, lambda f, self, x: f(x - x.mean(0)))),
    ("likelihood", "images mixed", "scores_each_sample_and_image_by_itself",
     forward(Logistic, lambda f, self, x: f(x - x.mean(1, keepdim=True)))),
    ("likelihood", "a parameter never used", "passes_gradients_to_everything",
     with_parameter(Logistic)),
    ("likelihood", "a peak too low", "peaks_where_it_says", attribute(Logistic, log_peak=-50.0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [(kind, name, part) for kind, _, name, part in BUGS],
    ids=[f"{kind}: {bug}" for kind, bug, _, _ in BUGS],
)
def test_the_named_check_catches_the_bug(kind, name, part):
    (one,) = (one for one in checks(kind) if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "prior", "likelihood"])
def test_every_check_catches_a_bug(kind):
    assert {name for k, _, name, _ in BUGS if k == kind} == {one.name for one in checks(kind)}


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("encoder", Network), ("encoder", Convolution), ("decoder", Generator),
        ("prior", Mixture), ("prior", Vamp), ("likelihood", Counts), ("likelihood", Pixels),
        ("likelihood", Logistic),
    ],
)  # fmt: skip
def test_the_right_parts_pass(kind, part):
    check(kind, part)
