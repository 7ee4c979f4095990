"""The planar posterior: its draws, its start, its maps of each image."""

import pytest
import torch

from vaeflow.distributions.draw import draw
from vaeflow.maps.planar import PlanarMaps
from vaeflow.parts.posteriors.planar import Planar

TOLERANCE = {"rtol": 0, "atol": 1e-10}


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(posterior):
    """Return the posterior with parameters far from its start, where all images have one flow."""
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_()
    return posterior


def test_draw_is_the_base_draw_through_the_maps(monkeypatch):
    given = []

    class Recorded(PlanarMaps):
        def __init__(self, w, u, b):
            super().__init__(w, u, b)
            given.extend((w, u, b))

    monkeypatch.setattr("vaeflow.parts.posteriors.planar.PlanarMaps", Recorded)
    torch.manual_seed(0)
    posterior = scattered(Planar(3, 2, steps=4).double())
    h = noise(2, 2)
    q = posterior(h)
    assert (q.batch_shape, q.event_shape) == ((2,), (3,))
    w, u, b = given
    assert w.shape == u.shape == (2, 4, 3)
    assert b.shape == (2, 4)
    torch.manual_seed(1)
    sample = draw(q, (5,))
    torch.manual_seed(1)
    eps = torch.randn(5, 2, 3, dtype=torch.float64)
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    z0 = mean + (log_variance / 2).exp() * eps
    z, log_det = PlanarMaps(w, u, b)(z0)
    torch.testing.assert_close(sample.z, z, **TOLERANCE)
    torch.testing.assert_close(sample.log_det, log_det, **TOLERANCE)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(sample.log_base, normal.log_prob(z0).sum(-1), **TOLERANCE)


def test_each_image_has_its_own_maps():
    torch.manual_seed(0)
    posterior = scattered(Planar(3, 2, steps=4).double())
    h, z0 = noise(6, 2), noise(5, 6, 3)
    (maps,) = posterior(h).maps
    z, log_det = maps(z0)
    for i in range(6):
        (alone,) = posterior(h[i : i + 1]).maps
        z_alone, log_det_alone = alone(z0[:, i : i + 1])
        torch.testing.assert_close(z[:, i : i + 1], z_alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_det[:, i : i + 1], log_det_alone, rtol=0, atol=1e-12)
    # The same noise gives another z for every image.
    same_noise, _ = maps(z0[:, :1].expand(5, 6, 3))
    assert (same_noise.std(1) > 1e-3).all()


def test_start_is_the_identity_with_unit_directions():
    torch.manual_seed(0)
    posterior = Planar(5, 2, steps=16)
    (maps,) = posterior(torch.randn(3, 2)).maps
    torch.testing.assert_close(maps.w.norm(dim=-1), torch.ones(3, 16))
    # Random, so that no two maps bend the same direction and the gradient can tell them apart.
    assert (maps.w[0] @ maps.w[0].T - torch.eye(16)).abs().max() < 0.999
    z0 = torch.randn(7, 3, 5)
    z, log_det = maps(z0)
    torch.testing.assert_close(z, z0, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(7, 3), rtol=0, atol=1e-5)


def test_no_steps_are_the_diagonal_gaussian():
    torch.manual_seed(0)
    posterior = Planar(3, 2, steps=0).double()
    h = noise(4, 2)
    sample = draw(posterior(h), (5,))
    mean, log_variance = (h @ posterior.head.weight.T + posterior.head.bias).chunk(2, -1)
    oracle = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(sample.log_prob, oracle.log_prob(sample.z).sum(-1), **TOLERANCE)
    assert torch.equal(sample.log_det, torch.zeros(5, 4, dtype=torch.float64))


def test_draws_have_float32_densities_under_autocast():
    posterior = Planar(3, 2, steps=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, 2)), (5,))
    assert sample.log_base.dtype == sample.log_det.dtype == torch.float32


@pytest.mark.parametrize("amortize", ["full", "none"])
def test_log_prob_of_a_draw_is_its_own(amortize):
    torch.manual_seed(0)
    posterior = scattered(Planar(3, 4, steps=4, amortize=amortize).double())
    q = posterior(noise(5, 4))
    sample = draw(q, (6,))
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, rtol=1e-7, atol=1e-7)


def test_images_share_maps_without_amortization():
    torch.manual_seed(0)
    for amortize, shared in (("full", False), ("none", True)):
        posterior = scattered(Planar(3, 4, steps=2, amortize=amortize).double())
        (maps,) = posterior(noise(6, 4)).maps
        for x in (maps.w, maps.u_hat, maps.b):
            assert torch.allclose(x, x[:1].expand_as(x)) == shared


def test_log_prob_is_float32_under_autocast():
    posterior = Planar(3, 2, steps=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = posterior(torch.ones(2, 2))
        sample = draw(q, (5,))
        seen = q.log_prob(sample.z)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, sample.log_prob, rtol=1e-4, atol=1e-4)
