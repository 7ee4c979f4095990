"""The VAE and the terms of its bound, against Pyro's estimators fed with the same noise."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions import transforms as pyro_transforms
from torch.distributions import (
    Independent,
    MultivariateNormal,
    Normal,
    constraints,
    kl_divergence,
)

from vaeflow.distributions.draw import Draw, draw
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import ConfigError
from vaeflow.evaluation import evaluate
from vaeflow.maps.planar import PlanarMaps
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Likelihood
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal as NormalPrior
from vaeflow.runtime.noise import Noise
from vaeflow.terms import Terms

TOLERANCE = {"rtol": 0, "atol": 1e-10}
SHAPE, L, FEATURES, B = (1, 2, 3), 3, 5, 4

# The terms of a bound


def terms(posterior=None, prior=None):
    generator = torch.Generator().manual_seed(0)
    px, pz, base, det = torch.randn(4, 5, B, dtype=torch.float64, generator=generator)
    z = torch.zeros(5, B, L, dtype=torch.float64)
    return Terms(px, pz, Draw(z, base, det), posterior=posterior, prior=prior)


def test_log_qz_is_log_base_minus_log_det():
    t = terms()
    torch.testing.assert_close(t.log_qz, t.log_base - t.log_det, **TOLERANCE)


def test_log_weight_is_log_joint_minus_log_q():
    t = terms()
    expected = t.log_px + t.log_pz - t.log_base + t.log_det
    torch.testing.assert_close(t.log_weight, expected, **TOLERANCE)


def test_analytic_kl_goes_from_posterior_to_prior():
    loc = torch.linspace(-2, 2, B * L, dtype=torch.float64).view(B, L)
    q, p = DiagonalNormal(loc, loc), DiagonalNormal(torch.ones(L).double(), torch.zeros(L).double())
    assert terms(q, p).analytic_kl().shape == (B,)
    # N(μ, e^μ) to N(1, 1): ½ Σ e^μ + (μ − 1)² − 1 − μ; the other way it is something else.
    expected = 0.5 * (loc.exp() + (loc - 1) ** 2 - 1 - loc).sum(-1)
    torch.testing.assert_close(terms(q, p).analytic_kl(), expected, **TOLERANCE)


def test_analytic_kl_of_a_flow_is_unknown():
    q = Flow(DiagonalNormal(torch.zeros(B, L), torch.zeros(B, L)), [])
    with pytest.raises(ConfigError, match=r"use --objective\.kl sampled"):
        terms(q, DiagonalNormal(torch.zeros(L), torch.zeros(L))).analytic_kl()


# The model against Pyro

POSTERIORS = {
    "identity": Identity,
    "planar": lambda latent, features: Planar(latent, features, steps=4),
    "iaf": lambda latent, features: IAF(latent, features, steps=3, width=8),
}


class Recorded(PlanarMaps):
    """Planar maps that keep u, of which they need only the constrained û."""

    def __init__(self, w, u, b):
        super().__init__(w, u, b)
        self.parameters = w, u, b


@pytest.fixture(autouse=True)
def _recorded(monkeypatch):
    monkeypatch.setattr("vaeflow.parts.posteriors.planar.PlanarMaps", Recorded)


def vae(posterior="identity", *, likelihood=Bernoulli):
    """Return a small float64 VAE whose posterior is far from its start."""
    torch.manual_seed(0)
    model = VAE(
        MLPEncoder(SHAPE, hidden=(FEATURES,), activation="tanh"),
        POSTERIORS[posterior](L, FEATURES),
        NormalPrior(L, SHAPE),
        MLPDecoder(L, SHAPE, hidden=(7,), activation="tanh"),
        likelihood(SHAPE),
    ).double()
    with torch.no_grad():
        for p in model.posterior.parameters():
            p.normal_(std=0.7)
    return model


def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, (B, *SHAPE), generator=generator).double()


class Replayed(dist.Independent):
    """A diagonal normal that draws with noise given beforehand, one entry per particle."""

    def __init__(self, loc, scale, noise):
        super().__init__(dist.Normal(loc, scale), 1)
        self.noise = noise

    def rsample(self, sample_shape=()):
        assert tuple(sample_shape) == ()
        return self.base_dist.loc + self.base_dist.scale * next(self.noise)

    def expand(self, batch_shape, _instance=None):
        # Pyro's plate asks for the batch that is there already.
        assert tuple(batch_shape) == tuple(self.batch_shape)
        return self


class PlainIAF(dist.TransformModule):
    """A gated autoregressive map around a network of ours, in Pyro's interface.

    That the network is Pyro's own is the business of tests/posteriors/test_iaf.py.
    """

    domain = dist.constraints.real_vector
    codomain = dist.constraints.real_vector
    bijective = True

    def __init__(self, net, h, reverse):
        super().__init__(cache_size=1)
        self.net, self.h, self.reverse = net, h, reverse

    def _call(self, x):
        x = x.flip(-1) if self.reverse else x
        mean, s = self.net(x, self.net.context(self.h)).split(L, -1)
        gate = 1 / (1 + torch.exp(-s - 2))
        self.log_gate = gate.log().sum(-1)
        return gate * x + (1 - gate) * mean

    def log_abs_det_jacobian(self, x, y):
        return self.log_gate


def transforms(posterior, h):
    """Rebuild the posterior's maps for features h as Pyro transforms."""
    if isinstance(posterior, Planar):
        (given,) = posterior(h).maps
        w, u, b = given.parameters
        maps = [(b[:, t, None], u[:, t], w[:, t]) for t in range(w.shape[1])]
        return [pyro_transforms.ConditionalPlanar(lambda _, m=m: m).condition(h) for m in maps]
    if isinstance(posterior, IAF):
        return [PlainIAF(net, h, i > 0) for i, net in enumerate(posterior.nets)]
    return []


