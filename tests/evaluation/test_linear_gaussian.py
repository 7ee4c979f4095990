"""A linear-Gaussian model, where log p(x) and the posterior are known exactly.

p(z) = N(0, I), p(x|z) = N(Wz + c, σ²I): log p(x) = log N(x; c, WWᵀ + σ²I), and the posterior is
normal with precision I + WᵀW/σ². The model is assembled from vaeflow's abstract parts.
"""

import math

import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vaeflow.evaluation import evaluate
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder, Encoder, Posterior
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.priors.normal import Normal

D, L, N = 6, 3, 8
SHAPE = (1, 2, 3)
SIGMA = 0.7


class Flatten(Encoder):
    """The data are their own features."""

    def __init__(self, data_shape):
        super().__init__(data_shape)
        self.features = math.prod(data_shape)

    def forward(self, x):
        return x.flatten(1)


class Affine(Decoder):
    """z -> Wz + c in the shape of the data."""

    def __init__(self, latent, output_shape):
        super().__init__(latent, output_shape)
        generator = torch.Generator().manual_seed(0)
        w = torch.randn(math.prod(output_shape), latent, dtype=torch.float64, generator=generator)
        self.w = torch.nn.Parameter(w)
        self.c = torch.nn.Parameter(torch.linspace(-1, 1, len(w), dtype=torch.float64))

    def forward(self, z):
        return (z @ self.w.T + self.c).unflatten(-1, self.output_shape)


class Known(Posterior):
    """The exact posterior, its mean shifted by `shift` and its covariance scaled by `spread`."""

    def __init__(self, decoder, *, shift=0.0, spread=1.0):
        super().__init__(L, D)
        self.decoder, self.shift, self.spread = decoder, shift, spread

    def forward(self, h):
        w, c = self.decoder.w.detach(), self.decoder.c.detach()
        covariance = torch.linalg.inv(torch.eye(L, dtype=torch.float64) + w.T @ w / SIGMA**2)
        mean = (h - c) @ w @ covariance / SIGMA**2
        return MultivariateNormal(mean + self.shift, self.spread * covariance)


class Fixed(Posterior):
    """A posterior whose k-th draw for an image depends on k and the image only."""

    def __init__(self):
        super().__init__(L, D)

    def forward(self, h):
        return FixedDraws(h)


class FixedDraws(Distribution):
    """Draws that count on from call to call, scored under N(0, 2I)."""

    def __init__(self, h):
        super().__init__(h.shape[:1], torch.Size([L]), validate_args=False)
        self.h, self.done = h, 0

    def rsample_and_log_prob(self, shape):
        k = torch.arange(self.done, self.done + shape[0], dtype=torch.float64)
        self.done += shape[0]
        z = 2 * torch.sin(100 * self.h[:, :L] + k[:, None, None])
        return z, -0.25 * (z**2).sum(-1) - 0.5 * L * math.log(4 * math.pi)


def model(posterior=Known, **options):
    decoder = Affine(L, SHAPE)
    posterior = posterior(decoder, **options) if posterior is Known else posterior()
    vae = VAE(Flatten(SHAPE), posterior, Normal(L, SHAPE), decoder, Gaussian(SHAPE, sigma=SIGMA))
    return vae.double()


