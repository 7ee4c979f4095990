"""log p(x) by a fitted proposal, against closed forms and integration on a grid."""

import math

import pytest
import torch
from torch import nn

from vaeflow.distributions.flow import Flow
from vaeflow.errors import ConfigError
from vaeflow.evaluation import ImageBounds, evaluate, evaluate_images
from vaeflow.evaluation.proposals.gaussians import Gaussians
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.laplace import fit
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.model import VAE
from vaeflow.parts.abstract import Decoder
from vaeflow.parts.decoders.mlp import MLP as MLPDecoder
from vaeflow.parts.encoders.mlp import MLP as MLPEncoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.mixture import Mixture
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.posteriors.spline import Spline
from vaeflow.parts.priors.normal import Normal

SHAPE, L = (1, 4, 5), 2


def kinked(posterior=Identity, seed=0):
    """A ReLU decoder whose posteriors are far from Gaussian, and images that it made."""
    torch.manual_seed(seed)
    model = VAE(
        MLPEncoder(SHAPE, hidden=(12,)), posterior(L, 12), Normal(L, SHAPE),
        MLPDecoder(L, SHAPE, hidden=(12, 12)), Bernoulli(SHAPE),
    ).double()  # fmt: skip
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.mul_(2.5)
        x = model.generate(model.latent_prior().sample((12,))[None]).sample()[0]
    return model.eval(), x


@torch.no_grad()
def on_a_grid(model, x, half=7.0, points=561):
    """Return log p(x) (N,) by the trapezoidal rule over z in two dimensions."""
    line = torch.linspace(-half, half, points, dtype=torch.float64)
    z = torch.cartesian_prod(line, line)
    log_pz = model.latent_prior().log_prob(z[:, None])[:, 0]
    found = [
        torch.cat(
            [model.generate(part[:, None]).log_prob(one[None])[:, 0] for part in z.split(9999)]
        )
        for one in x
    ]
    step = 2 * math.log((line[1] - line[0]).item())
    return torch.stack([(log_px + log_pz).logsumexp(0) for log_px in found]) + step


def images_of(model, x, kind="laplace", **options):
    found = evaluate_images(model, x, samples=10, proposal=kind, **options)
    return ImageBounds.cat([*found])


@pytest.mark.parametrize("posterior", [Identity, Planar, IAF, Spline, Mixture])
def test_a_latent_plane_is_integrated_as_on_a_grid(posterior):
    model, x = kinked(posterior)
    exact = on_a_grid(model, x)
    for kind in ("laplace", "mixture"):
        found = images_of(model, x, kind)
        off = -found.nll.values - exact
        assert (off.abs() < 4 * found.nll.errors + 1e-3).all(), kind
        assert found.nll.errors.median() < 0.06
        assert (found.pareto_k < 0.7).double().mean() > 0.7  # these are far from Gaussian


@pytest.mark.parametrize(("shift", "spread"), [(0.3, 1.0), (1.0, 0.3)])
def test_the_linear_gaussian_posterior_is_found_from_any_q(world, shift, spread):
    model = world.model(shift=shift, spread=spread)
    _, x = world.data(20)
    exact, q = world.posterior(x), model.infer(x)
    with torch.no_grad():
        found = fit(Joint(model, x, 1000, 1000), q.mean + 3, torch.ones_like(q.mean))
    torch.testing.assert_close(found.center, exact.mean, rtol=1e-4, atol=1e-4)
    covariance = found.factor @ found.factor.mT
    torch.testing.assert_close(covariance, exact.covariance_matrix, rtol=1e-3, atol=1e-4)
    bounds = images_of(model, x)
    off = (-bounds.nll.values - world.log_px(x)) / bounds.nll.errors
    assert off.abs().max() < 4.5
    assert 0.5 < off.std() < 1.5
    assert (bounds.draws == 128).all()  # nothing is left to draw for


def test_both_modes_of_a_posterior_are_found():
    """Of a decoder of |z| each posterior has two modes, of which one alone lacks log 2."""

    class Even(Decoder):
        def __init__(self, latent, output_shape):
            super().__init__(latent, output_shape)
            self.w = nn.Parameter(torch.tensor([4.0]).double())

        def forward(self, z):
            return (
                (self.w * (z.norm(dim=-1, keepdim=True) - 1))
                .expand(*z.shape[:-1], math.prod(SHAPE))
                .unflatten(-1, SHAPE)
            )

    torch.manual_seed(1)
    model = VAE(
        MLPEncoder(SHAPE, hidden=(3,)), Identity(1, 3), Normal(1, SHAPE), Even(1, SHAPE),
        Bernoulli(SHAPE),
    ).double().eval()  # fmt: skip
    x = (torch.rand(6, *SHAPE) > 0.3).double()
    line = torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        log_p = model.generate(line.expand(-1, 6, 1)).log_prob(x) + model.latent_prior().log_prob(
            line
        )
    exact = log_p.logsumexp(0) + math.log(16 / 8000)
    found = images_of(model, x, "mixture")
    assert ((-found.nll.values - exact).abs() < 4 * found.nll.errors).all()


