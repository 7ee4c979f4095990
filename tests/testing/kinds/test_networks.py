"""Every check of the networks can fail: right networks, and networks with one mistake each."""

import math

import pytest
import torch
from altered_parts import (
    attribute,
    forward,
    once_in,
    with_gain,
    with_gradient,
    with_parameter,
)
from torch import nn

from vaeflow.errors import ConfigError
from vaeflow.parts.abstract import Decoder, Encoder
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
            nn.Conv2d(data_shape[0], 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveMaxPool2d(1)
        )

    def forward(self, x):
        return self.layers(x).flatten(1)


class Dropping(Network):
    """Drops some of its input in training."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


class Generator(Decoder):
    def __init__(self, latent, output_shape):
        super().__init__(latent, output_shape)
        self.layer = nn.Linear(latent, math.prod(output_shape))

    def forward(self, z):
        return self.layer(z).unflatten(-1, self.output_shape)

    @torch.no_grad()
    def start_at(self, output):
        self.layer.bias.copy_(output.flatten())


class Backwards(Generator):
    """Starts at its output reversed."""

    def start_at(self, output):
        super().start_at(output.flip(-1))


class Counting(Network):
    """Keeps the mean of what it has seen, in evaluation too."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if len(x):
            self.seen.lerp_(x.detach().mean(), 0.1)
        return super().forward(x)


def altered(part, method):
    """The part whose output is `method(right output, input)`."""
    return forward(part, lambda f, self, x: method(f(x), x))


def in_order(x):
    """Read the memory of a tensor as if its numbers were in order."""
    return torch.as_strided(x, x.shape, torch.empty(x.shape).stride(), x.storage_offset())


BUGS = [
    ("encoder", "a leak between rows", "encodes_each_image_by_itself",
     altered(Network, lambda h, x: h - h.mean(0))),
    ("encoder", "a gradient between rows", "encodes_each_image_by_itself",
     altered(Network, lambda h, x: h + (h.mean(0) - h.mean(0).detach()))),
    ("encoder", "features of another size", "encodes_to_its_features",
     attribute(Network, features=7)),
    ("encoder", "an exponential", "stays_finite_for_large_inputs",
     altered(Network, lambda h, x: h + x.flatten(1).sum(-1, keepdim=True).exp())),
    ("encoder", "a parameter never used", "passes_gradients_to_every_parameter",
     with_parameter(Network)),
    ("encoder", "a random buffer not saved", "survives_saving_and_loading",
     with_gain(Network, lambda f, self, x: f(x) * self.gain)),
    ("encoder", "a gradient smaller by a tenth", "gradients_match_slopes",
     altered(Network, lambda h, x: with_gradient(h, lambda g, _: 0.9 * g))),
    ("encoder", "a gradient in the input of another sign", "gradients_match_slopes",
     forward(Network, lambda f, self, x: f(with_gradient(x, lambda g, _: -g)))),
    ("encoder", "another output where the input is 0", "gradients_match_slopes",
     altered(Network, lambda h, x: h + 0.1 * (x == 0).flatten(1).all(1, keepdim=True))),
    ("encoder", "digits lost in float32", "agrees_in_float32",
     altered(Network, lambda h, x: h + 1e6 - 1e6)),
    ("encoder", "wrong for batches of a hundred", "is_the_same_however_it_is_called",
     altered(Network, lambda h, x: h + 1e-3 * (len(x) > 100))),
    ("encoder", "wrong without gradients", "is_the_same_however_it_is_called",
     altered(Network, lambda h, x: h + 1e-3 * (not torch.is_grad_enabled()))),
    ("encoder", "memory read as if in order", "is_the_same_however_it_is_called",
     forward(Network, lambda f, self, x: f(in_order(x)))),
    ("encoder", "running statistics in evaluation", "is_the_same_however_it_is_called", Counting),
    ("encoder", "wrong once in a hundred calls", "is_the_same_however_it_is_called",
     altered(Network, once_in(100, lambda h, x: h, lambda h, x: h + 1e-3))),
    ("decoder", "samples mixed", "decodes_each_sample_by_itself",
     forward(Generator, lambda f, self, z: f(z - z.mean(0)))),
    ("decoder", "images mixed", "decodes_each_sample_by_itself",
     forward(Generator, lambda f, self, z: f(z.cumsum(1)))),
    ("decoder", "a flat output", "decodes_to_its_output_shape",
     altered(Generator, lambda o, z: o.flatten(2))),
    ("decoder", "an exponential", "stays_finite_for_large_inputs",
     forward(Generator, lambda f, self, z: self.layer(z).exp().unflatten(-1, self.output_shape))),
    ("decoder", "detached", "passes_gradients_to_every_parameter",
     altered(Generator, lambda o, z: o.detach() + 0 * z.sum())),
    ("decoder", "a random buffer not saved", "survives_saving_and_loading",
     with_gain(Generator, lambda f, self, z: f(z) * self.gain)),
    ("decoder", "a gradient clipped far out", "gradients_match_slopes",
     forward(Generator, lambda f, self, z: f(with_gradient(z, lambda g, z: g * (z.abs() < 3))))),
    ("decoder", "digits lost in float32", "agrees_in_float32",
     altered(Generator, lambda o, z: o + 1e6 - 1e6)),
    ("decoder", "wrong for fifty samples", "is_the_same_however_it_is_called",
     altered(Generator, lambda o, z: o + 1e-3 * (len(z) >= 50))),
    ("decoder", "a start at another output", "starts_where_it_is_told", Backwards),
    ("decoder", "a gradient doubled in training", "gradients_match_slopes",
     forward(Generator, lambda f, self, z: f(
         with_gradient(z, lambda g, _: 2 * g) if self.training else z))),
    ("decoder", "wrong for batches of a hundred", "is_the_same_however_it_is_called",
     altered(Generator, lambda o, z: o + 1e-3 * (z.shape[1] > 100))),
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


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_every_check_catches_a_bug(kind):
    assert {name for k, _, name, _ in BUGS if k == kind} == {one.name for one in checks(kind)}


@pytest.mark.parametrize(
    ("kind", "part"),
    [("encoder", Network), ("encoder", Convolution), ("encoder", Dropping), ("decoder", Generator)],
)
def test_the_right_parts_pass(kind, part):
    check(kind, part)
