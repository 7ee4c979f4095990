"""log p(x) by importance sampling, against closed forms and integration on a grid."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from vaeflow.evaluation.proposals import marginal as module
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.marginal import Precision, marginal
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Encoder, Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.priors.normal import Normal as Prior
from vaeflow.plugins import builtins
from vaeflow.runtime.frozen import frozen

SHAPE, SIGMA = (5,), 0.5


def found(model, x, kind="laplace", *, seed=0, rows=1000, block=1000, **precision):
    torch.manual_seed(seed)
    with torch.no_grad(), frozen(model):
        return marginal(
            Joint(model, x, block, rows), kind, Precision(**precision), lambda images: None
        )


class Features(Encoder):
    def __init__(self):
        super().__init__(SHAPE)
        self.features = 5

    def forward(self, x):
        return x


class Function(Decoder):
    """A function of z (…, L) that is given."""

    def __init__(self, latent, function):
        super().__init__(latent, SHAPE)
        self.function = function

    def forward(self, z):
        return self.function(z)


class Wide(Posterior):
    """N(0, s² I) for every image."""

    def __init__(self, latent, deviation):
        super().__init__(latent, 5)
        self.deviation = deviation

    def forward(self, h):
        mean = h.new_zeros(len(h), self.latent)
        return Independent(Normal(mean, self.deviation), 1)


def registered(posterior):
    targets = {}
    builtins.vaeflow_register_posteriors(targets.__setitem__)
    path, name = targets[posterior].split(":")
    return getattr(__import__(path, fromlist=[name]), name)(2, 5)


def kinked(posterior):
    """Return a model with a steep ReLU network of a two-dimensional latent, and 8 images of it."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 5)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
        x = network(torch.randn(8, 2).double()) + SIGMA * torch.randn(8, 5).double()
    model = VAE(
        Features(), registered(posterior), Prior(2, SHAPE), Function(2, network),
        Gaussian(SHAPE, sigma=SIGMA),
    )  # fmt: skip
    return model.double(), x


def by_grid(model, x):
    """Integrate p(x|z) p(z) over the plane: log p(x) (B,)."""
    axis = torch.linspace(-6, 6, 901, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad(), frozen(model):
        prior = Independent(Normal(torch.zeros(2).double(), 1), 1).log_prob(z)
        means = model.decoder(z)
        likelihood = Normal(means[:, None], SIGMA).log_prob(x).sum(-1)
    return (likelihood + prior[:, None]).logsumexp(0) + 2 * (axis[1] - axis[0]).log()


@pytest.fixture(scope="module")
def on_grid():
    """Return log p(x) of the kinked model, the same for every posterior."""
    return by_grid(*kinked("identity"))


def modes(function):
    """Return a model of a one-dimensional latent with two modes, z and −z, and its log p(x)."""
    towards = torch.linspace(1, 2, 5, dtype=torch.float64)
    model = VAE(
        Features(), Wide(1, 1.5), Prior(1, SHAPE), Function(1, lambda z: function(z) * towards),
        Gaussian(SHAPE, sigma=1.0),
    ).double()  # fmt: skip
    x = torch.tensor([[1.5], [1.0], [2.0]], dtype=torch.float64) * towards
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    means = function(z)[:, None, None] * towards
    log_joint = Normal(means, 1.0).log_prob(x).sum(-1) + Normal(0, 1).log_prob(z)[:, None]
    return model, x, log_joint.logsumexp(0) + (z[1] - z[0]).log()


@pytest.mark.parametrize("kind", ["laplace", "mixture"])
@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (1.0, 0.5), (-0.5, 3.0)])
def test_evidence_of_a_linear_gaussian_model(world, kind, shift, spread):
    model = world.model(shift=shift, spread=spread)
    _, x = world.data(40)
    nll = found(model, x, kind).nll
    off = (nll.values + world.log_px(x)) / nll.errors
    assert off.abs().max() < 4
    assert 0.6 < off.std() < 1.4
    assert nll.errors.max() < 0.06


@pytest.mark.parametrize(
    ("posterior", "kind"),
    [
        *((name, "laplace") for name in ("identity", "planar", "iaf", "spline", "mixture")),
        ("identity", "mixture"), ("spline", "mixture"), ("mixture", "mixture"),
    ],
)  # fmt: skip
def test_evidence_of_a_kinked_model_is_the_integral_on_a_grid(posterior, kind, on_grid):
    model, x = kinked(posterior)
    figures = found(model, x, kind, tolerance=0.03)
    assert ((figures.nll.values + on_grid) / figures.nll.errors).abs().max() < 4
    assert (figures.nll.errors < 0.05).sum() >= 6  # a pilot may miss a tail of an image
    assert figures.nll.errors.median() < 0.035


