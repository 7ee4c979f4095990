"""Active units of codes whose means have a known variance over images."""

from types import SimpleNamespace

import pytest
import torch
from small_vae import SHAPE, model

from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.evaluation.active_units import LEVEL, active_units


class Code:
    """N(x, σ²I): the image is its own mean. A flow has no formula for it."""

    device = torch.device("cpu")

    def __init__(self, latent, sigma, flow):
        self.posterior = SimpleNamespace(latent=latent)
        self.sigma, self.flow, self.drawn = sigma, flow, 0

    def infer(self, x):
        q = DiagonalNormal(x, torch.full_like(x, self.sigma**2).log())
        return Flow(q, [self.count]) if self.flow else q

    def count(self, z):
        self.drawn += z.shape[:-1].numel()
        return z, z.new_zeros(z.shape[:-1])


def counted(images, latent, variance, sigma=1.0, flow=True, seeds=5):
    """The verdicts on images whose means have a variance, by seed."""
    found = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        x = variance**0.5 * torch.randn(images, latent)
        found.append(active_units(Code(latent, sigma, flow), x))
    return found


def verdicts(found):
    return {(units.active, units.undecided) for units in found}


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize(("latent", "sigma"), [(40, 1.0), (20, 3.0)])
@pytest.mark.parametrize("images", [2, 20, 50, 1000])
def test_a_collapsed_code_has_no_active_unit(images, latent, sigma, flow):
    if flow and images == 2:  # two images tell little of a mean that draws estimate
        assert {active for active, _ in verdicts(counted(2, latent, 0.0, sigma))} == {0}
    else:
        assert verdicts(counted(images, latent, 0.0, sigma, flow)) == {(0, 0)}


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize("images", [20, 50, 1000])
def test_units_far_above_the_threshold_are_active(images, flow):
    assert verdicts(counted(images, 20, 1.0, 0.5, flow)) == {(20, 0)}


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize(("variance", "active"), [(0.02, True), (0.005, False)])
def test_units_near_the_threshold_take_images(variance, active, flow):
    """At twice and at half the threshold few images do not tell, and never tell the opposite."""
    for images in (20, 50):
        for units in counted(images, 20, variance, flow=flow):
            inactive = 20 - units.active - units.undecided
            assert (inactive if active else units.active) == 0
            assert units.undecided > 0
    assert verdicts(counted(1000, 20, variance, flow=flow)) == {(20 * active, 0)}


@pytest.mark.parametrize("images", [20, 300])
def test_a_wrong_verdict_has_the_chance_of_its_level(images):
    """A variance of just the threshold is on neither side."""
    found = counted(images, 10, 0.01, flow=False, seeds=400)
    wrong = sum(units.undecided < 10 for units in found) / len(found)
    # Either side is wrong here, and χ² of normal means is exact.
    assert wrong == pytest.approx(2 * LEVEL, abs=4 * (0.1 * 0.9 / 400) ** 0.5)


def test_a_few_images_far_out_do_not_decide():
    """One image of 30 moves the mean: its variance is 0.03, but for the luck of meeting it."""
    x = torch.zeros(30, 10)
    x[7] = 1.0
    assert verdicts([active_units(Code(10, 1.0, False), x)]) == {(0, 10)}


@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_each_variance_comes_with_its_error(sigma):
    scores = []
    for units in counted(500, 8, 0.3, sigma, seeds=30):
        assert units.images == 500
        scores += [(v.mean - 0.3) / v.standard_error for v in units.variances]
    assert torch.tensor(scores).square().mean().sqrt() == pytest.approx(1, abs=0.2)


def test_more_images_are_taken_until_they_tell():
    """0.0104 is within 2 standard errors of 0.01 for 4,000 images, and clear of it for 16,000."""
    torch.manual_seed(0)
    x = 0.0104**0.5 * torch.nn.functional.normalize(torch.randn(16_000, 5), dim=0) * 16_000**0.5
    units = active_units(Code(5, 1.0, flow=False), x)
    assert (units.active, units.undecided, units.images) == (5, 0, 16_000)


def test_the_work_has_a_bound():
    torch.manual_seed(0)
    code = Code(3, 1.0, flow=True)
    units = active_units(code, 0.1 * torch.randn(1000, 3), most=130_000)
    assert units.undecided == 3
    assert code.drawn == 1000 * (32 + 128 + 130)


def test_a_single_image_tells_nothing():
    units = active_units(Code(3, 1.0, flow=False), torch.ones(1, 3))
    assert (units.active, units.undecided, units.variances) == (0, 3, [])


def test_active_units_follow_the_data():
    vae = model()
    with torch.no_grad():
        vae.posterior.head.weight.zero_()
        vae.posterior.head.weight[0] = 1.0  # the first latent's mean alone depends on x
        torch.manual_seed(0)
        x = torch.rand(1000, *SHAPE).round()
        assert active_units(vae, x).active == 1
        vae.posterior.head.weight.zero_()
        assert active_units(vae, x).active == 0