def test_more_draws_are_made_for_a_smaller_tolerance_up_to_the_largest_number():
    model, x = kinked()
    coarse, fine, few = (
        images_of(model, x, precision=precision)
        for precision in (Precision(0.2), Precision(0.02), Precision(0.002, largest=300))
    )
    assert (coarse.draws <= fine.draws).all()
    assert coarse.draws.double().mean() < 0.3 * fine.draws.double().mean()
    assert fine.nll.errors.median() < 0.025
    assert (few.draws == 300).any()
    assert few.draws.max() == 300


def test_the_mean_of_the_estimates_is_p_of_x():
    """Draws that decided on K and were counted too would make it smaller."""
    model, x = kinked()
    exact = on_a_grid(model, x)
    runs = [images_of(model, x, precision=Precision(0.3), seed=s).nll for s in range(30)]
    ratio = torch.stack([(-run.values - exact).exp() for run in runs])
    error = ratio.std() / ratio.numel() ** 0.5
    assert (ratio.mean() - 1).abs() < 4 * error < 0.07
    told = torch.stack([run.errors for run in runs]).mean(0)
    spread = torch.stack([run.values for run in runs]).std(0)
    assert 0.7 < (spread / told).median() < 1.4


def test_the_same_seed_gives_the_same_bits_and_any_chunk_the_same_figures():
    model, x = kinked(Planar)
    one, same = (images_of(model, x, seed=3) for _ in range(2))
    assert torch.equal(one.nll.values, same.nll.values)
    small = images_of(model, x, seed=3, chunk=7)
    torch.testing.assert_close(small.nll.values, one.nll.values, rtol=1e-8, atol=1e-8)
    assert torch.equal(small.draws, one.draws)


def test_a_decoder_without_a_gradient_leaves_q_as_the_proposal():
    model, x = kinked()
    whole = model.decoder.forward
    model.decoder.forward = lambda z: whole(z.detach()).detach()
    model.prior.forward = lambda infer: torch.distributions.Independent(
        torch.distributions.Uniform(-9 * torch.ones(L), 9 * torch.ones(L), validate_args=False), 1
    )
    found = evaluate(model, x, samples=30)
    assert (found.proposal, found.nll) == ("q", found.under_q)
    assert "has no gradient in z" in found.fell_back
    assert "the proposal of the NLL is q, as log p(x, z) has no gradient" in str(found.findings[0])


def test_the_mixture_with_a_flow_that_scores_its_own_draws_alone_is_refused(
    one_sentence, monkeypatch
):
    def unknown(q, z):
        raise NotImplementedError("no inverse")

    monkeypatch.setattr(Flow, "log_prob", unknown)
    model, x = kinked(Planar)
    with pytest.raises(ConfigError, match="scores its own draws alone") as error:
        evaluate(model, x, samples=3, proposal="mixture")
    one_sentence(str(error.value))
    assert evaluate(model, x, samples=3).proposal == "laplace"  # the cure


@pytest.mark.parametrize("freedom", [math.inf, 5.0])
def test_a_mixture_of_gaussians_has_the_density_of_its_draws(freedom):
    torch.manual_seed(0)
    center = torch.randn(2, 1, 2).double()
    factor = torch.randn(2, 1, 2, 2).double()
    share = torch.tensor([[0.3], [0.7]]).double().log()
    r = Gaussians(center, factor, share, freedom)
    line = torch.linspace(-60, 60, 1501).double()
    z = torch.cartesian_prod(line, line)[:, None]
    area = (line[1] - line[0]).item() ** 2
    density = r.log_prob(z)[:, 0].exp() * area
    assert density.sum().item() == pytest.approx(1, abs=2e-3)
    draws = r.draw(100_000)[:, 0]
    inside = (z[:, 0, 0] > 0) & (z[:, 0, 1] < 0.5)
    share_of_draws = ((draws[:, 0] > 0) & (draws[:, 1] < 0.5)).double().mean().item()
    assert density[inside].sum().item() == pytest.approx(share_of_draws, abs=0.02)
