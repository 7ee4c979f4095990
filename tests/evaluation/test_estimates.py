"""How estimates and bounds read in a terminal and in a notebook."""

import pytest
import torch

from vaeflow.evaluation import Bounds, Estimate, ImageBounds, PerImage
from vaeflow.evaluation.bounds import Draws, ParetoK


@pytest.mark.parametrize(
    ("estimate", "told"),
    [
        (Estimate(98.2345, 0.312), "98.2 ± 0.3"),
        (Estimate(98.2345, 0.0312), "98.23 ± 0.03"),
        (Estimate(98.2345, 3.12), "98.2 ± 3.1"),
        (Estimate(98.2345, 1e-9), "98.234 ± 0.000"),
        (Estimate(98.2345, None), "98.23"),
        (Estimate(98.2345, None, 0.3), "98.2"),
        (Estimate(float("nan"), float("nan")), "nan ± nan"),
    ],
)
def test_an_estimate_has_the_digits_that_its_error_leaves(estimate, told):
    assert str(estimate) == f"{estimate}" == told
    assert repr(estimate) == f"Estimate({told})"


def test_a_weighted_mean_has_the_spread_of_weighted_means():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 50, generator=generator, dtype=torch.float64)
    weights = torch.rand(4000, 50, generator=generator, dtype=torch.float64)
    found = [Estimate.of(v, w) for v, w in zip(values, weights, strict=True)]
    means = torch.tensor([one.mean for one in found])
    torch.testing.assert_close(means, (values * weights).sum(1).float() / weights.sum(1).float())
    errors = torch.tensor([one.standard_error for one in found])
    assert errors.square().mean().sqrt().item() == pytest.approx(means.std().item(), rel=0.05)


def test_equal_weights_change_no_figure():
    draws = torch.randn(7, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = PerImage.mean(draws)
    even = PerImage(plain.values, plain.errors, torch.full((30,), 3.0))
    for figure in ("mean", "standard_error", "monte_carlo_error"):
        expected = getattr(plain.over_images, figure)
        assert getattr(even.over_images, figure) == pytest.approx(expected, rel=1e-12)
    difference = even - plain
    assert torch.equal(difference.weights, even.weights)
    assert torch.equal(PerImage.cat([even, -even]).weights, torch.full((60,), 3.0))


def test_the_plain_mean_of_weighed_values_is_the_weighted_mean_with_its_error():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, generator=generator, dtype=torch.float64)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    weighted = PerImage(values, torch.zeros(30), weights)
    plain, expected = Estimate.of(weighted.weighed), weighted.over_images
    assert plain.mean == pytest.approx(expected.mean, rel=1e-12)
    assert plain.standard_error == pytest.approx(expected.standard_error, rel=1e-12)


def test_a_weight_of_0_leaves_an_image_out_of_a_mean():
    values, weights = torch.tensor([1.0, 2.0, 100.0]), torch.tensor([1.0, 1.0, 0.0])
    found = PerImage(values, torch.full((3,), 0.1), weights).over_images
    assert found.mean == 1.5
    assert found.monte_carlo_error == pytest.approx(0.1 / 2**0.5)


def test_a_sign_is_shown_for_the_mean_alone():
    assert f"{Estimate(1.0, 0.5):+.2f}" == "+1.00 ± 0.50"


def test_bounds_show_a_line_for_each_value_that_is_known():
    bounds = Bounds(
        images=297,
        samples=500,
        proposal="laplace",
        tolerance=0.05,
        elbo=Estimate(-98.2345, 0.312, 0.02),
        log_px=Estimate(-80.0, 0.3),
        kl=Estimate(18.2345, 0.0312),
        nll=Estimate(95.5, 0.3),
        under_q=Estimate(96.5, 0.3),
        bits_per_dimension=None,
        squared_error=None,
        effective_sample_size=Estimate(41.0, 2.0),
        draws=Draws(612.0, 0.04567, 0.2),
        pareto_k=ParetoK(0.4567, 0.03),
        unsettled=(3, 5),
    )
    assert repr(bounds).splitlines() == [
        "Bounds(",
        "  images=297,",
        "  samples=500,",
        "  proposal=laplace,",
        "  tolerance=0.05,",
        "  elbo=-98.2 ± 0.3,",
        "  log_px=-80.0 ± 0.3,",
        "  kl=18.23 ± 0.03,",
        "  nll=95.5 ± 0.3,",
        "  under_q=96.5 ± 0.3,",
        "  draws=612 an example, error 0.046 (median), above the tolerance at 20% of examples,",
        "  effective_sample_size=41.0 ± 2.0,",
        "  pareto_k=0.46 (median), above 0.7 at 3% of examples,",
        "  unsettled=2,",
        ")",
    ]


def test_no_repr_prints_a_tensor():
    values = torch.arange(200).double()
    bound = PerImage(values, torch.ones(200).double())
    assert repr(bound) == "PerImage(200 images, mean 99.5 ± 4.1)"
    images = ImageBounds(bound, bound, bound, bound, bound, None, values, values, values)
    assert "  nll=99.5 ± 4.1,\n" in repr(images)
    assert "tensor" not in repr(images)