def pyro_pair(model, x, noise):
    """Return Pyro's model and guide with our networks and the noise (K, B, L) of our draws."""
    noise = iter(noise)

    def joint():
        with pyro.plate("images", B):
            prior = dist.Normal(torch.zeros(B, L).double(), torch.ones(B, L).double())
            z = pyro.sample("z", prior.to_event(1))
            logits = model.decoder(z)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)

    def guide():
        h = model.encoder(x)
        head = model.posterior.head
        loc, log_variance = (h @ head.weight.T + head.bias).split(L, -1)
        base = Replayed(loc, (0.5 * log_variance).exp(), noise)
        maps = transforms(model.posterior, h)
        with pyro.plate("images", B):
            pyro.sample("z", dist.TransformedDistribution(base, maps) if maps else base)

    return joint, guide


def same_noise(model, x, samples):
    """Return the terms of K draws and the standardized noise that made them."""
    torch.manual_seed(2)
    with torch.no_grad():
        found = model(x, samples=samples)
        torch.manual_seed(2)
        q = model.infer(x)
        base = getattr(q, "base", q)
        noise = (draw(base, (samples,)).z - base.loc) / base.log_scale.exp()
    return found, noise


def objective(model, x, samples, **options):
    found, noise = same_noise(model, x, samples)
    value = ELBO(**options)(found, torch.tensor(1.0, dtype=torch.float64)).sum()
    return value.item(), noise


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_elbo_is_pyros_trace_elbo(posterior, samples):
    model, x = vae(posterior), images()
    value, noise = objective(model, x, samples)
    expected = -pyro.infer.Trace_ELBO(num_particles=samples).loss(*pyro_pair(model, x, noise))
    assert value == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize(
    ("posterior", "kl"), [("identity", "analytic"), ("planar", "sampled"), ("iaf", "sampled")]
)
def test_elbo_is_pyros_mean_field_elbo(posterior, kl, samples):
    # Pyro takes the closed form of the KL term where there is one and else samples it.
    model, x = vae(posterior), images()
    value, noise = objective(model, x, samples, kl=kl)
    estimator = pyro.infer.TraceMeanField_ELBO(num_particles=samples)
    assert value == pytest.approx(-estimator.loss(*pyro_pair(model, x, noise)), abs=1e-10)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_importance_weighted_bound_equals_pyros(posterior):
    model, x = vae(posterior), images()
    found, noise = same_noise(model, x, 7)
    value = (found.log_weight.logsumexp(0) - math.log(7)).sum().item()
    estimator = pyro.infer.RenyiELBO(alpha=0, num_particles=7)
    expected = -estimator.loss(*pyro_pair(model, x, noise))
    assert value == pytest.approx(expected, abs=1e-10)
    assert value > found.log_weight.mean(0).sum() + 0.01
    # The evaluation reports the same number, per image, of its own noise.
    with Noise(2, torch.device("cpu"), (0,)).private("evaluation"):
        log_weight = model(x, 7).log_weight
    nll = (math.log(7) - log_weight.logsumexp(0)).mean().item()
    found = evaluate(model, x, samples=7, proposal="q", seed=2)
    assert found.nll.mean == pytest.approx(nll, abs=1e-10)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_gradient_of_the_elbo_is_pyros(posterior):
    model, x = vae(posterior), images()
    _, noise = same_noise(model, x, 3)
    parameters = list(model.parameters())
    estimator = pyro.infer.Trace_ELBO(num_particles=3)
    loss = estimator.differentiable_loss(*pyro_pair(model, x, noise))
    expected = torch.autograd.grad(-loss, parameters)
    torch.manual_seed(2)
    value = ELBO()(model(x, samples=3), torch.tensor(1.0)).sum()
    for own, theirs in zip(torch.autograd.grad(value, parameters), expected, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-8, atol=1e-10)


