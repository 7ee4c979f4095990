"""Every check of a likelihood can fail: right likelihoods, and some with one mistake each."""

import pytest
import torch
from altered_parts import (
    Altered,
    attribute,
    changed,
    distribution,
    forward,
    once_in,
    with_gain,
    with_gradient,
    with_parameter,
)
from right_likelihoods import (
    RIGHT,
    Angles,
    Autoregressive,
    Correlated,
    Counts,
    Densities,
    Pixels,
    Scaled,
    Sparse,
    Unit,
    Wide,
    likelihood,
    positive,
)
from torch.distributions import (
    Bernoulli,
    Distribution,
    Independent,
    Normal,
    Poisson,
    constraints,
)

from vaeflow.parts.abstract import Likelihood
from vaeflow.parts.likelihoods import ContinuousBernoulli, Gaussian
from vaeflow.testing import check, checks


def scored(part, method):
    """The part whose log-densities are `method(right one, x)`."""
    return distribution(part, log_prob=method)


def drawn(part, method):
    """The part whose draws are `method(right one, shape)`."""
    return distribution(part, sample=lambda p, shape=(): method(p, torch.Size(shape)))


def values(p):
    """The law of the values of an Independent."""
    return p.base_dist


def plus(excess):
    """A log-density too large by `excess(p)`."""
    return lambda p, x: p.log_prob(x) + excess(p)


def spread(factor):
    """Draws too far from the mean by a factor."""
    return lambda p, shape: p.mean + factor * (p.sample(shape) - p.mean)


def shared(*dims):
    """Draws with the same noise along some dimensions."""

    def method(p, shape):
        x = (p.sample(shape) - p.mean) / values(p).scale
        for dim in dims:
            x = x.narrow(dim, 0, 1).expand_as(x)
        return p.mean + values(p).scale * x

    return method


def seeded(p, shape):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return p.sample(shape)


def mirrored(p, shape):
    x = p.sample(shape) - p.mean
    x[..., 1:2, :] = -x[..., :1, :]
    return p.mean + x


def gradient(part, method):
    """The part whose gradient in the output is `method(right one, output)`."""
    return forward(part, lambda f, self, output: f(with_gradient(output, method)))


class LooseSupport(constraints.Constraint):
    is_discrete = False

    def check(self, value):
        return torch.ones_like(value, dtype=torch.bool)


class Naive(Distribution):
    """Bernoulli values whose probabilities are put into the logarithm."""

    def __init__(self, logits):
        self.p = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)
        super().__init__(logits.shape, validate_args=False)

    mean = property(lambda self: self.p)

    def log_prob(self, x):
        return x * self.p.log() + (1 - x) * (1 - self.p).log()

    def sample(self, shape=()):
        return torch.bernoulli(self.p.expand(*shape, *self.p.shape))


class Running(Scaled):
    """Its scale follows the scores it gives in training."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, output):
        self.count += self.training
        return super().forward(output)


class Clamped(Pixels):
    """Its logits are clamped, but in its draws."""

    def forward(self, output):
        return Altered(super().forward(output.clamp(-5, 5)), sample=super().forward(output).sample)


class High(Unit):
    """Its peak is told without √2π."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.log_peak = 0.1 * self.log_peak


class Parallel(Autoregressive):
    """Its draws do not know of each other."""

    def forward(self, output):
        p = super().forward(output)
        return Altered(
            p, sample=lambda shape=(): torch.bernoulli(p.mean.expand(*shape, *p.mean.shape))
        )


def confused(p, x):
    """The scores of images (B, …), taken for samples where K = B."""
    samples, batch = p.batch_shape
    alone = x.dim() == 1 + len(p.event_shape) and samples == batch > 1
    return p.log_prob(x[:, None] if alone else x)


def half(p, shape):
    noise = torch.randn(*shape, *p.mean.shape).half().to(p.mean)
    return p.mean + values(p).scale * noise


def averaged_channels(p, x):
    return values(p).log_prob(x).sum((-1, -2)).mean(-1) if x.dim() > 4 else p.log_prob(x)


def transposed(p, shape):
    x = p.sample(shape)
    square = len(p.event_shape) == 3 and x.shape[-1] == x.shape[-2]
    return x.transpose(-1, -2) if square else x