def data(vae, n=N):
    """Draw n images from the model itself."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, L, dtype=torch.float64, generator=generator)
    noise = torch.randn(n, *SHAPE, dtype=torch.float64, generator=generator)
    return (vae.decoder(z) + SIGMA * noise).detach()


def log_evidence(vae, x):
    w, c = vae.decoder.w.detach(), vae.decoder.c.detach()
    covariance = w @ w.T + SIGMA**2 * torch.eye(D, dtype=torch.float64)
    return MultivariateNormal(c, covariance).log_prob(x.flatten(1))


def test_with_the_exact_posterior_every_log_weight_is_log_p_of_x():
    vae = model()
    x = data(vae)
    torch.manual_seed(2)
    log_weight = vae(x, samples=50).log_weight
    assert log_weight.shape == (50, N)
    expected = log_evidence(vae, x).expand(50, N)
    torch.testing.assert_close(log_weight, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("samples", [1, 5])
def test_with_the_exact_posterior_every_reported_bound_is_log_p_of_x(samples):
    vae = model()
    x = data(vae)
    bounds = evaluate(vae, x, samples=samples, proposal="q", batch=3, chunk=2)
    expected = log_evidence(vae, x)
    assert bounds.elbo.mean == pytest.approx(expected.mean().item(), abs=1e-10)
    assert bounds.nll.mean == pytest.approx(-expected.mean().item(), abs=1e-10)
    error = expected.std().item() / math.sqrt(N)
    assert bounds.elbo.standard_error == pytest.approx(error, abs=1e-10)
    assert bounds.nll.standard_error == pytest.approx(error, abs=1e-10)
    assert bounds.elbo.mean == pytest.approx(bounds.log_px.mean - bounds.kl.mean, abs=1e-10)


@pytest.mark.parametrize(("shift", "spread"), [(0.3, 1.0), (0.0, 2.5), (-0.2, 0.5)])
def test_the_elbo_is_log_p_of_x_less_the_divergence_to_the_posterior(shift, spread):
    vae = model(shift=shift, spread=spread)
    x = data(vae)
    samples = 20_000
    torch.manual_seed(3)
    with torch.no_grad():
        terms = vae(x, samples=samples)
    elbo = ELBO()(terms, torch.tensor(1.0))
    error = terms.log_weight.std(0) / math.sqrt(samples)
    gap = kl_divergence(vae.infer(x), model().infer(x))
    assert (gap > 10 * error).all()  # or a wrong gap would pass
    assert ((elbo - (log_evidence(vae, x) - gap)).abs() < 4 * error).all()


def test_importance_weighted_bounds_rise_to_log_p_of_x():
    vae = model(shift=0.2, spread=1.6)
    # One image, many times: the standard error over images is then that of the bound itself.
    x = data(vae, n=1)
    log_px = log_evidence(vae, x).item()
    x = x.expand(2000, *SHAPE)
    bounds = []
    torch.manual_seed(4)
    for samples in (1, 5, 50, 500):
        nll = evaluate(vae, x, samples=samples, proposal="q", batch=2000, chunk=200_000).nll
        assert -nll.mean <= log_px + 4 * nll.standard_error
        bounds.append(-nll.mean)
    assert bounds == sorted(bounds)
    gaps = [log_px - bound for bound in bounds]
    assert gaps[0] > 0.3  # the posterior is wrong indeed
    assert gaps[-1] < 0.01


def test_the_reported_elbo_does_not_tighten_with_k():
    vae = model(shift=0.2, spread=1.6)
    x = data(vae)
    torch.manual_seed(5)
    bounds = evaluate(vae, x, samples=5000, chunk=1000)
    with torch.no_grad():
        log_weight = vae(x, samples=5000).log_weight
    error = log_weight.mean(1).std().item() / math.sqrt(5000)
    gap = kl_divergence(vae.infer(x), model().infer(x)).mean().item()
    assert gap > 20 * error
    expected = log_evidence(vae, x).mean().item() - gap
    assert bounds.elbo.mean == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize(("batch", "chunk"), [(N, 1), (N, 7 * N), (1, 100), (3, 21), (3, 3000)])
def test_neither_chunk_nor_batch_changes_the_bounds(batch, chunk):
    vae = model(Fixed)
    x = data(vae) + 20
    samples = 100
    bounds = evaluate(vae, x, samples=samples, proposal="q", batch=batch, chunk=chunk)
    with torch.no_grad():
        terms = vae(x, samples=samples)
    # Every weight is 0 outside of logarithms, as those of real pictures are.
    assert terms.log_weight.max() < -800
    iwae = terms.log_weight.logsumexp(0) - math.log(samples)
    expected = {
        "elbo": terms.log_weight.mean(0),
        "log_px": terms.log_px.mean(0),
        "kl": (terms.log_qz - terms.log_pz).mean(0),
        "nll": -iwae,
    }
    for name, values in expected.items():
        estimate = getattr(bounds, name)
        assert estimate.mean == pytest.approx(values.mean().item(), abs=1e-10)
        error = values.std().item() / math.sqrt(N)
        assert estimate.standard_error == pytest.approx(error, abs=1e-10)
    assert (bounds.images, bounds.samples) == (N, samples)