# Shapes and sizes


@pytest.mark.parametrize("samples", [1, 6])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_terms_have_shape_samples_by_images(posterior, samples):
    model, x = vae(posterior, likelihood=Gaussian), images()
    found = model(x, samples)
    for name in ("log_px", "log_pz", "log_base", "log_det", "log_qz", "log_weight"):
        assert getattr(found, name).shape == (samples, B)
    assert found.z.shape == (samples, B, L)
    assert model.data_shape == SHAPE
    # They are scores of the very draw.
    expected = Independent(Normal(model.decoder(found.z), 1.0), 3).log_prob(x)
    torch.testing.assert_close(found.log_px, expected, **TOLERANCE)
    expected = -0.5 * (found.z**2).sum(-1) - 0.5 * L * math.log(2 * math.pi)
    torch.testing.assert_close(found.log_pz, expected, **TOLERANCE)


def test_terms_hold_their_posterior_and_prior():
    model, x = vae(), images()
    q = model.infer(x)
    found = model.terms(x, q, 2)
    assert found.posterior is q
    torch.testing.assert_close(
        found.analytic_kl(), kl_divergence(q, model.latent_prior()), **TOLERANCE
    )


class HalfDecoder(Decoder):
    """A decoder that emits bfloat16, as under autocast."""

    def forward(self, z):
        return F.pad(z, (0, 3)).unflatten(-1, self.output_shape).bfloat16()


def test_half_precision_decoder_has_float32_densities():
    parts = (MLPEncoder(SHAPE, hidden=(FEATURES,)), Identity(L, FEATURES), NormalPrior(L, SHAPE))
    model = VAE(*parts, HalfDecoder(L, SHAPE), Bernoulli(SHAPE))
    assert model.generate(torch.ones(2, B, L)).base_dist.logits.dtype == torch.float32
    assert model(images().float()).log_px.dtype == torch.float32


OTHER = (1, 3, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"posterior": lambda: Identity(L, 9)},
            "the encoder's features is 5, but the posterior's is 9",
        ),
        (
            {"prior": lambda: NormalPrior(2, SHAPE)},
            "the posterior's latent size is 3, but the prior's is 2",
        ),
        (
            {"decoder": lambda: MLPDecoder(8, SHAPE)},
            "the posterior's latent size is 3, but the decoder's is 8",
        ),
        (
            {"likelihood": lambda: Gaussian(SHAPE, scale="pixel")},
            r"the decoder's output shape is \(1, 2, 3\), but the likelihood's is \(2, 1, 2, 3\)",
        ),
        (
            {"encoder": lambda: MLPEncoder(OTHER, hidden=(FEATURES,))},
            r"the likelihood's data shape is \(1, 2, 3\), but the encoder's is \(1, 3, 3\)",
        ),
    ],
    ids=["features", "prior", "decoder", "output shape", "data shape"],
)
def test_parts_of_different_sizes_are_refused(changed, message):
    parts = {
        "encoder": lambda: MLPEncoder(SHAPE, hidden=(FEATURES,)),
        "posterior": lambda: Identity(L, FEATURES),
        "prior": lambda: NormalPrior(L, SHAPE),
        "decoder": lambda: MLPDecoder(L, SHAPE),
        "likelihood": lambda: Bernoulli(SHAPE),
    }
    assert VAE(**{name: make() for name, make in parts.items()}).data_shape == SHAPE
    with pytest.raises(ConfigError, match=message):
        VAE(**{name: make() for name, make in {**parts, **changed}.items()})


class Rotated(Likelihood):
    """A Gaussian of rotated values: its density multiplies matrices."""

    support = constraints.real

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.register_buffer("turn", torch.linalg.qr(torch.randn(4, 4))[0])

    def forward(self, output):
        turned = output @ self.turn
        return MultivariateNormal(turned, scale_tril=self.turn.tril() + 2 * torch.eye(4))


def test_densities_leave_autocast():
    torch.manual_seed(0)
    model = VAE(
        MLPEncoder((4,)), Identity(L, 500), NormalPrior(L, (4,)), MLPDecoder(L, (4,)), Rotated((4,))
    )
    x = torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        terms = model(x, 3)
        output = model.decoder(terms.z).float()
    assert terms.log_px.dtype == torch.float32
    wanted = model.likelihood(output).log_prob(x)
    torch.testing.assert_close(terms.log_px, wanted, rtol=0, atol=1e-5)
