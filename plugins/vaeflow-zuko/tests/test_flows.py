"""zuko's flows in detail: densities, directions, inverses and where they start."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian
from vaeflow_zuko.hooks import FAMILIES
from vaeflow_zuko.networks import PositiveNetwork

from vaeflow.distributions import DiagonalNormal, draw
from vaeflow.testing import GivenNoise, far_from_start

FEATURES = 7
families = pytest.mark.parametrize("family", FAMILIES)
# Of an inverse: in closed form, by bisection to 1e-6, by another solution of the ODE.
TOLERANCE = {"MAF": 1e-9, "RealNVP": 1e-9, "NSF": 1e-9, "CNF": 2e-3}
BISECTION = 1e-4


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("latent", [1, 2, 5])
@families
def test_log_q_is_that_of_the_autograd_jacobian(posterior, family, latent):
    for seed, scale in enumerate((0.5, 1.0)):
        made, h = posterior(family, latent, scale, seed), normal(1, FEATURES, seed=seed)
        eps = normal(1, latent, seed=seed)

        def z(eps, made=made, h=h):
            with GivenNoise(eps):
                return draw(made(h))

        log_det = torch.linalg.slogdet(jacobian(lambda e: z(e).z, eps).reshape(latent, -1))[1]
        wanted = -0.5 * (eps**2).sum() - 0.5 * latent * math.log(2 * math.pi) - log_det
        allowed = max(1e-9, getattr(made, "tolerance", 0)) * (1 + abs(wanted))
        assert abs(z(eps).log_prob - wanted) <= allowed


def test_derivative_of_the_quadrature_is_the_integrand():
    """zuko's autograd says so by decree: finite differences of the integral itself do not."""
    network = far_from_start(PositiveNetwork(3, 4, (8,), 24).double(), 1.0)
    transform = network(normal(3, 4), normal(3, seed=1))
    x, step = normal(50, 3, seed=2), 1e-5
    with torch.no_grad():
        slope = (transform(x + step) - transform(x - step)) / (2 * step)
        log_slope = transform.call_and_ladj(x)[1]
    torch.testing.assert_close(slope.log(), log_slope, rtol=0, atol=1e-6)


def calls(made):
    """Count the calls of every conditioner and of every network within."""
    count = {}
    for name, module in made.named_modules():
        if name.endswith(("hyper", "network", "integrand")):
            count[name] = 0

            def hook(*_, name=name):
                count[name] += 1

            module.register_forward_hook(hook)
    return count


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "CNF"])
def test_draw_and_a_score_take_one_pass(posterior, prior, family):
    """A posterior draws and a prior scores with one call of each network, for 6 dimensions."""
    made = posterior(family, 6, 1.0)
    count = calls(made)
    draw(made(normal(2, FEATURES)), (3,))
    # A quadrature and its integrand at the end are two.
    assert set(count.values()) == ({1, 2} if family == "UNAF" else {1})
    made = prior(family, 6, 0.5)
    count = calls(made)
    made(None).log_prob(normal(2, 6))
    assert set(count.values()) == ({1, 2} if family == "UNAF" else {1})


@families
def test_log_prob_of_a_draw_is_its_own(posterior, family):
    q = posterior(family, 4, 0.5)(normal(3, FEATURES))
    with torch.no_grad():
        sample = draw(q, (2,))
        seen = q.log_prob(sample.z)
    torch.testing.assert_close(seen, sample.log_prob, rtol=0, atol=TOLERANCE.get(family, BISECTION))


@families
def test_inverse_scores_a_prior_s_own_draw(prior, family):
    p = prior(family, 3, 0.5)(None)
    with torch.no_grad():
        sample = draw(p, (4,))
    torch.testing.assert_close(
        p.log_prob(sample.z), sample.log_prob, rtol=0, atol=TOLERANCE.get(family, BISECTION)
    )