@pytest.mark.parametrize("function", [torch.abs, lambda z: z.square() / 2])
def test_both_modes_are_counted(function, monkeypatch):
    model, x, exact = modes(function)
    figures = found(model, x)
    assert ((figures.nll.values + exact) / figures.nll.errors).abs().max() < 3
    assert figures.nll.errors.max() < 0.06
    monkeypatch.setattr(module, "_HARD", 0.0)  # a single Gaussian is kept
    monkeypatch.setattr(module, "_MISSED", math.inf)
    single = found(model, x)
    torch.testing.assert_close(
        single.nll.values, math.log(2) - exact, rtol=0, atol=5 * single.nll.errors.max().item()
    )


def test_draws_grow_as_the_tolerance_falls():
    model, x = kinked("identity")
    least, mean = None, []
    for tolerance in (0.2, 0.1, 0.05, 0.025):
        figures = found(model, x, tolerance=tolerance, largest=100_000)
        above = (figures.nll.errors > 1.5 * tolerance).sum()
        assert above <= 1  # a pilot of 128 draws may miss the tail of an image
        if least is not None:
            assert (figures.draws >= 0.7 * least).all()
        least = figures.draws
        mean.append(figures.draws.double().mean())
    assert mean == sorted(mean)
    assert mean[-1] > 4 * mean[0]


@pytest.mark.parametrize("largest", [1, 20, 128, 300])
def test_draws_stop_at_the_largest(largest):
    model, x = kinked("identity")
    figures = found(model, x, tolerance=0.001, largest=largest)
    assert (figures.draws == largest).all()
    assert figures.nll.values.isfinite().all()


@pytest.mark.parametrize("tolerance", [0.5, 0.1])
def test_estimate_is_unbiased_and_its_error_is_that_of_repetition(tolerance, on_grid):
    """E[p̂(x)] = p(x): the draws that decide on K are not counted."""
    model, x = kinked("identity")
    repeats = 60
    each = [found(model, x, seed=seed, tolerance=tolerance) for seed in range(repeats)]
    log_ratio = torch.stack([-f.nll.values for f in each]) - on_grid
    ratio = log_ratio.exp()
    error = ratio.mean(1).std() / math.sqrt(repeats)
    assert abs(ratio.mean() - 1) < 3.5 * error
    assert error < 0.02
    told = torch.stack([f.nll.errors for f in each]).square().mean(0).sqrt()
    assert 0.7 < (log_ratio.std(0) / told).median() < 1.4


def test_counted_draws_come_after_those_of_the_pilot(monkeypatch):
    """A pilot that sees other weights changes K, never the figures of the same K."""
    seen = []
    weigh = module.weigh

    def spy(joint, proposal, count):
        weights = weigh(joint, proposal, count)
        seen.append(weights.log_mean.values)
        return weights

    monkeypatch.setattr(module, "weigh", spy)
    model, x = kinked("identity")
    figures = found(model, x, largest=128)
    counted = seen[-1]  # all have one K, but in groups by their fit
    assert not set(counted.tolist()) & {v for values in seen[:-1] for v in values.tolist()}
    assert set((-figures.nll.values).tolist()) >= set(counted.tolist())


def test_the_same_seed_repeats_every_bit():
    model, x = kinked("spline")
    one, other, third = (found(model, x, seed=seed) for seed in (4, 4, 5))
    for a, b in zip(one._tensors(), other._tensors(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.nll.values, third.nll.values)


@pytest.mark.parametrize("rows", [1, 50, 10**9])
def test_no_figure_depends_on_the_rows(rows):
    model, x = kinked("identity")
    expected, other = found(model, x, tolerance=0.2), found(model, x, tolerance=0.2, rows=rows)
    torch.testing.assert_close(other._tensors(), expected._tensors(), rtol=1e-7, atol=1e-9)


def test_no_more_rows_pass_through_the_decoder_than_allowed():
    model, x = kinked("identity")
    rows = []
    model.decoder.register_forward_hook(lambda m, z, out: rows.append(z[0].shape[:2].numel()))
    found(model, x, rows=50, tolerance=0.2)
    assert max(rows) <= 50


def test_every_image_is_told_once():
    model, x = kinked("identity")
    told = []
    with torch.no_grad(), frozen(model):
        marginal(Joint(model, x, 1000, 1000), "laplace", Precision(0.1), told.append)
    assert sum(told) == len(x)