def flipped(p, shape):
    x = p.sample(shape)
    return x.flip(-3) if len(p.event_shape) == 3 else x


class TogetherWrong(Likelihood):
    """Half of the scale's logarithm is forgotten where both options differ from their defaults."""

    support = constraints.real

    def __init__(self, data_shape, *, wide: bool = False, moved: bool = False):
        super().__init__(data_shape)
        self.scale, self.error = 1.5 if wide else 1.0, 0.2 * (wide and moved)

    def forward(self, output):
        p = Independent(Normal(output, self.scale, validate_args=False), len(self.data_shape))
        return Altered(p, log_prob=lambda x: p.log_prob(x) + self.error)


BUGS = [
    ("wrong for two options together", "keeps_its_law_for_options_together", TogetherWrong),
    # is_normalized
    ("grey values scored as binary ones", "is_normalized",
     attribute(Pixels, support=constraints.unit_interval)),
    ("the mean over the values", "is_normalized",
     scored(Counts, lambda p, x: values(p).log_prob(x).flatten(2).mean(-1))),
    ("the mean over the pixels of an image", "is_normalized",
     scored(Counts, lambda p, x: values(p).log_prob(x).flatten(-3).mean(-1)
            if len(p.event_shape) == 3 else p.log_prob(x))),
    ("the mean over the channels", "is_normalized", scored(Wide, averaged_channels)),
    ("another density in evaluation", "is_normalized",
     forward(Scaled, lambda f, self, x: f(x) if self.training
             else Altered(f(x), log_prob=lambda v: f(x).log_prob(v) + 1))),
    ("no constant", "is_normalized", scored(Scaled, plus(lambda p: 0.9 * p.event_shape[-1]))),
    ("a constant for more than two values", "is_normalized",
     scored(Wide, plus(lambda p: 1e-3 * (p.event_shape.numel() > 2)))),
    ("a constant for data of the size of MNIST", "is_normalized",
     scored(Wide, plus(lambda p: 0.01 * (p.event_shape.numel() > 100)))),
    ("a probability off by 1e-4", "is_normalized",
     scored(Pixels, lambda p, x: (p.log_prob(x).exp() + 1e-4 * x.flatten(-len(p.event_shape))
                                  .prod(-1)).log())),
    ("a density held beyond 4 sigma", "is_normalized",
     scored(Wide, lambda p, x: p.log_prob(torch.where(
         (x - p.mean).abs() > 4 * values(p).scale, p.mean + 4 * values(p).scale, x)))),
    ("components whose weights do not add up", "is_normalized",
     scored(Densities, lambda p, x: p.log_prob(x) + 0.1)),
    ("no determinant of the covariance", "is_normalized",
     scored(Correlated, lambda p, x: p.log_prob(x) + 0.1 * p.base.covariance_matrix.logdet())),
    ("a probability of zero that is added twice", "is_normalized",
     scored(Sparse, lambda p, x: p.log_prob(x) + 0.01 * (x == 0).flatten(-len(p.event_shape))
            .sum(-1))),
    ("a law of angles on all numbers", "is_normalized",
     attribute(Angles, support=constraints.real)),
    ("the last value left out", "is_normalized",
     scored(Pixels, lambda p, x: values(p).log_prob(x).flatten(-len(p.event_shape))[..., :-1]
            .sum(-1))),
    # draws_follow_the_density
    ("draws of twice the scored sigma", "draws_follow_the_density", drawn(Scaled, spread(2.0))),
    ("draws of a sigma larger by 5 %", "draws_follow_the_density", drawn(Wide, spread(1.05))),
    ("wide draws in training", "draws_follow_the_density",
     forward(Wide, lambda f, self, x: Altered(f(x), sample=lambda s=(): spread(2.0)(f(x), s))
             if self.training else f(x))),
    ("the channels of draws swapped", "draws_follow_the_density", drawn(Wide, flipped)),
    ("draws of the mean image", "draws_follow_the_density",
     forward(Wide, lambda f, self, x: Altered(
         f(x), sample=lambda s=(): f(x.mean(1, keepdim=True).expand_as(x)).sample(s)))),
    ("draws of pixels that ignore those before", "draws_follow_the_density", Parallel),
    ("draws without zeros", "draws_follow_the_density",
     drawn(Sparse, lambda p, shape: values(p).other.sample(shape))),
    ("a log-scale clamped in draws alone", "draws_follow_the_density",
     forward(likelihood(lambda m, s: Normal(m, s.exp(), validate_args=False), constraints.real, 2),
             lambda f, self, o: Altered(f(o), sample=f(o.clamp(-10, 10)).sample))),
    ("logits clamped but in draws", "draws_follow_the_density", Clamped),
    ("a single draw is the mean", "draws_follow_the_density",
     drawn(Wide, lambda p, shape: p.sample(shape) if shape else p.mean)),
    ("draws of square images transposed", "draws_follow_the_density", drawn(Wide, transposed)),
    ("noise of half precision", "draws_follow_the_density", drawn(Wide, half)),
    # draws_noise_for_every_value
    ("one noise for all channels", "draws_noise_for_every_value",
     drawn(Wide, lambda p, shape: shared(-3)(p, shape) if len(p.event_shape) == 3
           else p.sample(shape))),
    ("one noise for all pixels", "draws_noise_for_every_value", drawn(Wide, shared(-1))),
    ("one noise for all images", "draws_noise_for_every_value",
     drawn(Wide, lambda p, shape: shared(len(shape) + 1)(p, shape))),
    ("one noise for all samples", "draws_noise_for_every_value",
     drawn(Wide, lambda p, shape: shared(len(shape))(p, shape))),
    ("the same noise at every call", "draws_noise_for_every_value", drawn(Wide, seeded)),
    ("mirrored noise", "draws_noise_for_every_value", drawn(Wide, mirrored)),
    # the mean
    ("another mean", "draws_match_the_mean",
     distribution(Pixels, mean=lambda p: 0.5 * p.mean + 0.25)),
    ("a mean off by a thousandth", "mean_is_that_of_the_density",
     distribution(Wide, mean=lambda p: p.mean + 1e-3 * values(p).scale)),
    ("a mean without its zeros", "mean_is_that_of_the_density",
     distribution(Sparse, mean=lambda p: values(p).other.mean * 0.99)),
    ("logits clamped in the score alone", "mean_is_that_of_the_density",
     forward(Pixels, lambda f, self, o: Altered(f(o), log_prob=f(o.clamp(-10, 10)).log_prob))),
    ("an output of the mean reversed", "finds_the_output_of_a_mean",
     changed(Unit, output_at=lambda f, self, mean: mean.flip(-1))),
    # shapes, supports and extremes
    ("one shape for all", "emits_the_shape_it_promises",
     forward(Pixels, lambda f, self, x: Independent(Bernoulli(logits=x), 1))),
    ("draws of one sample alone", "emits_the_shape_it_promises",
     drawn(Wide, lambda p, shape: p.sample(shape[:1]))),
    ("probabilities out of the logarithm", "stays_finite_at_the_extremes",
     scored(Pixels, lambda p, x: p.log_prob(x).exp().log())),
    ("a support that admits all", "refuses_what_it_cannot_score",
     attribute(Scaled, support=LooseSupport())),
    ("samples mixed", "scores_each_sample_and_image_by_itself",
     forward(Scaled, lambda f, self, x: f(x - x.mean(0)))),
    ("images mixed", "scores_each_sample_and_image_by_itself",
     forward(Scaled, lambda f, self, x: f(x - x.mean(1, keepdim=True)))),
    ("images taken for samples where K = B", "scores_each_sample_and_image_by_itself",
     scored(Wide, confused)),
    ("a parameter never used", "passes_gradients_to_everything", with_parameter(Scaled)),
    # log_peak
    ("a peak too low", "peaks_where_it_says", attribute(Scaled, log_peak=-50.0)),
    ("a peak too high", "peaks_where_it_says", High),
    # gradients
    ("a gradient smaller by a tenth", "gradients_match_slopes",
     gradient(Wide, lambda g, x: 0.9 * g)),
    ("a gradient clipped for large outputs", "gradients_match_slopes",
     gradient(Counts, lambda g, x: g * (x.abs() < 20))),
    ("a scale that is detached", "gradients_match_slopes",
     likelihood(lambda m, s: Normal(m, torch.where(m > 0, positive(s).detach(), positive(s)),
                                    validate_args=False), constraints.real, 2)),
    ("another value where the output is 0", "gradients_match_slopes",
     forward(Pixels, lambda f, self, x: f(torch.where(x == 0, 0.1, x)))),
    ("no gradient where the output is 0", "gradients_match_slopes",
     likelihood(lambda o: Poisson(positive(o * (o != 0)), validate_args=False),
                constraints.nonnegative_integer)),
    ("no gradient where the data is the mean", "gradients_match_slopes",
     scored(Wide, lambda p, x: p.log_prob(p.mean + (x - p.mean).square().sqrt()))),
    ("a gradient in the data of another sign", "gradients_match_slopes",
     scored(Wide, lambda p, x: p.log_prob(with_gradient(x, lambda g, v: -g)))),
    ("a gradient in the parameters halved", "gradients_match_slopes",
     changed(Scaled, forward=lambda f, self, x: Independent(
         Normal(x, (0.5 * self.log_scale + 0.5 * self.log_scale.detach()).exp(),
                validate_args=False), len(self.data_shape)))),
    # gaps
    ("a score of each value that misses a factor", "scores_what_was_observed",
     distribution(Wide, log_prob_of_each=lambda p, x: 2 * p.base_dist.log_prob(x.nan_to_num()))),
    ("a gradient of NaN where a value is missing", "scores_what_was_observed",
     distribution(Wide, log_prob_of_each=lambda p, x: p.base_dist.log_prob(x))),
    # other arithmetic
    ("a wrong density at the edges", "is_continuous_up_to_the_edges",
     scored(ContinuousBernoulli, lambda p, x: p.log_prob(torch.where(x == 0, 0.5, x)))),
    ("digits lost in float32", "agrees_in_float32", likelihood(Naive, constraints.boolean)),
    ("float64 whatever the input", "agrees_in_float32",
     scored(Wide, lambda p, x: p.log_prob(x).double())),
    ("another scale in evaluation", "is_the_same_in_training",
     forward(Scaled, lambda f, self, x: Independent(
         Normal(x, self.log_scale.exp() * (1 if self.training else 1.1)), len(self.data_shape)))),
    ("a gradient doubled in training", "is_the_same_in_training",
     forward(Wide, lambda f, self, o: f(
         with_gradient(o, lambda g, x: 2 * g) if self.training else o))),
    ("scores that leave a trace", "is_the_same_in_training", Running),
    ("wrong for batches of a hundred", "is_the_same_however_it_is_called",
     scored(Wide, plus(lambda p: 0.1 * (p.batch_shape[1] > 100)))),
    ("wrong for fifty samples", "is_the_same_however_it_is_called",
     scored(Wide, plus(lambda p: 0.1 * (p.batch_shape[0] >= 50)))),
    ("wrong without gradients", "is_the_same_however_it_is_called",
     scored(Wide, plus(lambda p: 0.1 * (not torch.is_grad_enabled())))),
    ("memory read as if in order", "is_the_same_however_it_is_called",
     forward(Wide, lambda f, self, x: f(torch.as_strided(
         x, x.shape, torch.empty(x.shape).stride(), x.storage_offset())))),
    ("wrong once in a hundred calls", "is_the_same_however_it_is_called",
     scored(Wide, once_in(100, lambda p, x: p.log_prob(x), lambda p, x: p.log_prob(x) + 1e-3))),
    ("a random buffer not saved", "survives_saving_and_loading",
     with_gain(Scaled, lambda f, self, x: f(x * self.gain))),
    ("running statistics not saved", "survives_saving_and_loading",
     changed(Gaussian, __init__=lambda f, self, shape: f(shape) or setattr(self, "shift", 0.0),
             observe=lambda f, self, px, x: setattr(self, "shift", x.mean()),
             forward=lambda f, self, output: f(output + self.shift))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "part"), [bug[1:] for bug in BUGS], ids=[bug for bug, _, _ in BUGS]
)
def test_the_named_check_catches_the_bug(name, part):
    (one,) = (one for one in checks("likelihood") if one.name == name)
    with pytest.raises(AssertionError):
        one(part)


def test_every_check_catches_a_bug():
    assert {name for _, name, _ in BUGS} == {one.name for one in checks("likelihood")}


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_parts_pass(name):
    check("likelihood", RIGHT[name])