@families
def test_prior_integrates_to_one(prior, family):
    axis = torch.linspace(-14, 14, 225, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_p = prior(family, 2, 0.5, seed=2, steps=1)(None).log_prob(points)
    total = log_p.exp().sum().item() * (axis[1] - axis[0]).item() ** 2
    assert total == pytest.approx(1, abs=2e-3)


def test_random_splines_are_bijections_of_the_plane(posterior):
    """Their bends are sharp: on a grid of 241 points a side the integral is off by a tenth."""
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    eps = torch.cartesian_prod(axis, axis)[:, None]
    with torch.no_grad():
        q = posterior("NSF", 2, 1.0, steps=2)(normal(1, FEATURES))
        near = draw(q, (2000,)).z.flatten(0, 1)
        r = DiagonalNormal(near.mean(0), (0.25 * near.var(0)).log())
        with GivenNoise(eps):
            sample = draw(q, eps.shape[:1])
    log_eps = -0.5 * (eps**2).sum(-1) - math.log(2 * math.pi)
    total = (r.log_prob(sample.z) + log_eps - sample.log_prob).exp().sum()
    assert total.item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("latent", [1, 5])
@families
def test_starts_at_the_base(posterior, prior, family, latent):
    q = posterior(family, latent)(normal(3, FEATURES))
    eps = 0.5 * normal(20, 3, latent)
    with GivenNoise(eps):
        seen = draw(q, (20,))
    with GivenNoise(eps):
        base = draw(q.base, (20,))
    near = 0.05 if family == "NAF" else 1e-12
    assert ((seen.z - base.z) / q.scale).abs().max() <= near
    assert (seen.log_prob - base.log_prob).abs().max() <= near * latent
    z = normal(20, latent)
    difference = prior(family, latent)(None).log_prob(z) + 0.5 * (z**2 + math.log(2 * math.pi)).sum(
        -1
    )
    assert difference.abs().max() <= 5 * near * latent


@families
def test_no_steps_leave_the_base(posterior, family):
    q = posterior(family, 5, 1.0, steps=0)(normal(3, FEATURES))
    torch.manual_seed(0)
    seen = draw(q, (2,))
    torch.manual_seed(0)
    wanted = draw(q.base, (2,))
    torch.testing.assert_close(seen.z, wanted.z)
    torch.testing.assert_close(seen.log_prob, wanted.log_prob)


@pytest.mark.parametrize("family", ["NSF", "BPF"])
def test_noise_outside_the_box_is_left_alone(posterior, family):
    """Beyond ±5 the map is the identity: an increasing map of the whole line."""
    q = posterior(family, 3, 1.0, steps=1)(normal(1, FEATURES))
    far = torch.linspace(5.1, 40, 20).double()[:, None, None].expand(-1, 1, 3)
    (f,) = q.maps
    for eps in (far, -far):
        u, log_det = f(eps)
        torch.testing.assert_close(u, eps, rtol=0, atol=2e-5)
        assert log_det.abs().max() < 1e-8


@families
def test_evaluation_needs_no_graph_and_leaves_none(posterior, family):
    """vaeflow evaluates in inference mode, where zuko's own derivatives would fail."""
    made, h = posterior(family, 3, 0.5), normal(2, FEATURES)
    eps = normal(4, 2, 3)
    seen = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            q = made(h)
            with GivenNoise(eps):
                seen.append(draw(q, (4,)))
    for sample in seen[1:]:
        assert not sample.z.requires_grad
        assert not sample.log_prob.requires_grad
        torch.testing.assert_close(sample.log_prob, seen[0].log_prob.detach())


@families
def test_frozen_part_still_learns_in_evaluation_mode(posterior, family):
    """zuko leaves the networks' own weights out of the gradient when a module is in eval mode."""
    gradients = []
    for mode in (True, False):
        made = posterior(family, 3, 0.5).train(mode)
        h, eps = normal(2, FEATURES), normal(2, 2, 3)
        with GivenNoise(eps):
            sample = draw(made(h), (2,))
        total = (sample.z.sum(-1) + sample.log_prob).sum()
        gradients.append(torch.autograd.grad(total, list(made.parameters())))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_field_that_is_not_finite_ends(posterior):
    """zuko's solver would shorten its step for ever."""
    q = posterior("CNF", 3, 0.5)(torch.full((2, FEATURES), torch.nan).double())
    assert draw(q, (2,)).log_prob.isnan().all()
