"""The radial posterior: its draws, its start, its maps of each image."""

import pytest
import torch

from vaeflow.distributions.draw import draw
from vaeflow.maps.radial import RadialMap
from vaeflow.parts.posteriors.radial import Radial

TOLERANCE = {"rtol": 0, "atol": 1e-10}
FEATURES = 4


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def scattered(latent, **options):
    torch.manual_seed(latent)
    posterior = Radial(latent, FEATURES, **options).double()
    with torch.no_grad():
        for p in posterior.parameters():
            p.normal_()
    return posterior


@pytest.mark.parametrize("amortize", ["full", "none"])
def test_log_prob_of_a_draw_is_its_own(amortize):
    q = scattered(3, steps=4, amortize=amortize)(noise(5, FEATURES))
    sample = draw(q, (6,))
    torch.testing.assert_close(q.log_prob(sample.z), sample.log_prob, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("amortize", ["full", "none"])
def test_draw_is_the_base_draw_through_the_maps(amortize):
    posterior = scattered(3, steps=4, amortize=amortize)
    h = noise(2, FEATURES)
    torch.manual_seed(1)
    sample = draw(posterior(h), (5,))
    torch.manual_seed(1)
    base = draw(posterior.head(h), (5,))
    flat = posterior.flow.bias.expand(2, -1)
    if amortize == "full":
        flat = flat + h / FEATURES**0.5 @ posterior.flow.weight.T
    z, total = base.z, 0
    for p in flat.view(2, 4, 5).unbind(1):
        z, log_det = RadialMap(p[:, :3], p[:, 3], p[:, 4])(z)
        total = total + log_det
    torch.testing.assert_close(sample.z, z, **TOLERANCE)
    torch.testing.assert_close(sample.log_det, total, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sample.log_base, base.log_prob, **TOLERANCE)


def test_images_share_maps_without_amortization():
    h = noise(6, FEATURES)
    for f in scattered(3, amortize="none")(h).maps:
        assert torch.equal(f.alpha, f.alpha[:1].expand(6))
        assert torch.equal(f.centre, f.centre[:1].expand(6, 3))
    for f in scattered(3)(h).maps:
        assert f.alpha.std() > 1e-3
        assert (f.centre.std(0) > 1e-3).all()


def test_start_is_the_identity_around_distinct_centres():
    torch.manual_seed(0)
    posterior = Radial(3, FEATURES).double()
    h = noise(4, FEATURES)
    torch.manual_seed(1)
    q = posterior(h)
    sample = draw(q, (5,))
    torch.manual_seed(1)
    expected = draw(posterior.head(h), (5,))
    torch.testing.assert_close(sample.z, expected.z, rtol=0, atol=1e-6)
    torch.testing.assert_close(sample.log_prob, expected.log_prob, rtol=0, atol=1e-5)
    centres = torch.stack([f.centre[0] for f in q.maps])
    assert torch.pdist(centres).min() > 0.01


def test_draws_have_float32_densities_under_autocast():
    posterior = Radial(3, FEATURES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = draw(posterior(torch.ones(2, FEATURES)), (5,))
    assert sample.z.dtype == sample.log_base.dtype == sample.log_det.dtype == torch.float32
